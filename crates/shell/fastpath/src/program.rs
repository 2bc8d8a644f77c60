//! The program in the kernel and its maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv6Addr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
    programs::Xdp,
};
use homeport_forwarding::Fast;

use crate::{
    cause::Cause,
    error::Error,
    hops::{Hops, Router},
    line::{LINE_WORDS, Surroundings, Words, compile, down_hop, until, used_last},
    links::{Link, interface_index},
    slots::{Full, Repaired, Slots},
    system::{Mapped, Ran, test_run},
};

/// Home agents that the program knows: it compares each packet's source with all of them.
pub const AGENTS_MAX: usize = 16;
/// Next hops that the program knows.
pub const NEXT_HOPS_MAX: usize = 256;
/// Prefixes that are served, and routes.
pub const PLACES_MAX: usize = 65_536;
/// Words of `struct settings`.
const SETTINGS_WORDS: usize = 2 + AGENTS_MAX * 2;
/// Octets of `struct next_hop`.
const NEXT_HOP_LEN: usize = 24;
/// Octets of `struct router`.
const ROUTER_LEN: usize = 20;
/// The maps that make up a table, by name: what is kept from one process to the next.
pub(crate) const KEPT: [&str; 6] =
    ["lines", "settings", "next_hops", "routers", "places", "counters"];

/// The object that clang made; empty where there was none.
pub(crate) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fastpath.o"));

/// How the program is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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

/// The program, its maps, and what is attached. All goes with it, but what is pinned
/// ([`crate::Pins`]).
pub struct FastPath {
    /// Absent when all of it was there before this process.
    ebpf: Option<Ebpf>,
    program: OwnedFd,
    kept: Vec<(&'static str, OwnedFd)>,
    slots: Slots<Mapped>,
    settings_map: Mapped,
    next_hops: Array<MapData, [u8; NEXT_HOP_LEN]>,
    routers_map: Array<MapData, [u8; ROUTER_LEN]>,
    places_map: Places,
    counters: PerCpuArray<MapData, u64>,
    measuring: Option<Array<MapData, [u8; 16]>>,
    settings: Settings,
    /// Until when the program goes on without another word, in the unit of lines.
    lease: u32,
    places: BTreeMap<(u8, Ipv6Addr), Place>,
    /// How many places there are of each length.
    lengths: BTreeMap<u8, u32>,
    hops: Hops,
    links: Vec<Link>,
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
    /// off. Once it is on it goes on for ever: see [`Self::go_on_until`].
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
        let program = fd_of(&ebpf, "fastpath")?;
        let measuring = convert("measuring", take(&mut ebpf, "measuring")?)?;
        let mut path = Self::with(program, lines, |name| take(&mut ebpf, name))?;
        (path.ebpf, path.measuring) = (Some(ebpf), Some(measuring));
        path.set_settings(Settings::default())?;
        Ok(path)
    }

