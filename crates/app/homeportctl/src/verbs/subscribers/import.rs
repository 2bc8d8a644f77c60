//! `homeportctl subscribers import`: many at once, out of a table.

use std::{fs, path::Path};

use futures_util::{StreamExt as _, stream};
use homeport_api::admin::{
    CreateSubscriberRequest, Subscriber, subscribers_client::SubscribersClient,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;
use tonic::Code;

use super::key_octets;
use crate::{
    arguments::{Format, ImportSubscribers},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

/// Lines of one file: as many as a cluster serves home addresses.
const LINES_MAX: usize = 10_000_000;
/// So many are asked for at once, which one replica takes easily.
const IN_FLIGHT_MAX: usize = 32;
/// Between two mobile network prefixes in one cell.
const PREFIX_SEPARATOR: char = ' ';

/// A line of the file; what is left out is as `subscribers create` has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    home_address: String,
    #[serde(default)]
    nai: String,
    #[serde(default)]
    spi: Option<u32>,
    #[serde(default)]
    key_hex: Option<String>,
    #[serde(default)]
    message_id_required: Option<bool>,
    #[serde(default)]
    multiple_care_of: Option<bool>,
    #[serde(default)]
    bulk: Option<bool>,
    #[serde(default)]
    bindings_max: Option<u32>,
    #[serde(default)]
    mobile_networks_allowed: Option<bool>,
    #[serde(default)]
    flow_bindings_max: Option<u32>,
    #[serde(default)]
    home_prefix: Option<String>,
    #[serde(default)]
    mobile_networks: Option<String>,
    #[serde(default)]
    mobile_networks_explicit: Option<bool>,
    #[serde(default)]
    ipv4_home_address: Option<String>,
}

/// What became of the lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Imported {
    created: usize,
    /// They were there, and stay as they are.
    existing: usize,
}

pub(super) async fn run(
    cluster: &Cluster,
    format: Format,
    import: &ImportSubscribers,
) -> Result<String, Failure> {
    // All of it is looked at before anything is written.
    let subscribers = read(&import.file)?;
    let imported = create_all(cluster, import, subscribers).await?;
    let Imported { created, existing } = imported;
    Ok(match format {
        Format::Json => output::document(&json!({ "created": created, "existing": existing })),
        Format::Table | Format::Wide | Format::Csv => {
            output::done(format, &format!("created {created}, {existing} were there already"))
        }
    })
}

fn read(file: &Path) -> Result<Vec<(u64, Subscriber)>, Failure> {
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
    let octets = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        fs::read_to_string(file)
    };
    let octets = octets.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(octets.as_bytes());
    let mut subscribers = Vec::new();
    for line in reader.deserialize::<Line>() {
        let line = line.map_err(|error| wrong(error.to_string()))?;
        if subscribers.len() >= LINES_MAX {
            return Err(wrong(format!("more than {LINES_MAX} lines; give it in parts")));
        }
        // The header is line 1.
        let number = u64::try_from(subscribers.len()).unwrap_or(u64::MAX).saturating_add(2);
        let subscriber = message(line).map_err(|what| wrong(format!("line {number}: {what}")))?;
        subscribers.push((number, subscriber));
    }
    Ok(subscribers)
}

/// Errors never show the key.
fn message(line: Line) -> Result<Subscriber, String> {
    let key = line.key_hex.map(|digits| {
        key_octets(&digits).ok_or("key_hex: is not a key; expected 32 hexadecimal digits")
    });
    if line.home_address.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(format!("home_address: {:?} is not an IPv6 address", line.home_address));
    }
    let networks = line.mobile_networks.unwrap_or_default();
    let networks = networks.split(PREFIX_SEPARATOR).filter(|prefix| !prefix.is_empty());
    Ok(Subscriber {
        home_address: line.home_address,
        nai: line.nai,
        spi: line.spi.unwrap_or_default(),
        key: key.transpose()?.unwrap_or_default().into(),
        key_present: false,
        message_id_required: line.message_id_required.unwrap_or_default(),
        multiple_care_of_allowed: line.multiple_care_of,
        bulk_allowed: line.bulk,
        bindings_per_home_address_max: line.bindings_max,
        revision: 0,
        mobile_networks_allowed: line.mobile_networks_allowed,
        flow_bindings_per_home_address_max: line.flow_bindings_max,
        home_prefix: line.home_prefix.unwrap_or_default(),
        mobile_networks: networks.map(str::to_owned).collect(),
        mobile_networks_explicit: line.mobile_networks_explicit.unwrap_or_default(),
        ipv4_home_address: line.ipv4_home_address.unwrap_or_default(),
    })
}

