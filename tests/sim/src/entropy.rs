//! Takes the place of two functions of the C library: once a seed is planted, the
//! random bytes of the process come from it, and its clocks show simulated time.
//!
//! What is random in the products is drawn from many places: backoff and spread, ids
//! of instances and terms, the hashers of maps, the order in which `select!` looks at
//! its branches. All of them begin at `getrandom`. A process plants one seed and runs
//! one simulation, so nothing of another one shows.

#![expect(
    unsafe_code,
    reason = "functions of the C library are replaced, which are unsafe by nature"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::rng::step;

/// The calendar at the beginning of every simulation, in seconds since 1970.
const CALENDAR: u64 = 1_700_000_000;
/// Uptime of the machine at the beginning, in seconds.
const UPTIME: u64 = 1_000;

static PLANTED: AtomicBool = AtomicBool::new(false);
static STATE: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// Makes this process a simulated one. There is no way back.
pub fn plant(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
    PLANTED.store(true, Ordering::Relaxed);
}

/// Simulated time since the beginning.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(NANOS.load(Ordering::Relaxed))
}

/// Moves simulated time.
pub fn set_now(now: Duration) {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    NANOS.store(nanos, Ordering::Relaxed);
}

/// In place of the C library's.
///
/// # Safety
/// `buffer` has to have room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    len: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if !PLANTED.load(Ordering::Relaxed) {
        // SAFETY: the arguments are the caller's own, for the same function.
        let read = unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) };
        return libc::ssize_t::try_from(read).unwrap_or(-1);
    }
    let mut state = STATE.load(Ordering::Relaxed);
    let bytes = buffer.cast::<u8>();
    let mut at = 0;
    while at < len {
        let drawn = step(&mut state).to_le_bytes();
        let count = drawn.len().min(len - at);
        // SAFETY: `at + count` is at most `len`, for which the caller vouches.
        unsafe { std::ptr::copy_nonoverlapping(drawn.as_ptr(), bytes.add(at), count) };
        at += count;
    }
    STATE.store(state, Ordering::Relaxed);
    libc::ssize_t::try_from(len).unwrap_or(libc::ssize_t::MAX)
}

/// In place of the C library's.
///
/// # Safety
/// `time` has to point to a place for the time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    if !PLANTED.load(Ordering::Relaxed) {
        // SAFETY: the arguments are the caller's own, for the same function.
        let read = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return libc::c_int::try_from(read).unwrap_or(-1);
    }
    let is_calendar = clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE;
    let begin = if is_calendar { CALENDAR } else { UPTIME };
    let now = now() + Duration::from_secs(begin);
    let shown = libc::timespec {
        tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(now.subsec_nanos()),
    };
    // SAFETY: the caller vouches for the place.
    unsafe { time.write(shown) };
    0
}

/// The calendar by simulated time.
#[must_use]
pub fn calendar() -> std::time::SystemTime {
    std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(CALENDAR) + now()
}
