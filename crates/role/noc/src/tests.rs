//! The page against stores that answer by a script, over real sockets.

mod alarms;
mod fake;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use homeport_api::bearer::Bearer;
use homeport_runtime::{Readiness, Task, metrics};
use homeport_tls::Links;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use self::fake::{HOSTILE, Script};
use crate::{
    config::{self, ProcessConfig, Role},
    pages::Sources,
    poll,
    processes::{self, Processes},
    session::Sessions,
    status::{Seen, Status},
    stores::{Inspected, Stores},
    web::{self, Noc},
};

struct Page {
    address: SocketAddr,
    latest: tokio::sync::watch::Receiver<Arc<Status>>,
    _tasks: [Task; 3],
}

/// The dashboard over these stores, after its first poll.
async fn page_of(endpoints: &[&str]) -> Page {
    page_with(endpoints, Vec::new()).await
}

async fn page_with(endpoints: &[&str], processes: Vec<ProcessConfig>) -> Page {
    page_for(endpoints, processes, None).await
}

async fn page_for(
    endpoints: &[&str],
    processes: Vec<ProcessConfig>,
    login: Option<config::LoginConfig>,
) -> Page {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let stores = Stores::new(&endpoints, &Bearer::default(), &Links::default()).expect("addresses");
    let forwarders = Inspected::of(&processes, &Links::default());
    let sources = Arc::new(Sources { stores, forwarders });
    let mut registry = metrics::registry();
    let (sender, mut latest) = poll::channel();
    let counter = poll::register(&mut registry);
    let latch = Readiness::default().latch("first-poll");
    let poller = Task::spawn("poll", poll::run(Arc::clone(&sources), sender, counter, latch));
    let (looks, looked) = tokio::sync::watch::channel(Arc::new(Processes::default()));
    let mut first_look = looked.clone();
    let looker = Task::spawn("look", processes::run(processes, looks, latest.clone()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let shutdown = homeport_runtime::Shutdown::manual();
    let news = web::News { latest: latest.clone(), looked, shutdown: shutdown.clone() };
    let sessions = Sessions::new(login.as_ref()).expect("a token");
    let noc = Noc::new(sources, news, sessions, &mut registry);
    let server = Task::spawn("page", web::serve(listener, noc, shutdown));
    latest.wait_for(|status| status.taken_ms > 0).await.expect("polls");
    first_look.wait_for(|looked| looked.taken_ms > 0).await.expect("looks");
    Page { address, latest, _tasks: [poller, looker, server] }
}

/// One that takes [`TOKEN`].
async fn page_with_login(endpoints: &[&str]) -> Page {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), TOKEN).expect("writes");
    let login = config::LoginConfig { token_file: file.path().to_owned() };
    page_for(endpoints, Vec::new(), Some(login)).await
}

const TOKEN: &str = "a token of some length";

impl Page {
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: noc\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("reads");
        answer
    }
}

impl Page {
    async fn post(&self, path: &str, cookie: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let length = form.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: noc\r\nConnection: close\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("reads");
        answer
    }

    async fn get_as(&self, path: &str, cookie: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: noc\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }
}

/// What stands between two words.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is not in {text}"));
    rest.split_once(after).expect("it ends").0
}

#[tokio::test]
async fn only_who_is_logged_in_may_change_something_and_only_by_a_form() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_with_login(&[&leader.endpoint]).await;
    let path = "/subscribers/2001:db8:0:1::100";
    let guest = page.get(path).await;
    assert!(guest.contains("Log in") && !guest.contains("Revoke"), "{guest}");
    let wrong = page.post("/login", "", "token=guess&then=%2F").await;
    assert!(wrong.starts_with("HTTP/1.1 403") && !wrong.contains("set-cookie"), "{wrong}");
    let then = "token=a+token+of+some+length&then=%2Fnodes";
    let right = page.post("/login", "", then).await;
    assert!(right.starts_with("HTTP/1.1 303") && right.contains("location: /nodes"), "{right}");
    let cookie = between(&right, "set-cookie: ", ";");
    let html = page.get_as(path, cookie).await;
    assert!(html.contains("Revoke all bindings") && html.contains("Log out"), "{html}");
    let form_token = between(&html, "name=\"form_token\" value=\"", "\"");
    let form = |token: &str| format!("form_token={token}&name=2001:db8:0:1::100&then=%2Fnodes");
    for (cookie, token) in [("", form_token), (cookie, "guess"), (cookie, "")] {
        let refused = page.post("/act/revoke", cookie, &form(token)).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
    assert_eq!(leader.done(), Vec::<String>::new());
    let done = page.post("/act/revoke", cookie, &form(form_token)).await;
    assert!(done.starts_with("HTTP/1.1 303") && done.contains("location: /nodes"), "{done}");
    assert_eq!(leader.done(), ["revoke 2001:db8:0:1::100"]);
    assert!(page.get_as("/act/revoke", cookie).await.starts_with("HTTP/1.1 405"));
    let failed = page.post("/act/lead", cookie, &form(form_token)).await;
    assert!(failed.starts_with("HTTP/1.1 502") && failed.contains("is no node"), "{failed}");
    let out = page.post("/logout", cookie, &form(form_token)).await;
    assert!(out.starts_with("HTTP/1.1 303"), "{out}");
    assert!(page.post("/act/revoke", cookie, &form(form_token)).await.starts_with("HTTP/1.1 403"));
}

