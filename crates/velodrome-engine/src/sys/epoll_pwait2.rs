//! `epoll_pwait2`: to wait for events with a time-out in nanoseconds. Linux 5.11 and later.
//!
//! rustix makes this call only for time-outs too long for `epoll_wait`, or always and without a way back under its
//! feature `linux_5_11`; glibc has the function since 2.35. So it is called by its number here. That number, 441, is
//! the same on every architecture Linux has had new system calls numbered alike on; where it is not (MIPS), the
//! kernel answers ENOSYS, and [`works`] finds that out before anybody relies on it.

use std::ffi::{c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::event::epoll;

const SYS_EPOLL_PWAIT2: c_long = 441;

/// The kernel's `struct __kernel_timespec`: 64 bits each, on 32-bit machines too.
#[repr(C)]
struct KernelTimespec {
    sec: i64,
    nsec: i64,
}

unsafe extern "C" {
    /// The C library's door to any system call. The standard library links that C library anyway, and one line
    /// here is less than a dependency.
    fn syscall(number: c_long, ...) -> c_long;
}

/// Whether this kernel, and whatever sandbox we are in, lets the call through. Asked once for each driver.
pub(crate) fn works(epoll: BorrowedFd<'_>) -> bool {
    wait(epoll, &mut Vec::with_capacity(1), 0).is_ok()
}

/// Waits up to `nanos`, and puts into `events` what fits into its capacity, in place of what was there.
pub(crate) fn wait(epoll: BorrowedFd<'_>, events: &mut Vec<epoll::Event>, nanos: u64) -> io::Result<()> {
    const NANOS_PER_SEC: u64 = 1_000_000_000;
    let timeout = KernelTimespec {
        sec: i64::try_from(nanos / NANOS_PER_SEC).unwrap_or(i64::MAX),
        nsec: (nanos % NANOS_PER_SEC).cast_signed(),
    };
    let room = c_long::try_from(events.capacity()).unwrap_or(c_long::MAX);
    events.clear();
    // SAFETY: this function keeps the promises: `events` owns `room` places that are free to be written, `Event` has
    // the layout of the kernel's `epoll_event` (rustix hands the same type to the same kernel), `timeout` lives until
    // the call returns, and no signal mask is passed. Every argument is a word wide, as
    // the C library's `syscall` reads them.
    let count = unsafe {
        syscall(
            SYS_EPOLL_PWAIT2,
            c_long::from(epoll.as_raw_fd()),
            events.as_mut_ptr(),
            room,
            &raw const timeout,
            ptr::null::<c_void>(),
            0usize,
        )
    };
    // Negative means error; the conversion is the test for it.
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote `count` events, and never more than the `room` it was told of.
    unsafe { events.set_len(count) };
    Ok(())
}
