//! The program on links, to measure it: a generator, the router's interface with one of several
//! programs, and a sink that counts what arrives. The links are the caller's.

use std::{
    fs, io,
    net::Ipv6Addr,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, MapData, PerCpuArray},
};
use homeport_wire::{PacketBuilder, encapsulate_v6, protocol};

pub use crate::measure::{AGENT, CARE_OF, CORRESPONDENT, care_of, frame_for, home, on_link};
pub use crate::system::run_on;
use crate::{
    error::Error,
    line::LINE_WORDS,
    links::{Link, interface_index},
    program::{FastPath, Mode, convert, fd_of, take, xdp},
    slots::Slots,
    system::{Mapped, live_run},
};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/testbed.o"));

const HEADER_LEN: usize = 40;
const ETHERNET_LEN: usize = 14;
/// `ROOM_BEFORE` of `bpf/testbed.c`.
const ROOM_BEFORE: usize = 64;
/// Octets of `struct traffic` before its headers, and with them.
const NUMBERS_LEN: usize = 32;
const TRAFFIC_LEN: usize = NUMBERS_LEN + 96;
/// Octets of `struct router`.
const ROUTER_LEN: usize = 24;
/// Frames of one call into the kernel: setting it up is then nothing.
const FRAMES: u32 = 1 << 18;

/// What forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// A program that sends each frame on as it is, without a look at it.
    Limit,
    /// A program that writes the link-layer addresses of the next hop and sends the frame on.
    Addressed,
    /// The fast path.
    FastPath,
    /// The kernel, by its routes.
    Kernel,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Home addresses, met at random: see [`home`].
    pub home_addresses: u32,
    /// Octets of a packet, without a tunnel's header: at least 56.
    pub len: usize,
    /// From mobile nodes through the tunnel, rather than to them.
    pub is_up: bool,
    /// The care-of addresses are those of [`care_of`], and the sink looks whether each is one of them.
    pub moves: bool,
    /// Thousands of frames a second, on average; 0: as many as can be.
    pub offered_kpps: u32,
}

impl Traffic {
    /// To mobile nodes that stay where they are, as much as can be.
    #[must_use]
    pub const fn down(home_addresses: u32, len: usize) -> Self {
        Self { home_addresses, len, is_up: false, moves: false, offered_kpps: 0 }
    }

    fn frame(&self) -> Vec<u8> {
        let payload = vec![0; self.len.saturating_sub(HEADER_LEN + 8)];
        let ports = [[0x14, 0xe9, 0, 53, 0, 0, 0, 0].as_slice(), &payload].concat();
        let plain = |source, destination| {
            PacketBuilder::new(source, destination).build(protocol::UDP, &ports)
        };
        if self.is_up {
            encapsulate_v6(&plain(home(1), CORRESPONDENT), CARE_OF, AGENT, 64, 0, 0)
        } else {
            plain(CORRESPONDENT, home(1))
        }
    }

    /// Octets of the frames that the sink is to get.
    fn len_at_sink(&self, lane: Lane) -> usize {
        let tunnel = if self.is_up == matches!(lane, Lane::Limit | Lane::Addressed) {
            HEADER_LEN
        } else {
            0
        };
        ETHERNET_LEN + self.len + tunnel
    }
}

/// Where frames go from the generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstHop {
    /// Index of the generator's interface.
    pub interface: u32,
    /// Link-layer address of the router there.
    pub mac: [u8; 6],
}

/// Frames without end, for the thread that sends them.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
}

impl Generator {
    /// Sends a quarter of a million frames. The calling thread is in the generator's network
    /// namespace.
    ///
    /// # Errors
    /// When the kernel cannot run programs with live frames (before Linux 5.18).
    pub fn send(&self) -> Result<(), Error> {
        live_run(self.program.as_fd(), &self.frame, FRAMES)
            .map_err(|source| Error::System { what: "send frames", source })
    }
}

/// The programs around the router.
pub struct Testbed {
    ebpf: Ebpf,
    traffic: Array<MapData, [u8; TRAFFIC_LEN]>,
    router: Array<MapData, [u8; ROUTER_LEN]>,
    received: PerCpuArray<MapData, u64>,
    sink_link: Option<Link>,
    router_link: Option<Link>,
    /// Index of the router's interface towards the sink.
    egress: u32,
    /// Link-layer address of the sink.
    next_hop: [u8; 6],
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed").finish_non_exhaustive()
    }
}

impl Testbed {
    /// Loads the programs.
    ///
    /// # Errors
    /// When there are none, or the kernel refuses them.
    pub fn load() -> Result<Self, Error> {
        if OBJECT.is_empty() {
            return Err(Error::NotBuilt);
        }
        let mut ebpf = EbpfLoader::new().load(OBJECT)?;
        for name in ["generate", "bare", "addressed", "pass", "sink"] {
            let program = xdp(&mut ebpf, name)?;
            program.load().map_err(|source| Error::Program { what: "loaded", source })?;
        }
        Ok(Self {
            traffic: convert("traffic", take(&mut ebpf, "traffic")?)?,
            router: convert("router", take(&mut ebpf, "router")?)?,
            received: convert("received", take(&mut ebpf, "received")?)?,
            ebpf,
            sink_link: None,
            router_link: None,
            egress: 0,
            next_hop: [0; 6],
        })
    }

    /// Counts what arrives at an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// When there is no such interface, or it takes no program.
    pub fn attach_sink(&mut self, interface: &str) -> Result<(), Error> {
        self.sink_link = Some(self.attach("sink", interface)?);
        Ok(())
    }

