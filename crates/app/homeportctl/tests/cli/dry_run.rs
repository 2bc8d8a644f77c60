//! `--dry-run`, and the ids of writes.

use super::{Fake, Script, assert_exit, run, text};

const PREFIX: &str = "2001:db8:0:1::/64";
const CREATE: [&str; 7] = [
    "home-prefixes",
    "create",
    PREFIX,
    "--home-agent",
    "2001:db8:0:1::1",
    "--authentication",
    "none",
];
const DRY: &str = "dry run: nothing was written; this is what would be\n";

#[tokio::test]
async fn a_dry_run_shows_what_would_be_and_says_so_beside_it() {
    let store = Fake::start(Script::leader()).await;
    let dry = |arguments: &[&'static str]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--dry-run"]).collect();
        let endpoint = store.endpoint.clone();
        async move { run(&[&endpoint], &arguments).await }
    };
    let created = dry(&CREATE).await;
    assert_exit(&created, 0);
    assert!(text(&created.stdout).contains(PREFIX), "{}", text(&created.stdout));
    assert_eq!(text(&created.stderr), DRY);
    let listed = run(&[&store.endpoint], &["home-prefixes", "list"]).await;
    assert_eq!(text(&listed.stdout), "none\n");

    let home = "2001:db8:0:1::1";
    let all: [&[&str]; 5] = [
        &["home-prefixes", "delete", PREFIX],
        &["home-prefixes", "advertise", PREFIX],
        &["subscribers", "delete", home],
        &["bindings", "revoke", home],
        &["home-agents", "switch", home],
    ];
    for arguments in all {
        let done = dry(arguments).await;
        assert_exit(&done, 0);
        assert_eq!(text(&done.stderr), DRY, "{arguments:?}");
    }
    let marks = store.marks();
    assert_eq!(marks.len(), 1 + all.len());
    assert!(marks.iter().all(|(validate_only, _)| *validate_only), "{marks:?}");

    // What the store refuses is refused as ever.
    assert_exit(&run(&[&store.endpoint], &CREATE).await, 0);
    let refused = dry(&CREATE).await;
    assert_exit(&refused, 1);
    assert!(text(&refused.stderr).contains("prefix: exists already"));
    assert!(!text(&refused.stderr).contains("dry run"));
}

#[tokio::test]
async fn what_cannot_be_tried_is_not_asked() {
    let store = Fake::start(Script::leader()).await;
    let cases: [(&[&str], &str); 6] = [
        (&["raft", "add", "4", "store-4:7101"], "cannot be tried"),
        (&["raft", "remove", "4"], "cannot be tried"),
        (&["raft", "transfer"], "cannot be tried"),
        (&["home-prefixes", "list"], "writes nothing"),
        (&["status"], "writes nothing"),
        (&["token", "new", "--name", "a", "--role", "viewer"], "writes nothing"),
    ];
    for (arguments, why) in cases {
        let arguments: Vec<&str> =
            ["--dry-run"].into_iter().chain(arguments.iter().copied()).collect();
        let refused = run(&[&store.endpoint], &arguments).await;
        assert_exit(&refused, 2);
        assert!(refused.stdout.is_empty());
        let message = text(&refused.stderr);
        assert!(message.starts_with("error: --dry-run: ") && message.contains(why), "{message}");
    }
    assert!(store.marks().is_empty());
}

#[tokio::test]
async fn each_write_has_its_id_and_is_asked_again_with_it_when_the_answer_was_lost() {
    let store = Fake::start(Script::losing()).await;
    let create: Vec<&str> = ["--timeout-secs", "1"].into_iter().chain(CREATE).collect();
    let created = run(&[&store.endpoint], &create).await;
    assert_exit(&created, 0);
    assert!(text(&created.stdout).contains(PREFIX));
    let delete = ["home-prefixes", "delete", PREFIX];
    assert_exit(&run(&[&store.endpoint], &delete).await, 0);
    let marks = store.marks();
    let [(false, first), (false, again), (false, other)] = &marks[..] else {
        panic!("{marks:?}");
    };
    assert_eq!(first, again);
    assert_ne!(first, other);
    let is_hex = |id: &String| id.len() == 32 && id.bytes().all(|octet| octet.is_ascii_hexdigit());
    assert!(is_hex(first) && is_hex(other), "{marks:?}");

    // What is refused when it is asked again may be done already.
    store.set(Script::losing());
    let (slow, refusing) = (store, Script::refusing());
    let lost = async { run(&[&slow.endpoint], &create).await };
    let change = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        slow.set(refusing);
    };
    let (lost, ()) = tokio::join!(lost, change);
    assert_exit(&lost, 3);
    assert!(text(&lost.stderr).contains("did not say whether the change was made"));
}
