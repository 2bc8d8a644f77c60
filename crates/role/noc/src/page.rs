//! The page: tiles, then a table for each thing that an operator asks about.

use std::fmt;

use crate::{
    html::{Html, Query},
    limits::{REFRESH_SECS, STALE_AFTER_MS},
    status::{Binding, Health, Home, Reached, Replica, Seen, Status},
    web::Parameters,
};

/// Renders the whole document as of `now_ms`.
pub(crate) fn render(status: &Status, parameters: &Parameters, now_ms: u64) -> String {
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .markup("<meta http-equiv=\"refresh\" content=\"")
        .text(REFRESH_SECS)
        .markup("\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>")
        .text(Title(status))
        .markup("</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n")
        .markup("<link rel=\"icon\" href=\"/icon.svg\">\n</head>\n<body>\n");
    heading(&mut html, status, now_ms);
    html.markup("<main>\n");
    verdict(&mut html, status, now_ms);
    tiles(&mut html, status);
    replicas(&mut html, status, now_ms);
    feed_subscribers(&mut html, status, now_ms);
    home_prefixes(&mut html, status);
    homes(&mut html, status, parameters);
    html.markup("</main>\n</body>\n</html>\n");
    html.finish()
}

/// A tab that is not in front says whether something is wrong.
struct Title<'s>(&'s Status);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.health == Health::Down {
            f.write_str("DOWN: ")?;
        }
        match self.0.problems.len() {
            0 => f.write_str("Homeport"),
            1 => f.write_str("1 problem \u{b7} Homeport"),
            several => write!(f, "{several} problems \u{b7} Homeport"),
        }
    }
}

fn heading(html: &mut Html, status: &Status, now_ms: u64) {
    html.markup("<header>\n<h1><a href=\"/\">Homeport</a></h1>\n<p>");
    if status.taken_ms == 0 {
        html.markup("The stores have not been asked yet.");
    } else {
        html.markup("As of ").text(TimeOfDay(status.taken_ms)).markup(", ");
        html.text(Age::between(status.taken_ms, now_ms)).markup(" ago.");
    }
    html.markup(" The page asks again every ").text(REFRESH_SECS);
    html.markup(" s. <a href=\"/api/status.json\">JSON</a></p>\n</header>\n");
}

/// The first thing to read: how it is, and then why.
fn verdict(html: &mut Html, status: &Status, now_ms: u64) {
    let age_ms = now_ms.saturating_sub(status.taken_ms);
    let is_stale = status.taken_ms != 0 && age_ms > STALE_AFTER_MS;
    let (class, words) = match status.health {
        _ if is_stale => ("down", "Out of date"),
        Health::Unknown => ("unknown", "Not known yet"),
        Health::Working => ("working", "Working"),
        Health::Degraded => ("degraded", "Working, with problems"),
        Health::Down => ("down", "Down: no mobile node can register"),
    };
    html.markup("<section class=\"verdict ").markup(class).markup("\" role=\"status\">\n<h2>");
    html.markup(words).markup("</h2>\n");
    if is_stale || !status.problems.is_empty() {
        html.markup("<ul>\n");
    }
    if is_stale {
        html.markup("<li>What is shown here is ").text(age_ms / 1_000);
        html.markup(" s old: the stores are not being asked.</li>\n");
    }
    for problem in &status.problems {
        html.markup("<li>").text(problem).markup("</li>\n");
    }
    if is_stale || !status.problems.is_empty() {
        html.markup("</ul>\n");
    }
    html.markup("</section>\n");
}

