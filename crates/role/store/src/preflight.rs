//! What the host lacks for a replica of the store: above all a disk that keeps what it has confirmed, soon.
//! Of a data directory that is there nothing is opened; what is written for a trial has no name in it.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use homeport_runtime::config::Configuration as _;
use homeport_runtime::preflight::{Check, open_files, tcp_listen};
use rustix::fs::{fstatfs, statvfs};

use crate::{Config, TOKENS_FILE, admin::look_at_tokens, limits, raft_config};

/// Tries everything that a replica with this configuration needs; without, what any does.
pub async fn preflight(config: Option<&Config>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(config) = config {
        let raft = raft_config(config);
        let summary = format!(
            "replica {} of cluster {}, {} replicas",
            config.node_id,
            config.cluster_name,
            config.peers.len()
        );
        let mut refusals = config.refusals();
        // It has a check of its own.
        refusals.retain(|refusal| refusal.key != TOKENS_FILE);
        checks.extend(Check::configuration(refusals, summary));
        checks.push(tcp_listen("listen", config.listen));
        checks.push(tcp_listen("ops.listen", config.ops.listen));
        if let Some(admin) = &config.admin {
            let remedy = "correct it; homeportctl token new prints a line for it";
            checks.push(match look_at_tokens(&admin.tokens_file) {
                Ok(count) => Check::ok(TOKENS_FILE, format!("{count} tokens")),
                Err(error) => Check::fail(TOKENS_FILE, error.to_string(), remedy),
            });
        }
        let (data_dir, free_min) = (config.data_dir.clone(), raft.free_space_min);
        let tried = tokio::task::spawn_blocking(move || disk(&data_dir, free_min)).await;
        checks.extend(tried.unwrap_or_else(|error| {
            let remedy = "report this as a fault of Homeport";
            vec![Check::fail("data_dir", error.to_string(), remedy)]
        }));
    }
    checks.push(open_files(limits::OPEN_FILES));
    checks
}

fn disk(data_dir: &Path, free_min: u64) -> Vec<Check> {
    const NAME: &str = "data_dir";
    let place = data_dir.display();
    let Some(there) = nearest(data_dir) else {
        let remedy = "name a directory, or one that can be made";
        return vec![Check::fail(NAME, format!("{place} is no directory"), remedy)];
    };
    let file = match tempfile::tempfile_in(&there) {
        Ok(file) => file,
        Err(error) => {
            let remedy = "let the process write there (its user, a mount that is not read-only), or name \
                          another data_dir";
            let found = format!("{}: cannot write: {error}", there.display());
            return vec![Check::fail(NAME, found, remedy)];
        }
    };
    let found = match there == data_dir {
        true => format!("{place} is there and writable"),
        false => format!("{place} can be made in {}", there.display()),
    };
    let kept = match volatile(&file) {
        None => Check::ok(NAME, found),
        Some(kind) => Check::warn(
            NAME,
            format!("{place} is on {kind}: what was acknowledged goes with the machine"),
            "name a directory on a disk",
        ),
    };
    vec![kept, sync_time(&file), free(&there, free_min)]
}

/// The directory itself, or the one in which it would be made.
fn nearest(data_dir: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(data_dir).ok()?;
    let there = whole.ancestors().find(|above| above.exists())?;
    fs::metadata(there).is_ok_and(|it| it.is_dir()).then(|| there.to_owned())
}

/// Memory, or the layer of a container that goes with it.
fn volatile(file: &fs::File) -> Option<&'static str> {
    match fstatfs(file).ok()?.f_type {
        0x0102_1994 => Some("a tmpfs"),
        0x8584_58f6 => Some("a ramfs"),
        0x794c_7630 => Some("an overlay, such as a container's own layer"),
        _ => None,
    }
}

