//! Who talks to whom: layers from the top down, boxes side by side.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::{
    format::plain,
    view::{Graph, Level, Node},
};

const BOX_WIDTH: u32 = 172;
const BOX_HEIGHT: u32 = 52;
const GAP: u32 = 18;
const LAYER_HEIGHT: u32 = 120;
const LEFT: u32 = 108;
const CHARS_MAX: usize = 22;

/// A box's name, and where it stands.
type Places<'g> = BTreeMap<&'g str, (u32, u32)>;

pub(super) fn graph(graph: &Graph) -> Markup {
    let widest =
        graph.layers.iter().map(|layer| count(layer.nodes.len())).max().unwrap_or(0).max(1);
    let width = LEFT + widest * (BOX_WIDTH + GAP);
    let height = count(graph.layers.len()) * LAYER_HEIGHT - (LAYER_HEIGHT - BOX_HEIGHT) + 2 * GAP;
    let places = places(graph, width);
    html! {
        div.wide.drawn {
            svg.graph viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img"
                aria-label="processes and their connections; the page of nodes has the same as tables" {
                @for link in &graph.links {
                    @if let (Some(from), Some(to)) = (places.get(link.from.as_str()), places.get(link.to.as_str())) {
                        path.link.feed[link.is_feed].{ "level-" (link.level.word()) } d=(curve(*from, *to)) {}
                    }
                }
                @for (row, layer) in graph.layers.iter().enumerate() {
                    text.layer x="0" y=(GAP + count(row) * LAYER_HEIGHT + BOX_HEIGHT / 2 + 5) { (layer.name) }
                    @for node in &layer.nodes {
                        @if let Some((x, y)) = places.get(node.name.as_str()) { (one_box(node, *x, *y)) }
                    }
                    @if layer.more > 0 {
                        text.layer x="0" y=(GAP + count(row) * LAYER_HEIGHT + BOX_HEIGHT / 2 + 23) {
                            "and " (layer.more) " more"
                        }
                    }
                }
            }
            p.none {
                "Teal: the binding feed. Grey: the log among the stores, commands to the leader, signalling. "
                "Dashed: something is wrong."
            }
        }
    }
}

fn places(graph: &Graph, width: u32) -> Places<'_> {
    let mut places = Places::new();
    for (row, layer) in graph.layers.iter().enumerate() {
        let taken = count(layer.nodes.len()) * (BOX_WIDTH + GAP);
        let start = LEFT + (width - LEFT).saturating_sub(taken) / 2;
        for (column, node) in layer.nodes.iter().enumerate() {
            let x = start + count(column) * (BOX_WIDTH + GAP);
            places.insert(&node.name, (x, GAP + count(row) * LAYER_HEIGHT));
        }
    }
    places
}

fn one_box(node: &Node, x: u32, y: u32) -> Markup {
    html! {
        g.{ "level-" (node.level.word()) } {
            rect x=(x) y=(y) width=(BOX_WIDTH) height=(BOX_HEIGHT) rx="6" {}
            text.name x=(x + 10) y=(y + 21) { (cut(&node.name)) }
            text.words x=(x + 10) y=(y + 40) {
                @if node.level != Level::Plain { tspan.sign { (node.level.sign()) " " } }
                (cut(&node.words))
            }
        }
    }
}

/// From the lower edge of the upper box to the upper edge of the lower one.
fn curve(from: (u32, u32), to: (u32, u32)) -> String {
    let middle = |x: u32| x + BOX_WIDTH / 2;
    if from.1 == to.1 {
        // Side by side: above the boxes.
        let (x, y, end) = (middle(from.0), from.1, middle(to.0));
        return format!("M{x} {y}C{x} {up} {end} {up} {end} {y}", up = y.saturating_sub(GAP));
    }
    let (above, below) = if from.1 < to.1 { (from, to) } else { (to, from) };
    let (x, y, end_x, end_y) = (middle(above.0), above.1 + BOX_HEIGHT, middle(below.0), below.1);
    let half = u32::midpoint(y, end_y);
    format!("M{x} {y}C{x} {half} {end_x} {half} {end_x} {end_y}")
}

fn cut(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    text.chars().take(CHARS_MAX - 1).chain(['\u{2026}']).collect()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
