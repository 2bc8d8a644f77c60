//! The page: tiles, then a table for each thing that an operator asks about.

use std::fmt;

use crate::{
    html::{Html, Query},
    limits::{REFRESH_SECS, STALE_AFTER_MS},
    status::{Binding, Home, Reached, Replica, Seen, Status},
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
    problems(&mut html, status, now_ms);
    tiles(&mut html, status);
    replicas(&mut html, status);
    feed_subscribers(&mut html, status);
    home_prefixes(&mut html, status);
    homes(&mut html, status, parameters);
    html.markup("</main>\n</body>\n</html>\n");
    html.finish()
}

/// A tab that is not in front says whether something is wrong.
struct Title<'s>(&'s Status);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        html.text(now_ms.saturating_sub(status.taken_ms) / 1_000).markup(" s ago.");
    }
    html.markup(" The page asks again every ").text(REFRESH_SECS);
    html.markup(" s. <a href=\"/api/status.json\">JSON</a></p>\n</header>\n");
}

fn problems(html: &mut Html, status: &Status, now_ms: u64) {
    let age_ms = now_ms.saturating_sub(status.taken_ms);
    let is_stale = status.taken_ms != 0 && age_ms > STALE_AFTER_MS;
    if status.problems.is_empty() && !is_stale {
        return;
    }
    html.markup("<section class=\"problems\" role=\"alert\">\n<h2>Problems</h2>\n<ul>\n");
    if is_stale {
        html.markup("<li>What is shown here is ").text(age_ms / 1_000);
        html.markup(" s old: the stores are not being asked.</li>\n");
    }
    for problem in &status.problems {
        html.markup("<li>").text(problem).markup("</li>\n");
    }
    html.markup("</ul>\n</section>\n");
}

fn tiles(html: &mut Html, status: &Status) {
    let reached =
        status.replicas.iter().filter(|replica| matches!(replica.seen, Seen::Reached(_))).count();
    html.markup("<dl class=\"tiles\">\n");
    tile(html, "Leader", Known(status.leader_id.map(Node)));
    tile(html, "Term", Known(status.term.map(Grouped)));
    tile(html, "Revision", Known(status.revision.map(Grouped)));
    tile(html, "Replicas reached", format_args!("{reached} of {}", status.replicas.len()));
    tile(html, "Feed subscribers", status.feed_subscribers.len());
    let totals = status.totals;
    tile(html, "Home addresses", Known(totals.map(|totals| Grouped(totals.home_addresses))));
    tile(html, "Bindings", Known(totals.map(|totals| Grouped(totals.bindings))));
    html.markup("</dl>\n");
}

fn tile(html: &mut Html, name: &'static str, value: impl fmt::Display) {
    html.markup("<div><dt>").markup(name).markup("</dt><dd>").text(value).markup("</dd></div>\n");
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
    "#Lag",
    "#Bindings",
    "Version",
];

fn replicas(html: &mut Html, status: &Status) {
    open_table(html, "replicas", "Store replicas", &REPLICA_COLUMNS);
    if status.replicas.is_empty() {
        nothing(html, REPLICA_COLUMNS.len(), "Nothing is known yet.");
    }
    for replica in &status.replicas {
        html.markup("<tr><th scope=\"row\">").text(&replica.endpoint).markup("</th>");
        html.number(Known(replica.node_id));
        match &replica.seen {
            Seen::Reached(reached) => reached_cells(html, replica, reached),
            Seen::Unreached { error } => {
                html.markup("<td class=\"bad\" colspan=\"9\">cannot be reached: ").text(error);
                html.markup("</td>");
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

fn reached_cells(html: &mut Html, replica: &Replica, reached: &Reached) {
    let class = if reached.role == "leader" { "<td class=\"leader\">" } else { "<td>" };
    html.markup(class).text(&reached.role).markup("</td>");
    html.cell(match replica.voter {
        Some(true) => "voter",
        Some(false) => "learner",
        None => "not a member",
    });
    html.number(Grouped(reached.term))
        .number(Grouped(reached.last_log_index))
        .number(Grouped(reached.committed_index))
        .number(Grouped(reached.applied_index))
        .number(Grouped(reached.lag))
        .number(Grouped(reached.bindings))
        .cell(&reached.version);
}

const SUBSCRIBER_COLUMNS: [&str; 4] = ["Name", "Fed by", "#Revision sent", "#Lag"];

fn feed_subscribers(html: &mut Html, status: &Status) {
    open_table(html, "feed", "Feed subscribers", &SUBSCRIBER_COLUMNS);
    if status.feed_subscribers.is_empty() {
        let why = "No forwarder is at the feed of a replica that was reached.";
        nothing(html, SUBSCRIBER_COLUMNS.len(), why);
    }
    for subscriber in &status.feed_subscribers {
        html.markup("<tr><th scope=\"row\">").text(&subscriber.name).markup("</th>");
        html.cell(Node(subscriber.node_id))
            .number(Grouped(subscriber.sent_revision))
            .number(Grouped(subscriber.lag))
            .markup("</tr>\n");
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
        nothing(html, PREFIX_COLUMNS.len(), "None are known.");
    }
    for prefix in &status.home_prefixes {
        html.markup("<tr><th scope=\"row\">").text(&prefix.prefix).markup("</th>");
        html.cell(&prefix.home_agent)
            .cell(Known(prefix.home_agent_ipv4.as_deref()))
            .cell(prefix.authentication);
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
        let rows: [(String, &str); 8] = [
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
