//! Alarms and events on the pages, and what is done about them.

use super::{Page, Script, assert_contains, between, dead, page_of, page_with_login};

async fn page() -> (super::fake::Fake, Page) {
    let leader = Script::new(1, "leader", 120).start().await;
    let page = page_of(&[&leader.endpoint]).await;
    (leader, page)
}

#[tokio::test]
async fn every_page_counts_the_alarms_and_the_list_says_what_to_do() {
    let (_leader, page) = page().await;
    for path in super::PAGES {
        let html = page.get(path).await;
        assert_contains(
            &html,
            &[
                "title=\"0 critical\">C 0</span>",
                "level-major\" title=\"1 major\">M 1</span>",
                "title=\"0 minor\">m 0</span>",
                "title=\"0 warning\">W 0</span>",
            ],
        );
    }
    let html = page.get("/alarms").await;
    assert_contains(
        &html,
        &[
            "title=\"major\">M</span> major</td><td>forwarders/edge-1</td><td>session-lost</td>",
            "data-since=\"1700000000000\"",
            "192.0.2.1 at 22:13:20 UTC: seen",
            "<a href=\"/alarms/help#part-session-lost\">docs/operations/alarms.md#session-lost</a>",
            "<h2>Shelved</h2>",
            "<td>acknowledged</td><td>session-lost@forwarders/edge-1</td>",
            "<a rel=\"next\" href=\"/alarms?page=more\">",
        ],
    );
    let help = page.get("/alarms/help").await;
    assert_contains(&help, &["id=\"part-session-lost\"><h2>session-lost</h2><p>major. No replica"]);
    let csv = page.get("/alarms.csv").await;
    let row = "\r\nmajor,forwarders/edge-1,session-lost,forwarders/edge-1 is not well,\
               2023-11-14T22:13:20Z,,,docs/operations/alarms.md#session-lost\r\n";
    assert_contains(&csv, &[row]);
    assert!(!csv.contains("disk-low"), "it is shelved: {csv}");
    let older = page.get("/alarms.json?table=history&page=more").await;
    assert_contains(&older, &["\"step\":\"raised\""]);
}

#[tokio::test]
async fn alarms_that_cannot_be_read_are_not_none() {
    let mut script = Script::new(1, "leader", 120);
    script.refuse_lists = true;
    let leader = script.start().await;
    let page = page_of(&[&leader.endpoint]).await;
    let html = page.get("/alarms").await;
    let expected = ["the lists are closed", "? alarms", ">Not known.<", "what alarms were"];
    assert_contains(&html, &expected);
    assert!(!html.contains("No alarm."), "{html}");
    assert!(
        page.get("/alarms.csv").await.ends_with(",acknowledged,help\r\n"),
        "buttons are no data"
    );
    let page = page_of(&[&dead().await]).await;
    assert_contains(&page.get("/").await, &["? alarms"]);
}

#[tokio::test]
async fn events_are_listed_and_those_of_one_subscriber_alone() {
    let (_leader, page) = page().await;
    let all = page.get("/events").await;
    let refused = "title=\"warning\">W</span> refused</td>\
                   <td><a href=\"/subscribers/2001:db8:0:1::100\">2001:db8:0:1::100</a></td>";
    let why = "<td class=\"number\">135</td><td>sequence number 7 is not newer</td>\
               <td>RFC 6275 section 9.5.1</td>";
    assert_contains(&all, &[refused, why, "node left", "2001:db8:0:1::200", "action=\"/events\""]);
    assert_contains(&all, &["href=\"/events?q=&amp;page=119.0\""]);
    for asked in ["2001:db8:0:1::100", "mn1%40example.com"] {
        let one = page.get(&format!("/events?q={asked}")).await;
        assert_contains(&one, &[why, "/events?q=2001%3Adb8%3A0%3A1%3A%3A100&amp;page=119.0"]);
        assert!(!one.contains("node left") && !one.contains("::200"), "{one}");
    }
    let nobody = page.get("/events?q=mn7%40example.com").await;
    assert_contains(&nobody, &["mn7@example.com is nobody's; expected an NAI"]);
    let several = page.get("/events?q=mn*").await;
    assert_contains(&several, &["that of several"]);
    let subscriber = page.get("/subscribers/2001:db8:0:1::100").await;
    assert_contains(&subscriber, &["<h2>Last events</h2>", why]);
    assert!(!subscriber.contains("node left"), "{subscriber}");
    let csv = page.get("/events.csv?q=2001:db8:0:1::100").await;
    let row = "\r\n2023-11-14T22:13:20Z,refused,2001:db8:0:1::100,,135,\
               sequence number 7 is not newer,RFC 6275 section 9.5.1,\r\n";
    assert_contains(&csv, &[row]);
}

