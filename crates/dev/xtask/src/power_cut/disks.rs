//! Disks whose power can be cut: three ext4 file systems in one image on a file system that copies files
//! by sharing their blocks. Such a copy is of one moment, and has what reached the disks until then; what
//! only the kernel or a program knew is not in it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::packages;

/// Octets of one disk. Sparse: it takes what is written.
const DISK_OCTETS: u64 = 512 << 20;
/// Octets of the file system around the image and its copy.
const OUTER_OCTETS: u64 = 6 << 30;
/// Disks in the image.
const DISKS: u64 = 3;
/// Set for the process that has mounts of its own.
const INSIDE: &str = "XTASK_HAS_OWN_MOUNTS";
/// Programs, and the Debian packages they come from.
const NEEDED: [(&str, &str); 8] = [
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
    ("cp", "coreutils"),
];

/// Makes sure that this process may mount, and that its mounts end with it: starts this program again
/// in a mount namespace of its own.
pub(crate) fn enter_own_mounts() -> Result<()> {
    ensure!(
        packages::is_root(),
        "power cuts need root, to mount file systems; without: --rounds 0 --sigkills N"
    );
    let mut missing = Vec::new();
    for (program, package) in NEEDED {
        if !packages::is_found(program) && !missing.contains(&package) {
            missing.push(package);
        }
    }
    ensure!(missing.is_empty(), "missing packages, please install: {}", missing.join(" "));
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let error = command.exec();
    Err(error).context("cannot start unshare")
}

/// The disks; they are unmounted and gone when this is dropped.
pub(crate) struct Disks {
    directory: TempDir,
    mounted: Vec<PathBuf>,
}

impl Disks {
    /// Three empty ones.
    pub(crate) fn create() -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory")?;
        let mut disks = Self { directory, mounted: Vec::new() };
        let (file, outer) = (disks.path("outer.img"), disks.path("outer"));
        sparse(&file, OUTER_OCTETS)?;
        std::fs::create_dir(&outer)?;
        run("mkfs.xfs", [OsStr::new("-q"), "-m".as_ref(), "reflink=1".as_ref(), file.as_ref()])?;
        run("mount", [OsStr::new("-o"), "loop".as_ref(), file.as_ref(), outer.as_ref()])?;
        disks.mounted.push(outer);
        sparse(&disks.image(), DISKS * DISK_OCTETS)?;
        for n in 0..DISKS {
            std::fs::create_dir(disks.disk(n))?;
            let device = disks.attach(n)?;
            let made = run("mkfs.ext4", ["-q", "-F", &device]);
            detach(&device)?;
            made?;
            disks.mount(n)?;
        }
        Ok(disks)
    }

    /// Where the files of the replicas that are not their disks may lie.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory on disk `n`.
    pub(crate) fn data_dir(&self, n: u64) -> PathBuf {
        self.disk(n).join("store")
    }

    /// Copies all disks as they are at one moment from now.
    pub(crate) fn copy(&self) -> Result<()> {
        let arguments = [Path::new("--reflink=always"), &self.image(), &self.copied()];
        run("cp", arguments).map(drop)
    }

    /// All disks are from now on as they were when they were copied.
    pub(crate) fn all_as_copied(&mut self) -> Result<()> {
        for n in 0..DISKS {
            self.unmount(n)?;
        }
        std::fs::rename(self.copied(), self.image())?;
        (0..DISKS).try_for_each(|n| self.mount(n))
    }

    /// One disk is from now on as it was when they were copied.
    pub(crate) fn one_as_copied(&mut self, n: u64) -> Result<()> {
        self.unmount(n)?;
        let at = n * DISK_OCTETS;
        let reflink = format!("reflink {} {at} {at} {DISK_OCTETS}", self.copied().display());
        run("xfs_io", [OsStr::new("-c"), reflink.as_ref(), self.image().as_ref()])?;
        std::fs::remove_file(self.copied())?;
        self.mount(n)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("outer/image")
    }

    fn copied(&self) -> PathBuf {
        self.path("outer/copy")
    }

    fn disk(&self, n: u64) -> PathBuf {
        self.path(&format!("disk-{}", n + 1))
    }

    fn attach(&self, n: u64) -> Result<String> {
        let offset = (n * DISK_OCTETS).to_string();
        let (size, image) = (DISK_OCTETS.to_string(), self.image());
        let mut arguments: Vec<&OsStr> = vec!["--find".as_ref(), "--show".as_ref()];
        arguments.extend([OsStr::new("--offset"), offset.as_ref()]);
        arguments.extend([OsStr::new("--sizelimit"), size.as_ref(), image.as_ref()]);
        Ok(run("losetup", arguments)?.trim().to_owned())
    }

    fn mount(&mut self, n: u64) -> Result<()> {
        let device = self.attach(n)?;
        let mounted = run("mount", [OsStr::new(&device), self.disk(n).as_ref()]);
        // While it is mounted the device stays, and goes with the mount.
        detach(&device)?;
        mounted?;
        self.mounted.push(self.disk(n));
        Ok(())
    }

    fn unmount(&mut self, n: u64) -> Result<()> {
        let disk = self.disk(n);
        run("umount", [&disk])?;
        self.mounted.retain(|mounted| *mounted != disk);
        Ok(())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for mounted in self.mounted.iter().rev() {
            if let Err(error) = run("umount", [mounted]) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn detach(device: &str) -> Result<()> {
    run("losetup", ["--detach", device]).map(drop)
}

fn sparse(file: &Path, octets: u64) -> Result<()> {
    Ok(std::fs::File::create_new(file)?.set_len(octets)?)
}

/// Runs a program; what it says on standard output.
fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