fn tiles(html: &mut Html, status: &Status) {
    let is_reached = |replica: &&Replica| matches!(replica.seen, Seen::Reached(_));
    let reached = status.replicas.iter().filter(is_reached).count();
    let is_lost = |replica: &Replica| matches!(replica.seen, Seen::Unreached { .. });
    let lost = status.replicas.iter().any(is_lost);
    let is_polled = status.taken_ms != 0;
    let subscribers = status.feed_subscribers.len();
    let behind = status.feed_subscribers.iter().map(|subscriber| subscriber.lag).max();
    html.markup("<dl class=\"tiles\">\n");
    let is_led = status.leader_id.is_some()
        && !status.replicas.iter().any(|one| is_lost(one) && one.node_id == status.leader_id);
    tile(html, is_polled && !is_led, "Leader", Known(status.leader_id.map(Node)));
    tile(html, false, "Term", Known(status.term.map(Grouped)));
    tile(html, false, "Revision", Known(status.revision.map(Grouped)));
    let replicas = status.replicas.len();
    tile(html, lost, "Stores reached", format_args!("{reached} of {replicas}"));
    let is_missed = !status.departed.is_empty() || (is_polled && subscribers == 0);
    tile(html, is_missed, "Feed subscribers", subscribers);
    let is_stuck = status.feed_subscribers.iter().any(|subscriber| subscriber.stuck);
    tile(html, is_stuck, "Most behind", Known(behind.map(Grouped)));
    let totals = status.totals;
    let homes = totals.map(|totals| Grouped(totals.home_addresses));
    tile(html, false, "Home addresses", Known(homes));
    tile(html, false, "Bindings", Known(totals.map(|totals| Grouped(totals.bindings))));
    html.markup("</dl>\n");
}

fn tile(html: &mut Html, is_bad: bool, name: &'static str, value: impl fmt::Display) {
    html.markup(if is_bad { "<div class=\"bad\"><dt>" } else { "<div><dt>" })
        .markup(name)
        .markup("</dt><dd>")
        .text(value)
        .markup("</dd></div>\n");
}

