//! TUN devices: whole IP packets in and out.

use std::{fs, io};

use tun_rs::{AsyncDevice, DeviceBuilder, Layer, SyncDevice};

use crate::{error::Error, namespace::Namespace};

/// Longest interface name that Linux takes.
const NAME_LEN_MAX: usize = 15;

/// A TUN device. It vanishes, with its addresses and routes, when this is dropped.
pub struct Tun {
    device: AsyncDevice,
    name: String,
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tun {
    /// Creates a device inside a namespace and sets it up, without any address: not even a
    /// link-local one, so that the kernel itself sends nothing into it. Needs a tokio runtime.
    pub fn open(namespace: &Namespace, name: &str, mtu: u16) -> Result<Self, Error> {
        let device = namespace.run(|| create(name, mtu))??;
        // Only the descriptor is used from here on, and that belongs to no namespace.
        let device = AsyncDevice::new(device).map_err(|source| failed("watch", name, source))?;
        Ok(Self { device, name: name.to_owned() })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for a packet that the kernel routed into the device; gives its length. A packet longer
    /// than the buffer is cut off.
    pub async fn recv(&self, packet: &mut [u8]) -> Result<usize, Error> {
        self.device.recv(packet).await.map_err(|source| failed("read from", &self.name, source))
    }

    /// Takes a packet that is already there; `None` when there is none.
    pub fn try_recv(&self, packet: &mut [u8]) -> Result<Option<usize>, Error> {
        match self.device.try_recv(packet) {
            Ok(len) => Ok(Some(len)),
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(failed("read from", &self.name, source)),
        }
    }

    /// Gives a packet to the kernel, as if it had arrived on the interface.
    pub async fn send(&self, packet: &[u8]) -> Result<(), Error> {
        self.device
            .send(packet)
            .await
            .map(drop)
            .map_err(|source| failed("write to", &self.name, source))
    }
}

/// Creates a device in the namespace of the calling thread.
pub(crate) fn create(name: &str, mtu: u16) -> Result<SyncDevice, Error> {
    let ill_formed = name.is_empty() || name.contains(['/', ' ', '%', '\0']);
    // The kernel's parameters have these two in place of an interface.
    let reserved = matches!(name, "all" | "default");
    if ill_formed || reserved || name.len() > NAME_LEN_MAX {
        return Err(Error::Invalid {
            what: "interface name",
            value: name.to_owned(),
            expected: "1 to 15 characters without slash, space or percent sign, not all or default",
        });
    }
    let create = |source| failed("create", name, source);
    let device = DeviceBuilder::new()
        .name(name)
        .layer(Layer::L3)
        .mtu(mtu)
        .enable(false)
        .build_sync()
        .map_err(create)?;
    // 1: no address. Missing where IPv6 is switched off; then there is nothing to silence either.
    drop(fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1"));
    device.enabled(true).map_err(|source| failed("set up", name, source))?;
    Ok(device)
}

fn failed(operation: &'static str, name: &str, source: io::Error) -> Error {
    let object = format!("TUN {name}");
    if operation == "create" && source.kind() == io::ErrorKind::NotFound {
        return Error::NoTunDriver { operation, object, source };
    }
    Error::new(operation, object, source)
}
