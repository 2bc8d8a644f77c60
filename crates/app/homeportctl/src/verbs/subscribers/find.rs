//! `homeportctl subscribers find`

use homeport_api::admin::{
    FindSubscribersRequest, FoundSubscriber, Match, subscribers_client::SubscribersClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{Format, Page},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
    verbs::bindings,
};

/// Besides those of the bindings, whose first is the home address.
const OWN: [&str; 2] = ["NAI", "FOUND-BY"];

pub(super) async fn run(
    cluster: &Cluster,
    format: Format,
    query: &str,
    page: Page,
    local: bool,
) -> Result<String, Failure> {
    let found = crate::verbs::collect(page, async |page_size, page_token| {
        let query = query.to_owned();
        let request = FindSubscribersRequest { query, page_size, page_token, local };
        let call =
            async |channel| SubscribersClient::new(channel).find_subscribers(request.clone()).await;
        let page = cluster.call(Effect::Read, call).await?;
        Ok((page.found, page.next_page_token))
    });
    let columns: Vec<&str> = OWN.into_iter().chain(bindings::COLUMNS).collect();
    Ok(output::list(format, &columns, &found.await?, rows, document))
}

/// One row for each binding.
fn rows(found: &FoundSubscriber) -> Vec<Vec<String>> {
    let nai = found.subscriber.as_ref().map(|record| &record.nai).filter(|nai| !nai.is_empty());
    let own = || vec![output::or_dash(nai), matches(found).join(",")];
    let bound = match &found.bindings {
        Some(home) => bindings::rows(home),
        None => {
            let home_address = found.subscriber.as_ref().map(|record| &record.home_address);
            let mut row = vec![output::or_dash(home_address)];
            row.resize(bindings::COLUMNS.len(), "-".to_owned());
            vec![row]
        }
    };
    bound.into_iter().map(|row| [own(), row].concat()).collect()
}

fn matches(found: &FoundSubscriber) -> Vec<String> {
    let name = |it: Match| match it {
        Match::Nai => "nai",
        Match::HomeAddress => "home-address",
        Match::Ipv4HomeAddress => "ipv4-home-address",
        Match::CareOfAddress => "care-of-address",
        Match::MobileNetwork => "mobile-network",
        Match::Unspecified => "unknown",
    };
    found.matches().map(|it| name(it).to_owned()).collect()
}

fn document(found: &FoundSubscriber) -> Value {
    json!({
        "subscriber": found.subscriber.as_ref().map(super::document),
        "bindings": found.bindings.as_ref().map(bindings::document),
        "matches": matches(found),
    })
}
