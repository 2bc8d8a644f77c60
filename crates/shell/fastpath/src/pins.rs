//! What outlives the process: the table, its program, and the program on the interfaces, under names
//! in a directory of a file system of the kind `bpf`.
//!
//! ```text
//! DIRECTORY/table-HASH/{lines,settings,...,program}   the table of a program with this hash
//! DIRECTORY/{native,generic}-NAMESPACE-INTERFACE      the program on an interface, by numbers
//! ```
//!
//! The hash is that of the program and of the size of the table: another version of either would read
//! the maps otherwise, so it begins with new ones. Removing the directory takes the program off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData};
use rustix::{
    fs::{CWD, FlockOperation, Mode as FileMode, OFlags, flock, openat, statfs},
    io::Errno,
    mount::{MountFlags, mount},
};

use crate::{
    error::Error,
    links::{self, Link, interface_index, namespace},
    program::{FastPath, KEPT, Mode, OBJECT},
    slots::{Repaired, Slots},
    system::Mapped,
};

/// Another layout of what is kept, with the same program.
const LAYOUT: u64 = 1;
/// `BPF_FS_MAGIC` of Linux.
const BPF_FS: i64 = 0xcafe_4a11;
/// The directory of a table that is not whole.
const UNFINISHED: &str = "table-unfinished";

/// What was found.
#[derive(Debug)]
pub enum Kept {
    /// A table and its program, which go on, and what was mended in it.
    Table(Box<FastPath>, Repaired),
    /// A table of another program, or for another number of home addresses.
    Other,
    /// Nothing.
    Nothing,
}

/// See the module. Only one process at a time has one of a directory.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    _lock: OwnedFd,
    attached: BTreeMap<Interface, (Mode, Link)>,
}

/// Network namespace and index.
type Interface = (u64, u32);

impl Pins {
    /// Opens a directory, which is made if it is not there, as is the file system that it must be in:
    /// at the directory around it, when that is empty.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
            mount_bpf(parent)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(failed("make (its name may have no dots)", directory)(error))
            }
            _ => Self::locked(directory),
        }
    }

    /// Opens a directory when it is there.
    pub fn find(directory: &Path) -> Result<Option<Self>, Error> {
        if directory.is_dir() { Self::locked(directory).map(Some) } else { Ok(None) }
    }

    fn locked(directory: &Path) -> Result<Self, Error> {
        if !is_bpf(directory)? {
            let why = "its directory has something else in it".to_owned();
            return Err(Error::NoBpffs { place: directory.to_owned(), why });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = openat(CWD, directory, flags, FileMode::empty())
            .map_err(|errno| failed("open", directory)(errno.into()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Error::Taken { place: directory.to_owned() }),
            locked => locked.map_err(|errno| failed("lock", directory)(errno.into()))?,
        }
        let mut pins =
            Self { directory: directory.to_owned(), _lock: lock, attached: BTreeMap::new() };
        for name in pins.names()? {
            if let Some((interface, mode)) = link_of(&name) {
                let place = pins.directory.join(&name);
                let link = Link::open(&place).map_err(failed("open", &place))?;
                pins.attached.insert(interface, (mode, link));
            }
        }
        Ok(pins)
    }

    /// Takes up the table that is there, if it is one that this version would have made for so many
    /// home addresses.
    pub fn adopt(&self, home_addresses: u32) -> Result<Kept, Error> {
        let wanted = name_of(home_addresses);
        let names = self.names()?;
        if !names.contains(&wanted) {
            let is_other = names.iter().any(|name| name.starts_with("table-"));
            return Ok(if is_other { Kept::Other } else { Kept::Nothing });
        }
        let directory = self.directory.join(wanted);
        let program = directory.join("program");
        let program = links::open(&program).map_err(failed("open", &program))?;
        let map = |name: &'static str| {
            let data = MapData::from_pin(directory.join(name));
            let data = data.map_err(|source| Error::Map { map: name, source })?;
            Ok(match name {
                "places" => Map::LpmTrie(data),
                "counters" => Map::PerCpuArray(data),
                _ => Map::Array(data),
            })
        };
        let (path, repaired) = FastPath::adopt(program, home_addresses, map)?;
        Ok(Kept::Table(Box::new(path), repaired))
    }

    /// How the program is on an interface of the calling thread's network namespace.
    #[must_use]
    pub fn mode_of(&self, interface: &str) -> Option<Mode> {
        let interface = interface_of(interface).ok()?;
        self.attached.get(&interface).map(|(mode, _)| *mode)
    }

    /// Something is on an interface.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Keeps this table, so large, and no other.
    pub fn keep(&self, path: &FastPath, home_addresses: u32) -> Result<(), Error> {
        self.remove_tables()?;
        let unfinished = self.directory.join(UNFINISHED);
        fs::create_dir(&unfinished).map_err(failed("make", &unfinished))?;
        for (name, fd) in path.kept() {
            let place = unfinished.join(name);
            links::pin(fd.as_fd(), &place).map_err(failed("pin", &place))?;
        }
        let place = self.directory.join(name_of(home_addresses));
        fs::rename(&unfinished, &place).map_err(failed("rename", &place))
    }

    /// Puts a program on an interface of the calling thread's network namespace: in the place of the
    /// one that is there in the same mode, without a gap.
    pub fn attach(&mut self, path: &FastPath, interface: &str, mode: Mode) -> Result<(), Error> {
        let index = interface_of(interface).map_err(|source| Error::System {
            what: "find an interface for the XDP program",
            source,
        })?;
        let program = path.program_fd()?;
        if let Some((known, link)) = self.attached.get(&index) {
            if *known == mode && link.update(program.as_fd()).is_ok() {
                return Ok(());
            }
            self.detach(index)?;
        }
        let attached = Link::create(program.as_fd(), index.1, mode);
        let link =
            attached.map_err(|source| Error::System { what: "attach the XDP program", source })?;
        let place = self.place_of(index, mode);
        link.pin(&place).map_err(failed("pin", &place))?;
        self.attached.insert(index, (mode, link));
        Ok(())
    }

    /// Takes the program off all interfaces but these, of the calling thread's network namespace, and
    /// gives the indexes of the others.
    pub fn detach_others(&mut self, interfaces: &[String]) -> Result<Vec<u32>, Error> {
        let stay: BTreeSet<Interface> =
            interfaces.iter().filter_map(|it| interface_of(it).ok()).collect();
        let others = self.attached.keys().filter(|index| !stay.contains(index));
        let others: Vec<Interface> = others.copied().collect();
        for index in &others {
            self.detach(*index)?;
        }
        Ok(others.into_iter().map(|(_, index)| index).collect())
    }

    /// Takes the program off all interfaces.
    pub fn detach_all(&mut self) -> Result<(), Error> {
        let all: Vec<Interface> = self.attached.keys().copied().collect();
        all.into_iter().try_for_each(|index| self.detach(index))
    }

    /// Takes the program off all interfaces and leaves nothing in the directory.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.detach_all()?;
        self.remove_tables()
    }

    /// As [`Self::clear`], and the directory goes too.
    pub fn remove(mut self) -> Result<(), Error> {
        self.clear()?;
        fs::remove_dir(&self.directory).map_err(failed("remove", &self.directory))
    }

    fn detach(&mut self, index: Interface) -> Result<(), Error> {
        let Some((mode, link)) = self.attached.remove(&index) else { return Ok(()) };
        let place = self.place_of(index, mode);
        match link.detach() {
            // Its interface is gone.
            Err(error) if error.raw_os_error() != Some(Errno::NOLINK.raw_os_error()) => {
                return Err(failed("detach", &place)(error));
            }
            _ => {}
        }
        fs::remove_file(&place).map_err(failed("remove", &place))
    }

    fn remove_tables(&self) -> Result<(), Error> {
        for name in self.names()? {
            if !name.starts_with("table-") {
                continue;
            }
            let table = self.directory.join(&name);
            for name in KEPT.iter().chain(&["program"]) {
                let place = table.join(name);
                match fs::remove_file(&place) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove", &place)(error));
                    }
                    _ => {}
                }
            }
            fs::remove_dir(&table).map_err(failed("remove", &table))?;
        }
        Ok(())
    }

    fn place_of(&self, (namespace, index): Interface, mode: Mode) -> PathBuf {
        let mode = match mode {
            Mode::Native => "native",
            Mode::Generic => "generic",
        };
        self.directory.join(format!("{mode}-{namespace}-{index}"))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let listed = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        let names = listed.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map_err(failed("list", &self.directory))
    }
}

