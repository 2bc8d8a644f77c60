//! Connections to others: the certificate at the other end must be of the role that is dialled.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint, Error},
};
use tower::{Service, service_fn};

use crate::{
    identity::Role,
    limits::TCP_KEEPALIVE,
    links::{Links, Protected},
    metrics::Side,
    reason::Reason,
};

/// The way to peers of one role. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Way {
    links: Links,
    to: Role,
}

impl Links {
    /// The way to peers of this role.
    #[must_use]
    pub fn to(&self, role: Role) -> Way {
        Way { links: self.clone(), to: role }
    }
}

impl Way {
    /// A channel that connects when it is used. The endpoint is of the scheme `http`, whatever protects the link.
    #[must_use]
    pub fn lazy(&self, endpoint: &Endpoint) -> Channel {
        match self.connector() {
            Some(connector) => endpoint.connect_with_connector_lazy(connector),
            None => endpoint.connect_lazy(),
        }
    }

    /// A channel that is connected.
    ///
    /// # Errors
    /// When there is nobody, or somebody else.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        match self.connector() {
            Some(connector) => endpoint.connect_with_connector(connector).await,
            None => endpoint.connect().await,
        }
    }

    /// The same to one of several addresses of a name.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_at(&self, endpoint: &Endpoint, at: SocketAddr) -> Result<Channel, Error> {
        let open = move || async move {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let Some(protected) = self.links.0.clone() else {
            let dial =
                service_fn(
                    move |_: Uri| async move { Ok::<_, io::Error>(TokioIo::new(open().await?)) },
                );
            return endpoint.connect_with_connector(dial).await;
        };
        let to = self.to;
        let dial = service_fn(move |_: Uri| {
            let protected = Arc::clone(&protected);
            async move { shake(open().await?, &protected, to, &at.to_string()).await }
        });
        endpoint.connect_with_connector(dial).await
    }

    fn connector(&self) -> Option<Connector> {
        let protected = Arc::clone(self.links.0.as_ref()?);
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        Some(Connector { tcp, protected, to: self.to })
    }
}

/// Connects over TCP and shakes hands.
#[derive(Clone)]
struct Connector {
    tcp: HttpConnector,
    protected: Arc<Protected>,
    to: Role,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting = dyn Future<Output = Result<Shaken, BoxError>> + Send;

impl Service<Uri> for Connector {
    type Response = Shaken;
    type Error = BoxError;
    type Future = Pin<Box<Connecting>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let peer = uri.authority().map(ToString::to_string).unwrap_or_default();
        let connecting = self.tcp.call(uri);
        let (protected, to) = (Arc::clone(&self.protected), self.to);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(shake(stream, &protected, to, &peer).await?)
        })
    }
}

type Shaken = TokioIo<TlsStream<TcpStream>>;

async fn shake(
    stream: TcpStream,
    protected: &Protected,
    to: Role,
    peer: &str,
) -> io::Result<Shaken> {
    let config = protected.material().client(to);
    let config = config.ok_or_else(|| io::Error::other("no authority for this role"))?;
    // It is neither sent nor compared.
    let name = ServerName::try_from("homeport").map_err(io::Error::other)?;
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    shaken.map(TokioIo::new).inspect_err(|error| {
        let reason = Reason::of_io(error);
        protected.metrics.handshake_refused(Side::Client, reason, peer, error);
    })
}
