//! The clock and the random numbers of the whole process, so that nothing in it differs between two runs
//! of a seed: neither the standard library's hash maps nor a library that asks the kernel.
//!
//! Two functions of the C library are defined anew here, and the linker takes these. Until [`arm`] is
//! called they ask the kernel, as before.
#![expect(unsafe_code, reason = "functions of the C library have its signatures")]

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

static ARMED: AtomicBool = AtomicBool::new(false);
static NOW_MS: AtomicU64 = AtomicU64::new(0);
static SKEW_MS: AtomicI64 = AtomicI64::new(0);
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// What has panicked since somebody asked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The monotonic clock when a run begins.
const MONOTONIC_START_SECS: i64 = 100_000;
/// The wall clock when a run begins: a day in 2027.
const WALL_START_MS: i64 = 1_800_000_000_000;

/// From now on time stands still but for [`set_now`], and random numbers come from `seed`.
pub(crate) fn arm(seed: u64) {
    RANDOM.store(seed, Relaxed);
    NOW_MS.store(0, Relaxed);
    ARMED.store(true, Relaxed);
}

/// Milliseconds since the run began.
pub(crate) fn now_ms() -> u64 {
    NOW_MS.load(Relaxed)
}

pub(crate) fn set_now(ms: u64) {
    NOW_MS.store(ms, Relaxed);
}

/// How far the wall clock of the host that runs is off.
pub(crate) fn set_skew(ms: i64) {
    SKEW_MS.store(ms, Relaxed);
}

/// The wall clock of the host that runs.
pub(crate) fn wall_ms() -> u64 {
    let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
    let wall = WALL_START_MS + SKEW_MS.load(Relaxed) + now;
    u64::try_from(wall).unwrap_or(0)
}

/// From now on panics are kept for [`take_panics`]: a runtime would pass over those of its tasks. With
/// `told` they are also written to standard error, as always.
pub(crate) fn note_panics(told: bool) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        if told {
            usual(panic);
        }
    }));
}

/// What has panicked since this was asked last.
pub(crate) fn take_panics() -> Vec<String> {
    std::mem::take(&mut PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The next number of the sequence that `state` stands in (SplitMix64).
pub(crate) fn split_mix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

/// As in getrandom(2).
///
/// # Safety
/// `buffer` is valid for `length` octets.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if !ARMED.load(Relaxed) {
        // SAFETY: the caller's promise is the kernel's demand.
        let result = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return libc::ssize_t::try_from(result).unwrap_or(-1);
    }
    if length > 0 {
        // SAFETY: the caller promises that these octets may be written.
        let octets = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        for chunk in octets.chunks_mut(8) {
            let (state, number) = split_mix(RANDOM.load(Relaxed));
            RANDOM.store(state, Relaxed);
            chunk.copy_from_slice(number.to_le_bytes().get(..chunk.len()).unwrap_or_default());
        }
    }
    libc::ssize_t::try_from(length).unwrap_or(-1)
}

/// As in clock_gettime(2).
///
/// # Safety
/// `time` is valid for writing.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    if !ARMED.load(Relaxed) {
        // SAFETY: the caller's promise is the kernel's demand.
        let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return libc::c_int::try_from(result).unwrap_or(-1);
    }
    let now_ms = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            i64::try_from(wall_ms()).unwrap_or(i64::MAX)
        }
        _ => MONOTONIC_START_SECS * 1000 + i64::try_from(now_ms()).unwrap_or(i64::MAX),
    };
    let now = libc::timespec { tv_sec: now_ms / 1000, tv_nsec: now_ms % 1000 * 1_000_000 };
    // SAFETY: the caller promises that `time` may be written.
    unsafe { time.write(now) };
    0
}
