//! The kernel's IPsec databases (XFRM): security associations that an IKE daemon has put there, and
//! what tells such a daemon that its peer has moved.

mod association;
mod migration;

pub use association::{Algorithms, KernelAssociation, Secret};
pub use migration::{Endpoints, Protected};

use std::{io, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};
use homeport_runtime::Task;
use netlink_packet_xfrm::{XfrmMessage, state::GetDumpMessage};
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    proto::{ConnectionHandle, new_connection},
    sys::{AsyncSocket as _, SocketAddr, protocols::NETLINK_XFRM},
};
use tokio::{runtime, sync::Notify};

use crate::{error::Error, namespace::Namespace};

/// Groups of `linux/xfrm.h`, as bits of a netlink address.
const GROUP_EXPIRE: u32 = 1 << 1;
const GROUP_ASSOCIATIONS: u32 = 1 << 2;

/// The IPsec databases of a namespace. Clones share one netlink connection; it is closed with the last
/// of them. Needs CAP_NET_ADMIN.
#[derive(Clone, Debug)]
pub struct Xfrm {
    handle: ConnectionHandle<XfrmMessage>,
    namespace: Namespace,
    changed: Arc<Notify>,
    _tasks: Arc<[Task; 2]>,
}

impl Xfrm {
    /// Opens a netlink connection inside a namespace, which from then on hears of each association that
    /// comes, is renewed, goes or expires. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no IPsec (`xfrm_user`), or refuses.
    pub fn open(namespace: &Namespace) -> Result<Self, Error> {
        let runtime = runtime::Handle::current();
        let opened = namespace.run(|| {
            let _entered = runtime.enter();
            let (mut connection, handle, heard) = new_connection::<XfrmMessage>(NETLINK_XFRM)?;
            let groups = SocketAddr::new(0, GROUP_EXPIRE | GROUP_ASSOCIATIONS);
            connection.socket_mut().socket_mut().bind(&groups)?;
            Ok::<_, io::Error>((connection, handle, heard))
        })?;
        let (connection, handle, mut heard) =
            opened.map_err(|source| Error::new("open", databases(namespace), source))?;
        let changed = Arc::new(Notify::new());
        let listener = changed.clone();
        // What was lost is as good a reason to look as what came: the message itself is not read.
        let listen = async move {
            while heard.next().await.is_some() {
                listener.notify_one();
            }
        };
        let tasks = [Task::spawn("xfrm netlink", connection), Task::spawn("xfrm listener", listen)];
        Ok(Self { handle, namespace: namespace.clone(), changed, _tasks: Arc::new(tasks) })
    }

    /// Waits until an association has come, gone, expired or been renewed since the last time that this
    /// returned. What has, [`Self::associations`] says: many changes are one look.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All ESP associations between IPv6 addresses, with their keys.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn associations(&self) -> Result<Vec<KernelAssociation>, Error> {
        let dump = XfrmMessage::GetDumpSa(GetDumpMessage { nlas: Vec::new() });
        let answers = self.request("list", || "security associations".to_owned(), dump, NLM_F_DUMP);
        let messages: Vec<XfrmMessage> = answers.await?;
        Ok(messages.iter().filter_map(association::read).collect())
    }

    /// Lets the kernel hold a policy, and its opposite, for what `protected` names. Nothing has to pass
    /// through them: they are what [`Self::migrate`] needs. Those that are there already stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn install_policies(&self, protected: &Protected) -> Result<(), Error> {
        for policy in protected.policies() {
            let object = || format!("IPsec policy of {protected}");
            let _none: Vec<_> = self.request("install", object, policy, NLM_F_ACK).await?;
        }
        Ok(())
    }

    /// Removes them. It is no error when they are gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_policies(&self, protected: &Protected) -> Result<(), Error> {
        for policy in protected.removals() {
            let object = || format!("IPsec policy of {protected}");
            let removed: Result<Vec<_>, _> =
                self.request("remove", object, policy, NLM_F_ACK).await;
            match removed {
                Err(error) if !error.is_not_found() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Announces that an end of what speaks IKE for `protected` has moved (`XFRM_MSG_MIGRATE` with `XFRMA_KMADDRESS`, once
    /// for each direction): a daemon that listens moves its association. Associations in transport
    /// mode between the protected addresses themselves stay as they are.
    ///
    /// # Errors
    /// [`Error::NotFound`] without [`Self::install_policies`]; when the kernel has no migration
    /// (CONFIG_XFRM_MIGRATE), or refuses.
    pub async fn migrate(
        &self,
        protected: &Protected,
        from: &Endpoints,
        to: &Endpoints,
    ) -> Result<(), Error> {
        for message in protected.migrations(from, to) {
            let object = || format!("IKE endpoint of {protected}");
            let _none: Vec<_> = self.request("move", object, message, NLM_F_ACK).await?;
        }
        Ok(())
    }

    async fn request(
        &self,
        operation: &'static str,
        object: impl Fn() -> String,
        message: XfrmMessage,
        flags: u16,
    ) -> Result<Vec<XfrmMessage>, Error> {
        let failed =
            |source| Error::new(operation, format!("{} in {}", object(), self.namespace), source);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let answers = self.handle.request(request, SocketAddr::new(0, 0));
        let answers = answers.map_err(|error| failed(io::Error::other(error.to_string())))?;
        let answers = answers.map(|answer| match answer.payload {
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(None),
        });
        answers.try_filter_map(|answer| async { Ok(answer) }).try_collect().await.map_err(failed)
    }
}

fn databases(namespace: &Namespace) -> String {
    format!("IPsec databases in {namespace}")
}