/// The first that is refused ends it, and says how to go on.
async fn create_all(
    cluster: &Cluster,
    import: &ImportSubscribers,
    subscribers: Vec<(u64, Subscriber)>,
) -> Result<Imported, Failure> {
    let bar = bar(subscribers.len());
    let create = async |(number, subscriber): (u64, Subscriber)| {
        let (validate_only, request_id) = cluster.marks();
        let subscriber = Some(subscriber);
        let request = CreateSubscriberRequest { subscriber, validate_only, request_id };
        let call = async |channel| {
            SubscribersClient::new(channel).create_subscriber(request.clone()).await
        };
        (number, cluster.call(Effect::Change, call).await)
    };
    let mut answers = stream::iter(subscribers).map(create).buffer_unordered(IN_FLIGHT_MAX);
    let mut imported = Imported::default();
    while let Some((number, answer)) = answers.next().await {
        match answer {
            Ok(_) => imported.created += 1,
            Err(Failure::Refused(status))
                if import.skip_existing && status.code() == Code::AlreadyExists =>
            {
                imported.existing += 1;
            }
            Err(failure) => {
                bar.abandon();
                let (file, created) = (import.file.display(), imported.created);
                if cluster.marks().0 {
                    eprintln!("{file}: line {number} would fail; nothing was written");
                } else {
                    eprintln!(
                        "{file}: line {number} failed, {created} were created; run it again with --skip-existing"
                    );
                }
                return Err(failure);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(imported)
}

/// On standard error, where that is a terminal.
fn bar(len: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(len).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<(u64, Subscriber)>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let name = format!("{}: ", file.path().display());
        read(file.path()).map_err(|failure| failure.to_string().replace(&name, ""))
    }

    #[test]
    fn a_line_is_what_create_takes() {
        let text = "home_address,nai,spi,key_hex,mobile_networks,bulk\n\
                    # the first of the fleet\n\
                    2001:db8:0:1::100, n@x , 256,000102030405060708090a0b0c0d0e0f,2001:db8:1::/56 2001:db8:2::/56,false\n\
                    2001:db8:0:1::101,,,,,\n";
        let read = read_text(text).unwrap();
        let (_, first) = &read[0];
        assert_eq!((first.nai.as_str(), first.spi, first.key.len()), ("n@x", 256, 16));
        assert_eq!(first.mobile_networks, ["2001:db8:1::/56", "2001:db8:2::/56"]);
        assert_eq!((first.bulk_allowed, first.multiple_care_of_allowed), (Some(false), None));
        let (_, second) = &read[1];
        assert_eq!((second.spi, second.key.is_empty(), second.bulk_allowed), (0, true, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_no_key_is_shown() {
        let cases = [
            ("home_address,colour\n2001:db8::1,red\n", "unknown field `colour`"),
            ("nai\nn@x\n", "missing field `home_address`"),
            ("home_address\n2001:db8::1\nnode-7\n", "line 3: home_address: \"node-7\""),
            ("home_address,spi\n2001:db8::1,many\n", "line: 2"),
            ("home_address,key_hex\n2001:db8::1,c0ffee\n", "line 2: key_hex: is not a key"),
            ("home_address,nai\n2001:db8::1\n", "line: 2"),
        ];
        for (text, expected) in cases {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("c0ffee"), "{text:?}: {error}");
        }
        assert!(read_text("home_address\n").unwrap().is_empty());
    }
}
