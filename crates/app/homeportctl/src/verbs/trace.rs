//! `homeportctl trace`

use std::{fs::File, io::Write as _, net::IpAddr};

use homeport_api::{
    admin::{ListSubscribersRequest, subscribers_client::SubscribersClient},
    inspection::{
        Direction, Stage, TraceRequest, TraceResponse, TracedPacket,
        inspection_client::InspectionClient, trace_response::Event,
    },
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::Status;

use crate::{
    arguments::{Format, Trace},
    cluster::{Cluster, Effect},
    decode,
    failure::{Failure, reason},
    output::plain,
    pcapng::Pcapng,
};

/// Packets of all forwarders that wait to be printed.
const WAITING_MAX: usize = 64;

pub(crate) async fn run(
    stores: &Cluster,
    format: Format,
    trace: &Trace,
) -> Result<String, Failure> {
    let forwarders = stores.forwarders(&trace.forwarders.forwarders)?;
    let request = TraceRequest {
        address: address(stores, &trace.target).await?,
        care_of: trace.care_of.map(|address| address.to_string()).unwrap_or_default(),
        duration_secs: trace.seconds,
        packets_max: trace.packets,
        snap_octets: trace.snap,
    };
    let mut file = trace.write.as_ref().map(|path| {
        let wrong = |error| Failure::Usage(format!("--write: {}: {error}", path.display()));
        let file = File::create(path).map_err(wrong)?;
        Pcapng::begin(file, trace.snap).map_err(wrong)
    });
    let mut file = file.take().transpose()?;
    let (out, mut messages) = mpsc::channel(WAITING_MAX);
    let mut readers: Vec<JoinHandle<()>> = Vec::new();
    let mut failed = Vec::new();
    for forwarder in forwarders.endpoints() {
        let call = async |channel| InspectionClient::new(channel).trace(request.clone()).await;
        match forwarders.ask(forwarder, call).await {
            Ok(stream) => {
                let (out, forwarder) = (out.clone(), forwarder.clone());
                readers.push(tokio::spawn(read(forwarder, stream, out)));
            }
            Err(status) => failed.push((forwarder.clone(), status)),
        }
    }
    drop(out);
    if readers.is_empty() {
        return Err(none_answered(failed));
    }
    for (forwarder, status) in failed {
        eprintln!("{}: {}", plain(&forwarder), plain(&reason(&status)));
    }
    while let Some((forwarder, message)) = messages.recv().await {
        let message = match message {
            Ok(message) => message,
            Err(status) => {
                eprintln!("{}: {}", plain(&forwarder), plain(&reason(&status)));
                continue;
            }
        };
        match message.event {
            Some(Event::Started(it)) if matches!(format, Format::Table | Format::Wide) => {
                let home_address = plain(&it.home_address);
                eprintln!("{}: watching {home_address}", plain(&forwarder));
            }
            Some(Event::Packet(packet)) => {
                if let Some(file) = &mut file {
                    let comment = format!("{forwarder}: {}", outcome(&packet));
                    file.packet(packet.time_us, &packet.octets, packet.length_octets, &comment)
                        .map_err(|error| Failure::Usage(format!("--write: {error}")))?;
                }
                let text = match format {
                    Format::Table | Format::Wide | Format::Csv => line(&packet),
                    Format::Json => document(&forwarder, &packet, message.missed),
                };
                if writeln!(std::io::stdout(), "{text}").is_err() {
                    // A reader that has seen enough.
                    return Ok(String::new());
                }
            }
            Some(Event::Ended(it)) => {
                let missed = message.missed;
                let (name, reason) = (plain(&forwarder), plain(&it.reason));
                eprintln!("{name}: {} packets, {missed} missed, ended by {reason}", it.packets);
            }
            Some(Event::Started(_)) | None => {}
        }
    }
    Ok(String::new())
}

async fn read(
    forwarder: String,
    mut stream: tonic::Streaming<TraceResponse>,
    out: mpsc::Sender<(String, Result<TraceResponse, Status>)>,
) {
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let is_end = message.is_err();
        if out.send((forwarder.clone(), message)).await.is_err() || is_end {
            return;
        }
    }
}

