//! What the kernel offers and no library of ours wraps: memory shared with a map, and test runs.
#![expect(unsafe_code, reason = "mmap and bpf(2) take and give raw memory")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array map with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct Mapped {
    begin: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is that of the map, which any thread may read and write; all access is atomic.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps so many words.
    pub(crate) fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        let octets = words * size_of::<AtomicU64>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let begin =
            unsafe { mmap(std::ptr::null_mut(), octets, protection, MapFlags::SHARED, map, 0) }?;
        let begin = NonNull::new(begin.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { begin, words })
    }
}

impl AsRef<[AtomicU64]> for Mapped {
    fn as_ref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this length, is page-aligned, and lives as long as `self`. The
        // program in the kernel only reads it.
        unsafe { slice::from_raw_parts(self.begin.as_ptr(), self.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mapping any more: they borrow from `self`.
        let unmapped =
            unsafe { munmap(self.begin.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
        if let Err(error) = unmapped {
            tracing::warn!(%error, "memory of a map stays mapped");
        }
    }
}

/// What a program did with one packet, or with the last of several runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The verdict: `XDP_DROP` is 1, `XDP_PASS` 2, `XDP_TX` 3, `XDP_REDIRECT` 4.
    pub verdict: u32,
    /// Octets of the frame afterwards.
    pub len: usize,
    /// Mean duration of one run, nanoseconds.
    pub mean_ns: u32,
}

/// `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    len_in: u32,
    len_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_len_in: u32,
    context_len_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    processor: u32,
    batch: u32,
    padding: u32,
}

/// Runs an XDP program over a frame, `repeat` times. Between repetitions the frame stays as the
/// program left it.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    output: &mut [u8],
    repeat: u32,
) -> io::Result<Ran> {
    let invalid = |_| io::ErrorKind::InvalidInput;
    let mut request = TestRun {
        program: u32::try_from(program.as_fd().as_raw_fd()).map_err(invalid)?,
        len_in: u32::try_from(frame.len()).map_err(invalid)?,
        len_out: u32::try_from(output.len()).map_err(invalid)?,
        data_in: address_of(frame.as_ptr()),
        data_out: address_of(output.as_mut_ptr()),
        repeat,
        ..TestRun::default()
    };
    run(&mut request)?;
    let len = usize::try_from(request.len_out).unwrap_or(usize::MAX);
    Ok(Ran { verdict: request.verdict, len, mean_ns: request.duration })
}

/// Sends a frame `repeat` times by what the XDP program does with it, as if a device had received it: one
/// frame's memory is used again as it was left.
pub(crate) fn live_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<()> {
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
    let invalid = |_| io::ErrorKind::InvalidInput;
    let mut request = TestRun {
        program: u32::try_from(program.as_fd().as_raw_fd()).map_err(invalid)?,
        len_in: u32::try_from(frame.len()).map_err(invalid)?,
        data_in: address_of(frame.as_ptr()),
        repeat,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    run(&mut request)
}

fn run(request: &mut TestRun) -> io::Result<()> {
    const BPF_PROG_TEST_RUN: libc::c_int = 10;
    // SAFETY: `request` is the structure that this command takes, of the size that is given; its
    // pointers are null or to memory that the callers borrow, with their lengths.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            std::ptr::from_mut(request),
            size_of::<TestRun>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a thread run on one processor only and before what does not say so itself (`SCHED_FIFO`);
/// 0 is the calling thread.
///
/// # Errors
/// When there is no such thread or processor, or the process lacks `CAP_SYS_NICE`.
pub fn run_on(thread: i32, processor: usize, priority: i32) -> io::Result<()> {
    // SAFETY: a set of processors is a plain bit mask, for which zeroes are the empty set.
    let mut processors: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if processor >= size_of::<libc::cpu_set_t>() * 8 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the processor is within the set, as was just seen.
    unsafe { libc::CPU_SET(processor, &mut processors) };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: both structures are ours, of the size that is given, and are only read.
    let result = unsafe {
        match libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const processors) {
            0 => libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameters),
            failed => failed,
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel knows about the time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Somebody keeps it right, such as chrony, ntpd or systemd-timesyncd.
    pub is_synchronised: bool,
    /// How far it may be off, microseconds.
    pub error_us_max: u64,
}

/// Asks the kernel about its clock, and changes nothing.
///
/// # Errors
/// When the kernel does not say.
pub fn clock() -> io::Result<Clock> {
    // SAFETY: a structure of numbers, for which zeroes are the request to change nothing.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours and of the type that the call takes.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_synchronised = state != libc::TIME_ERROR && asked.status & libc::STA_UNSYNC == 0;
    Ok(Clock { is_synchronised, error_us_max: u64::try_from(asked.maxerror).unwrap_or(u64::MAX) })
}

fn address_of(pointer: *const u8) -> u64 {
    u64::try_from(pointer.addr()).unwrap_or(0)
}

/// `CLOCK_MONOTONIC`, milliseconds: the clock of the program.
#[must_use]
pub fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let ms = i128::from(now.tv_sec) * 1000 + i128::from(now.tv_nsec) / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}
