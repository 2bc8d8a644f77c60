//! `homeportctl top`

use std::{io::Write as _, time::Duration};

use homeport_api::inspection::{
    HomeTraffic, ListTrafficRequest, TrafficOrder, inspection_client::InspectionClient,
};
use serde_json::{Value, json};

use super::trace::none_answered;
use crate::{
    arguments::{By, Format, Top},
    cluster::Cluster,
    failure::{Failure, reason},
    output::{self, plain},
};

const COLUMNS: [&str; 7] = [
    "FORWARDER",
    "HOME-ADDRESS",
    "TO-PACKETS",
    "TO-OCTETS",
    "FROM-PACKETS",
    "FROM-OCTETS",
    "DROPPED",
];
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

type Row = (String, HomeTraffic);

pub(crate) async fn run(stores: &Cluster, format: Format, top: &Top) -> Result<String, Failure> {
    let forwarders = stores.forwarders(&top.forwarders.forwarders)?;
    loop {
        let text = output::list(format, &COLUMNS, &ask(&forwarders, top).await?, rows, document);
        if !top.watch {
            return Ok(text);
        }
        if writeln!(std::io::stdout(), "{text}").is_err() {
            return Ok(String::new());
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

async fn ask(forwarders: &Cluster, top: &Top) -> Result<Vec<Row>, Failure> {
    let order = match top.by {
        By::Octets => TrafficOrder::Octets,
        By::Packets => TrafficOrder::Packets,
    };
    let request = ListTrafficRequest { order: order.into(), limit: top.limit };
    let (mut found, mut failed, mut answered) = (Vec::new(), Vec::new(), false);
    for forwarder in forwarders.endpoints() {
        let call = async |channel| InspectionClient::new(channel).list_traffic(request).await;
        match forwarders.ask(forwarder, call).await {
            Ok(list) => {
                answered = true;
                let name = plain(forwarder);
                if list.has_fast_path {
                    eprintln!("{name}: what its fast path forwards is not counted");
                }
                if list.uncounted_packets > 0 {
                    let uncounted = list.uncounted_packets;
                    eprintln!("{name}: {uncounted} packets of home addresses without a place");
                }
                found.extend(list.homes.into_iter().map(|home| (forwarder.clone(), home)));
            }
            Err(status) => failed.push((forwarder.clone(), status)),
        }
    }
    if !answered {
        return Err(none_answered(failed));
    }
    for (forwarder, status) in failed {
        eprintln!("{}: {}", plain(&forwarder), plain(&reason(&status)));
    }
    let weight = |(_, home): &Row| match top.by {
        By::Octets => home.to_mobile_node_octets.saturating_add(home.from_mobile_node_octets),
        By::Packets => home.to_mobile_node_packets.saturating_add(home.from_mobile_node_packets),
    };
    found.sort_by_key(|row| std::cmp::Reverse(weight(row)));
    found.truncate(usize::try_from(top.limit).unwrap_or(usize::MAX));
    Ok(found)
}

fn rows((forwarder, home): &Row) -> Vec<Vec<String>> {
    vec![vec![
        forwarder.clone(),
        home.home_address.clone(),
        home.to_mobile_node_packets.to_string(),
        home.to_mobile_node_octets.to_string(),
        home.from_mobile_node_packets.to_string(),
        home.from_mobile_node_octets.to_string(),
        home.dropped_packets.to_string(),
    ]]
}

fn document((forwarder, home): &Row) -> Value {
    json!({
        "forwarder": forwarder,
        "home_address": home.home_address,
        "to_mobile_node_packets": home.to_mobile_node_packets,
        "to_mobile_node_octets": home.to_mobile_node_octets,
        "from_mobile_node_packets": home.from_mobile_node_packets,
        "from_mobile_node_octets": home.from_mobile_node_octets,
        "dropped_packets": home.dropped_packets,
    })
}