#[tokio::test]
async fn who_is_logged_in_acknowledges_shelves_and_drains() {
    let leader = Script::new(1, "leader", 120).start().await;
    let follower = Script::new(2, "follower", 120).start().await;
    let page = page_with_login(&[&leader.endpoint, &follower.endpoint]).await;
    for path in ["/alarms", "/nodes"] {
        let guest = page.get(path).await;
        assert!(!guest.contains("/act/"), "{guest}");
    }
    let token = super::TOKEN.replace(' ', "+");
    let login = page.post("/login", "", &format!("token={token}&then=%2Falarms")).await;
    let cookie = between(&login, "set-cookie: ", ";");
    let html = page.get_as("/alarms", cookie).await;
    let form_token = between(&html, "name=\"form_token\" value=\"", "\"");
    let buttons = |html: &str, path: &str| html.matches(&format!("action=\"{path}\"")).count();
    // Three alarms, of which one is acknowledged and one shelved.
    let paths = ["/act/acknowledge", "/act/shelve", "/act/unshelve"];
    assert_eq!(paths.map(|path| buttons(&html, path)), [2, 2, 1], "{html}");
    assert_contains(&html, &["name=\"name\" value=\"session-lost@forwarders/edge-1\""]);
    let nodes = page.get_as("/nodes", cookie).await;
    let moved = "<td>front-ends/host-1</td><td><span class=\"badge level-minor\" title=\"minor\">m</span> \
                 being drained</td><td class=\"number\">3</td>";
    assert_contains(&nodes, &[moved, "<td>front-ends/host-2</td><td>serves</td>"]);
    // A forwarder of a version that cannot be drained is shown, and has no button.
    assert_contains(&nodes, &["<td>forwarders/edge-9</td><td>serves</td>"]);
    let paths = ["/act/drain", "/act/undrain"];
    assert_eq!(paths.map(|path| buttons(&nodes, path)), [1, 1], "{nodes}");
    let alarm = "session-lost%40forwarders%2Fedge-1";
    for (deed, name) in [
        ("acknowledge", alarm),
        ("shelve", alarm),
        ("unshelve", alarm),
        ("drain", "front-ends%2Fhost-2"),
        ("undrain", "front-ends%2Fhost-1"),
    ] {
        let path = format!("/act/{deed}");
        let form = |token: &str| format!("form_token={token}&name={name}&then=%2Fnodes");
        let refused = page.post(&path, cookie, &form("guess")).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        let done = page.post(&path, cookie, &form(form_token)).await;
        assert!(done.starts_with("HTTP/1.1 303") && done.contains("location: /nodes"), "{done}");
    }
    let form = format!("form_token={form_token}&name=front-ends%2Flast&then=%2Fnodes");
    let failed = page.post("/act/drain", cookie, &form).await;
    assert!(failed.starts_with("HTTP/1.1 502"), "{failed}");
    assert_contains(&failed, &["it is the last front-end that serves", "Go back to /nodes."]);
    let expected = [
        "acknowledge session-lost@forwarders/edge-1 (from the dashboard)",
        "shelve session-lost@forwarders/edge-1 for 28800 s",
        "shelve session-lost@forwarders/edge-1 for 0 s",
        "drain front-ends/host-2",
        "undrain front-ends/host-1",
    ];
    assert_eq!(leader.done(), expected);
    assert_eq!(follower.done(), Vec::<String>::new());
    let csv = page.get("/nodes.csv?table=connected").await;
    let rows =
        "\r\nfront-ends/host-1,being drained,3,2023-11-14T22:13:20Z,node 2,,\r\nfront-ends/host-2,";
    assert_contains(&csv, &[rows]);
}