/// An address at which nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    listener.local_addr().expect("has an address").to_string()
}

/// All pages, each of which answers whatever the stores do.
const PAGES: [&str; 13] = [
    "/",
    "/wall",
    "/subscribers",
    "/subscribers/2001:db8:0:1::100",
    "/bindings",
    "/prefixes",
    "/nodes",
    "/topology",
    "/kpis",
    "/check",
    "/alarms",
    "/alarms/help",
    "/events",
];

fn assert_contains(html: &str, expected: &[&str]) {
    for expected in expected {
        assert!(html.contains(expected), "{expected} is missing in {html}");
    }
}

#[tokio::test]
async fn shows_the_cluster_and_its_feed() {
    let leader = Script::new(1, "leader", 120).start().await;
    let follower = Script::new(2, "follower", 117).start().await;
    let page = page_of(&[&follower.endpoint, &leader.endpoint]).await;
    let html = page.get("/").await;
    assert!(html.starts_with("HTTP/1.1 200"), "{html}");
    assert_contains(
        &html,
        &[
            "<a href=\"/nodes\">Leader</a></dt><dd>node 1</dd>",
            "<dd>2 of 3</dd>",
            "title=\"good\">\u{2713}</span> Working</p>",
            "<a href=\"/bindings\">Active bindings</a></dt><dd>3</dd>",
            "title=\"good\">\u{2713}</span> leader",
            "a member that is not in `stores` here",
            "<td>forwarder-1</td><td>node 1</td><td class=\"number\">118</td>\
             <td class=\"number\">2</td>",
        ],
    );
    assert!(!html.contains("<ul>"), "{html}");
    assert_contains(
        &page.get("/prefixes").await,
        &["<td>2001:db8:0:1::/64</td><td>2001:db8:0:1::1</td>", "MN-HA (RFC 4285)"],
    );
    let drawn = page.get("/topology").await;
    assert_contains(&drawn, &["<svg class=\"graph\"", "forwarder-2</text>", "node 1, leader"]);
    assert_contains(&page.get("/wall").await, &["class=\"wall level-good\"", "Working</p>"]);
    let check = page.get("/check").await;
    assert_contains(&check, &["<td>store-leader</td>", "holds", "All run one version"]);
    let status = page.latest.borrow().clone();
    let lags: Vec<u64> = status
        .replicas
        .iter()
        .filter_map(|replica| match &replica.seen {
            Seen::Reached(reached) => Some(reached.lag),
            Seen::Unreached { .. } | Seen::NotAsked => None,
        })
        .collect();
    assert_eq!(lags, [3, 0]);
}

#[tokio::test]
async fn every_table_is_csv_and_json_too() {
    let leader = Script::new(1, "leader", 120).start().await;
    let dead = dead().await;
    let page = page_of(&[&leader.endpoint, &dead]).await;
    let answer = page.get("/nodes.json").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("has a body");
    assert!(head.contains("content-type: application/json"), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).expect("is JSON");
    assert_eq!(json["tables"]["replicas"][0]["applied_index"], 120);
    assert_eq!(json["tables"]["replicas"][1]["endpoint"], dead);
    assert_eq!(json["tables"]["feed"][0]["name"], "forwarder-1");
    let feed = page.get("/nodes.csv?table=feed").await;
    assert_contains(&feed, &["content-type: text/csv", "\r\nforwarder-1,node 1,118,2,\r\n"]);
    let bindings = page.get("/bindings.csv").await;
    assert_contains(&bindings, &["2001:db8:0:1::100,7,2,192.0.2.44,40000,"]);
    let tiles = page.get("/overview.json?table=cluster").await;
    assert_contains(&tiles, &["{\"name\":\"Leader\",\"unit\":null,\"value\":\"node 1\"}"]);
    assert!(page.get("/nodes.csv?table=none").await.starts_with("HTTP/1.1 404"));
    for path in PAGES.iter().skip(1) {
        let json = page.get(&format!("{path}.json")).await;
        assert!(json.starts_with("HTTP/1.1 200"), "{path}: {json}");
    }
}