/// Opens a section with a table; `columns` marks those of numbers with a leading `#`.
fn open_table(html: &mut Html, id: &'static str, name: &'static str, columns: &[&'static str]) {
    html.markup("<section aria-labelledby=\"").markup(id).markup("\">\n<h2 id=\"").markup(id);
    html.markup("\">").markup(name).markup("</h2>\n");
    open_rows(html, columns);
}

fn open_rows(html: &mut Html, columns: &[&'static str]) {
    html.markup("<div class=\"wide\"><table>\n<thead><tr>");
    for column in columns {
        match column.strip_prefix('#') {
            Some(number) => html.markup("<th scope=\"col\" class=\"number\">").markup(number),
            None => html.markup("<th scope=\"col\">").markup(column),
        };
        html.markup("</th>");
    }
    html.markup("</tr></thead>\n<tbody>\n");
}

fn close_table(html: &mut Html) {
    html.markup("</tbody>\n</table></div>\n</section>\n");
}

fn nothing(html: &mut Html, columns: usize, why: &'static str) {
    html.markup("<tr><td class=\"none\" colspan=\"").text(columns).markup("\">").markup(why);
    html.markup("</td></tr>\n");
}

const REPLICA_COLUMNS: [&str; 11] = [
    "Store",
    "#Node",
    "Role",
    "Vote",
    "#Term",
    "#Log",
    "#Committed",
    "#Applied",
    "#Behind",
    "#Bindings",
    "Version",
];

fn replicas(html: &mut Html, status: &Status, now_ms: u64) {
    open_table(html, "replicas", "Store replicas", &REPLICA_COLUMNS);
    if status.replicas.is_empty() {
        nothing(html, REPLICA_COLUMNS.len(), "Nothing is known yet.");
    }
    for replica in &status.replicas {
        open_row(html, matches!(replica.seen, Seen::Unreached { .. }), &replica.endpoint);
        html.number(Known(replica.node_id));
        match &replica.seen {
            Seen::Reached(reached) => reached_cells(html, replica, reached),
            Seen::Unreached { error, since_ms } => {
                html.markup("<td class=\"bad\" colspan=\"9\">cannot be reached since ")
                    .text(TimeOfDay(*since_ms))
                    .markup(" (")
                    .text(Age::between(*since_ms, now_ms))
                    .markup("): ")
                    .text(error)
                    .markup("</td>");
            }
            Seen::NotAsked => {
                html.markup("<td class=\"none\" colspan=\"9\">");
                html.markup("a member that is not among this page\u{2019}s stores</td>");
            }
        }
        html.markup("</tr>\n");
    }
    close_table(html);
}

fn open_row(html: &mut Html, is_bad: bool, name: &str) {
    html.markup(if is_bad { "<tr class=\"bad\">" } else { "<tr>" });
    html.markup("<th scope=\"row\">").text(name).markup("</th>");
}

fn reached_cells(html: &mut Html, replica: &Replica, reached: &Reached) {
    let class = match reached.role.as_str() {
        "leader" => "<td class=\"leader\">",
        "follower" | "learner" => "<td>",
        _ => "<td class=\"bad\">",
    };
    html.markup(class).text(&reached.role).markup("</td>");
    html.cell(match replica.voter {
        Some(true) => "voter",
        Some(false) => "learner",
        None => "not a member",
    });
    html.number(Grouped(reached.term))
        .number(Grouped(reached.last_log_index))
        .number(Grouped(reached.committed_index))
        .number(Grouped(reached.applied_index));
    behind(html, reached.lag, reached.stuck);
    html.number(Grouped(reached.bindings)).cell(&reached.version);
}

/// Revisions behind; being behind is usual while there is work, standing still is not.
fn behind(html: &mut Html, lag: u64, is_stuck: bool) {
    if is_stuck {
        html.markup("<td class=\"number bad\">").text(Grouped(lag)).markup(", stuck</td>");
    } else {
        html.number(Grouped(lag));
    }
}

const SUBSCRIBER_COLUMNS: [&str; 4] = ["Name", "Fed by", "#Revision sent", "#Behind"];

fn feed_subscribers(html: &mut Html, status: &Status, now_ms: u64) {
    let name = "Forwarders and other feed subscribers";
    open_table(html, "feed", name, &SUBSCRIBER_COLUMNS);
    if status.feed_subscribers.is_empty() && status.departed.is_empty() {
        let why = "No forwarder is at the feed of a replica that was reached.";
        nothing(html, SUBSCRIBER_COLUMNS.len(), why);
    }
    for departed in &status.departed {
        open_row(html, true, &departed.name);
        html.markup("<td class=\"bad\">at no feed for ")
            .text(Age::between(departed.last_seen_ms, now_ms))
            .markup("</td>")
            .number(Grouped(departed.sent_revision))
            .number(Known(None::<u64>))
            .markup("</tr>\n");
    }
    for subscriber in &status.feed_subscribers {
        open_row(html, subscriber.stuck, &subscriber.name);
        html.cell(Node(subscriber.node_id)).number(Grouped(subscriber.sent_revision));
        behind(html, subscriber.lag, subscriber.stuck);
        html.markup("</tr>\n");
    }
    close_table(html);
}

const PREFIX_COLUMNS: [&str; 7] = [
    "Home prefix",
    "Home agent",
    "Home agent\u{2019}s IPv4",
    "Authentication",
    "#Bindings per home address",
    "#Longest lifetime",
    "#Revision",
];

fn home_prefixes(html: &mut Html, status: &Status) {
    open_table(html, "prefixes", "Home prefixes", &PREFIX_COLUMNS);
    if status.home_prefixes.is_empty() {
        nothing(html, PREFIX_COLUMNS.len(), "None, or the leader could not be asked.");
    }
    for prefix in &status.home_prefixes {
        html.markup("<tr><th scope=\"row\">").text(&prefix.prefix).markup("</th>");
        html.cell(&prefix.home_agent).cell(Known(prefix.home_agent_ipv4.as_deref()));
        if prefix.is_open {
            html.markup("<td class=\"bad\">none (unsafe)</td>");
        } else {
            html.cell(prefix.authentication);
        }
        if prefix.multiple_care_of_allowed {
            html.number(prefix.bindings_per_home_address_max);
        } else {
            html.number("1");
        }
        html.number(TimeLeft(prefix.lifetime_max_secs))
            .number(Grouped(prefix.revision))
            .markup("</tr>\n");
    }
    close_table(html);
}

const HOME_COLUMNS: [&str; 9] = [
    "Home address",
    "#Sequence",
    "#BID",
    "Care-of address",
    "#UDP port",
    "Kind",
    "#Priority",
    "#Time left",
    "Last confirmed",
];

fn homes(html: &mut Html, status: &Status, parameters: &Parameters) {
    html.markup("<section aria-labelledby=\"homes\">\n<h2 id=\"homes\">Home addresses</h2>\n");
    html.markup("<form method=\"get\" action=\"/\"><label>Home address ")
        .markup("<input name=\"home\" size=\"40\" maxlength=\"45\" spellcheck=\"false\" value=\"")
        .text(parameters.home.as_deref().unwrap_or_default())
        .markup("\"></label> <button>Look up</button></form>\n");
    if let Some(endpoint) = &status.homes.endpoint {
        html.markup("<p>From ").text(endpoint).markup("\u{2019}s own state");
        if let Some(revision) = status.homes.revision {
            html.markup(" at revision ").text(Grouped(revision));
        }
        html.markup(".</p>\n");
    }
    open_rows(html, &HOME_COLUMNS);
    if status.homes.rows.is_empty() {
        nothing(html, HOME_COLUMNS.len(), "No bindings.");
    }
    for home in &status.homes.rows {
        home_rows(html, home);
    }
    html.markup("</tbody>\n</table></div>\n<p>");
    let is_first = parameters.page.is_none() && parameters.home.is_none();
    if !is_first {
        html.markup("<a href=\"/\">First page</a> ");
    }
    if let Some(token) = &status.homes.next_page_token {
        html.markup("<a href=\"/?page=").text(Query(token)).markup("\">Next page</a>");
    }
    html.markup("</p>\n</section>\n");
}

/// One row for each binding, under one home address.
fn home_rows(html: &mut Html, home: &Home) {
    let rows = home.bindings.len().max(1);
    html.markup("<tr><th scope=\"rowgroup\" rowspan=\"").text(rows).markup("\">");
    html.text(&home.home_address).markup("</th><td class=\"number\" rowspan=\"").text(rows);
    html.markup("\">").text(home.sequence).markup("</td>");
    if home.bindings.is_empty() {
        html.markup(
            "<td class=\"none\" colspan=\"7\">no binding; its sequence number is kept</td>",
        );
        html.markup("</tr>\n");
    }
    for (position, binding) in home.bindings.iter().enumerate() {
        if position > 0 {
            html.markup("<tr>");
        }
        html.number(Known(binding.bid))
            .cell(&binding.care_of_address)
            .number(Known(binding.udp_port))
            .cell(Kind(binding))
            .number(Known(binding.priority))
            .number(TimeLeft(binding.remaining_secs))
            .cell(TimeOfDay(binding.verified_ms))
            .markup("</tr>\n");
    }
}

/// What is particular about a binding.
struct Kind<'b>(&'b Binding);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.home { "at home" } else { "foreign" })?;
        if self.0.behind_nat {
            f.write_str(", behind NAT")?;
        }
        Ok(())
    }
}

