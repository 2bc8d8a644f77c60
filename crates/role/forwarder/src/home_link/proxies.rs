//! IPv4 on the home link (RFC 5555 §4.1): the kernel answers ARP for home addresses.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use homeport_hostnet::Network;
use tokio::{sync::watch, time::sleep};

use crate::limits;

/// Keeps the kernel's proxies on `link` like `wanted`, until the sender is gone.
pub(crate) async fn follow(
    network: Network,
    link: String,
    mut wanted: watch::Receiver<BTreeSet<Ipv4Addr>>,
) {
    let mut installed = BTreeSet::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        let settled = settle(&network, &link, &mut installed, &now).await;
        let again = async {
            if settled {
                std::future::pending::<()>().await;
            }
            sleep(limits::ROUTES_RETRY_PAUSE).await;
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
            () = again => {}
        }
    }
}

/// False when something could not be done.
async fn settle(
    network: &Network,
    link: &str,
    installed: &mut BTreeSet<Ipv4Addr>,
    wanted: &BTreeSet<Ipv4Addr>,
) -> bool {
    let mut settled = true;
    let gone: Vec<_> = installed.difference(wanted).copied().collect();
    for address in gone {
        match network.delete_proxy_neighbour(link, IpAddr::V4(address)).await {
            Err(error) if !error.is_not_found() => {
                settled = false;
                tracing::warn!(%error, "a home address is still answered for");
            }
            Ok(()) | Err(_) => {
                installed.remove(&address);
            }
        }
    }
    let new: Vec<_> = wanted.difference(installed).copied().collect();
    for address in new {
        match network.add_proxy_neighbour(link, IpAddr::V4(address), false).await {
            Ok(()) => {
                installed.insert(address);
            }
            Err(error) => {
                settled = false;
                tracing::warn!(%error, "a home address is not answered for");
            }
        }
    }
    settled
}
