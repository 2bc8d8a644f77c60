//! A large file in small steps, so that others need not wait for long.

use crate::limits::SNAPSHOT_STEP_OCTETS;
use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Has each step on the disk before the next: the file system may write out whatever else is dirty with
/// the log's own fdatasync, and that shall never be more than a step.
pub(super) struct Steps<'f, R> {
    file: &'f File,
    rest: R,
    octets: usize,
    begun: Instant,
}

impl<'f, R: FnMut(Duration)> Steps<'f, R> {
    /// After each step `rest` is told how long that took.
    pub(super) fn new(file: &'f File, rest: R) -> Self {
        Self { file, rest, octets: 0, begun: Instant::now() }
    }
}

impl<R: FnMut(Duration)> Write for Steps<'_, R> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let left = SNAPSHOT_STEP_OCTETS.saturating_sub(self.octets);
        let octets = octets.get(..left).unwrap_or(octets);
        let written = self.file.write(octets)?;
        self.octets += written;
        if self.octets >= SNAPSHOT_STEP_OCTETS {
            self.file.sync_data()?;
            (self.rest)(self.begun.elapsed());
            self.octets = 0;
            self.begun = Instant::now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn whatever_is_written_at_once_nothing_is_lost_and_there_is_a_rest_after_each_step() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        let rests = Cell::new(0);
        let mut steps = Steps::new(&file, |_| rests.set(rests.get() + 1));
        let all: Vec<u8> = (0..=255_u8).cycle().take(SNAPSHOT_STEP_OCTETS * 3 + 7).collect();
        steps.write_all(&all[..9]).unwrap();
        steps.write_all(&all[9..]).unwrap();
        assert_eq!(rests.get(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), all);
    }
}
