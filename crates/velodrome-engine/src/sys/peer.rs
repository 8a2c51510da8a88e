//! The address of one end of a socket.
//!
//! Every connection keeps its peer's, which most programs never look at; so it is small where it can be. The kernel's
//! form has room for any family, 128 bytes and a length: that is kept, apart, only of what is no internet address.

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
pub struct Peer(Address);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Address {
    Nobody,
    Internet(SocketAddr),
    /// A Unix socket without a name, as most that connect to one are.
    Unnamed,
    Other(Box<SocketAddrAny>),
}

impl Peer {
    /// A Unix address: a path, or an abstract name where the first byte is zero (Linux only), or unnamed if empty.
    pub fn unix(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [] => return Ok(Self(Address::Unnamed)),
            [0, name @ ..] => native::abstract_unix(name)?,
            path => SocketAddrUnix::new(OsStr::from_bytes(path))?,
        };
        Ok(Self(Address::Other(Box::new(address.into()))))
    }

    /// What a system call said; some kernels say nothing about a peer without a name.
    #[inline]
    pub(super) fn from_kernel(address: Option<SocketAddrAny>) -> Self {
        let Some(address) = address else { return Self(Address::Nobody) };
        Self(match address.address_family() {
            // One that is too short for its family is none; no kernel says such a thing.
            AddressFamily::INET | AddressFamily::INET6 => {
                SocketAddr::try_from(address).map_or(Address::Nobody, Address::Internet)
            }
            AddressFamily::UNIX if unix_name(&address).is_empty() => Address::Unnamed,
            _ => Address::Other(Box::new(address)),
        })
    }

    /// The form in which system calls take it.
    pub(super) fn sockaddr(&self) -> io::Result<SocketAddrAny> {
        match &self.0 {
            Address::Nobody => Err(Errno::DESTADDRREQ.into()),
            Address::Internet(address) => Ok((*address).into()),
            Address::Unnamed => Ok(SocketAddrUnix::new_unnamed().into()),
            Address::Other(address) => Ok(SocketAddrAny::clone(address)),
        }
    }

    /// The address family; `UNSPEC` if there is no address.
    pub fn family(&self) -> AddressFamily {
        match &self.0 {
            Address::Nobody => AddressFamily::UNSPEC,
            Address::Internet(SocketAddr::V4(_)) => AddressFamily::INET,
            Address::Internet(SocketAddr::V6(_)) => AddressFamily::INET6,
            Address::Unnamed => AddressFamily::UNIX,
            Address::Other(address) => address.address_family(),
        }
    }

    /// The internet address, if it is one.
    #[inline]
    pub fn as_socket_addr(&self) -> Option<SocketAddr> {
        if let Address::Internet(address) = self.0 { Some(address) } else { None }
    }

    /// A Unix address as bytes in the form of [`Peer::unix`]; `None` if the family is another.
    pub fn unix_path(&self) -> Option<&[u8]> {
        match &self.0 {
            Address::Unnamed => Some(&[]),
            Address::Other(address) if address.address_family() == AddressFamily::UNIX => {
                Some(unix_name(address))
            }
            _ => None,
        }
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
        if let Address::Internet(SocketAddr::V6(address)) = self.0 { Some(address) } else { None }
    }
}

/// The name in a Unix address.
///
/// Read here and not by rustix, which (1.1) gives an unnamed socket a name of one zero, and stops the program over a path
/// of 108 bytes: the kernel counts a zero behind it that the structure has no place for.
fn unix_name(address: &SocketAddrAny) -> &[u8] {
    let name = bytes(address).get(UNIX_NAME_OFFSET..).unwrap_or_default();
    if native::ABSTRACT_NAMES && name.first() == Some(&0) {
        return name;
    }
    name.split(|byte| *byte == 0).next().unwrap_or_default()
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
        Self(Address::Internet(address))
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
            assert_eq!(told_by_kernel(&peer), peer);
        }
    }

    /// The peer that a system call would tell of.
    fn told_by_kernel(peer: &Peer) -> Peer {
        Peer::from_kernel(Some(peer.sockaddr().unwrap()))
    }

    #[test]
    fn an_address_that_every_connection_keeps_is_small() {
        assert_eq!((size_of::<Peer>(), size_of::<Option<Peer>>()), (32, 32));
    }

    #[test]
    fn the_extras_of_version_six_survive() {
        let address = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 5, 7);
        let peer = Peer::from(SocketAddr::V6(address));
        assert_eq!((peer.flowinfo(), peer.scope_id()), (Some(5), Some(7)));
        assert_eq!(peer.as_socket_addr(), Some(SocketAddr::V6(address)));
        assert_eq!((peer.family(), told_by_kernel(&peer)), (AddressFamily::INET6, peer));
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
            assert_eq!(told_by_kernel(&peer), peer);
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
