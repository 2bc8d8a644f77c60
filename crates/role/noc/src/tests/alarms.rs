//! Alarms and events on the pages.

use super::{Page, Script, assert_contains, dead, page_of};

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
