//! A replica's disk made slow: a control group of its own, in which few writes a second are allowed (the
//! block controller of cgroup v1, whose limit also holds for what fsync writes).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const BLKIO: &str = "/sys/fs/cgroup/blkio";
/// The limit's file, in each group.
const LIMIT: &str = "blkio.throttle.write_iops_device";
/// Writes a second: each sync takes some hundred milliseconds.
const WRITES_PER_SECOND: u32 = 12;

/// The group; what is in it is free again when this is dropped.
pub(crate) struct SlowDisk {
    group: PathBuf,
    pid: u32,
}

/// Why the disk of the temporary directory cannot be made slow; `None` when it can.
pub(crate) fn impossible() -> Option<&'static str> {
    if !Path::new(BLKIO).join(LIMIT).is_file() {
        return Some("there is no block controller of cgroup v1");
    }
    if !crate::packages::is_root() {
        return Some("it needs root");
    }
    let number = std::fs::metadata(std::env::temp_dir()).map(|directory| directory.dev());
    let device = number.map_err(Into::into).and_then(whole_device);
    device.is_err().then_some("the temporary directory is on no disk")
}

impl SlowDisk {
    /// Makes the disk below `directory` slow for a process.
    pub(crate) fn begin(directory: &Path, pid: u32) -> Result<Self> {
        let group = Path::new(BLKIO).join(format!("homeport-slow-disk-{}", std::process::id()));
        std::fs::create_dir(&group).context("cannot make a control group")?;
        let slow = Self { group, pid };
        let device = whole_device(std::fs::metadata(directory)?.dev())?;
        let limit = format!("{device} {WRITES_PER_SECOND}");
        std::fs::write(slow.group.join(LIMIT), limit).context("cannot make the disk slow")?;
        std::fs::write(slow.group.join("cgroup.procs"), pid.to_string())?;
        Ok(slow)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // A process that has ended is in no group.
        drop(std::fs::write(Path::new(BLKIO).join("cgroup.procs"), self.pid.to_string()));
        if let Err(error) = std::fs::remove_dir(&self.group) {
            eprintln!("{}: {error}", self.group.display());
        }
    }
}

/// `major:minor` of the disk that a device number belongs to: of a partition, that of the whole.
fn whole_device(number: u64) -> Result<String> {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    let node = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    ensure!(node.exists(), "the data directories are not on a disk");
    if !node.join("partition").exists() {
        return Ok(format!("{major}:{minor}"));
    }
    let whole = std::fs::canonicalize(&node)?;
    let whole = whole.parent().context("a partition without disk")?;
    Ok(std::fs::read_to_string(whole.join("dev"))?.trim().to_owned())
}
