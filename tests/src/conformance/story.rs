//! The little language of the table, for cases that are told in steps: `story : step; step; ...`
//!
//! - `bu SEQ words -> STATUS [ID:STATUS ...] [seq=N]`: a Binding Update and its acknowledgement. The
//!   words: `o l r k f t` set a flag, `-a -h -r` clear one; `life=UNITS`; `from=c2`; `to=ADDRESS` for
//!   another home address; `bid=ID@ADDRESS`, where the address is `c1`, `v1`, `-` for none or written
//!   out, with `!H` or `!PRI` behind it; `alt=c1`; `net=n1` or `net=PREFIX/LEN`,
//!   with `!RESERVED` behind it; `raw=TYPE/HEX`. Status
//!   `none` wants silence, `problem` an ICMPv6 Parameter Problem with code 0. Without `ID:STATUS` every
//!   BID option must come back in its order with status 0. `nat=none`, `nat=SECONDS`, `force=1` and
//!   `home4=STATUS/ADDRESS` tell of the options of RFC 5555.
//! - `home SEQ words -> ...`: the same from the home address on a real home link; `nohao` leaves the
//!   Home Address option out.
//! - `udp SEQ words -> ...`: the same in UDP, `from=v1` or `from=v1/PORT`.
//! - `bound c1 c2`, `free c3`: binding proofs.
//! - `holds 1@c1 -@c2`: what the store has, exactly; `-` is a binding without BID.
//! - `down TARGET END`, `stops TARGET`: packets of the correspondent node for `hoa`, a node in `n1`, the
//!   IPv4 home address `h1`. An end is `c1`; `v1` or `v1/PORT` for UDP; `v1/ip` for IPv4 without UDP.
//! - `elsewhere TARGET END`: the same by the other forwarder.
//! - `up END SOURCE`, `drops END SOURCE`: packets in the reverse tunnel.
//! - `relays TARGET`: a router on the path of `down` answers with Time Exceeded, and the correspondent
//!   node is told.
//! - `wait SECONDS`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::cast::Cast;
use super::catalogue::Row;
use super::decode::Acknowledgement;
use super::dual::{self, End, Expected};
use super::packet::{
    CareOf, MobilityOption, Update, alternate, bid_with, flag, ipv4_care_of, ipv4_home, link_layer,
    network_prefix, option,
};
use super::stage::{PATIENCE, Stage};

/// Tells the story of a case.
///
/// # Errors
/// Where it goes another way.
pub async fn story(stage: &Stage, row: &Row) -> Result<()> {
    for step in row.steps() {
        let words: Vec<&str> = step.split_whitespace().collect();
        Box::pin(tell(stage, &words)).await.with_context(|| format!("at `{step}`"))?;
    }
    Ok(())
}

async fn tell(stage: &Stage, words: &[&str]) -> Result<()> {
    let (verb, words) = words.split_first().context("an empty step")?;
    match (*verb, words) {
        ("bu" | "udp" | "home", _) => {
            return exchange(stage, &Exchange::read(stage, verb, words)?).await;
        }
        ("bound", _) => {
            for word in words {
                stage.is_bound(stage.address(word)?).await?;
            }
        }
        ("free", _) => {
            for word in words {
                stage.is_unbound(stage.address(word)?).await?;
            }
        }
        ("holds", _) => return holds(stage, words).await,
        ("down", [target, end]) => {
            return dual::down(stage, target, End::read(stage, end)?).await;
        }
        ("elsewhere", [target, end]) => {
            stage.lab.route(stage.address(target)?, 1 - usize::from(stage.case % 2)).await?;
            return dual::down(stage, target, End::read(stage, end)?).await;
        }
        ("relays", [target]) => {
            let outer = stage.ping_through(stage.address(target)?).await?;
            return stage.time_exceeded(&outer).await;
        }
        ("stops", [target]) => return dual::stops(stage, target).await,
        ("up", [end, source]) => {
            return dual::up(stage, End::read(stage, end)?, source, true).await;
        }
        ("drops", [end, source]) => {
            return dual::up(stage, End::read(stage, end)?, source, false).await;
        }
        ("wait", [secs]) => tokio::time::sleep(Duration::from_secs_f64(secs.parse()?)).await,
        _ => bail!("no such step"),
    }
    Ok(())
}

/// Whether a step can be read.
///
/// # Errors
/// When it cannot.
pub fn check(cast: &Cast, step: &str) -> Result<()> {
    let words: Vec<&str> = step.split_whitespace().collect();
    let (verb, words) = words.split_first().context("an empty step")?;
    let addresses = |words: &[&str]| words.iter().try_for_each(|w| cast.address(w).map(drop));
    let target = |word: &str| cast.address4(word).map(drop).or(cast.address(word).map(drop));
    match (*verb, words.len()) {
        ("bu" | "udp" | "home", _) => Exchange::read(cast, verb, words).map(drop),
        ("holds", _) => words.iter().try_for_each(|word| held(cast, word).map(drop)),
        ("bound" | "free", 1..) | ("relays", 1) => addresses(words),
        ("down" | "elsewhere", 2) => target(words[0]).and(End::read(cast, words[1]).map(drop)),
        ("up" | "drops", 2) => target(words[1]).and(End::read(cast, words[0]).map(drop)),
        ("stops", 1) => target(words[0]),
        ("wait", 1) => Ok(words[0].parse::<f64>().map(drop)?),
        _ => bail!("no such step"),
    }
}