/// A value, or a dash for none.
struct Known<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("\u{2013}"),
        }
    }
}

struct Node(u64);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Digits in threes, with a narrow space that does not break.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                f.write_str("\u{202f}")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// Seconds, in the two largest units that matter.
struct TimeLeft(u32);

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, secs) = (self.0 / 3_600, self.0 / 60 % 60, self.0 % 60);
        match (hours, minutes, secs) {
            (0, 0, 0) => f.write_str("ended"),
            (0, 0, secs) => write!(f, "{secs} s"),
            (0, minutes, secs) => write!(f, "{minutes} min {secs:02} s"),
            (hours, minutes, _) => write!(f, "{hours} h {minutes:02} min"),
        }
    }
}

/// How long ago, in the two largest units that matter.
struct Age(u64);

impl Age {
    fn between(then_ms: u64, now_ms: u64) -> Self {
        Self(now_ms.saturating_sub(then_ms) / 1_000)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0).unwrap_or(u32::MAX) {
            0 => f.write_str("0 s"),
            secs => TimeLeft(secs).fmt(f),
        }
    }
}

/// Milliseconds since the epoch as `12:34:56 UTC`.
struct TimeOfDay(u64);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0 / 1_000 % 86_400;
        write!(f, "{:02}:{:02}:{:02} UTC", secs / 3_600, secs / 60 % 60, secs % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_made_for_reading() {
        let rows: [(String, &str); 10] = [
            (Age::between(5_000, 5_999).to_string(), "0 s"),
            (Age::between(0, 3_720_000).to_string(), "1 h 02 min"),
            (Grouped(0).to_string(), "0"),
            (Grouped(999).to_string(), "999"),
            (Grouped(1_234_567).to_string(), "1\u{202f}234\u{202f}567"),
            (TimeLeft(0).to_string(), "ended"),
            (TimeLeft(59).to_string(), "59 s"),
            (TimeLeft(61).to_string(), "1 min 01 s"),
            (TimeLeft(262_140).to_string(), "72 h 49 min"),
            (TimeOfDay(1_700_000_000_123).to_string(), "22:13:20 UTC"),
        ];
        for (shown, expected) in rows {
            assert_eq!(shown, expected);
        }
    }
}
