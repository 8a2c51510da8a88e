//! The address of one end of a socket, as the kernel spells it.
//!
//! It is kept undecoded: most programs never look at a peer's address, and `accept` has it already. Decoding waits
//! for the question.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::slice;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

use super::native;

/// Where the name begins in a `sockaddr_un`: behind two bytes, which are the family, or a length and the family.
const UNIX_NAME_OFFSET: usize = 2;

/// An address of any family, or none at all: the other end of a Unix socketpair has no name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer(Option<SocketAddrAny>);

impl Peer {
    /// A Unix address: a path, or an abstract name where the first byte is zero (Linux only), or unnamed if empty.
    pub fn unix(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [] => SocketAddrUnix::new_unnamed(),
            [0, name @ ..] => native::abstract_unix(name)?,
            path => SocketAddrUnix::new(OsStr::from_bytes(path))?,
        };
        Ok(Self(Some(address.into())))
    }

    /// What a system call said; some kernels say nothing about a peer without a name.
    pub(super) fn from_kernel(address: Option<SocketAddrAny>) -> Self {
        Self(address)
    }

    /// The form in which system calls take it.
    pub(super) fn sockaddr(&self) -> io::Result<&SocketAddrAny> {
        self.0.as_ref().ok_or_else(|| Errno::DESTADDRREQ.into())
    }

    /// The address family; `UNSPEC` if there is no address.
    pub fn family(&self) -> AddressFamily {
        self.0.as_ref().map_or(AddressFamily::UNSPEC, SocketAddrAny::address_family)
    }

    /// The internet address, if it is one.
    pub fn as_socket_addr(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(self.0.clone()?).ok()
    }

    /// A Unix address as bytes in the form of [`Peer::unix`]; `None` if the family is another.
    ///
    /// Read here and not by rustix, which (1.1) gives an unnamed socket a name of one zero, and stops the program
    /// over a path of 108 bytes: the kernel counts a zero behind it that the structure has no place for.
    pub fn unix_path(&self) -> Option<&[u8]> {
        let address = self.0.as_ref().filter(|address| address.address_family() == AddressFamily::UNIX)?;
        let name = bytes(address).get(UNIX_NAME_OFFSET..).unwrap_or_default();
        if native::ABSTRACT_NAMES && name.first() == Some(&0) {
            return Some(name);
        }
        name.split(|byte| *byte == 0).next()
    }

    /// The zone of an IPv6 address (an interface's index), 0 if unset; `None` for other families.
    pub fn scope_id(&self) -> Option<u32> {
        self.as_v6().map(|address| address.scope_id())
    }

    /// The flow label of an IPv6 address as Python shows it; `None` for other families.
    pub fn flowinfo(&self) -> Option<u32> {
        self.as_v6().map(|address| address.flowinfo())
    }

    fn as_v6(&self) -> Option<SocketAddrV6> {
        SocketAddrV6::try_from(self.0.clone()?).ok()
    }
}

/// The address as it stands in memory.
fn bytes(address: &SocketAddrAny) -> &[u8] {
    let start = address.as_ptr().cast::<u8>();
    // SAFETY: `SocketAddrAny` keeps this promise as its invariant: it holds `addr_len` bytes that are written, and
    // lends them with itself.
    unsafe { slice::from_raw_parts(start, address.addr_len() as usize) }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address.into()))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.as_socket_addr() {
            return write!(f, "Peer({address})");
        }
        match self.unix_path() {
            Some(path) => write!(f, "Peer(unix:{})", path.escape_ascii()),
            None => write!(f, "Peer(family {})", self.family().as_raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internet_addresses_come_back_whole() {
        for text in ["127.0.0.1:80", "0.0.0.0:0", "[::1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::from(address);
            assert_eq!(peer.as_socket_addr(), Some(address));
            assert_eq!(peer.unix_path(), None);
        }
    }

    #[test]
    fn the_extras_of_version_six_survive() {
        let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 5, 7);
        let peer = Peer::from(SocketAddr::V6(address));
        assert_eq!((peer.flowinfo(), peer.scope_id()), (Some(5), Some(7)));
        assert_eq!(peer.as_socket_addr(), Some(SocketAddr::V6(address)));
        assert_eq!(peer.family(), AddressFamily::INET6);
        assert_eq!(Peer::unix(b"/tmp/x").unwrap().scope_id(), None);
    }

    #[test]
    fn unix_names_come_back_as_they_were_given() {
        let longest = [b'a'; 108];
        let hidden = Peer::unix(b"\0hidden\0name");
        assert_eq!(hidden.is_ok(), native::ABSTRACT_NAMES);
        for name in [&b""[..], b"/tmp/socket", b"\xff\xfe", &longest] {
            let peer = Peer::unix(name).unwrap();
            assert_eq!(peer.unix_path(), Some(name));
            assert_eq!(peer.family(), AddressFamily::UNIX);
            assert_eq!(peer.as_socket_addr(), None);
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_an_error() {
        let too_long = Peer::unix(&[b'a'; 109]).unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
        assert!(Peer::unix(b"a\0b").is_err(), "a path has no zero inside");
    }

    #[test]
    fn no_address_is_not_a_family() {
        let nobody = Peer::from_kernel(None);
        assert_eq!(nobody.family(), AddressFamily::UNSPEC);
        assert_eq!((nobody.as_socket_addr(), nobody.unix_path()), (None, None));
        assert!(nobody.sockaddr().is_err());
    }

    #[test]
    fn debug_is_short() {
        assert_eq!(format!("{:?}", Peer::from(SocketAddr::from(([1, 2, 3, 4], 5)))), "Peer(1.2.3.4:5)");
        assert_eq!(format!("{:?}", Peer::unix(b"a\tb").unwrap()), r"Peer(unix:a\tb)");
        assert_eq!(format!("{:?}", Peer::from_kernel(None)), "Peer(family 0)");
    }
}
