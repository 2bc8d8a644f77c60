//! What the host lacks for a forwarder, by trying: a device under another name, the program beside the
//! one that may run, a name beside those that are kept. A forwarder that runs on the host notices nothing.

mod network;
mod xdp;

use homeport_hostnet::{Capability, TrialDevice, TrialKind, open_tun_driver, run_apart};
use homeport_runtime::config::Configuration as _;
use homeport_runtime::preflight::{Check, Verdict, open_files, tcp_listen, udp_listen};
use tokio::runtime::Handle;

use crate::{
    config::{self, Config, TunConfig, XdpConfig, XdpMode},
    limits,
};

const GRANT: &str = "run as root, or give the process this capability (AmbientCapabilities= for \
                     systemd, securityContext.capabilities for Kubernetes)";

/// Tries everything that a forwarder with this configuration needs; without, what one with a TUN and XDP
/// needs of any host. Needs a tokio runtime.
pub async fn preflight(config: Option<&Config>) -> Vec<Check> {
    let is_given = config.is_some();
    let config = config.cloned().unwrap_or_else(by_default);
    let runtime = Handle::current();
    let tried = tokio::task::spawn_blocking(move || checks(&config, is_given, &runtime));
    tried.await.unwrap_or_else(|error| {
        vec![Check::fail("preflight", error.to_string(), "report this as a fault of Homeport")]
    })
}

fn checks(config: &Config, is_given: bool, runtime: &Handle) -> Vec<Check> {
    let mut checks = Vec::new();
    if is_given {
        checks.extend(Check::configuration(config.refusals(), summary(config)));
        checks.extend(ports(config));
    }
    checks.push(open_files(limits::OPEN_FILES));
    checks.extend(capabilities(config));
    let Some(tun) = &config.tun else { return checks };
    checks.push(device(tun));
    if let Err(error) = tun.namespace().run(|| ()) {
        let remedy = "create it (ip netns add NAME), or leave tun.netns out for the process's own";
        checks.push(Check::fail("tun.netns", error.to_string(), remedy));
        return checks;
    }
    checks.extend(network::checks(config, tun, is_given, runtime));
    if let Some(xdp) = config.xdp.as_ref().filter(|xdp| xdp.mode != XdpMode::None) {
        checks.extend(xdp::checks(config, xdp, tun));
    }
    checks
}

/// What is looked at when there is no configuration.
fn by_default() -> Config {
    Config {
        name: "preflight".to_owned(),
        stores: vec![],
        front_ends: vec![],
        udp: None,
        tun: Some(TunConfig::by_default()),
        xdp: Some(XdpConfig::by_default()),
        tunnels: config::TunnelsConfig::default(),
        signalling: Default::default(),
        headless_secs: limits::HEADLESS_SECS_DEFAULT,
        inspection: None,
        tls: None,
        telemetry: Default::default(),
        ops: Default::default(),
    }
}

fn summary(config: &Config) -> String {
    let (stores, front_ends) = (config.stores.len(), config.front_ends.len());
    format!("forwarder {}, {stores} stores, {front_ends} front-ends", config.name)
}

fn ports(config: &Config) -> Vec<Check> {
    let mut checks = vec![tcp_listen("ops.listen", config.ops.listen)];
    checks.extend(config.udp.as_ref().map(|udp| udp_listen("udp.listen", udp.listen)));
    let inspection = config.inspection.as_ref();
    checks.extend(inspection.map(|it| tcp_listen("inspection.listen", it.listen)));
    checks
}

/// What a missing fast path means.
const fn severity(mode: XdpMode) -> Verdict {
    match mode {
        XdpMode::Auto => Verdict::Warn,
        XdpMode::Native | XdpMode::Generic => Verdict::Fail,
        XdpMode::None => Verdict::Ok,
    }
}

fn capabilities(config: &Config) -> Vec<Check> {
    let mut wanted = Vec::new();
    if let Some(tun) = &config.tun {
        wanted.push((Capability::NetAdmin, Verdict::Fail, "devices and routes"));
        if tun.home_link.is_some() {
            wanted.push((Capability::NetRaw, Verdict::Fail, "tun.home_link"));
        }
        if tun.netns.is_some() {
            wanted.push((Capability::SysAdmin, Verdict::Fail, "tun.netns"));
        }
    }
    if let Some(xdp) = config.xdp.as_ref().filter(|xdp| xdp.mode != XdpMode::None) {
        let severity = severity(xdp.mode);
        wanted.push((Capability::Bpf, severity, "the XDP program and its table"));
        wanted.push((Capability::Perfmon, severity, "the XDP program"));
    }
    wanted.into_iter().map(|(capability, verdict, what)| held(capability, verdict, what)).collect()
}

fn held(capability: Capability, verdict: Verdict, what: &str) -> Check {
    let name = capability.to_string();
    let within = matches!(capability, Capability::Bpf | Capability::Perfmon);
    if capability.is_effective() {
        Check::ok(name, format!("effective, for {what}"))
    } else if within && Capability::SysAdmin.is_effective() {
        Check::ok(name, format!("within {}, for {what}", Capability::SysAdmin))
    } else {
        Check::lacks(verdict, &name, format!("{name} is missing, for {what}"), GRANT)
    }
}

/// The driver is there, and gives a device.
fn device(tun: &TunConfig) -> Check {
    const NAME: &str = "tun.device";
    let failed =
        |error: homeport_hostnet::Error, remedy| Check::fail(NAME, error.to_string(), remedy);
    if let Err(error) = open_tun_driver() {
        return failed(
            error,
            "modprobe tun, and let the process (in a container: its device rules too) open /dev/net/tun",
        );
    }
    let device = || TrialDevice::open(TrialKind::Tun).map(drop);
    match run_apart(&tun.namespace(), device) {
        Ok((Ok(()), _)) => Check::ok(NAME, "/dev/net/tun opens and gives a device"),
        Ok((Err(error), _)) | Err(error) => {
            failed(error, "CAP_NET_ADMIN is needed in the network namespace of the TUN")
        }
    }
}
