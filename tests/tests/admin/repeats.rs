//! `request_id`: a write whose answer was lost is asked again, and done once.

use super::validate::audit_records;
use super::*;

const ID: &str = "8b0ff8a5-6f4c-4b41-a1ad-23a4a5ef3c8d";

fn create(prefix_text: &str, home_agent: &str, request_id: &str) -> CreateHomePrefixRequest {
    let home_prefix = Some(prefix(prefix_text, home_agent));
    let request_id = request_id.to_owned();
    CreateHomePrefixRequest { home_prefix, request_id, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_has_the_first_answer_and_is_done_once() -> Result<()> {
    let cluster = Cluster::start().await?;
    let channel = cluster.leader_channel().await?;
    let mut a = Admin::new(channel.clone());
    let before = audit_records(&channel).await?.len();
    let request = create("2001:db8:0:1::/64", "2001:db8:0:1::1", ID);
    // Both at once, and once more.
    let (mut one, mut two) = (a.prefixes.clone(), a.prefixes.clone());
    let (first, second) = tokio::join!(
        one.create_home_prefix(request.clone()),
        two.create_home_prefix(request.clone())
    );
    let first = first?.into_inner();
    assert!(first.revision > 0);
    assert_eq!(second?.into_inner(), first);
    assert_eq!(a.prefixes.create_home_prefix(request.clone()).await?.into_inner(), first);
    assert_eq!(audit_records(&channel).await?.len(), before + 1, "it was done once");

    // Without an id, or with another one, it is another write.
    for id in ["", "another"] {
        let request = CreateHomePrefixRequest { request_id: id.to_owned(), ..request.clone() };
        let status = a.prefixes.create_home_prefix(request).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
    }
    let repeated = DeleteHomePrefixRequest {
        prefix: "2001:db8:0:1::/64".to_owned(),
        request_id: "to-delete".to_owned(),
        ..Default::default()
    };
    a.prefixes.delete_home_prefix(repeated.clone()).await?;
    a.prefixes.delete_home_prefix(repeated).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_of_one_request_and_is_checked() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut a = Admin::of_leader(&cluster).await?;
    a.prefixes.create_home_prefix(create("2001:db8:0:1::/64", "2001:db8:0:1::1", ID)).await?;
    let other = create("2001:db8:0:2::/64", "2001:db8:0:2::1", ID);
    let status = a.prefixes.create_home_prefix(other.clone()).await.unwrap_err();
    let delete = DeleteHomePrefixRequest {
        prefix: "2001:db8:0:1::/64".to_owned(),
        request_id: ID.to_owned(),
        ..Default::default()
    };
    let of_another_call = a.prefixes.delete_home_prefix(delete).await.unwrap_err();
    for status in [status, of_another_call] {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(field_of(&status).as_deref(), Some("request_id"));
        let info = status.get_details_error_info().context("has details")?;
        assert_eq!(info.reason, "REQUEST_ID_REUSED");
    }
    // A dry run is no write, and uses no id up.
    let dry = CreateHomePrefixRequest { validate_only: true, ..other };
    a.prefixes.create_home_prefix(dry).await?;

    // What was refused may be asked again with its id.
    let (early, again) = ("early".to_owned(), "2001:db8:0:1::100".to_owned());
    let delete = DeleteSubscriberRequest {
        home_address: again.clone(),
        request_id: early,
        ..Default::default()
    };
    let status = a.subscribers.delete_subscriber(delete.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    a.create_subscriber(Subscriber { home_address: again, ..Default::default() }).await?;
    a.subscribers.delete_subscriber(delete).await?;

    let long = "x".repeat(65);
    for wrong in ["a b", "\u{e9}", &long] {
        for validate_only in [false, true] {
            let request = CreateHomePrefixRequest {
                validate_only,
                ..create("2001:db8:0:3::/64", "2001:db8:0:3::1", wrong)
            };
            let status = a.prefixes.create_home_prefix(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert_eq!(field_of(&status).as_deref(), Some("request_id"), "{wrong}");
        }
    }
    Ok(())
}
