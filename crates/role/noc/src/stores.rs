//! The stores as seen from here: one lazily connected channel each, every call with a deadline.

use homeport_api::admin::{
    self, bindings_client::BindingsClient, cluster_client::ClusterClient,
    home_prefixes_client::HomePrefixesClient,
};
use tokio::time::timeout;
use tonic::{
    Code, Response, Status as Answer,
    transport::{Channel, Endpoint},
};

use crate::{
    Error,
    limits::{ERROR_CHARS_MAX, HOME_PREFIXES_MAX, HOMES_PER_PAGE, STORE_DEADLINE, STORES_MAX},
    status::{Home, Homes},
};

/// Every configured store.
#[derive(Debug)]
pub(crate) struct Stores {
    stores: Vec<Store>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) endpoint: String,
    channel: Channel,
}

impl Stores {
    /// Connects to nobody yet.
    pub(crate) fn new(endpoints: &[String]) -> Result<Self, Error> {
        if endpoints.is_empty() || endpoints.len() > STORES_MAX {
            return Err(Error::StoreCount(endpoints.len()));
        }
        let stores =
            endpoints.iter().map(|endpoint| Store::new(endpoint)).collect::<Result<_, _>>()?;
        Ok(Self { stores })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Store> {
        self.stores.iter()
    }

    /// The store of this address.
    pub(crate) fn find(&self, endpoint: &str) -> Option<&Store> {
        self.stores.iter().find(|store| store.endpoint == endpoint)
    }
}

impl Store {
    fn new(endpoint: &str) -> Result<Self, Error> {
        let has_port =
            endpoint.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let target = Endpoint::from_shared(format!("http://{endpoint}"))
            .ok()
            .filter(|_| has_port)
            .ok_or_else(|| Error::Store(endpoint.to_owned()))?;
        let channel = target
            .connect_timeout(STORE_DEADLINE)
            .http2_keep_alive_interval(STORE_DEADLINE * 5)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { endpoint: endpoint.to_owned(), channel })
    }

    pub(crate) async fn status(&self) -> Result<admin::GetStatusResponse, String> {
        let mut client = ClusterClient::new(self.channel.clone());
        in_time(client.get_status(admin::GetStatusRequest {})).await
    }

    /// The home prefixes, and whether there are more than are shown.
    pub(crate) async fn home_prefixes(&self) -> Result<(Vec<admin::HomePrefix>, bool), String> {
        let mut client = HomePrefixesClient::new(self.channel.clone());
        let request = admin::ListHomePrefixesRequest {
            page_size: HOME_PREFIXES_MAX,
            page_token: String::new(),
        };
        let list = in_time(client.list_home_prefixes(request)).await?;
        Ok((list.home_prefixes, !list.next_page_token.is_empty()))
    }

    /// One page of home addresses, of the replica's own state; an empty token is the first page.
    pub(crate) async fn homes(&self, page_token: &str) -> Result<Homes, String> {
        let mut client = BindingsClient::new(self.channel.clone());
        let request = admin::ListHomeBindingsRequest {
            page_size: HOMES_PER_PAGE,
            page_token: page_token.to_owned(),
            local: true,
            ..Default::default()
        };
        let list = in_time(client.list_home_bindings(request)).await?;
        Ok(Homes {
            rows: list.homes.into_iter().map(Home::from).collect(),
            revision: Some(list.revision),
            next_page_token: Some(list.next_page_token).filter(|token| !token.is_empty()),
            endpoint: Some(self.endpoint.clone()),
        })
    }

    /// One home address, of the replica's own state; no row when the store does not know it.
    pub(crate) async fn home(&self, home_address: &str) -> Result<Homes, String> {
        let mut client = BindingsClient::new(self.channel.clone());
        let request =
            admin::GetHomeBindingsRequest { home_address: home_address.to_owned(), local: true };
        let rows = match answer_in_time(client.get_home_bindings(request)).await {
            Ok(home) => vec![Home::from(home)],
            Err(answer) if answer.code() == Code::NotFound => Vec::new(),
            Err(answer) => return Err(shown(&answer)),
        };
        Ok(Homes { rows, endpoint: Some(self.endpoint.clone()), ..Homes::default() })
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Answer>>) -> Result<T, String> {
    answer_in_time(call).await.map_err(|answer| shown(&answer))
}

/// The deadline is for the whole, connecting included.
async fn answer_in_time<T>(
    call: impl Future<Output = Result<Response<T>, Answer>>,
) -> Result<T, Answer> {
    match timeout(STORE_DEADLINE, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => {
            let waited = format!("no answer in {} s", STORE_DEADLINE.as_secs());
            Err(Answer::deadline_exceeded(waited))
        }
    }
}

/// An error in at most [`ERROR_CHARS_MAX`] characters, with the cause that the operator can act on.
fn shown(answer: &Answer) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(answer);
    let mut innermost = answer.message().to_owned();
    while let Some(error) = cause {
        innermost = error.to_string();
        cause = error.source();
    }
    if innermost.is_empty() {
        innermost = answer.code().to_string();
    }
    innermost.chars().take(ERROR_CHARS_MAX).collect()
}
