//! Revoking bindings and sending mobile nodes away.

use homeport_api::admin::{RevocationTrigger, switch_home_agent_request::Target};

use super::{Fake, Script, assert_exit, run, text};

#[tokio::test]
async fn bindings_are_revoked() {
    let store = Fake::start(Script::leader()).await;
    let revoked = run(&[&store.endpoint], &["bindings", "revoke", "2001:db8:0:1::100"]).await;
    assert_exit(&revoked, 0);
    let said = "revoking bindings of 2001:db8:0:1::100 from revision 121\n";
    assert_eq!(text(&revoked.stdout), said);
    let asked = store.revoked().expect("asked");
    assert_eq!((asked.home_address.as_str(), &asked.bids[..]), ("2001:db8:0:1::100", &[][..]));
    assert_eq!(asked.trigger, Some(RevocationTrigger::Administrative.into()));

    let some = ["bindings", "revoke", "2001:db8:0:1::100", "--bid", "2,3", "--bid", "7"];
    let some = [&some[..], &["--trigger", "user-session-ended"]].concat();
    assert_exit(&run(&[&store.endpoint], &some).await, 0);
    let asked = store.revoked().expect("asked");
    assert_eq!(asked.bids, [2, 3, 7]);
    assert_eq!(asked.trigger, Some(RevocationTrigger::UserSessionEnded.into()));
    let unknown = ["bindings", "revoke", "2001:db8:0:1::100", "--trigger", "handover"];
    assert_exit(&run(&[&store.endpoint], &unknown).await, 2);
}

#[tokio::test]
async fn mobile_nodes_are_sent_away() {
    let store = Fake::start(Script::leader()).await;
    let all = ["home-agents", "switch", "2001:db8:0:1::/64", "--to", "2001:db8:0:2::1"];
    let all = [&all[..], &["--to", "2001:db8:0:3::1", "--time-left-secs", "600"]].concat();
    let switched = run(&[&store.endpoint], &all).await;
    assert_exit(&switched, 0);
    assert_eq!(text(&switched.stdout), "asking 3 mobile nodes to leave, the last in 2 s\n");
    let asked = store.switched().expect("asked");
    assert_eq!(asked.target, Some(Target::Prefix("2001:db8:0:1::/64".to_owned())));
    assert_eq!(asked.addresses, ["2001:db8:0:2::1", "2001:db8:0:3::1"]);
    assert_eq!(asked.time_left_secs, Some(600));

    let one = ["home-agents", "switch", "2001:db8:0:1::100"];
    assert_exit(&run(&[&store.endpoint], &one).await, 0);
    let asked = store.switched().expect("asked");
    assert_eq!(asked.target, Some(Target::HomeAddress("2001:db8:0:1::100".to_owned())));
    assert_eq!((asked.addresses.len(), asked.time_left_secs), (0, None));
    let refusing = Fake::start(Script::refusing()).await;
    assert_exit(&run(&[&refusing.endpoint], &one).await, 1);
}