/// What it takes until a record is on the disk: a Binding Acknowledgement waits for a majority of them.
fn sync_time(mut file: &fs::File) -> Check {
    const NAME: &str = "data_dir.sync";
    let mut times = Vec::new();
    let mut tried = || -> io::Result<()> {
        let began = Instant::now();
        while times.len() < limits::SYNCS_TRIED && began.elapsed() < limits::SYNCS_TRIED_FOR {
            let before = Instant::now();
            file.write_all(&[0xa5; 4096])?;
            file.sync_data()?;
            times.push(before.elapsed());
        }
        Ok(())
    };
    if let Err(error) = tried() {
        return Check::fail(
            NAME,
            format!("fsync: {error}"),
            "look at the disk and the kernel's log",
        );
    }
    times.sort();
    judged(NAME, &times)
}

/// The times are in order.
fn judged(name: &str, times: &[Duration]) -> Check {
    let at = |per_cent: usize| times.get(times.len() * per_cent / 100);
    let (Some(half), Some(most), Some(longest)) = (at(50), at(99), times.last()) else {
        return Check::fail(name, "nothing was measured", "look at the disk and the kernel's log");
    };
    let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
    let found = format!(
        "a record of 4 KiB is on the disk after {:.2} ms (median), {:.2} ms (99 of 100), {:.2} ms (longest \
         of {})",
        ms(half),
        ms(most),
        ms(longest),
        times.len()
    );
    if *most > limits::SYNC_TIME_MAX {
        let remedy = format!(
            "every acknowledgement waits for it: keep it below {} ms with a local SSD of its own (power-loss \
             protection), no disk over the network, nothing else that writes",
            limits::SYNC_TIME_MAX.as_millis()
        );
        return Check::warn(name, found, remedy);
    }
    Check::ok(name, found)
}

fn free(there: &Path, free_min: u64) -> Check {
    const NAME: &str = "data_dir.free";
    let remedy = "make room, or name a data_dir on a larger disk";
    let octets = match statvfs(there) {
        Ok(status) => status.f_bavail.saturating_mul(status.f_frsize),
        Err(error) => return Check::fail(NAME, error.to_string(), remedy),
    };
    let mib = octets >> 20;
    if octets < free_min {
        let found = format!("{mib} MiB; below {} MiB a replica takes no writes", free_min >> 20);
        return Check::fail(NAME, found, remedy);
    }
    if octets < limits::FREE_SPACE_ADVISED {
        let advised = limits::FREE_SPACE_ADVISED >> 20;
        let found =
            format!("{mib} MiB; log and snapshots of a large cluster may have {advised} MiB");
        return Check::warn(NAME, found, remedy);
    }
    Check::ok(NAME, format!("{mib} MiB"))
}

#[cfg(test)]
mod tests {
    use homeport_runtime::preflight::Verdict;

    use super::*;

    #[test]
    fn a_slow_disk_is_told_with_its_times() {
        let mut times = vec![Duration::from_millis(1); 98];
        times.extend([Duration::from_millis(9), Duration::from_millis(30)]);
        let check = judged("data_dir.sync", &times);
        // Two of a hundred are slow, and the slower one is past the 99th.
        assert_eq!(check.verdict, Verdict::Warn, "{check:?}");
        assert!(check.found.contains("1.00 ms (median), 30.00 ms (99 of 100)"), "{check:?}");
        times.truncate(98);
        assert_eq!(judged("data_dir.sync", &times).verdict, Verdict::Ok);
        assert_eq!(judged("data_dir.sync", &[]).verdict, Verdict::Fail);
    }

    #[test]
    fn a_directory_is_looked_at_and_left_as_it_was() {
        let scratch = tempfile::tempdir().expect("a directory");
        let names = |checks: Vec<Check>| checks.into_iter().map(|it| it.name).collect::<Vec<_>>();
        let all = ["data_dir", "data_dir.sync", "data_dir.free"];
        assert_eq!(names(disk(scratch.path(), 0)), all);
        let absent = scratch.path().join("a/b");
        let checks = disk(&absent, u64::MAX);
        assert!(checks[0].found.contains("a/b"), "{checks:?}");
        assert_eq!(checks[2].verdict, Verdict::Fail, "{checks:?}");
        assert_eq!(fs::read_dir(scratch.path()).expect("lists").count(), 0);

        let file = scratch.path().join("file");
        fs::write(&file, "").expect("writes");
        let checks = disk(&file.join("below"), 0);
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].verdict, checks[0].name.as_str()), (Verdict::Fail, "data_dir"));
    }
}