    /// Goes on with a program and the maps of such a program, which are as this version of it would
    /// have made them for so many home addresses. All that they say stays.
    pub(crate) fn adopt(
        program: OwnedFd,
        home_addresses: u32,
        map: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<(Self, Repaired), Error> {
        let lines = Slots::<Mapped>::lines_for(home_addresses);
        let mut path = Self::with(program, lines, map)?;
        let repaired = path.slots.repair();
        path.read_back()?;
        Ok((path, repaired))
    }

    fn with(
        program: OwnedFd,
        lines: u32,
        mut map: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<Self, Error> {
        let mut kept = Vec::new();
        let mut next = |name: &'static str| {
            let map = map(name)?;
            kept.push((name, duplicate(data_of(&map)?.fd().as_fd())?));
            Ok::<Map, Error>(map)
        };
        let words = usize::try_from(lines).unwrap_or(0) * LINE_WORDS;
        let slots = Slots::new(mapped(&next("lines")?, words)?);
        let settings_map = mapped(&next("settings")?, SETTINGS_WORDS)?;
        Ok(Self {
            ebpf: None,
            program,
            slots,
            settings_map,
            next_hops: convert("next_hops", next("next_hops")?)?,
            routers_map: convert("routers", next("routers")?)?,
            places_map: convert("places", next("places")?)?,
            counters: convert("counters", next("counters")?)?,
            kept,
            measuring: None,
            settings: Settings::default(),
            lease: u32::MAX,
            places: BTreeMap::new(),
            lengths: BTreeMap::new(),
            hops: Hops::default(),
            links: Vec::new(),
        })
    }

    /// Learns from the maps what they were told.
    fn read_back(&mut self) -> Result<(), Error> {
        let words: Vec<u64> =
            self.settings_map.as_ref().iter().map(|word| word.load(Ordering::Acquire)).collect();
        let octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (numbers, rest) = octets.split_at(16);
        let number = |at: usize| {
            numbers.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_ne_bytes)
        };
        let count = usize::try_from(number(8)).unwrap_or(0);
        let agents = rest.as_chunks::<16>().0.iter().take(count);
        self.lease = number(0);
        self.settings = Settings {
            on: number(0) > 0,
            agents: agents.map(|octets| Ipv6Addr::from(*octets)).collect(),
            hop_limit: numbers.get(12).copied().unwrap_or(0),
            look_at_care_of: numbers.get(13).is_some_and(|it| *it > 0),
        };
        let places: Result<Vec<_>, MapError> = self.places_map.iter().collect();
        for (key, value) in places.map_err(|source| Error::Map { map: "places", source })? {
            let len = u8::try_from(key.prefix_len()).unwrap_or(128);
            let place = match value {
                [2, hop, ..] => Place::Beyond(hop),
                _ => Place::Served,
            };
            self.note_place((len, Ipv6Addr::from(key.data())), Some(place));
        }
        for place in 0..=u8::MAX {
            let router = self.routers_map.get(&u32::from(place), 0);
            let router = router.map_err(|source| Error::Map { map: "routers", source })?;
            let [a, b, c, d, address @ ..] = router;
            let interface = u32::from_ne_bytes([a, b, c, d]);
            if interface > 0 {
                self.hops.recall((interface, Ipv6Addr::from(address)), place);
            }
        }
        for line in self.slots.all() {
            if let Some(hop) = down_hop(&line) {
                self.hops.take(hop);
            }
        }
        Ok(())
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
        let mut octets = [0; SETTINGS_WORDS * 8];
        let agents = u32::try_from(count).unwrap_or(0);
        octets[4..8].copy_from_slice(&self.slots.bucket_mask().to_ne_bytes());
        octets[8..12].copy_from_slice(&agents.to_ne_bytes());
        octets[12] = settings.hop_limit;
        octets[13] = u8::from(settings.look_at_care_of);
        let (places, _) = octets[16..].as_chunks_mut::<16>();
        for (place, agent) in places.iter_mut().zip(&settings.agents) {
            *place = agent.octets();
        }
        let on = if settings.on { self.lease } else { 0 };
        octets[..4].copy_from_slice(&on.to_ne_bytes());
        let (words, _) = octets.as_chunks::<8>();
        // The first word says that the others count.
        for (word, octets) in self.settings_map.as_ref().iter().zip(words).rev() {
            word.store(u64::from_ne_bytes(*octets), Ordering::Release);
        }
        self.settings = settings;
        Ok(())
    }

    /// The program, while it is on, goes on until then (`CLOCK_MONOTONIC`, milliseconds), and then
    /// passes everything until it hears another time.
    pub fn go_on_until(&mut self, ms: u64) {
        self.lease = until(ms).max(1);
        if self.settings.on
            && let Some(word) = self.settings_map.as_ref().first()
        {
            let mask = u64::from(self.slots.bucket_mask()) << 32;
            word.store(mask | u64::from(self.lease), Ordering::Release);
        }
    }

    /// Changes a next hop.
    pub fn set_next_hop(&mut self, place: u8, hop: NextHop) -> Result<(), Error> {
        let mut octets = [0; NEXT_HOP_LEN];
        octets[..4].copy_from_slice(&hop.interface.to_ne_bytes());
        octets[4..8].copy_from_slice(&hop.mtu.to_ne_bytes());
        octets[8..14].copy_from_slice(&hop.destination);
        octets[14..20].copy_from_slice(&hop.source);
        let failed = |source| Error::Map { map: "next_hops", source };
        // What is as it was is not written: a reader might see half of it.
        if self.next_hops.get(&u32::from(place), 0).map_err(failed)? == octets {
            return Ok(());
        }
        self.next_hops.set(place.into(), octets, 0).map_err(failed)
    }

    /// The place of a router among the next hops, which stays its own for as long as a line or a
    /// place names it; `None` when all are taken.
    pub fn place_of(&mut self, router: Router) -> Result<Option<u8>, Error> {
        if let Some(place) = self.hops.known(router) {
            return Ok(Some(place));
        }
        let Some(place) = self.hops.give(router) else { return Ok(None) };
        self.set_next_hop(place, NextHop::default())?;
        let mut octets = [0; ROUTER_LEN];
        octets[..4].copy_from_slice(&router.0.to_ne_bytes());
        octets[4..].copy_from_slice(&router.1.octets());
        self.write_router(place, octets)?;
        Ok(Some(place))
    }

