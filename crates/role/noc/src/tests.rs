//! The page against stores that answer by a script, over real sockets.

mod fake;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use homeport_runtime::{Readiness, Task, metrics};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use self::fake::{HOSTILE, Script};
use crate::{
    page, poll,
    status::{Seen, Status},
    stores::Stores,
    web::{self, Parameters},
};

struct Page {
    address: SocketAddr,
    latest: tokio::sync::watch::Receiver<Arc<Status>>,
    _tasks: [Task; 2],
}

/// The page over these stores, after its first poll.
async fn page_of(endpoints: &[&str]) -> Page {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let stores = Arc::new(Stores::new(&endpoints).expect("addresses"));
    let (sender, mut latest) = poll::channel();
    let counter = poll::register(&mut metrics::registry());
    let latch = Readiness::default().latch("first-poll");
    let poller = Task::spawn("poll", poll::run(Arc::clone(&stores), sender, counter, latch));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let shutdown = homeport_runtime::Shutdown::manual();
    let server = Task::spawn("page", web::serve(listener, stores, latest.clone(), shutdown));
    latest.wait_for(|status| status.taken_ms > 0).await.expect("polls");
    Page { address, latest, _tasks: [poller, server] }
}

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

/// An address at which nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    listener.local_addr().expect("has an address").to_string()
}