pub(crate) fn failed(what: &'static str, place: &Path) -> impl FnOnce(io::Error) -> Error {
    let place = place.to_owned();
    move |source| Error::Pin { what, place, source }
}

/// An interface of the calling thread's network namespace.
fn interface_of(name: &str) -> io::Result<Interface> {
    Ok((namespace()?, interface_index(name)?))
}

fn link_of(name: &str) -> Option<(Interface, Mode)> {
    let mut parts = name.split('-');
    let mode = match parts.next()? {
        "native" => Mode::Native,
        "generic" => Mode::Generic,
        _ => return None,
    };
    let interface = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((interface, mode))
}

/// The name of the table of this program for so many home addresses.
fn name_of(home_addresses: u32) -> String {
    let lines = Slots::<Mapped>::lines_for(home_addresses);
    let numbers = [LAYOUT, u64::from(lines)].into_iter().flat_map(u64::to_le_bytes);
    // FNV-1a: nobody is to be kept from finding two programs that have one.
    let hash = numbers.chain(OBJECT.iter().copied()).fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("table-{hash:016x}")
}

pub(crate) fn is_bpf(place: &Path) -> Result<bool, Error> {
    let seen = statfs(place).map_err(|errno| failed("look at", place)(errno.into()))?;
    Ok(seen.f_type == BPF_FS)
}

/// Mounts a file system of the kind `bpf` at a directory, unless it is in one.
fn mount_bpf(directory: &Path) -> Result<(), Error> {
    if is_bpf(directory)? {
        return Ok(());
    }
    let no = |why: String| Error::NoBpffs { place: directory.to_owned(), why };
    let open = fs::File::open(directory).map_err(failed("open", directory))?;
    // Two that do this at once would mount one over the other.
    flock(&open, FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock", directory)(errno.into()))?;
    if is_bpf(directory)? {
        return Ok(());
    }
    let mut listed = fs::read_dir(directory).map_err(failed("list", directory))?;
    if listed.next().is_some() {
        return Err(no("none is mounted there since it is not empty".to_owned()));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mode = c"mode=0700";
    mount("bpf", directory, "bpf", flags, Some(mode))
        .map_err(|errno| no(format!("mounting one failed: {errno}")))?;
    tracing::info!(directory = %directory.display(), "mounted a file system of type bpf");
    Ok(())
}
