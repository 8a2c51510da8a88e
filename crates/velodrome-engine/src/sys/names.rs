//! `getaddrinfo` with all that it can be asked. The standard library asks for the addresses of stream sockets only, and
//! keeps what else the answer says: the kind of socket, its protocol, the host's proper name.
//!
//! It blocks, for seconds when a name server is silent: a face calls it on a thread.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use rustix::net::{AddressFamily, SocketType};

use super::native;

/// What may be asked for besides, as this platform counts.
pub use libc::{AI_ADDRCONFIG, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE};

/// Which of the answers are wanted; all, where nothing is said.
#[derive(Copy, Clone, Debug, Default)]
pub struct Hints {
    /// Of this family only.
    pub family: Option<AddressFamily>,
    /// For this kind of socket only.
    pub kind: Option<SocketType>,
    /// For this protocol only, by its number; 0 is any.
    pub protocol: i32,
    /// Any of the `AI_` constants.
    pub flags: i32,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// The address, with the service's port.
    pub address: SocketAddr,
    /// The kind of socket that it is for.
    pub kind: SocketType,
    /// The protocol, by its number.
    pub protocol: i32,
    /// The host's proper name, in the first answer, where it was asked for.
    pub canonical_name: Option<String>,
}

/// The addresses of `host`, or of this machine, and of `service`, a name or a number.
///
/// # Errors
/// `NotFound` for a name that there is none of, or that has no address of the kind; `InvalidInput` for what cannot be
/// asked; what the resolver says.
pub fn getaddrinfo(host: Option<&str>, service: Option<&str>, hints: Hints) -> io::Result<Vec<AddressInfo>> {
    let (host, service) = (host.map(CString::new).transpose()?, service.map(CString::new).transpose()?);
    let text = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let wanted = wanted(hints);
    let mut list = List(ptr::null_mut());
    // SAFETY: the strings, the hints and the place for the answer are ours and outlive the call. A string may be null; for
    // both of them the C library has an error.
    let answer =
        unsafe { libc::getaddrinfo(text(&host), text(&service), &raw const wanted, &raw mut list.0) };
    if answer != 0 {
        return Err(error(answer));
    }
    Ok(list.nodes().filter_map(info).collect())
}

fn wanted(hints: Hints) -> libc::addrinfo {
    libc::addrinfo {
        ai_flags: hints.flags,
        ai_family: hints.family.map_or(libc::AF_UNSPEC, |family| c_int::from(family.as_raw())),
        ai_socktype: hints.kind.map_or(0, |kind| kind.as_raw().cast_signed()),
        ai_protocol: hints.protocol,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    }
}

/// What the C library answered, which it wants to have back.
struct List(*mut libc::addrinfo);