#[tokio::test]
async fn says_that_a_store_or_all_stores_cannot_be_reached() {
    let leader = Script::new(1, "leader", 120).start().await;
    let gone = dead().await;
    let html = page_of(&[&leader.endpoint, &gone]).await.get("/").await;
    assert_contains(
        &html,
        &[
            &format!("<li>{gone} cannot be reached: "),
            "Connection refused",
            "cannot be reached since ",
            "<title>(m) Overview",
            "Working, with problems",
            "<div class=\"tile level-major\"><dt><a href=\"/nodes\">Stores reached</a>",
        ],
    );

    let page = page_of(&[&gone]).await;
    for path in PAGES {
        let html = page.get(path).await;
        assert!(html.starts_with("HTTP/1.1 200"), "{path}: {html}");
        assert_contains(&html, &["Down: no mobile node can register"]);
    }
    assert_contains(&page.get("/").await, &["<title>(C) Overview"]);
    assert_contains(&page.get("/bindings").await, &["no store can be reached"]);
}

#[tokio::test]
async fn says_that_there_is_no_leader_or_that_replicas_differ() {
    let mut lost = Script::new(2, "candidate", 117);
    lost.status.leader_id = 0;
    let lost = lost.start().await;
    let html = page_of(&[&lost.endpoint]).await.get("/").await;
    assert_contains(
        &html,
        &["no replica knows a leader", "no forwarder is at the feed", "verdict level-critical"],
    );
    assert_contains(&html, &["title=\"major\">M</span> candidate"]);

    let old = Script::new(1, "leader", 117).start().await;
    let mut new = Script::new(2, "leader", 120);
    new.status.leader_id = 2;
    let new = new.start().await;
    let html = page_of(&[&old.endpoint, &new.endpoint]).await.get("/").await;
    assert_contains(&html, &["replicas name different leaders: 1, 2"]);
}

#[tokio::test]
async fn a_store_that_refuses_a_list_is_quoted() {
    let mut script = Script::new(1, "leader", 120);
    script.refuse_lists = true;
    let leader = script.start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let html = page.get("/bindings").await;
    assert_contains(&html, &["does not list bindings", "the lists are closed"]);
    assert_contains(&page.get("/").await, &["does not list home prefixes"]);
}

#[tokio::test]
async fn a_leader_that_is_lost_is_marked_and_what_only_it_lists_is_no_further_problem() {
    let gone = dead().await;
    let mut script = Script::new(2, "follower", 117);
    script.status.members[0].address.clone_from(&gone);
    script.refuse_lists = true;
    let follower = script.start().await;
    let page = page_of(&[&gone, &follower.endpoint]).await;
    let html = page.get("/").await;
    let tile = "<div class=\"tile level-critical\"><dt><a href=\"/nodes\">Leader</a>";
    assert_contains(&html, &[tile]);
    assert!(!html.contains("does not list home prefixes"), "{html}");
    assert_contains(&page.get("/prefixes").await, &["None, or the leader could not be asked."]);
}

#[tokio::test]
async fn one_subscriber_is_found_by_its_address_and_has_a_page() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let only = page.get("/subscribers?q=mn1%40example.com").await;
    assert!(only.starts_with("HTTP/1.1 303"), "{only}");
    assert_contains(&only, &["location: /subscribers/2001:db8:0:1::100\r\n"]);
    let found = page.get("/subscribers?q=mn*").await;
    assert_contains(&found, &["<a href=\"/subscribers/2001:db8:0:1::100\">2001:db8:0:1::100</a>"]);
    assert_contains(
        &found,
        &["value=\"mn*\"", "NAI, care-of address", "2001:db8:a::11, 192.0.2.44"],
    );
    let one = page.get("/subscribers/2001:db8:0:1::100").await;
    assert_contains(
        &one,
        &[
            "<h1>Subscriber 2001:db8:0:1::100</h1>",
            "mn1@example.com",
            "<td>192.0.2.44</td>",
            "stored",
        ],
    );
    let nobody = page.get("/subscribers/2001:db8::dead").await;
    assert_contains(&nobody, &["Nobody has this home address, and it is not registered."]);
    let wrong = page.get("/subscribers?q=%3Cb%3E").await;
    assert_contains(&wrong, &["query: &lt;b&gt; is nothing"]);
}