pub(super) fn none_answered(mut failed: Vec<(String, Status)>) -> Failure {
    use tonic::Code::{InvalidArgument, NotFound, ResourceExhausted};
    let refusal =
        |status: &Status| matches!(status.code(), InvalidArgument | NotFound | ResourceExhausted);
    match failed.iter().position(|(_, status)| refusal(status)) {
        Some(at) => Failure::Refused(Box::new(failed.swap_remove(at).1)),
        None => Failure::Unreached(
            failed.into_iter().map(|(name, status)| (name, reason(&status))).collect(),
        ),
    }
}

/// The address itself, or that of the subscriber with this NAI.
async fn address(stores: &Cluster, target: &str) -> Result<String, Failure> {
    let without_len = target.split_once('/').map_or(target, |(address, _)| address);
    if without_len.parse::<IpAddr>().is_ok() {
        return Ok(target.to_owned());
    }
    let filter = format!("nai = \"{target}\"");
    let request = ListSubscribersRequest { page_size: 1, filter, ..Default::default() };
    let call =
        async |channel| SubscribersClient::new(channel).list_subscribers(request.clone()).await;
    let page = stores.call(Effect::Read, call).await?;
    // A store of an older version knows no filter.
    match page.subscribers.into_iter().find(|it| it.nai == target) {
        Some(found) => Ok(found.home_address),
        None => {
            let text = format!("{target:?} is neither an address nor the NAI of a subscriber");
            Err(Failure::Usage(text))
        }
    }
}

fn outcome(packet: &TracedPacket) -> String {
    let stage = match packet.stage() {
        Stage::Arrived => "arrived",
        Stage::Sent => "sent",
        Stage::Dropped => "dropped",
        Stage::Unspecified => "unknown",
    };
    let more = [packet.decision.as_str(), packet.rfc_section.as_str()];
    let more = more.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ");
    let text = if more.is_empty() { stage.to_owned() } else { format!("{stage} ({more})") };
    plain(&text)
}

fn direction(packet: &TracedPacket) -> &'static str {
    match packet.direction() {
        Direction::ToMobileNode => "to-mn",
        Direction::FromMobileNode => "from-mn",
        Direction::Unspecified => "-",
    }
}

fn line(packet: &TracedPacket) -> String {
    let time = time_of_day(packet.time_us);
    let (direction, outcome) = (direction(packet), outcome(packet));
    let decoded = decode::line(&packet.octets);
    format!("{time} {direction:<7} {outcome}: {decoded}, {} octets", packet.length_octets)
}

/// In UTC.
fn time_of_day(time_us: u64) -> String {
    let secs = time_us / 1_000_000;
    let (hours, minutes) = (secs / 3600 % 24, secs / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", secs % 60, time_us % 1_000_000)
}

/// One line.
fn document(forwarder: &str, packet: &TracedPacket, missed: u64) -> String {
    let octets: String = packet.octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let value = json!({
        "forwarder": forwarder,
        "time_us": packet.time_us,
        "direction": packet.direction().as_str_name(),
        "stage": packet.stage().as_str_name(),
        "decision": packet.decision,
        "rfc_section": packet.rfc_section,
        "headers": decode::line(&packet.octets),
        "octets": octets,
        "length_octets": packet.length_octets,
        "outer_headers_rebuilt": packet.outer_headers_rebuilt,
        "missed": missed,
    });
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_reads_with_its_cause_and_section() {
        let packet = TracedPacket {
            time_us: 3_723_000_004,
            direction: Direction::FromMobileNode.into(),
            stage: Stage::Dropped.into(),
            decision: "tunnel_source_not_bound".to_owned(),
            rfc_section: "RFC 6275 section 10.4.5".to_owned(),
            octets: vec![0x45].into(),
            length_octets: 84,
            outer_headers_rebuilt: false,
        };
        let text = "01:02:03.000004 from-mn dropped (tunnel_source_not_bound, RFC 6275 section \
                    10.4.5): (cut off), 84 octets";
        assert_eq!(line(&packet), text);
    }
}
