//! Interfaces, their addresses and neighbours, over one netlink connection.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt;
use homeport_runtime::Task;
use ipnet::IpNet;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressMessage},
        link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo},
        route::RouteType,
    },
};
use tokio::runtime;

use crate::{error::Error, namespace::Namespace};

/// The network configuration of a namespace. Clones share one netlink connection; it is closed with
/// the last of them.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) handle: Handle,
    namespace: Namespace,
    _connection: Arc<Task>,
}

impl Network {
    /// Opens a netlink connection inside a namespace. Needs a tokio runtime.
    pub fn open(namespace: &Namespace) -> Result<Self, Error> {
        let runtime = runtime::Handle::current();
        let opened = namespace.run(|| {
            let _entered = runtime.enter();
            rtnetlink::new_connection()
        })?;
        let (connection, handle, _) = opened.map_err(|source| {
            Error::new("open", format!("netlink connection in {namespace}"), source)
        })?;
        Ok(Self {
            handle,
            namespace: namespace.clone(),
            _connection: Arc::new(Task::spawn("netlink", connection)),
        })
    }

    /// The namespace that it is about.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The index of an interface.
    pub async fn link_index(&self, link: &str) -> Result<u32, Error> {
        self.find(link).await.map(|(index, _)| index)
    }

    /// The index of an interface, and whether it is up.
    async fn find(&self, link: &str) -> Result<(u32, bool), Error> {
        let mut links = self.handle.link().get().match_name(link).execute();
        let found = links.try_next().await;
        let missing = || std::io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error());
        match found.map_err(|error| self.refused("find", link, error))? {
            Some(message) => {
                Ok((message.header.index, message.header.flags.contains(LinkFlags::Up)))
            }
            None => Err(Error::new("find", self.link_object(link), missing())),
        }
    }

    /// Creates a pair of virtual Ethernet interfaces: `link` here, its peer in another namespace.
    pub async fn add_veth(
        &self,
        link: &str,
        peer: &str,
        peer_namespace: &Namespace,
    ) -> Result<(), Error> {
        let file = peer_namespace.open()?;
        let mut message = LinkVeth::new(link, peer).build();
        for attribute in &mut message.attributes {
            let LinkAttribute::LinkInfo(infos) = attribute else {
                continue;
            };
            for info in infos {
                if let LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))) = info {
                    peer.attributes.push(LinkAttribute::NetNsFd(file.as_raw_fd()));
                }
            }
        }
        self.handle
            .link()
            .add(message)
            .execute()
            .await
            .map_err(|error| self.refused("create", link, error))
    }

    /// Creates a bridge that is up, and makes these interfaces its ports: one link for all that is
    /// behind them. Groups go to every port, joined or not.
    pub async fn add_bridge(&self, bridge: &str, ports: &[&str]) -> Result<(), Error> {
        let request =
            self.handle.link().add(LinkBridge::new(bridge).mcast_snooping(false).up().build());
        request.execute().await.map_err(|error| self.refused("create", bridge, error))?;
        let index = self.link_index(bridge).await?;
        for port in ports {
            self.change(port, "bridge", |builder| builder.controller(index).up()).await?;
        }
        Ok(())
    }

    /// Moves an interface into another namespace. It loses its addresses.
    pub async fn move_link(&self, link: &str, to: &Namespace) -> Result<(), Error> {
        let file = to.open()?;
        let index = self.link_index(link).await?;
        let message = LinkUnspec::new_with_index(index).setns_by_fd(file.as_raw_fd()).build();
        self.handle
            .link()
            .change(message)
            .execute()
            .await
            .map_err(|error| self.refused("move", link, error))
    }

    /// Deletes an interface, and the peer of a pair with it.
    pub async fn delete_link(&self, link: &str) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let request = self.handle.link().del(index);
        request.execute().await.map_err(|error| self.refused("delete", link, error))
    }

    /// Sets an interface up.
    pub async fn link_up(&self, link: &str) -> Result<(), Error> {
        self.change(link, "set up", |builder| builder.up()).await
    }

    /// Sets an interface down.
    pub async fn link_down(&self, link: &str) -> Result<(), Error> {
        self.change(link, "set down", |builder| builder.down()).await
    }

    /// Sets an interface's MTU.
    pub async fn set_mtu(&self, link: &str, mtu: u32) -> Result<(), Error> {
        self.change(link, "set the MTU of", |builder| builder.mtu(mtu)).await
    }

    /// Adds an address without Duplicate Address Detection, because those who use this know what is
    /// on the link. On an interface that is up it waits until the kernel takes packets for the
    /// address: it gets ready behind the back of who adds it.
    pub async fn add_address(&self, link: &str, address: IpNet) -> Result<(), Error> {
        let (index, up) = self.find(link).await?;
        let message = address_message(index, address);
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        *request.message_mut() = message;
        request.replace().execute().await.map_err(|error| {
            Error::netlink("add", format!("address {address} to {}", self.link_object(link)), error)
        })?;
        if let (true, IpAddr::V6(address)) = (up, address.addr()) {
            self.until_local(address).await;
        }
        Ok(())
    }

    /// Waits until packets for an address are for this host; in vain on an interface without
    /// carrier, therefore not for ever.
    async fn until_local(&self, address: Ipv6Addr) {
        const TRIES: u32 = 200;
        const PAUSE: Duration = Duration::from_millis(5);
        let query = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build();
        for _ in 0..TRIES {
            let mut answers = self.handle.route().get(query.clone()).execute();
            let answer = answers.try_next().await;
            if answer
                .is_ok_and(|route| route.is_some_and(|route| route.header.kind == RouteType::Local))
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::debug!(%address, "the address is not ready after a second");
    }

    /// Removes an address.
    pub async fn delete_address(&self, link: &str, address: IpNet) -> Result<(), Error> {
        let message = address_message(self.link_index(link).await?, address);
        self.handle.address().del(message).execute().await.map_err(|error| {
            let object = format!("address {address} from {}", self.link_object(link));
            Error::netlink("remove", object, error)
        })
    }

    async fn change(
        &self,
        link: &str,
        operation: &'static str,
        set: impl FnOnce(
            rtnetlink::LinkMessageBuilder<LinkUnspec>,
        ) -> rtnetlink::LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let message = set(LinkUnspec::new_with_index(index)).build();
        let request = self.handle.link().change(message);
        request.execute().await.map_err(|error| self.refused(operation, link, error))
    }

    fn refused(&self, operation: &'static str, link: &str, error: rtnetlink::Error) -> Error {
        Error::netlink(operation, self.link_object(link), error)
    }

    pub(crate) fn link_object(&self, link: &str) -> String {
        format!("interface {link} in {}", self.namespace)
    }
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let (mut message, flags) = match address {
        IpNet::V4(net) => {
            let builder = AddressMessageBuilder::<Ipv4Addr>::new();
            (builder.address(net.addr(), net.prefix_len()).build(), AddressFlags::empty())
        }
        IpNet::V6(net) => {
            let builder = AddressMessageBuilder::<Ipv6Addr>::new();
            (builder.address(net.addr(), net.prefix_len()).build(), AddressFlags::Nodad)
        }
    };
    message.header.index = index;
    message.attributes.push(AddressAttribute::Flags(flags));
    message
}
