//! The program in the kernel and its maps.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::Ipv6Addr,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, include_bytes_aligned,
    maps::{Array, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
    programs::{ProgramError, Xdp, XdpFlags},
};
use homeport_forwarding::Fast;

use crate::{
    cause::Cause,
    line::{LINE_WORDS, Surroundings, Words, compile},
    slots::{Full, Slots},
    system::{Mapped, Ran, test_run},
};

/// Home agents that the program knows: it compares each packet's source with all of them.
pub const AGENTS_MAX: usize = 16;
/// Next hops that the program knows.
pub const NEXT_HOPS_MAX: usize = 256;
/// Prefixes that are served, and routes.
pub const PLACES_MAX: usize = 65_536;
/// Octets of `struct settings`.
const SETTINGS_LEN: usize = 16 + AGENTS_MAX * 16;
/// Octets of `struct next_hop`.
const NEXT_HOP_LEN: usize = 24;

/// The object that clang made; empty where there was none.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fastpath.o"));

/// Why the fast path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was built without clang, without the feature `xdp`, or for another machine than x86-64.
    #[error(
        "built without the XDP program; install clang and build with the feature xdp on x86-64"
    )]
    NotBuilt,
    /// The kernel refuses the program or a map.
    #[error("the kernel refuses the XDP program: {0}; it needs CAP_BPF and CAP_NET_ADMIN")]
    Load(#[from] EbpfError),
    /// A program cannot be loaded or attached.
    #[error("the XDP program cannot be {what}: {source}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: ProgramError,
    },
    /// A map cannot be used.
    #[error("map {map} of the XDP program: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// The kernel refuses a system call.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// More of something than the program has room for.
    #[error("{count} {what}; the XDP program has room for {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// How the program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Behind the driver, with any driver; slower.
    Generic,
}

/// Where a destination lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is served here: a home prefix, a mobile network, the home agent, this host.
    Served,
    /// Beyond the next hop with this place.
    Beyond(u8),
}

/// A neighbour to which packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// Interface; 0: not known now.
    pub interface: u32,
    /// Octets of the largest packet that the interface takes.
    pub mtu: u32,
    /// Link-layer address of the neighbour.
    pub destination: [u8; 6],
    /// Link-layer address of the interface.
    pub source: [u8; 6],
}

/// What the program is to know beside lines, next hops and places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Nothing is done while this is false.
    pub on: bool,
    /// Home-agent addresses, at most [`AGENTS_MAX`].
    pub agents: Vec<Ipv6Addr>,
    /// Hop limit of outer headers.
    pub hop_limit: u8,
    /// Look for each care-of address among the places: mobile networks come and go.
    pub look_at_care_of: bool,
}

type Places = LpmTrie<MapData, [u8; 16], [u8; 4]>;

/// The program, its maps, and what is attached. All goes with it.
pub struct FastPath {
    ebpf: Ebpf,
    slots: Slots<Mapped>,
    settings_map: Array<MapData, [u8; SETTINGS_LEN]>,
    next_hops: Array<MapData, [u8; NEXT_HOP_LEN]>,
    places_map: Places,
    counters: PerCpuArray<MapData, u64>,
    measuring: Array<MapData, [u8; 16]>,
    settings: Settings,
    places: BTreeMap<(u8, Ipv6Addr), Place>,
}

impl fmt::Debug for FastPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FastPath");
        shown.field("lines", &self.slots.len()).field("settings", &self.settings);
        shown.finish_non_exhaustive()
    }
}

impl FastPath {
    /// Loads the program with room for so many home addresses. Nothing is attached yet, and it is
    /// off.
    pub fn load(home_addresses: u32) -> Result<Self, Error> {
        if OBJECT.is_empty() {
            return Err(Error::NotBuilt);
        }
        let lines = Slots::<Mapped>::lines_for(home_addresses);
        let mut ebpf = EbpfLoader::new().set_max_entries("lines", lines).load(OBJECT)?;
        for name in ["fastpath", "accept", "measure"] {
            let program = xdp(&mut ebpf, name)?;
            program.load().map_err(|source| Error::Program { what: "loaded", source })?;
        }
        let map = take(&mut ebpf, "lines")?;
        let Map::Array(data) = map else { return Err(Error::NotBuilt) };
        let words = usize::try_from(lines).unwrap_or(0) * LINE_WORDS;
        let mapped = Mapped::new(data.fd().as_fd(), words)
            .map_err(|source| Error::System { what: "map the table into memory", source })?;
        let slots = Slots::new(mapped);
        let settings_map = convert("settings", take(&mut ebpf, "settings")?)?;
        let next_hops = convert("next_hops", take(&mut ebpf, "next_hops")?)?;
        let places_map = convert("places", take(&mut ebpf, "places")?)?;
        let counters = convert("counters", take(&mut ebpf, "counters")?)?;
        let measuring = convert("measuring", take(&mut ebpf, "measuring")?)?;
        let mut path = Self {
            ebpf,
            slots,
            settings_map,
            next_hops,
            places_map,
            counters,
            measuring,
            settings: Settings::default(),
            places: BTreeMap::new(),
        };
        path.set_settings(Settings::default())?;
        Ok(path)
    }

