//! How numbers and times are written for reading.

use std::fmt::{self, Display, Write as _};

use time::OffsetDateTime;

/// A value, or a dash for none.
pub(crate) struct Known<T>(pub(crate) Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("\u{2013}"),
        }
    }
}

/// Digits in threes, with a narrow space that does not break.
pub(crate) struct Grouped(pub(crate) u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                f.write_str("\u{202f}")?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A measured value with three digits that count, a whole one as it is: `0.012`, `4.57`, `2`, `1 234`.
pub(crate) struct Measured(pub(crate) f64);

impl Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            size if size < 0.000_5 => f.write_str("0"),
            size if size < 1e15 && size.fract() == 0.0 => Grouped(whole(size)).fmt(f),
            size if size < 1.0 => write!(f, "{:.3}", self.0),
            size if size < 10.0 => write!(f, "{:.2}", self.0),
            size if size < 100.0 => write!(f, "{:.1}", self.0),
            size if size < 1e15 => Grouped(whole(size)).fmt(f),
            _ => write!(f, "{:e}", self.0),
        }
    }
}

/// The nearest whole number of a value that is neither negative nor huge.
fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap_or(u64::MAX)
}

/// Seconds, in the two largest units that matter.
pub(crate) struct Lasts(pub(crate) u64);

impl Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours) = (self.0 / 86_400, self.0 / 3_600 % 24);
        let (minutes, secs) = (self.0 / 60 % 60, self.0 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{secs} s"),
            (0, 0, minutes) => write!(f, "{minutes} min {secs:02} s"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes:02} min"),
            (days, hours, _) => write!(f, "{days} d {hours:02} h"),
        }
    }
}

/// Whole seconds between two times, none when the second is the earlier.
pub(crate) const fn secs_between(then_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(then_ms) / 1_000
}

/// Milliseconds since the Unix epoch as `2026-11-27T13:45:02Z`.
pub(crate) struct Timestamp(pub(crate) u64);

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.0 / 1_000).unwrap_or(i64::MAX);
        let Ok(at) = OffsetDateTime::from_unix_timestamp(secs) else {
            return write!(f, "{} ms", self.0);
        };
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The same as `13:45:02`, in UTC.
pub(crate) struct TimeOfDay(pub(crate) u64);

impl Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0 / 1_000 % 86_400;
        write!(f, "{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
    }
}

/// A value inside a link: everything but RFC 3986's unreserved characters in percent form.
pub(crate) struct Percent<'v>(pub(crate) &'v str);

impl Display for Percent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(octet))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

/// Text of a peer as it may be shown: control characters and those that turn the direction of writing
/// are replaced, so that a value looks like what it is.
pub(crate) fn plain(text: &str) -> String {
    let is_hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .map(|character| if is_hidden(character) { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_made_for_reading() {
        let rows: [(String, &str); 18] = [
            (Grouped(0).to_string(), "0"),
            (Grouped(999).to_string(), "999"),
            (Grouped(1_234_567).to_string(), "1\u{202f}234\u{202f}567"),
            (Measured(0.0).to_string(), "0"),
            (Measured(2.0).to_string(), "2"),
            (Measured(0.012_4).to_string(), "0.012"),
            (Measured(4.566).to_string(), "4.57"),
            (Measured(45.66).to_string(), "45.7"),
            (Measured(1_234.4).to_string(), "1\u{202f}234"),
            (Lasts(0).to_string(), "0 s"),
            (Lasts(61).to_string(), "1 min 01 s"),
            (Lasts(3_720).to_string(), "1 h 02 min"),
            (Lasts(262_140).to_string(), "3 d 00 h"),
            (secs_between(5_000, 4_000).to_string(), "0"),
            (TimeOfDay(1_700_000_000_123).to_string(), "22:13:20"),
            (Timestamp(1_700_000_000_123).to_string(), "2023-11-14T22:13:20Z"),
            (Known(None::<u64>).to_string(), "\u{2013}"),
            (Timestamp(u64::MAX).to_string(), "18446744073709551615 ms"),
        ];
        for (shown, expected) in rows {
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn a_value_cannot_leave_its_parameter_and_hides_nothing() {
        assert_eq!(
            Percent("a-Z_0.~ &x=/?#%\u{e9}").to_string(),
            "a-Z_0.~%20%26x%3D%2F%3F%23%25%C3%A9"
        );
        assert_eq!(plain("a\u{202e}b\u{0}c\u{e9}"), "a\u{fffd}b\u{fffd}c\u{e9}");
    }
}