/// A Binding Update, and what must come back.
#[derive(Debug)]
struct Exchange {
    update: Update,
    in_udp: Option<(std::net::Ipv4Addr, u16)>,
    /// From the home link, with or without a Home Address option.
    at_home: Option<bool>,
    from: std::net::Ipv6Addr,
    home: std::net::Ipv6Addr,
    /// The mobile node says by `-r` that it is no router this time.
    clears: u16,
    answer: Answer,
    statuses: Vec<(u16, u8)>,
    sequence: Option<u16>,
    dual: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Status(u8),
    Silence,
    Problem,
}

impl Exchange {
    fn read(cast: &Cast, verb: &str, words: &[&str]) -> Result<Self> {
        let arrow = words.iter().position(|word| *word == "->").context("no ->")?;
        let (sent, expected) = (&words[..arrow], &words[arrow + 1..]);
        let (sequence, sent) = sent.split_first().context("no sequence number")?;
        let mut exchange = Self {
            update: Update::new(sequence.parse().context("sequence number")?),
            in_udp: (verb == "udp").then(|| (cast.coa4(1), 4191)),
            at_home: (verb == "home").then_some(true),
            from: cast.coa(1),
            home: cast.hoa,
            clears: 0,
            answer: Answer::Silence,
            statuses: Vec::new(),
            sequence: None,
            dual: Expected::default(),
        };
        for word in sent {
            exchange.word(cast, word).with_context(|| (*word).to_owned())?;
        }
        let (status, expected) = expected.split_first().context("no status")?;
        exchange.answer = match *status {
            "none" => Answer::Silence,
            "problem" => Answer::Problem,
            status => Answer::Status(status.parse().context("status")?),
        };
        let sent_bids = exchange.update.options.iter().filter(|option| option.kind == 35);
        let sent_bids = sent_bids.filter_map(|option| option.data.first_chunk::<2>());
        exchange.statuses = sent_bids.map(|bid| (u16::from_be_bytes(*bid), 0)).collect();
        let mut given = Vec::new();
        for word in expected {
            if exchange.dual.word(cast, word)? {
                continue;
            }
            match (word.strip_prefix("seq="), word.split_once(':')) {
                (Some(sequence), _) => exchange.sequence = Some(sequence.parse()?),
                (None, Some((bid, status))) => given.push((bid.parse()?, status.parse()?)),
                (None, None) => bail!("expected {word:?}"),
            }
        }
        if !given.is_empty() {
            exchange.statuses = given;
        }
        Ok(exchange)
    }

    fn word(&mut self, cast: &Cast, word: &str) -> Result<()> {
        let update = &mut self.update;
        let Some((name, value)) = word.split_once('=') else {
            match word {
                "o" => update.flags |= flag::O,
                "l" => update.flags |= flag::L,
                "r" => update.flags |= flag::R,
                "k" => update.flags |= flag::K,
                "f" => update.flags |= flag::F,
                "t" => update.flags |= flag::T,
                "-a" => self.clears |= flag::A,
                "-h" => self.clears |= flag::H,
                "-r" => self.clears |= flag::R,
                "nohao" => self.at_home = Some(false),
                "lla" => update.options.push(link_layer([2, 0, 0, 0, 0, 1])),
                _ => bail!("no such word"),
            }
            return Ok(());
        };
        match name {
            "life" => update.lifetime = value.parse()?,
            "from" => match self.in_udp {
                Some((_, port)) => {
                    let (address, port) = match value.split_once('/') {
                        Some((address, port)) => (address, port.parse()?),
                        None => (value, port),
                    };
                    self.in_udp = Some((cast.address4(address)?, port));
                }
                None => self.from = cast.address(value)?,
            },
            "to" => self.home = cast.address(value)?,
            "bid" => update.options.push(bid_word(cast, value)?),
            "alt" => update.options.push(alternate(cast.address(value)?)),
            "net" => {
                let (value, reserved) = value.split_once('!').unwrap_or((value, "0"));
                let (prefix, len) = value.split_once('/').unwrap_or((value, "64"));
                let mut option = network_prefix(cast.network_of(prefix)?, len.parse()?);
                option.data[0] = reserved.parse()?;
                update.options.push(option);
            }
            "home4" => {
                let (address, len) = value.split_once('/').unwrap_or((value, "32"));
                let (len, wants) = len.strip_suffix('p').map_or((len, false), |len| (len, true));
                update.options.push(ipv4_home(cast.address4(address)?, len.parse()?, wants));
            }
            "coa4" => update.options.push(ipv4_care_of(cast.address4(value)?)),
            "raw" => {
                let (kind, hex) = value.split_once('/').context("no /")?;
                update.options.push(option(kind.parse()?, &octets(hex)?));
            }
            _ => bail!("no such word"),
        }
        Ok(())
    }
}

