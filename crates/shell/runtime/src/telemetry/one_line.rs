//! What others send never makes a second line of log, turns a terminal, or fills a disk with one record.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// Octets of one record; more is cut, or in JSON replaced by a record that says so.
const RECORD_OCTETS_MAX: usize = 16 * 1024;

/// Writes each record as one line of what can be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneLine<M> {
    pub(super) to: M,
    pub(super) format: LogFormat,
    /// The layer writes colours of its own, and has escaped what was not its own.
    pub(super) has_colours: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { to: self.to.make_writer(), format: self.format, has_colours: self.has_colours }
    }
}

/// One record on its way.
#[derive(Debug)]
pub(super) struct Line<W> {
    to: W,
    format: LogFormat,
    has_colours: bool,
}

impl<W: io::Write> io::Write for Line<W> {
    /// A layer writes a record at once.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let shown = shown(&text, self.format, self.has_colours);
        self.to.write_all(shown.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn shown(record: &str, format: LogFormat, has_colours: bool) -> Cow<'_, str> {
    let (body, end) = match record.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (record, ""),
    };
    let escapes = |c: char| is_escaped(c) && !(has_colours && c == '\u{1b}');
    if body.len() <= RECORD_OCTETS_MAX && !body.contains(escapes) {
        return Cow::Borrowed(record);
    }
    if body.len() > RECORD_OCTETS_MAX && matches!(format, LogFormat::Json) {
        let len = body.len();
        return Cow::Owned(format!(
            "{{\"level\":\"WARN\",\"message\":\"a record of {len} octets was too long for the log\"}}{end}"
        ));
    }
    let mut out = String::with_capacity(body.len().min(RECORD_OCTETS_MAX) + 32);
    for c in body.chars() {
        if out.len() >= RECORD_OCTETS_MAX {
            out.push_str("... (cut)");
            break;
        }
        if escapes(c) {
            // As JSON has it, so that a record in JSON stays one.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.push_str(end);
    Cow::Owned(out)
}

/// Control characters, and those that turn the direction of text or end a line (Unicode Annex 9, 14).
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, hostile: &str) -> String {
        let kept = Kept::default();
        let to = {
            let kept = kept.clone();
            move || kept.clone()
        };
        let writer = OneLine { to, format, has_colours: false };
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
        let log = |nai: &str| {
            tracing::info!(%nai, "a subscriber: {nai}");
            tracing::warn!(nai, error = ?nai, "of another kind");
        };
        match format {
            LogFormat::Text => {
                let layer = tracing_subscriber::registry().with(layer);
                tracing::subscriber::with_default(layer, || log(hostile));
            }
            LogFormat::Json => {
                let layer = tracing_subscriber::registry().with(layer.json().flatten_event(true));
                tracing::subscriber::with_default(layer, || log(hostile));
            }
        }
        let octets = kept.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn hostile_names_make_one_line_each() {
        let long = "x".repeat(1 << 20);
        let names = [
            "mn\n2026-11-27T00:00:00Z  INFO forged: the leader is dead",
            "mn\r\n\r\nforged",
            "mn\u{1b}[2J\u{1b}]0;title\u{7}",
            "mn\u{202e}gnp.exe\u{2066}",
            "mn\u{2028}next\u{85}next\0",
            long.as_str(),
        ];
        for format in [LogFormat::Text, LogFormat::Json] {
            for name in names {
                let log = logged(format, name);
                let start: String = name.chars().take(20).collect();
                assert_eq!(log.lines().count(), 2, "{start:?}: {}", &log[..log.len().min(300)]);
                for line in log.lines() {
                    assert!(line.len() <= RECORD_OCTETS_MAX + 64, "{} octets", line.len());
                    assert!(!line.chars().any(is_escaped), "{line:?}");
                    if matches!(format, LogFormat::Json) {
                        serde_json::from_str::<serde_json::Value>(line).unwrap();
                    }
                }
            }
        }
        let plain = logged(LogFormat::Text, "mn1@example.com");
        assert!(plain.contains("a subscriber: mn1@example.com"), "{plain}");
    }

    #[test]
    fn the_layers_own_colours_stay() {
        let record = "\u{1b}[32m INFO\u{1b}[0m all is well\u{202e}\n";
        let expected = "\u{1b}[32m INFO\u{1b}[0m all is well\\u202e\n";
        assert_eq!(shown(record, LogFormat::Text, true), expected);
    }
}
