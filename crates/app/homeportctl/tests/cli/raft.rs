//! `homeportctl raft`.

use homeport_api::admin::AddReplicaRequest;

use super::fake::{Fake, Script};
use super::{assert_exit, run, text};

#[tokio::test]
async fn adds_a_replica_in_the_place_of_another() {
    let store = Fake::start(Script::leader()).await;
    let add = ["raft", "add", "4", "127.0.0.1:7104", "--replaces", "3"];
    let added = run(&[&store.endpoint], &add).await;
    assert_exit(&added, 0);
    assert_eq!(text(&added.stdout), "NODE  ADDRESS         VOTES\n4     127.0.0.1:7104  yes\n");
    let expected = AddReplicaRequest {
        node_id: 4,
        address: "127.0.0.1:7104".to_owned(),
        learner_only: false,
        replaces_node_id: 3,
        ..Default::default()
    };
    assert_eq!(store.added(), Some(expected));

    let wrong = ["raft", "add", "4", "127.0.0.1:7104", "--replaces", "3", "--learner-only"];
    assert_exit(&run(&[&store.endpoint], &wrong).await, 2);
    assert_exit(&run(&[&store.endpoint], &["raft", "add", "0", "127.0.0.1:7104"]).await, 2);
}

#[tokio::test]
async fn says_who_leads_then_and_what_is_refused() {
    let store = Fake::start(Script::leader()).await;
    let moved = run(&[&store.endpoint], &["raft", "transfer"]).await;
    assert_eq!(text(&moved.stdout), "replica 3 leads\n");
    let moved = run(&[&store.endpoint], &["raft", "transfer", "--to", "2"]).await;
    assert_eq!(text(&moved.stdout), "replica 2 leads\n");
    let refused = run(&[&store.endpoint], &["raft", "remove", "9"]).await;
    assert_exit(&refused, 1);
    assert!(text(&refused.stderr).contains("node_id: 9 is no member"), "{}", text(&refused.stderr));
}
