//! Where the portable driver is not built in: one that nobody can make, so that the code above needs no `cfg`.

use std::io;
use std::os::fd::RawFd;

use super::{Event, Interest, Key, Timeout};

#[derive(Debug)]
pub(super) enum Portable {}

impl Portable {
    pub(super) fn new() -> io::Result<Self> {
        let sentence = "the portable driver is not built in; the feature `portable` of velodrome brings it";
        Err(io::Error::new(io::ErrorKind::Unsupported, sentence))
    }

    pub(super) fn name(&self) -> &'static str {
        match *self {}
    }

    pub(super) fn close(&self) {
        match *self {}
    }

    pub(super) fn add(&self, _fd: RawFd, _key: Key, _interest: Interest) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn modify(&self, _fd: RawFd, _key: Key, _interest: Interest) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn delete(&self, _fd: RawFd) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn renew(&self, _watched: &[(RawFd, Key, Interest)]) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn wait(&self, _events: &mut Vec<Event>, _timeout: Timeout) -> io::Result<()> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::driver::{Driver, DriverKind};

    #[test]
    fn who_asks_for_it_is_told_how_to_have_it() {
        let error = Driver::with_kind(DriverKind::Portable).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("feature `portable`"), "{error}");
        assert_eq!(Driver::new().unwrap().name(), "epoll");
    }
}