    /// Routers with their places.
    #[must_use]
    pub fn routers(&self) -> Vec<(Router, u8)> {
        self.hops.routers().collect()
    }

    /// Forgets routers that nothing names any more. Their places are given to others only after
    /// another call.
    pub fn tidy_routers(&mut self) -> Result<(), Error> {
        for place in self.hops.tidy() {
            self.write_router(place, [0; ROUTER_LEN])?;
        }
        Ok(())
    }

    fn write_router(&mut self, place: u8, octets: [u8; ROUTER_LEN]) -> Result<(), Error> {
        let set = self.routers_map.set(place.into(), octets, 0);
        set.map_err(|source| Error::Map { map: "routers", source })
    }

    /// Makes the places those that are given: by length and prefix. What stays as it is is not
    /// touched, and what is new is there before anything goes.
    pub fn set_places(&mut self, places: BTreeMap<(u8, Ipv6Addr), Place>) -> Result<(), Error> {
        let failed = |source| Error::Map { map: "places", source };
        let count = places.len();
        if count > PLACES_MAX {
            return Err(Error::TooMany { what: "prefixes and routes", count, max: PLACES_MAX });
        }
        for (key, place) in &places {
            if self.places.get(key) == Some(place) {
                continue;
            }
            let value = match place {
                Place::Served => [1, 0, 0, 0],
                Place::Beyond(hop) => [2, *hop, 0, 0],
            };
            let (len, prefix) = key;
            let map_key = Key::new(u32::from(*len), prefix.octets());
            self.places_map.insert(&map_key, value, 0).map_err(failed)?;
            self.note_place(*key, Some(*place));
        }
        let gone = self.places.keys().filter(|key| !places.contains_key(key));
        for key in gone.copied().collect::<Vec<_>>() {
            let map_key = Key::new(u32::from(key.0), key.1.octets());
            self.places_map.remove(&map_key).map_err(failed)?;
            self.note_place(key, None);
        }
        Ok(())
    }

    /// A place is in the map like this, or not any more.
    fn note_place(&mut self, key: (u8, Ipv6Addr), place: Option<Place>) {
        if let Some(Place::Beyond(hop)) = place {
            self.hops.take(hop);
        }
        let before = match place {
            Some(place) => self.places.insert(key, place),
            None => self.places.remove(&key),
        };
        if let Some(Place::Beyond(hop)) = before {
            self.hops.leave(hop);
        }
        let count = self.lengths.entry(key.0).or_default();
        match (before, place) {
            (None, Some(_)) => *count += 1,
            (Some(_), None) => *count = count.saturating_sub(1),
            _ => {}
        }
        if *count == 0 {
            self.lengths.remove(&key.0);
        }
    }

