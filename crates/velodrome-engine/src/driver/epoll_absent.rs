//! Where there is no epoll: a driver that nobody can make, so that the code above needs no `cfg`.

use std::io;
use std::os::fd::RawFd;

use super::{Event, Interest, Key, Timeout};

#[derive(Debug)]
pub(super) enum Epoll {}

impl Epoll {
    pub(super) const EXISTS: bool = false;

    pub(super) fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "epoll is Linux's; use the portable driver here"))
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
