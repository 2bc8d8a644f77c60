//! What the kernel keeps when a process ends: programs on interfaces (links), and objects under a name
//! in a file system of the kind `bpf`. aya wraps links so that they end with it; here they need not.
#![expect(unsafe_code, reason = "bpf(2) takes and gives raw memory")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::program::Mode;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
/// Attach type of XDP programs.
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;

/// Four words: creation and update of links.
type Four = [u32; 4];

/// Of `union bpf_attr`: for pins.
#[repr(C)]
#[derive(Default)]
struct Object {
    path: u64,
    object: u32,
    flags: u32,
}

/// Calls `bpf(2)`; the structure is as the command wants it.
fn bpf<T>(command: libc::c_int, request: &T) -> io::Result<libc::c_long> {
    // SAFETY: `request` is the beginning of `union bpf_attr` that this command reads, of the size that
    // is given; what its pointers point to outlives the call, and none of these commands writes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn opened(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn object(path: &Path) -> io::Result<(CString, Object)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let address = u64::try_from(path.as_ptr().addr()).map_err(io::Error::other)?;
    Ok((path, Object { path: address, ..Object::default() }))
}

/// Gives an object a name, under which it outlives the process.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let (_path, request) = object(path)?;
    bpf(BPF_OBJ_PIN, &Object { object: number(fd), ..request }).map(drop)
}

/// Opens the object of a name.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let (_path, request) = object(path)?;
    opened(bpf(BPF_OBJ_GET, &request)?)
}

/// The calling thread's network namespace, as a number that no other one has at this time.
pub(crate) fn namespace() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// The index of an interface of the calling thread's network namespace.
pub(crate) fn interface_index(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a string that ends with a zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

/// A program on an interface. It goes with this, unless it is pinned.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    /// Puts a program on an interface of the calling thread's network namespace.
    pub(crate) fn create(program: BorrowedFd<'_>, interface: u32, mode: Mode) -> io::Result<Self> {
        let flags = match mode {
            Mode::Native => XDP_FLAGS_DRV_MODE,
            Mode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let request: Four = [number(program), interface, BPF_XDP, flags];
        opened(bpf(BPF_LINK_CREATE, &request)?).map(Self)
    }

    /// The one that is pinned under this name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        open(path).map(Self)
    }

    /// See [`pin`].
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.0.as_fd(), path)
    }

    /// Puts another program in place of this one: each packet meets one of them. It is an error
    /// when the interface is gone.
    pub(crate) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let request: Four = [number(self.0.as_fd()), number(program), 0, 0];
        bpf(BPF_LINK_UPDATE, &request).map(drop)
    }

    /// Takes the program off now, whoever else holds the link.
    pub(crate) fn detach(&self) -> io::Result<()> {
        bpf(BPF_LINK_DETACH, &[number(self.0.as_fd())]).map(drop)
    }
}
