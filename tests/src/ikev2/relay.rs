//! TCP from one network namespace to another.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use homeport_hostnet::Namespace;
use homeport_runtime::Task;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::task::JoinSet;

/// Takes connections at an address in one namespace to an address in another, until it is dropped.
pub(super) struct Relay {
    /// Where it listens.
    pub(super) address: SocketAddr,
    _task: Task,
}

impl Relay {
    /// Opens it; port 0 is any that is free.
    pub(super) fn open(
        here: &Namespace,
        listen: SocketAddr,
        there: &Namespace,
        to: SocketAddr,
    ) -> Result<Self> {
        let listener = here.run(|| TcpListener::bind(listen))??;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = Listener::from_std(listener)?;
        let there = there.clone();
        let task = Task::spawn("relay", async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let there = there.clone();
                connections.spawn(async move {
                    let far = tokio::task::spawn_blocking(move || connect(&there, to)).await;
                    if let Ok(Ok(far)) = far
                        && let Ok(mut far) = TcpStream::from_std(far)
                    {
                        // Whoever ends it ends both.
                        drop(copy_bidirectional(&mut near, &mut far).await);
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _task: task })
    }
}

fn connect(namespace: &Namespace, to: SocketAddr) -> Result<std::net::TcpStream> {
    let stream = namespace.run(|| std::net::TcpStream::connect_timeout(&to, crate::PATIENCE))??;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