/// `1@c1`, `1@-!H`, `0x...` not among them: a BID option.
fn bid_word(cast: &Cast, value: &str) -> Result<MobilityOption> {
    let (id, rest) = value.split_once('@').context("no @")?;
    let (address, flags) = rest.split_once('!').unwrap_or((rest, ""));
    let flags = match flags {
        "" => 0,
        "H" => 0x80,
        priority => priority.parse()?,
    };
    let care_of = if address == "-" {
        CareOf::Absent
    } else if let Ok(address) = cast.address4(address) {
        CareOf::V4(address)
    } else {
        CareOf::V6(cast.address(address)?)
    };
    Ok(bid_with(id.parse()?, 0, flags, care_of))
}

fn octets(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        Ok(u8::from_str_radix(pair, 16)?)
    });
    pairs.collect()
}

async fn exchange(stage: &Stage, exchange: &Exchange) -> Result<()> {
    let mut update = exchange.update.clone();
    if stage.is_router {
        update.flags |= flag::R;
    }
    update.flags &= !exchange.clears;
    match exchange.answer {
        Answer::Status(status) => {
            let ba = match (exchange.in_udp, exchange.at_home) {
                (Some(from), _) => stage.register_udp_of(&update, from, exchange.home).await?,
                (None, Some(option)) => stage.register_from_home(&update, option).await?,
                (None, None) => stage.register_of(&update, exchange.from, exchange.home).await?,
            };
            as_expected(exchange, &update, status, &ba)
        }
        Answer::Silence => {
            unanswered(stage, exchange, &update).await?;
            stage.no_acknowledgement().await
        }
        Answer::Problem => {
            unanswered(stage, exchange, &update).await?;
            let what = "a Parameter Problem with code 0";
            let (_, answer) = stage
                .receive(what, PATIENCE, |packet| {
                    matches!(packet.icmpv6(), Some((4, 0, _))).then_some(())
                })
                .await?;
            ensure!(answer.destination == IpAddr::V6(exchange.from), "{}", answer.destination);
            stage.no_acknowledgement().await
        }
    }
}

/// Sends a Binding Update to which no acknowledgement must come.
async fn unanswered(stage: &Stage, exchange: &Exchange, update: &Update) -> Result<()> {
    stage.step().await;
    let packet = match exchange.in_udp {
        Some(from) => dual::update_in_udp(stage, update, from, exchange.home),
        None => stage.packet_of(update, exchange.from, exchange.home),
    };
    stage.send(&packet).await
}

fn as_expected(
    exchange: &Exchange,
    update: &Update,
    status: u8,
    ba: &Acknowledgement,
) -> Result<()> {
    let statuses = ba.bid_statuses();
    ensure!(
        ba.status == status && statuses == exchange.statuses,
        "BA {} with BIDs {statuses:?}, expected {status} with {:?}",
        ba.status,
        exchange.statuses
    );
    for bid in ba.bids() {
        // RFC 5648 erratum 1904.
        ensure!(bid.care_of_len == 0, "BID {} comes back with a care-of address", bid.bid);
    }
    exchange.dual.check(ba)?;
    if let Some(sequence) = exchange.sequence {
        ensure!(ba.sequence == sequence, "BA sequence {}, expected {sequence}", ba.sequence);
    }
    if status < 128 {
        ensure!(ba.lifetime <= update.lifetime, "BA lifetime {}", ba.lifetime);
        ensure!((ba.lifetime == 0) == (update.lifetime == 0), "BA lifetime {}", ba.lifetime);
    } else {
        ensure!(ba.lifetime == 0, "BA {status} with lifetime {}", ba.lifetime);
    }
    let (asked, got) = (update.flags & flag::R != 0, ba.flags & 0x40 != 0);
    ensure!(status >= 128 || asked == got, "BU R={asked}, BA R={got}");
    Ok(())
}

/// BID and care-of address as the store names them.
fn held(cast: &Cast, word: &str) -> Result<(Option<u32>, String)> {
    let (bid, address) = word.split_once('@').context("no @")?;
    let bid = if bid == "-" { None } else { Some(bid.parse()?) };
    let address = match cast.address4(address) {
        Ok(address) => address.to_string(),
        Err(_) => cast.address(address)?.to_string(),
    };
    Ok((bid, address))
}

async fn holds(stage: &Stage, words: &[&str]) -> Result<()> {
    let expected = words.iter().map(|word| held(stage, word)).collect::<Result<BTreeSet<_>>>()?;
    let stored = stage.stored().await?;
    ensure!(stored == expected, "the store holds {stored:?}, expected {expected:?}");
    Ok(())
}