#[tokio::test]
async fn pages_are_turned() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let first = page.get("/bindings").await;
    assert_contains(&first, &["<a rel=\"next\" href=\"/bindings?page=more%2F%26%22\">"]);
    assert_contains(&first, &["<td>192.0.2.44</td><td class=\"number\">40000</td>"]);
    let second = page.get("/bindings?page=more%2F%26%22").await;
    assert_contains(
        &second,
        &["2001:db8:0:1::200", "href=\"/bindings.csv?page=more%2F%26%22&amp;"],
    );
    let long = page.get(&format!("/bindings?page={}", "x".repeat(600))).await;
    assert_contains(&long, &["too long"]);
}

#[tokio::test]
async fn nothing_that_a_store_says_becomes_markup() {
    let mut script = Script::new(1, HOSTILE, 120);
    script.make_hostile();
    let leader = script.start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let mut shown = 0;
    for path in PAGES.into_iter().chain(["/subscribers?q=%22%3E%3Cscript%3E"]) {
        let html = page.get(path).await;
        let own = html.matches("<script src=\"/app.js\"></script>").count();
        assert_eq!((own, html.matches("<script").count()), (1, 1), "{path}: {html}");
        shown += html.matches("&lt;script&gt;").count();
    }
    // Role, version, subscriber, prefix, home agent, home address, care-of address, NAI, the member
    // that was not asked, and the overview and the drawing say some of it again; of three alarms, their
    // history and three events six, two and four texts each.
    assert!(shown >= 12 + 18 + 2 + 12, "{shown}");
}

#[tokio::test]
async fn every_answer_forbids_foreign_and_written_in_scripts() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    for path in
        PAGES.into_iter().chain(["/nodes.json", "/style.css", "/app.js", "/icon.svg", "/none"])
    {
        let answer = page.get(path).await;
        let policy = "content-security-policy: default-src 'none'; script-src 'self'; ";
        assert!(answer.contains(policy), "{path}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
        assert!(!answer.contains(" style=\""), "{path}: inline styles are forbidden");
        let urls = answer.replace("http://www.w3.org/2000/svg", "");
        assert!(!urls.contains("http://") && !urls.contains("https://"), "{path}: {answer}");
    }
    assert!(page.get("/none").await.starts_with("HTTP/1.1 404"));
    assert!(page.get("/style.css").await.contains("prefers-color-scheme: dark"));
    let elsewhere = page.get("/live?of=/none").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
}

/// A stream of one page, read line by line.
struct Stream {
    lines: tokio::io::Lines<tokio::io::BufReader<TcpStream>>,
}

