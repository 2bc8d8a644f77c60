//! `homeportctl events`

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use homeport_api::admin::{
    Event, ListEventsRequest, WatchEventsRequest, events_client::EventsClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{EventsArguments, Format, Page},
    cluster::{Cluster, Effect},
    failure::{Failure, reason},
    output::{self, Columns},
};

const COLUMNS: Columns = Columns {
    names: &["AT", "WHAT", "ABOUT", "CARE-OF", "STATUS", "TEXT", "RFC", "REVISION"],
    narrow: 7,
};

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    arguments: &EventsArguments,
) -> Result<String, Failure> {
    let home_address = arguments.home_address.map(|it| it.to_string()).unwrap_or_default();
    let since_ms = arguments.since.map_or(0, |since| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(0)
    });
    let mut events = list(cluster, arguments.page, &home_address, since_ms).await?;
    // As they happened, so that what follows goes on.
    events.reverse();
    if !arguments.follow {
        return Ok(output::list_of(format, COLUMNS, &events, rows, document));
    }
    let last = events.last().map(|it| it.revision);
    let lines: String = events.iter().map(|event| line(format, event)).collect();
    write(&lines)?;
    follow(cluster, format, last, home_address).await?;
    Ok(String::new())
}

pub(super) async fn list(
    cluster: &Cluster,
    page: Page,
    home_address: &str,
    since_ms: u64,
) -> Result<Vec<Event>, Failure> {
    super::collect(page, async |page_size, page_token| {
        let home_address = home_address.to_owned();
        let request = ListEventsRequest {
            page_size,
            page_token,
            home_address,
            since_ms,
            ..Default::default()
        };
        let call = async |channel| EventsClient::new(channel).list_events(request.clone()).await;
        let list = cluster.call(Effect::Read, call).await?;
        Ok((list.events, list.next_page_token))
    })
    .await
}

/// Until nobody reads it any more; from one store to the next.
async fn follow(
    cluster: &Cluster,
    format: Format,
    last: Option<u64>,
    home_address: String,
) -> Result<(), Failure> {
    let mut after_revision = last;
    loop {
        let (home_address, kinds) = (home_address.clone(), Vec::new());
        let request = WatchEventsRequest { after_revision, home_address, kinds };
        let call = async |channel| EventsClient::new(channel).watch_events(request.clone()).await;
        let mut stream = cluster.call(Effect::Read, call).await?;
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if message.events_lost {
                        eprintln!("some events are missing here: the store has forgotten them");
                    }
                    let lines = message.events.iter().map(|event| line(format, event));
                    write(&lines.collect::<String>())?;
                    after_revision = Some(message.revision);
                }
                Ok(None) => break,
                Err(status) => {
                    eprintln!("the stream has ended ({}), another store is asked", reason(&status));
                    break;
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// A reader that has seen enough ends the program.
fn write(lines: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::NobodyReads),
        Err(error) => Err(Failure::Usage(format!("cannot write: {error}"))),
    }
}

fn line(format: Format, event: &Event) -> String {
    match format {
        Format::Json => format!("{}\n", document(event)),
        Format::Csv => rows(event).iter().map(|row| output::csv_line(row)).collect(),
        Format::Table | Format::Wide => {
            let cells = rows(event).concat();
            let cells = cells.iter().filter(|cell| *cell != "-").map(|cell| output::plain(cell));
            cells.collect::<Vec<_>>().join("  ") + "\n"
        }
    }
}

fn what(event: &Event) -> String {
    let name = event.kind().as_str_name();
    let name = name.strip_prefix("EVENT_KIND_").unwrap_or(name);
    name.to_ascii_lowercase().replace('_', "-")
}

fn rows(event: &Event) -> Vec<Vec<String>> {
    let text = |text: &String| output::or_dash(Some(text).filter(|text| !text.is_empty()));
    let about = if event.home_address.is_empty() { &event.resource } else { &event.home_address };
    vec![vec![
        output::moment(event.at_ms),
        what(event),
        text(about),
        text(&event.care_of_address),
        output::or_dash(Some(event.status).filter(|status| *status != 0)),
        text(&event.text),
        text(&event.rfc_section),
        event.revision.to_string(),
    ]]
}

pub(super) fn document(event: &Event) -> Value {
    json!({
        "revision": event.revision,
        "number": event.number,
        "at_ms": event.at_ms,
        "kind": event.kind().as_str_name(),
        "home_address": event.home_address,
        "care_of_address": event.care_of_address,
        "status": event.status,
        "text": event.text,
        "rfc_section": event.rfc_section,
        "resource": event.resource,
    })
}
