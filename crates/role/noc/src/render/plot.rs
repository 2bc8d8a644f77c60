//! Lines over time, drawn here: no library, no script, and colours come from the style sheet.

use maud::{Markup, html};

use crate::{
    format::{Known, Measured, TimeOfDay},
    view::Plot,
};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;
const SPARK_WIDTH: f64 = 120.0;
const SPARK_HEIGHT: f64 = 24.0;

/// A plot with its scale, its times and a legend with the newest values.
pub(super) fn plot(plot: &Plot) -> Markup {
    let all = plot.series.iter().flat_map(|series| &series.values).flatten();
    let top = ceiling(all.fold(0.0, |most: f64, value| most.max(*value)));
    let (first, last) = (plot.times_ms.first(), plot.times_ms.last());
    html! {
        @if plot.times_ms.len() < 2 {
            p.none { "Nothing has been measured yet; the first values need two looks." }
        } @else {
            div.plot {
                p.scale { span { (Measured(top)) " " (plot.unit) } span { "0" } }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label="values over time, in the table's export" {
                    path.grid d={ "M0 0H" (WIDTH) "M0 " (HEIGHT / 2.0) "H" (WIDTH) "M0 " (HEIGHT) "H" (WIDTH) } {}
                    @for (place, series) in plot.series.iter().enumerate() {
                        path.line.{ "line-" (place % 8) } d=(path(&series.values, WIDTH, HEIGHT, top)) {}
                    }
                }
                p.times {
                    span { (Known(first.map(|at| TimeOfDay(*at)))) }
                    span { (Known(last.map(|at| TimeOfDay(*at)))) " UTC" }
                }
            }
            ul.legend {
                @for (place, series) in plot.series.iter().enumerate() {
                    li {
                        svg.mark viewBox="0 0 16 4" aria-hidden="true" {
                            path.line.{ "line-" (place % 8) } d="M0 2H16" {}
                        }
                        (series.name) ": "
                        @match series.values.last().copied().flatten() {
                            Some(newest) => { b { (Measured(newest)) } " " (plot.unit) }
                            None => "\u{2013}",
                        }
                    }
                }
            }
        }
    }
}

/// The last values in the size of a word.
pub(super) fn spark(values: &[Option<f64>]) -> Markup {
    let top = ceiling(values.iter().flatten().fold(0.0, |most: f64, value| most.max(*value)));
    html! {
        svg.spark viewBox={ "0 0 " (SPARK_WIDTH) " " (SPARK_HEIGHT) } preserveAspectRatio="none"
            aria-hidden="true" {
            path.line d=(path(values, SPARK_WIDTH, SPARK_HEIGHT, top)) {}
        }
    }
}

/// The next round number: 1, 2 or 5 times a power of ten.
fn ceiling(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= most)
        .unwrap_or(10.0 * power)
}

/// Where a value is missing the line is broken; one that stands alone is a dot.
fn path(values: &[Option<f64>], width: f64, height: f64, top: f64) -> String {
    let steps = values.len().saturating_sub(1).max(1);
    let step = width / f64::from(u32::try_from(steps).unwrap_or(u32::MAX));
    let (mut drawn, mut x, mut is_down) = (String::new(), 0.0, false);
    for value in values {
        match value {
            Some(value) => {
                let y = height - (value / top).clamp(0.0, 1.0) * height;
                let command = if is_down { 'L' } else { 'M' };
                drawn.push_str(&format!("{command}{x:.1} {y:.1}"));
                if !is_down {
                    drawn.push_str("h.1");
                }
                is_down = true;
            }
            None => is_down = false,
        }
        x += step;
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_contain_all_values() {
        for (most, expected) in
            [(0.0, 1.0), (0.03, 0.05), (1.0, 1.0), (1.1, 2.0), (7.0, 10.0), (420.0, 500.0)]
        {
            assert!((ceiling(most) - expected).abs() < 1e-9, "{most}: {}", ceiling(most));
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_was_measured() {
        let values = [Some(0.0), Some(1.0), None, Some(0.5)];
        assert_eq!(path(&values, 30.0, 10.0, 1.0), "M0.0 10.0h.1L10.0 0.0M30.0 5.0h.1");
        assert_eq!(path(&[], 30.0, 10.0, 1.0), "");
    }
}