    /// Takes two interfaces of the calling thread's network namespace for those of the router, with the
    /// sink's link-layer address beyond the second.
    ///
    /// # Errors
    /// As [`Self::attach_sink`].
    pub fn attach_router(
        &mut self,
        ingress: &str,
        egress: &str,
        next_hop: [u8; 6],
    ) -> Result<(), Error> {
        self.next_hop = next_hop;
        self.egress = interface_index(egress).map_err(attaching)?;
        self.router_link = Some(self.attach("pass", ingress)?);
        Ok(())
    }

    fn attach(&self, program: &str, interface: &str) -> Result<Link, Error> {
        let program = fd_of(&self.ebpf, program)?;
        let index = interface_index(interface).map_err(attaching)?;
        Link::create(program.as_fd(), index, Mode::Native).map_err(attaching)
    }

    /// Leaves the router's interface to another program.
    pub fn release_router(&mut self) {
        self.router_link = None;
    }

    /// Makes a lane the one that forwards, and counts only what it is to make of this traffic.
    ///
    /// # Errors
    /// When the router has no interface yet, or the kernel refuses the program there.
    pub fn choose(
        &mut self,
        lane: Lane,
        path: &FastPath,
        traffic: &Traffic,
        first_hop: FirstHop,
    ) -> Result<Generator, Error> {
        let program = match lane {
            Lane::Limit => fd_of(&self.ebpf, "bare")?,
            Lane::Addressed => fd_of(&self.ebpf, "addressed")?,
            Lane::FastPath => path.program_fd()?,
            Lane::Kernel => fd_of(&self.ebpf, "pass")?,
        };
        let link = self.router_link.as_ref().ok_or(Error::NotBuilt)?;
        link.update(program.as_fd()).map_err(attaching)?;

        let len = u32::try_from(traffic.len_at_sink(lane)).unwrap_or(u32::MAX);
        let mut octets = [0; ROUTER_LEN];
        octets[..4].copy_from_slice(&self.egress.to_ne_bytes());
        octets[4..8].copy_from_slice(&len.to_ne_bytes());
        octets[8..14].copy_from_slice(&self.next_hop);
        octets[14..20].copy_from_slice(&first_hop.mac);
        octets[20..].copy_from_slice(&u32::from(traffic.moves).to_ne_bytes());
        let set = self.router.set(0, octets, 0);
        set.map_err(|source| Error::Map { map: "router", source })?;

        let source = [2, 0, 0, 0, 0, 2];
        let frame = [&first_hop.mac[..], &source, &[0x86, 0xdd], &traffic.frame()].concat();
        let mut octets = [0; TRAFFIC_LEN];
        // Any number but zero, the same each time.
        octets[..8].copy_from_slice(&0x9e37_79b9_7f4a_7c15_u64.to_ne_bytes());
        octets[8..12].copy_from_slice(&traffic.home_addresses.to_ne_bytes());
        octets[12..16].copy_from_slice(&first_hop.interface.to_ne_bytes());
        octets[16..20].copy_from_slice(&u32::from(traffic.is_up).to_ne_bytes());
        let interval_ns = 1_000_000_u32.checked_div(traffic.offered_kpps).unwrap_or(0);
        octets[20..24].copy_from_slice(&interval_ns.to_ne_bytes());
        for (place, octet) in octets[NUMBERS_LEN..].iter_mut().zip(&frame) {
            *place = *octet;
        }
        let set = self.traffic.set(0, octets, 0);
        set.map_err(|source| Error::Map { map: "traffic", source })?;
        let program = fd_of(&self.ebpf, "generate")?;
        Ok(Generator { program, frame: [vec![0; ROOM_BEFORE], frame].concat() })
    }

    /// Frames of the right length that the sink has got so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn received(&self) -> Result<u64, Error> {
        self.count(0)
    }

    /// Frames for half of one care-of address and half of another that the sink has got so far.
    ///
    /// # Errors
    /// As [`Self::received`].
    pub fn torn(&self) -> Result<u64, Error> {
        self.count(2)
    }

    fn count(&self, kind: u32) -> Result<u64, Error> {
        let counts = self.received.get(&kind, 0);
        let counts = counts.map_err(|source| Error::Map { map: "received", source })?;
        Ok(counts.iter().sum())
    }
}

/// A look at the table of a forwarder that runs.
#[derive(Debug)]
pub struct Lines(Slots<Mapped>);

impl Lines {
    /// The one in a directory of its pins.
    ///
    /// # Errors
    /// When there is none, or it cannot be mapped.
    pub fn of(directory: &Path) -> Result<Self, Error> {
        let failed =
            |source| Error::Pin { what: "find a table", place: directory.to_owned(), source };
        let entries = fs::read_dir(directory).map_err(failed)?;
        let mut tables = entries.flatten().map(|entry| entry.path().join("lines"));
        let table = tables.find(|path| path.exists());
        let table = table.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let map = |source| Error::Map { map: "lines", source };
        let data = MapData::from_pin(table).map_err(map)?;
        let lines = data.info().map_err(map)?.max_entries();
        let words = usize::try_from(lines).unwrap_or(usize::MAX).saturating_mul(LINE_WORDS);
        let memory = Mapped::new(data.fd().as_fd(), words)
            .map_err(|source| Error::System { what: "map the table", source })?;
        Ok(Self(Slots::new(memory)))
    }

    /// The table has a line of a home address.
    #[must_use]
    pub fn contains(&self, home_address: Ipv6Addr) -> bool {
        self.0.line(home_address).is_some()
    }
}

fn attaching(source: std::io::Error) -> Error {
    Error::System { what: "attach the XDP program", source }
}

/// The prefix that all home addresses are in.
pub const HOME_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
