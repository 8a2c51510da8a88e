//! What holds for any descriptor, whatever is behind it.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::{lend, native, retry};

/// Says whether calls on `fd` may block. The flag belongs to the open file description: it changes for everybody
/// who shares it, a parent process's terminal included.
pub fn set_nonblocking(fd: RawFd, on: bool) -> io::Result<()> {
    let fd = lend(fd)?;
    let old = retry(|| fcntl_getfl(fd))?;
    let mut new = old;
    new.set(OFlags::NONBLOCK, on);
    if new == old {
        return Ok(());
    }
    retry(|| fcntl_setfl(fd, new))
}

/// Whether calls on `fd` return `EWOULDBLOCK` instead of blocking.
pub fn is_nonblocking(fd: RawFd) -> io::Result<bool> {
    let fd = lend(fd)?;
    retry(|| fcntl_getfl(fd)).map(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Whether there is such a descriptor; `EBADF` if not.
pub fn check(fd: RawFd) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| fcntl_getfd(fd)).map(drop)
}

/// Programs that are started do not inherit `fd` from now on.
pub fn set_cloexec(fd: RawFd) -> io::Result<()> {
    let fd = lend(fd)?;
    retry(|| fcntl_setfd(fd, fcntl_getfd(fd)? | FdFlags::CLOEXEC))
}

/// A second descriptor for the same open file description; it is not inherited by child programs.
pub fn dup(fd: RawFd) -> io::Result<OwnedFd> {
    let fd = lend(fd)?;
    // 3 is the lowest number allowed: a duplicate must not become the standard input of whoever closed theirs.
    retry(|| rustix::io::fcntl_dupfd_cloexec(fd, 3))
}

/// Whether a character device is behind it, as a terminal is.
pub fn is_character_device(fd: RawFd) -> io::Result<bool> {
    let fd = lend(fd)?;
    let found = retry(|| fstat(fd))?;
    Ok(FileType::from_raw_mode(found.st_mode).is_char_device())
}

/// A pipe whose two ends, reading and writing, do not block and are not inherited.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    native::pipe()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys;

    #[test]
    fn nonblocking_goes_on_and_off() {
        let (reader, _writer) = pipe().unwrap();
        let fd = reader.as_raw_fd();
        assert!(is_nonblocking(fd).unwrap());
        set_nonblocking(fd, false).unwrap();
        assert!(!is_nonblocking(fd).unwrap());
        set_nonblocking(fd, true).unwrap();
        assert_eq!(sys::read(fd, &mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_device_is_told_from_a_pipe() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(is_character_device(null.as_raw_fd()).unwrap());
        assert!(!is_character_device(pipe().unwrap().0.as_raw_fd()).unwrap());
    }

    #[test]
    fn what_is_inherited_can_be_kept_back() {
        let (reader, _writer) = pipe().unwrap();
        fcntl_setfd(&reader, FdFlags::empty()).unwrap();
        set_cloexec(reader.as_raw_fd()).unwrap();
        assert_eq!(fcntl_getfd(&reader).unwrap(), FdFlags::CLOEXEC);
    }

    #[test]
    fn a_number_that_names_nothing_is_told() {
        let (reader, _writer) = pipe().unwrap();
        check(reader.as_raw_fd()).unwrap();
        assert!(check(-1).is_err() && check(RawFd::MAX).is_err());
    }

    #[test]
    fn a_duplicate_outlives_its_original() {
        let (reader, writer) = pipe().unwrap();
        let second = dup(writer.as_raw_fd()).unwrap();
        drop(writer);
        assert_eq!(sys::write(second.as_raw_fd(), b"ab").unwrap(), 2);
        assert_eq!(sys::read(reader.as_raw_fd(), &mut [0; 8]).unwrap(), 2);
    }
}
