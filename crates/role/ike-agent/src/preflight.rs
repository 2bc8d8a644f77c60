//! What the host lacks for an agent: an IKE daemon with a control socket, and the kernel's IPsec.

use std::path::Path;

use homeport_hostnet::{Capability, Namespace, Xfrm};
use homeport_runtime::config::Configuration as _;
use homeport_runtime::preflight::{Check, open_files, tcp_listen};

use crate::{Config, charon::Charon, config::vici_default, limits};

/// Tries everything that an agent with this configuration needs; without, what any does. A daemon that runs is
/// asked what it has, and nothing else.
pub async fn preflight(config: Option<&Config>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(config) = config {
        let summary = format!("IKE agent {}, {} stores", config.name, config.stores.len());
        checks.extend(Check::configuration(config.refusals(), summary));
        checks.push(tcp_listen("listen", config.listen));
        checks.push(tcp_listen("ops.listen", config.ops.listen));
    }
    let namespace = Namespace::from(config.map_or("", |config| config.netns.as_str()));
    checks.push(kernel(&namespace).await);
    let vici = config.map_or_else(vici_default, |config| config.vici.clone());
    checks.push(daemon(&vici).await);
    checks.push(open_files(limits::OPEN_FILES));
    checks
}

async fn kernel(namespace: &Namespace) -> Check {
    const NAME: &str = "xfrm";
    let listed = match Xfrm::open(namespace) {
        Ok(xfrm) => xfrm.associations().await,
        Err(error) => Err(error),
    };
    match listed {
        Ok(associations) if Capability::NetAdmin.is_effective() => {
            Check::ok(NAME, format!("{} ESP associations", associations.len()))
        }
        Ok(_) => Check::fail(
            NAME,
            "associations can be listed, but not with their keys",
            "run as root, or give the process CAP_NET_ADMIN",
        ),
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            "a kernel with CONFIG_XFRM_USER, CONFIG_XFRM_MIGRATE and CONFIG_INET6_ESP (modprobe xfrm_user \
             esp6), and CAP_NET_ADMIN",
        ),
    }
}

async fn daemon(socket: &Path) -> Check {
    match Charon::new(socket.to_owned()).list().await {
        Ok(found) => Check::ok("vici", format!("charon has {} IKE associations", found.len())),
        Err(error) => Check::fail(
            "vici",
            error.to_string(),
            "start charon beside the agent, with its vici plugin and that socket (docs/operations/ikev2.md)",
        ),
    }
}