impl Page {
    async fn live(&self, of: &str) -> Stream {
        use tokio::io::AsyncBufReadExt as _;
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let request = format!("GET /live?of={of} HTTP/1.1\r\nHost: noc\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        Stream { lines: tokio::io::BufReader::new(stream).lines() }
    }
}

impl Stream {
    /// The next news that has parts.
    async fn parts(&mut self) -> serde_json::Value {
        let next = async {
            while let Some(line) = self.lines.next_line().await.expect("reads") {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let news: serde_json::Value = serde_json::from_str(data).expect("is JSON");
                if news["parts"].is_object() {
                    return news;
                }
            }
            panic!("the stream has ended");
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("in time")
    }
}

#[tokio::test]
async fn a_screen_is_sent_what_changes_and_only_that() {
    let script = Script::new(1, "leader", 120);
    let status = script.status.clone();
    let leader = script.start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let mut stream = page.live("/nodes").await;
    let first = stream.parts().await;
    assert!(first["parts"]["replicas"].as_str().expect("HTML").contains("part-replicas"));
    assert!(first["parts"]["feed"].is_string() && first["strip"].is_string(), "{first}");
    let mut changed = status.clone();
    changed.feed_subscribers[0].sent_revision = 119;
    leader.say(changed);
    let second = loop {
        let news = stream.parts().await;
        if news["parts"]["feed"].as_str().is_some_and(|html| html.contains(">119<")) {
            break news;
        }
    };
    assert!(second["parts"]["replicas"].is_null(), "nothing has changed there: {second}");
}

#[tokio::test]
async fn processes_are_looked_at_by_their_operations_ports() {
    let mut registry = metrics::registry();
    let drops = metrics::ReasonCounter::register(&mut registry, "forwarder_drops", "Drops", &[]);
    drops.count("no_binding");
    let readiness = Readiness::default();
    let latch = readiness.latch("feed");
    let shutdown = homeport_runtime::Shutdown::manual();
    let ops = homeport_runtime::config::OpsConfig::default();
    let server = homeport_runtime::ops::serve(&ops, registry, readiness, shutdown).await;
    let server = server.expect("listens");
    let gone = dead().await;
    let process = |name: &str, ops: String| ProcessConfig {
        name: name.to_owned(),
        role: Role::Forwarder,
        ops,
        inspection: None,
    };
    let processes = vec![process("here", server.address.to_string()), process("gone", gone)];
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_with(&[&leader.endpoint], processes).await;
    let html = page.get("/nodes").await;
    assert_contains(&html, &["not ready: feed", "<td>gone</td>", "Connection refused"]);
    latch.open();
    drops.count("no_binding");
    let patience = async {
        loop {
            let kpis = page.get("/kpis.json?table=drops").await;
            if kpis.contains("\"no_binding\":") && page.get("/nodes").await.contains("ready") {
                return kpis;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let kpis = tokio::time::timeout(Duration::from_secs(20), patience).await.expect("in time");
    assert!(kpis.contains("\"all\":"), "{kpis}");
}

#[test]
fn the_configuration_is_checked() {
    let long = vec!["127.0.0.1:1".to_owned(); crate::limits::STORES_MAX + 1];
    for (stores, expected) in [
        (Vec::new(), "stores: is a list of 0; expected a list of 1 to 32 entries"),
        (long, "stores: is a list of 33; expected a list of 1 to 32 entries"),
        (vec!["nobody".to_owned()], "stores: has \"nobody\"; expected a host and port"),
        (vec!["a b:1".to_owned()], "stores: has \"a b:1\"; expected a host and port"),
    ] {
        let error = Stores::new(&stores, &Bearer::default(), &Links::default())
            .map(drop)
            .expect_err("is wrong")
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn processes_are_checked_before_anything_is_opened() {
    let process = |name: &str, ops: &str, inspection: Option<&str>| ProcessConfig {
        name: name.to_owned(),
        role: Role::Store,
        ops: ops.to_owned(),
        inspection: inspection.map(str::to_owned),
    };
    let good = || process("a", "127.0.0.1:1", None);
    for (processes, expected) in [
        (
            vec![process("", "127.0.0.1:1", None)],
            "processes[0].name: is \"\"; expected a text of 1 to 64 characters",
        ),
        (vec![good(), good()], "processes[1].name: is \"a\"; expected another name for each"),
        (
            vec![process("a", "nobody", None)],
            "processes[0].ops: is \"nobody\"; expected a host and port",
        ),
        (
            vec![process("a", "h:1", Some("h:2"))],
            "processes[0].inspection: is \"h:2\"; expected host and port, and only",
        ),
        (
            (0..300).map(|n| process(&n.to_string(), "h:1", None)).collect(),
            "processes: is a list of 300; expected a list of at most 256",
        ),
    ] {
        let error = config::check_processes(&processes).expect_err("is wrong").to_string();
        assert!(error.contains(expected), "{error}");
    }
    config::check_processes(&[good(), process("b", "homeport-store:9101", None)])
        .expect("is right");
}

#[tokio::test]
async fn the_role_runs_until_the_shutdown_and_names_a_taken_port() {
    let leader = Script::new(1, "leader", 120).start().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let mut config = crate::Config {
        listen: taken.local_addr().expect("has an address"),
        stores: vec![leader.endpoint.clone()],
        token_file: None,
        processes: Vec::new(),
        login: None,
        tls: None,
        telemetry: Default::default(),
        ops: Default::default(),
    };
    let shutdown = homeport_runtime::Shutdown::manual();
    let error = crate::run(config.clone(), shutdown.clone()).await.expect_err("is taken");
    assert!(error.to_string().starts_with("listen: cannot listen on 127.0.0.1:"), "{error}");
    drop(taken);
    config.listen.set_port(0);
    let role = Task::spawn("noc", crate::run(config, shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!role.is_finished());
    shutdown.begin();
    let ended = tokio::time::timeout(Duration::from_secs(5), role).await.expect("in time");
    assert!(ended.expect("ran").is_ok());
}
