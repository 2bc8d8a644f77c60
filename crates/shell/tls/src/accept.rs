//! Connections that come: each shakes hands beside the others, and is handed on when that is over.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use homeport_runtime::Task;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::{
    identity::Identity,
    limits::{ACCEPT_PAUSE, CONNECTIONS_WAITING_MAX, HANDSHAKE_MAX, HANDSHAKES_MAX},
    links::{Links, Protected},
    metrics::Side,
    reason::Reason,
};

/// A connection that came.
#[derive(Debug)]
pub enum Connection {
    /// As it came.
    Plain(TcpStream),
    /// After the handshake: who it is.
    Protected(Box<TlsStream<TcpStream>>, Identity),
}

/// What calls know of their connection, among the extensions of a request.
#[derive(Clone, Debug)]
pub struct Link {
    /// The addresses.
    pub tcp: TcpConnectInfo,
    /// The other end, by its certificate; none on plain links.
    pub peer: Option<Identity>,
}

impl Connected for Connection {
    type ConnectInfo = Link;

    fn connect_info(&self) -> Link {
        match self {
            Self::Plain(stream) => Link { tcp: stream.connect_info(), peer: None },
            Self::Protected(stream, peer) => {
                Link { tcp: stream.get_ref().0.connect_info(), peer: Some(peer.clone()) }
            }
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Connection::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Connection::Protected(stream, _) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, octets))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Protected(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}

impl Links {
    /// The connections that come to this listener and are let in.
    #[must_use]
    pub fn incoming(
        &self,
        listener: TcpListener,
    ) -> Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>> {
        let Some(protected) = self.0.clone() else {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            return Box::pin(incoming.map(|stream| stream.map(Connection::Plain)));
        };
        let (out, connections) = mpsc::channel(CONNECTIONS_WAITING_MAX);
        let accepting = Task::spawn("accept", accept(listener, protected, out));
        Box::pin(Shaken { connections, _accepting: accepting })
    }
}

/// Connections after their handshakes.
struct Shaken {
    connections: mpsc::Receiver<Connection>,
    /// It lives as long as the stream.
    _accepting: Task<()>,
}

impl Stream for Shaken {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(context).map(|connection| connection.map(Ok))
    }
}

async fn accept(listener: TcpListener, protected: Arc<Protected>, out: mpsc::Sender<Connection>) {
    let mut handshakes = FuturesUnordered::new();
    loop {
        // Cancel-safe: a connection that is not accepted waits in the backlog, a handshake goes on.
        tokio::select! {
            accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                Ok((stream, peer)) => {
                    let protected = Arc::clone(&protected);
                    let shaking = shake(stream, peer, protected, out.clone());
                    handshakes.push(Task::spawn("handshake", shaking));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = handshakes.next(), if !handshakes.is_empty() => {}
            () = out.closed() => return,
        }
    }
}

async fn shake(
    stream: TcpStream,
    peer: SocketAddr,
    protected: Arc<Protected>,
    out: mpsc::Sender<Connection>,
) {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let shaken = async {
        stream.set_nodelay(true)?;
        let material = protected.material();
        let acceptor = TlsAcceptor::from(Arc::clone(&material.server));
        let stream = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await.map_err(late)??;
        Ok((stream, material))
    };
    match shaken.await {
        Ok((stream, material)) => {
            // The verifier has seen it: it is there.
            let certificates = stream.get_ref().1.peer_certificates();
            let identity = certificates.and_then(|all| material.identity_of(all.first()?));
            if let Some(identity) = identity {
                // Who serves has gone: so does the connection.
                drop(out.send(Connection::Protected(Box::new(stream), identity)).await);
            }
        }
        Err(error) => {
            let reason = Reason::of_io(&error);
            let peer = peer.to_string();
            protected.metrics.handshake_refused(Side::Server, reason, &peer, &error);
        }
    }
}