    /// The next hop towards an address: by the longest route, unless it is served here. The cost is
    /// that of a look-up for each length of prefix that there is.
    #[must_use]
    pub fn hop_towards(&self, address: Ipv6Addr) -> Option<u8> {
        let mut longest_first = self.lengths.keys().rev();
        let place = longest_first.find_map(|len| {
            let host_bits = u32::from(128_u8.saturating_sub(*len));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            self.places.get(&(*len, Ipv6Addr::from_bits(address.to_bits() & mask)))
        });
        match place? {
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
        let before = self.slots.line(home_address);
        let line = fast.map(|fast| self.line_of(home_address, fast, clock_began_ms));
        if before == line {
            return Ok(());
        }
        let set = line.as_ref().map_or(Ok(()), |line| self.slots.set(line));
        if line.is_none() || set.is_err() {
            // An older line must not stay either.
            self.slots.remove(home_address);
        }
        if let Some(hop) = line.as_ref().filter(|_| set.is_ok()).and_then(down_hop) {
            self.hops.take(hop);
        }
        if let Some(hop) = before.as_ref().and_then(down_hop) {
            self.hops.leave(hop);
        }
        set
    }

    /// Of several equal bindings of this home address the one that data came through last, by its care-of
    /// address, as far as the line that is there says so.
    #[must_use]
    pub fn used_last(&self, home_address: Ipv6Addr) -> Option<Ipv6Addr> {
        used_last(&self.slots.line(home_address)?)
    }

    /// How many home addresses the program knows something about.
    #[must_use]
    pub fn home_count(&self) -> usize {
        self.slots.len()
    }

    /// Removes the lines of all home addresses but these, and says how many went.
    pub fn keep_homes(&mut self, homes: &BTreeSet<Ipv6Addr>) -> usize {
        let gone: Vec<Ipv6Addr> = self.slots.homes().filter(|home| !homes.contains(home)).collect();
        for home_address in &gone {
            let line = self.slots.line(*home_address);
            self.slots.remove(*home_address);
            if let Some(hop) = line.as_ref().and_then(down_hop) {
                self.hops.leave(hop);
            }
        }
        gone.len()
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

    /// The table of lines, to write lines into it whose next hops nobody counts: for measurements.
    pub(crate) const fn slots_mut(&mut self) -> &mut Slots<Mapped> {
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
        let program = duplicate(self.program.as_fd())?;
        self.attach_program(&program, interface, mode)
    }

    /// Makes the far end of a veth pair take redirected frames, which needs some program there.
    pub fn accept_redirected(&mut self, interface: &str) -> Result<(), Error> {
        let program = fd_of(self.ebpf.as_ref().ok_or(Error::NotBuilt)?, "accept")?;
        self.attach_program(&program, interface, Mode::Native)
    }

    fn attach_program(
        &mut self,
        program: &OwnedFd,
        interface: &str,
        mode: Mode,
    ) -> Result<(), Error> {
        let link = interface_index(interface)
            .and_then(|index| Link::create(program.as_fd(), index, mode))
            .map_err(|source| Error::System { what: "attach the XDP program", source })?;
        self.links.push(link);
        Ok(())
    }

    /// Takes the program off every interface to which [`Self::attach`] has put it.
    pub fn detach_all(&mut self) -> Result<(), Error> {
        for link in self.links.drain(..) {
            let detached = link.detach();
            detached.map_err(|source| Error::System { what: "detach the XDP program", source })?;
        }
        Ok(())
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
        let measuring = self.measuring.as_mut().ok_or(Error::NotBuilt)?;
        let set = measuring.set(0, octets, 0);
        set.map_err(|source| Error::Map { map: "measuring", source })
    }

    /// Runs the program for measurements.
    pub(crate) fn measure(&self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        self.run("measure", frame, &mut vec![0; frame.len() + 64], repeat)
    }

    /// The program, to run it while the table changes.
    pub(crate) fn program_fd(&self) -> Result<OwnedFd, Error> {
        duplicate(self.program.as_fd())
    }

    /// What is to be kept from one process to the next, by name.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&'static str, &OwnedFd)> {
        let maps = self.kept.iter().map(|(name, fd)| (*name, fd));
        maps.chain([("program", &self.program)])
    }

    /// Until when the program goes on without another word: milliseconds from now.
    #[must_use]
    pub fn goes_on_ms(&self, now_ms: u64) -> u64 {
        let until_ms = u64::try_from((u128::from(self.lease) << 26) / 1_000_000);
        until_ms.unwrap_or(u64::MAX).saturating_sub(now_ms)
    }

    fn run(
        &self,
        name: &'static str,
        frame: &[u8],
        output: &mut [u8],
        repeat: u32,
    ) -> Result<Ran, Error> {
        let failed = |source| Error::System { what: "run the XDP program", source };
        if name == "fastpath" {
            return test_run(self.program.as_fd(), frame, output, repeat).map_err(failed);
        }
        let program = fd_of(self.ebpf.as_ref().ok_or(Error::NotBuilt)?, name)?;
        test_run(program.as_fd(), frame, output, repeat).map_err(failed)
    }
}

pub(crate) fn fd_of(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, Error> {
    let program = ebpf.program(name).ok_or(Error::NotBuilt)?;
    let fd = program.fd().map_err(|source| Error::Program { what: "used", source })?;
    duplicate(fd.as_fd())
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let duplicated = fd.try_clone_to_owned();
    duplicated.map_err(|source| Error::System { what: "keep the program or a map", source })
}

fn data_of(map: &Map) -> Result<&MapData, Error> {
    match map {
        Map::Array(data) | Map::PerCpuArray(data) | Map::LpmTrie(data) => Ok(data),
        _ => Err(Error::NotBuilt),
    }
}

fn mapped(map: &Map, words: usize) -> Result<Mapped, Error> {
    Mapped::new(data_of(map)?.fd().as_fd(), words)
        .map_err(|source| Error::System { what: "map the table into memory", source })
}

pub(crate) fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, Error> {
    let program = ebpf.program_mut(name).ok_or(Error::NotBuilt)?;
    program.try_into().map_err(|source| Error::Program { what: "found", source })
}

pub(crate) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or(Error::NotBuilt)
}

pub(crate) fn convert<T: TryFrom<Map, Error = MapError>>(
    map: &'static str,
    from: Map,
) -> Result<T, Error> {
    T::try_from(from).map_err(|source| Error::Map { map, source })
}