impl List {
    fn nodes(&self) -> impl Iterator<Item = &libc::addrinfo> {
        let mut next = self.0;
        std::iter::from_fn(move || {
            // SAFETY: each pointer is null or to a node that the C library wrote and keeps until the list is freed, for
            // which it would have to be dropped; the nodes are lent no longer than that.
            let node = unsafe { next.as_ref() }?;
            next = node.ai_next;
            Some(node)
        })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is the C library's list, not freed before, and nothing borrows of it any more.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// None for a family that is not the internet's.
fn info(node: &libc::addrinfo) -> Option<AddressInfo> {
    Some(AddressInfo {
        address: address(node)?,
        kind: SocketType::from_raw(node.ai_socktype.cast_unsigned()),
        protocol: node.ai_protocol,
        canonical_name: string(node.ai_canonname),
    })
}

fn address(node: &libc::addrinfo) -> Option<SocketAddr> {
    let length = node.ai_addrlen as usize;
    match node.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the C library says that so many bytes are there, and that they are an address of this family.
            let v4 = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let v6 = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// A copy of a string of the C library's.
fn string(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a string that the C library wrote and keeps until after this.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

fn error(answer: c_int) -> io::Error {
    let kind = match answer {
        libc::EAI_SYSTEM => return io::Error::last_os_error(),
        libc::EAI_NONAME => io::ErrorKind::NotFound,
        other if other == native::EAI_NODATA => io::ErrorKind::NotFound,
        libc::EAI_BADFLAGS | libc::EAI_FAMILY | libc::EAI_SERVICE | libc::EAI_SOCKTYPE => {
            io::ErrorKind::InvalidInput
        }
        _ => io::ErrorKind::Other,
    };
    // SAFETY: any number may be asked about, and the answer is a string that is never freed.
    let text = string(unsafe { libc::gai_strerror(answer) });
    io::Error::new(kind, text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(host: &str, hints: Hints) -> io::Result<Vec<AddressInfo>> {
        let flags = hints.flags | AI_NUMERICHOST | AI_NUMERICSERV;
        getaddrinfo(Some(host), Some("80"), Hints { flags, ..hints })
    }

    #[track_caller]
    fn kind(found: io::Result<Vec<AddressInfo>>) -> io::ErrorKind {
        found.unwrap_err().kind()
    }

    #[test]
    fn a_number_is_each_kind_of_socket_or_the_one_that_is_wanted() {
        let all = numeric("192.0.2.1", Hints::default()).unwrap();
        assert!(all.iter().all(|found| found.address == "192.0.2.1:80".parse().unwrap()));
        for kind in [SocketType::STREAM, SocketType::DGRAM] {
            assert!(all.iter().any(|found| found.kind == kind));
            let some = numeric("192.0.2.1", Hints { kind: Some(kind), ..Hints::default() }).unwrap();
            assert!(some.iter().all(|found| found.kind == kind) && some.len() < all.len());
        }
        let udp = Hints { protocol: libc::IPPROTO_UDP, ..Hints::default() };
        assert!(numeric("192.0.2.1", udp).unwrap().iter().all(|found| found.protocol == libc::IPPROTO_UDP));
    }

    #[test]
    fn both_families_are_read() {
        let v6 = numeric("fe80::1%1", Hints::default()).unwrap();
        assert_eq!(v6[0].address, SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 1).into());
        let v4 = Hints { family: Some(AddressFamily::INET), ..Hints::default() };
        assert!(numeric("::1", v4).is_err());
    }

    #[test]
    fn nobody_is_this_machine_or_all_of_it() {
        let passive = Hints { flags: AI_PASSIVE, ..Hints::default() };
        for (hints, unspecified) in [(Hints::default(), false), (passive, true)] {
            let found = getaddrinfo(None, Some("80"), hints).unwrap();
            assert!(found.iter().all(|found| found.address.ip().is_unspecified() == unspecified));
        }
    }

    #[test]
    fn a_name_is_given_back_where_it_is_asked_for() {
        let named = Hints { flags: AI_CANONNAME, ..Hints::default() };
        assert_eq!(numeric("127.0.0.1", named).unwrap()[0].canonical_name.as_deref(), Some("127.0.0.1"));
        assert_eq!(numeric("127.0.0.1", Hints::default()).unwrap()[0].canonical_name, None);
    }

    #[test]
    fn what_cannot_be_answered_is_an_error_of_its_kind() {
        assert_eq!(kind(numeric("no number", Hints::default())), io::ErrorKind::NotFound);
        assert_eq!(kind(numeric("zero\0", Hints::default())), io::ErrorKind::InvalidInput);
        assert_eq!(kind(getaddrinfo(None, None, Hints::default())), io::ErrorKind::NotFound);
        assert_eq!(error(native::EAI_NODATA).kind(), io::ErrorKind::NotFound);
        assert_eq!(error(libc::EAI_AGAIN).kind(), io::ErrorKind::Other);
        let bad = Hints { flags: AI_CANONNAME, ..Hints::default() };
        assert_eq!(kind(getaddrinfo(None, Some("80"), bad)), io::ErrorKind::InvalidInput);
    }
}