    /// The settings as they were set last.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        let count = settings.agents.len();
        if count > AGENTS_MAX {
            return Err(Error::TooMany { what: "home agents", count, max: AGENTS_MAX });
        }
        let mut octets = [0; SETTINGS_LEN];
        let agents = u32::try_from(count).unwrap_or(0);
        octets[..4].copy_from_slice(&u32::from(settings.on).to_ne_bytes());
        octets[4..8].copy_from_slice(&self.slots.bucket_mask().to_ne_bytes());
        octets[8..12].copy_from_slice(&agents.to_ne_bytes());
        octets[12] = settings.hop_limit;
        octets[13] = u8::from(settings.look_at_care_of);
        let (places, _) = octets[16..].as_chunks_mut::<16>();
        for (place, agent) in places.iter_mut().zip(&settings.agents) {
            *place = agent.octets();
        }
        let set = self.settings_map.set(0, octets, 0);
        set.map_err(|source| Error::Map { map: "settings", source })?;
        self.settings = settings;
        Ok(())
    }

    /// Changes a next hop.
    pub fn set_next_hop(&mut self, place: u8, hop: NextHop) -> Result<(), Error> {
        let mut octets = [0; NEXT_HOP_LEN];
        octets[..4].copy_from_slice(&hop.interface.to_ne_bytes());
        octets[4..8].copy_from_slice(&hop.mtu.to_ne_bytes());
        octets[8..14].copy_from_slice(&hop.destination);
        octets[14..20].copy_from_slice(&hop.source);
        let set = self.next_hops.set(place.into(), octets, 0);
        set.map_err(|source| Error::Map { map: "next_hops", source })
    }

    /// Makes the places those that are given: by length and prefix.
    pub fn set_places(&mut self, places: BTreeMap<(u8, Ipv6Addr), Place>) -> Result<(), Error> {
        let failed = |source| Error::Map { map: "places", source };
        let count = places.len();
        if count > PLACES_MAX {
            return Err(Error::TooMany { what: "prefixes and routes", count, max: PLACES_MAX });
        }
        for ((len, prefix), place) in &places {
            if self.places.get(&(*len, *prefix)) == Some(place) {
                continue;
            }
            let value = match place {
                Place::Served => [1, 0, 0, 0],
                Place::Beyond(hop) => [2, *hop, 0, 0],
            };
            let key = Key::new(u32::from(*len), prefix.octets());
            self.places_map.insert(&key, value, 0).map_err(failed)?;
        }
        for (len, prefix) in self.places.keys().filter(|key| !places.contains_key(key)) {
            let key = Key::new(u32::from(*len), prefix.octets());
            self.places_map.remove(&key).map_err(failed)?;
        }
        self.places = places;
        Ok(())
    }

    /// The next hop towards an address: by the longest route, unless it is served here.
    #[must_use]
    pub fn hop_towards(&self, address: Ipv6Addr) -> Option<u8> {
        let bits = address.to_bits();
        let covers = |len: u8, prefix: &Ipv6Addr| {
            let host_bits = u32::from(128_u8.saturating_sub(len));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            bits & mask == prefix.to_bits()
        };
        let mut longest_first = self.places.iter().rev();
        match longest_first.find(|((len, prefix), _)| covers(*len, prefix))?.1 {
            Place::Served => None,
            Place::Beyond(hop) => Some(*hop),
        }
    }

    /// Sets what the program knows about a home address; `None` leaves all to the portable path.
    /// `clock_began_ms`: see [`Surroundings`].
    pub fn set_home(
        &mut self,
        home_address: Ipv6Addr,
        fast: Option<&Fast>,
        clock_began_ms: u64,
    ) -> Result<(), Full> {
        let Some(fast) = fast else {
            self.slots.remove(home_address);
            return Ok(());
        };
        let line = self.line_of(home_address, fast, clock_began_ms);
        let set = self.slots.set(&line);
        if set.is_err() {
            // An older line must not stay either; there is none when there is no place.
            self.slots.remove(home_address);
        }
        set
    }

    /// The line for the common case of a home address.
    #[must_use]
    pub fn line_of(&self, home_address: Ipv6Addr, fast: &Fast, clock_began_ms: u64) -> Words {
        let agent = fast.down.and_then(|down| {
            let at = self.settings.agents.iter().position(|agent| *agent == down.agent)?;
            u8::try_from(at).ok()
        });
        let hop = fast.down.and_then(|down| self.hop_towards(down.care_of));
        compile(home_address, fast, Surroundings { agent, hop, clock_began_ms })
    }

    /// The table of lines.
    #[must_use]
    pub const fn slots(&self) -> &Slots<Mapped> {
        &self.slots
    }

    /// The table of lines, to write lines into it.
    pub const fn slots_mut(&mut self) -> &mut Slots<Mapped> {
        &mut self.slots
    }

    /// What the program did so far, summed over the processors.
    pub fn counters(&self) -> Result<Vec<(Cause, u64)>, Error> {
        let mut counters = Vec::with_capacity(Cause::ALL.len());
        for (index, cause) in (0_u32..).zip(Cause::ALL) {
            let values = self.counters.get(&index, 0);
            let values = values.map_err(|source| Error::Map { map: "counters", source })?;
            counters.push((cause, values.iter().sum()));
        }
        Ok(counters)
    }

    /// Attaches the program to an interface of the calling thread's network namespace. It goes when
    /// this is dropped.
    pub fn attach(&mut self, interface: &str, mode: Mode) -> Result<(), Error> {
        self.attach_program("fastpath", interface, mode)
    }

    /// Makes the far end of a veth pair take redirected frames, which needs some program there.
    pub fn accept_redirected(&mut self, interface: &str) -> Result<(), Error> {
        self.attach_program("accept", interface, Mode::Native)
    }

    fn attach_program(&mut self, name: &str, interface: &str, mode: Mode) -> Result<(), Error> {
        let flags = match mode {
            Mode::Native => XdpFlags::DRV_MODE,
            Mode::Generic => XdpFlags::SKB_MODE,
        };
        let attached = xdp(&mut self.ebpf, name)?.attach(interface, flags);
        attached.map(drop).map_err(|source| Error::Program { what: "attached", source })
    }

    /// Takes the program off every interface.
    pub fn detach_all(&mut self) -> Result<(), Error> {
        let program = xdp(&mut self.ebpf, "fastpath")?;
        let failed = |source| Error::Program { what: "detached", source };
        program.unload().map_err(failed)?;
        program.load().map_err(failed)
    }

    /// Runs the program over a frame `repeat` times; `output` gets the frame as it is afterwards.
    pub fn test_run(&self, frame: &[u8], output: &mut [u8], repeat: u32) -> Result<Ran, Error> {
        self.run("fastpath", frame, output, repeat)
    }

    /// What the program for measurements does in its next runs: see `measure` there.
    pub(crate) fn set_measuring(&mut self, homes: u32, without: bool) -> Result<(), Error> {
        let mut octets = [0; 16];
        // Any number but zero, the same each time.
        octets[..8].copy_from_slice(&0x9e37_79b9_7f4a_7c15_u64.to_ne_bytes());
        octets[8..12].copy_from_slice(&homes.to_ne_bytes());
        octets[12..].copy_from_slice(&u32::from(without).to_ne_bytes());
        let set = self.measuring.set(0, octets, 0);
        set.map_err(|source| Error::Map { map: "measuring", source })
    }

    /// Runs the program for measurements.
    pub(crate) fn measure(&self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        self.run("measure", frame, &mut vec![0; frame.len() + 64], repeat)
    }

    /// The program, to run it while the table changes.
    pub(crate) fn program_fd(&self) -> Result<OwnedFd, Error> {
        let program = self.ebpf.program("fastpath").ok_or(Error::NotBuilt)?;
        let fd = program.fd().map_err(|source| Error::Program { what: "used", source })?;
        let cloned = fd.as_fd().try_clone_to_owned();
        cloned.map_err(|source| Error::System { what: "keep the program", source })
    }

    fn run(
        &self,
        name: &'static str,
        frame: &[u8],
        output: &mut [u8],
        repeat: u32,
    ) -> Result<Ran, Error> {
        let program = self.ebpf.program(name).ok_or(Error::NotBuilt)?;
        let fd = program.fd().map_err(|source| Error::Program { what: "used", source })?;
        test_run(fd.as_fd(), frame, output, repeat)
            .map_err(|source| Error::System { what: "run the XDP program", source })
    }
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, Error> {
    let program = ebpf.program_mut(name).ok_or(Error::NotBuilt)?;
    program.try_into().map_err(|source| Error::Program { what: "found", source })
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or(Error::NotBuilt)
}

fn convert<T: TryFrom<Map, Error = MapError>>(map: &'static str, from: Map) -> Result<T, Error> {
    T::try_from(from).map_err(|source| Error::Map { map, source })
}
