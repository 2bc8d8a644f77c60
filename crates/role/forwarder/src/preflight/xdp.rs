//! XDP: the program is loaded with room for what is configured, put on a device that vanishes with it,
//! and kept for a moment beside what is kept.

use homeport_fastpath::{Error as FastError, FastPath, Mode, PinPlace, try_pinning};
use homeport_hostnet::{Namespace, TrialDevice, TrialKind, run_apart};
use homeport_runtime::preflight::{Check, Verdict, locked_memory_octets};

use super::severity;
use crate::config::{Config, TunConfig, XdpConfig, XdpMode};

pub(super) fn checks(config: &Config, xdp: &XdpConfig, tun: &TunConfig) -> Vec<Check> {
    let severity = severity(xdp.mode);
    let octets = u64::from(xdp.home_addresses_max).saturating_mul(80);
    let mut path = match FastPath::load(xdp.home_addresses_max) {
        Ok(path) => path,
        Err(error) => {
            let mut checks = vec![refused("xdp.program", severity, &error)];
            if !matches!(error, FastError::NotBuilt) {
                checks.push(memory(octets, false));
            }
            return checks;
        }
    };
    let room = xdp.home_addresses_max;
    let found = format!("it loads, with room for {room} home addresses");
    let mut checks = vec![Check::ok("xdp.program", found), memory(octets, true)];
    checks.push(attach(&mut path, xdp.mode, &tun.namespace()));
    if let Some(dir) = config.pin_dir() {
        checks.push(match try_pinning(&path, &dir) {
            Ok(PinPlace::Mounted(place)) => {
                Check::ok("xdp.pin_dir", format!("{} is of type bpf and writable", place.display()))
            }
            Ok(PinPlace::Mountable(place)) => Check::ok(
                "xdp.pin_dir",
                format!("a file system of type bpf can be mounted at {}", place.display()),
            ),
            Err(error) => refused("xdp.pin_dir", severity, &error),
        });
    }
    checks
}

/// What was refused, and what would do.
fn refused(name: &str, verdict: Verdict, error: &FastError) -> Check {
    let (found, remedy) = match error {
        FastError::NotBuilt => (
            "this program was built without XDP".to_owned(),
            "build it on x86-64 with clang installed, or set xdp.mode = \"none\"",
        ),
        FastError::NoBpffs { place, why } => (
            format!("{} is in no file system of type bpf, and {why}", place.display()),
            "mount -t bpf bpf DIRECTORY, name a directory in such a file system, or set xdp.pin_dir = \
             \"\" to keep nothing from one process to the next",
        ),
        FastError::Pin { .. } => (
            error.to_string(),
            "let the process write there (root, or the owner of the file system), and name a directory \
             without dots",
        ),
        _ => (
            error.to_string(),
            "give the process CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and run a kernel of 5.9 or newer with \
             CONFIG_BPF_SYSCALL",
        ),
    };
    Check::lacks(verdict, name, found, remedy)
}

/// The limit of locked memory counts for maps of older kernels only: whether the table was made tells.
fn memory(octets: u64, is_made: bool) -> Check {
    const NAME: &str = "locked_memory";
    let limit = locked_memory_octets();
    let said = limit.map_or("no limit".to_owned(), |limit| format!("a limit of {limit} octets"));
    match limit {
        Some(limit) if limit < octets && !is_made => Check::warn(
            NAME,
            format!("{said}, and the table has {octets}"),
            "ulimit -l unlimited, LimitMEMLOCK=infinity for systemd: kernels before 5.11 count the table",
        ),
        _ if is_made => Check::ok(NAME, format!("{said}; the table of {octets} was made")),
        _ => Check::ok(NAME, said),
    }
}

/// Puts the program on a TAP device, which vanishes whatever happens here. What the driver of another
/// interface can is known when the program is on it, which may disturb its link.
fn attach(path: &mut FastPath, wanted: XdpMode, namespace: &Namespace) -> Check {
    const NAME: &str = "xdp.mode";
    let tried = run_apart(namespace, || {
        let device = TrialDevice::open(TrialKind::Tap).map_err(|error| error.to_string())?;
        let mut on = |mode| {
            let attached = path.attach(device.name(), mode);
            let detached = path.detach_all();
            attached.and(detached).map_err(|error| error.to_string())
        };
        Ok::<_, String>((on(Mode::Native), on(Mode::Generic)))
    });
    let remedy = "give the process CAP_NET_ADMIN, and run a kernel with XDP links (5.9 or newer)";
    let failed = |why: String| Check::lacks(severity(wanted), NAME, why, remedy);
    let (native, generic) = match tried {
        Ok((Ok(modes), _)) => modes,
        Ok((Err(why), _)) => return failed(format!("no device to try it on: {why}")),
        Err(error) => return failed(error.to_string()),
    };
    match (wanted, native, generic) {
        (XdpMode::Native, Err(why), _) | (XdpMode::Generic, _, Err(why)) => failed(why),
        (_, Err(native), Err(_)) => failed(native),
        (XdpMode::Auto, Err(why), Ok(())) => {
            let remedy = "none is needed; a kernel with native XDP is faster";
            Check::warn(NAME, format!("only generic: {why}"), remedy)
        }
        (_, native, generic) => {
            let kinds = match (native, generic) {
                (Ok(()), Ok(())) => "native and generic",
                (Ok(()), Err(_)) => "native",
                _ => "generic",
            };
            Check::ok(NAME, format!("{kinds} can be attached to a device of the kernel"))
        }
    }
}