#[tokio::test]
async fn shows_the_cluster_its_feed_and_its_bindings() {
    let leader = Script::new(1, "leader", 120).start().await;
    let follower = Script::new(2, "follower", 117).start().await;
    let page = page_of(&[&follower.endpoint, &leader.endpoint]).await;
    let html = page.get("/").await;
    assert!(html.starts_with("HTTP/1.1 200"), "{html}");
    for expected in [
        "<dt>Leader</dt><dd>node 1</dd>",
        "<dt>Stores reached</dt><dd>2 of 3</dd>",
        "<dt>Feed subscribers</dt><dd>2</dd>",
        "<dt>Most behind</dt><dd>2</dd>",
        "<section class=\"verdict working\" role=\"status\">\n<h2>Working</h2>",
        "<dt>Bindings</dt><dd>3</dd>",
        "<td class=\"leader\">leader</td>",
        "a member that is not among this page",
        "<th scope=\"row\">forwarder-1</th><td>node 1</td><td class=\"number\">118</td>\
         <td class=\"number\">2</td>",
        "<th scope=\"row\">2001:db8:0:1::/64</th><td>2001:db8:0:1::1</td>",
        "<th scope=\"rowgroup\" rowspan=\"2\">2001:db8:0:1::100</th>",
        "<td>192.0.2.44</td><td class=\"number\">40000</td><td>foreign, behind NAT</td>",
        "<td class=\"number\">59 min 59 s</td>",
    ] {
        assert!(html.contains(expected), "{expected} is missing in {html}");
    }
    // The lists come from the leader, though it is not the first.
    assert!(html.contains(&format!("From {}", leader.endpoint)));
    assert!(!html.contains("<ul>"), "{html}");
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
async fn the_json_has_what_the_page_has() {
    let leader = Script::new(1, "leader", 120).start().await;
    let dead = dead().await;
    let page = page_of(&[&leader.endpoint, &dead]).await;
    let answer = page.get("/api/status.json").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("has a body");
    assert!(head.contains("content-type: application/json"), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).expect("is JSON");
    assert_eq!(json["health"], "degraded");
    assert_eq!(json["leader_id"], 1);
    assert_eq!(json["replicas"][0]["state"], "reached");
    assert_eq!(json["replicas"][0]["applied_index"], 120);
    assert_eq!(json["replicas"][1]["state"], "unreached");
    assert_eq!(json["replicas"][1]["endpoint"], dead);
    assert_eq!(json["feed_subscribers"][0]["name"], "forwarder-1");
    assert_eq!(json["home_prefixes"][0]["prefix"], "2001:db8:0:1::/64");
    assert_eq!(json["homes"]["rows"][0]["bindings"][1]["care_of_address"], "192.0.2.44");
    assert_eq!(json["totals"]["bindings"], 3);
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn says_that_a_store_or_all_stores_cannot_be_reached() {
    let leader = Script::new(1, "leader", 120).start().await;
    let gone = dead().await;
    let html = page_of(&[&leader.endpoint, &gone]).await.get("/").await;
    assert!(html.contains(&format!("<li>{gone} cannot be reached: ")), "{html}");
    assert!(html.contains("Connection refused"), "{html}");
    assert!(html.contains("<td class=\"bad\" colspan=\"9\">cannot be reached since "), "{html}");
    assert!(html.contains("<title>1 problem"), "{html}");
    assert!(html.contains("<h2>Working, with problems</h2>"), "{html}");
    assert!(html.contains("<div class=\"bad\"><dt>Stores reached</dt>"), "{html}");

    let page = page_of(&[&gone]).await;
    let html = page.get("/").await;
    assert!(html.starts_with("HTTP/1.1 200"), "{html}");
    assert!(html.contains("<div class=\"bad\"><dt>Leader</dt><dd>\u{2013}</dd>"), "{html}");
    assert!(html.contains("<title>DOWN: 1 problem"), "{html}");
    assert!(html.contains("<h2>Down: no mobile node can register</h2>"), "{html}");
    let looked_up = page.get("/?home=2001:db8:0:1::100").await;
    assert!(looked_up.contains("no store can be reached"), "{looked_up}");
}

#[tokio::test]
async fn says_that_there_is_no_leader_or_that_replicas_differ() {
    let mut lost = Script::new(2, "candidate", 117);
    lost.status.leader_id = 0;
    let lost = lost.start().await;
    let html = page_of(&[&lost.endpoint]).await.get("/").await;
    assert!(html.contains("no replica knows a leader"), "{html}");
    assert!(html.contains("<td class=\"bad\">candidate</td>"), "{html}");
    assert!(html.contains("no forwarder is at the feed"), "{html}");
    assert!(html.contains("<section class=\"verdict down\""), "{html}");

    let old = Script::new(1, "leader", 117).start().await;
    let mut new = Script::new(2, "leader", 120);
    new.status.leader_id = 2;
    let new = new.start().await;
    let html = page_of(&[&old.endpoint, &new.endpoint]).await.get("/").await;
    assert!(html.contains("replicas name different leaders: 1, 2"), "{html}");
}

#[tokio::test]
async fn a_store_that_refuses_a_list_is_quoted() {
    let mut script = Script::new(1, "leader", 120);
    script.refuse_lists = true;
    let leader = script.start().await;
    let html = page_of(&[&leader.endpoint]).await.get("/").await;
    assert!(html.contains("does not list home prefixes"), "{html}");
    assert!(html.contains("does not list bindings"), "{html}");
    assert!(html.contains("the lists are closed"), "{html}");
}

#[tokio::test]
async fn a_leader_that_is_lost_is_marked_and_what_only_it_lists_is_no_further_problem() {
    let gone = dead().await;
    let mut script = Script::new(2, "follower", 117);
    script.status.members[0].address.clone_from(&gone);
    script.refuse_lists = true;
    let follower = script.start().await;
    let html = page_of(&[&gone, &follower.endpoint]).await.get("/").await;
    assert!(html.contains("<div class=\"bad\"><dt>Leader</dt><dd>node 1</dd>"), "{html}");
    assert!(!html.contains("does not list home prefixes"), "{html}");
    assert!(html.contains("None, or the leader could not be asked."), "{html}");
}

#[tokio::test]
async fn looks_up_one_home_address_and_turns_pages() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let first = page.get("/").await;
    assert!(first.contains("<a href=\"/?page=more%2F%26%22\">Next page</a>"), "{first}");
    let second = page.get("/?page=more%2F%26%22").await;
    assert!(second.contains("2001:db8:0:1::200"), "{second}");
    assert!(second.contains("<a href=\"/\">First page</a>"), "{second}");

    // Written in full and found all the same: the store is asked for the canonical form.
    let one = page.get("/?home=2001:0db8:0:1:0:0:0:0100").await;
    assert!(one.contains("<th scope=\"rowgroup\" rowspan=\"2\">2001:db8:0:1::100</th>"), "{one}");
    let unknown = page.get("/?home=2001:db8::dead").await;
    assert!(unknown.contains("No bindings."), "{unknown}");
    assert!(!unknown.contains("<ul>"), "{unknown}");
    let wrong = page.get("/?home=%3Cb%3E").await;
    assert!(wrong.contains("\u{201c}&lt;b&gt;\u{201d} is not an IPv6 address"), "{wrong}");
    let long = page.get(&format!("/?page={}", "x".repeat(600))).await;
    assert!(long.contains("too long"), "{long}");
}

#[tokio::test]
async fn nothing_that_a_store_says_becomes_markup() {
    let mut script = Script::new(1, HOSTILE, 120);
    script.make_hostile();
    let leader = script.start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let html = page.get(&format!("/?home={}", "%22%3E%3Cscript%3E")).await;
    assert!(!html.contains("<script"), "{html}");
    let html = page.get("/").await;
    assert!(!html.contains("<script"), "{html}");
    assert!(!html.contains("'x'"), "{html}");
    // Role, version, subscriber, prefix, home agent, home address, care-of address, the member
    // that was not asked: eight places.
    let shown = html.matches("&lt;script&gt;").count();
    assert!(shown >= 8, "{shown} in {html}");
}

#[tokio::test]
async fn every_answer_forbids_scripts_frames_and_foreign_content() {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    for path in ["/", "/api/status.json", "/style.css", "/icon.svg", "/none"] {
        let answer = page.get(path).await;
        let policy = "content-security-policy: default-src 'none'; style-src 'self'; ";
        assert!(answer.contains(policy), "{path}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
        assert!(!answer.to_lowercase().contains("<script"), "{path}: {answer}");
        assert!(!answer.contains(" style="), "{path}: inline styles are forbidden");
    }
    assert!(page.get("/none").await.starts_with("HTTP/1.1 404"));
    assert!(page.get("/style.css").await.contains("prefers-color-scheme: dark"));
}

#[test]
fn what_is_old_is_said_to_be_old() {
    let mut status = Status { taken_ms: 1_700_000_000_000, ..Status::default() };
    let parameters = Parameters::default();
    let fresh = page::render(&status, &parameters, 1_700_000_002_000);
    assert!(fresh.contains("As of 22:13:20 UTC, 2 s ago."), "{fresh}");
    assert!(!fresh.contains("<ul>"));
    let stale = page::render(&status, &parameters, 1_700_000_060_000);
    assert!(stale.contains("<h2>Out of date</h2>"), "{stale}");
    assert!(stale.contains("What is shown here is 60 s old"), "{stale}");
    status.taken_ms = 0;
    let never = page::render(&status, &parameters, 1_700_000_060_000);
    assert!(never.contains("The stores have not been asked yet."), "{never}");
}

#[test]
fn the_configuration_is_checked() {
    let long = vec!["127.0.0.1:1".to_owned(); crate::limits::STORES_MAX + 1];
    for (stores, expected) in [
        (Vec::new(), "stores: has 0 addresses; expected 1 to 32"),
        (long, "stores: has 33 addresses; expected 1 to 32"),
        (vec!["nobody".to_owned()], "stores: \"nobody\" is not an address; expected"),
        (vec!["a b:1".to_owned()], "stores: \"a b:1\" is not an address; expected"),
    ] {
        let error = Stores::new(&stores).map(drop).expect_err("is wrong").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn the_role_runs_until_the_shutdown_and_names_a_taken_port() {
    let leader = Script::new(1, "leader", 120).start().await;
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let mut config = crate::Config {
        listen: taken.local_addr().expect("has an address"),
        stores: vec![leader.endpoint.clone()],
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
