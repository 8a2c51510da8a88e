//! Addresses between Python's tuples and the kernel's structures.
//!
//! To Python each address looks exactly as the socket module shows it. From Python only what is certainly an address
//! is read here; names, odd spellings and mistakes are the socket module's, in its own words.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use velodrome_engine::sys::{AddressFamily, Peer};

use crate::kit::buffer::exact_bytes;
use crate::kit::object::{
    Obj, Ref, Result, Slot, bytes, clear_raised, file_name, long, none, string, text, tuple, tuple_item,
    tuple_len,
};

/// An address as Python's socket module shows it.
pub(super) fn shown(peer: Option<&Peer>) -> Result<Ref> {
    let Some(peer) = peer else { return Ok(none()) };
    match peer.as_socket_addr() {
        Some(internet) => shown_internet(internet, &*string(&host(internet.ip()))?),
        None => shown_unix(peer),
    }
}

fn shown_internet(address: SocketAddr, host: &Obj) -> Result<Ref> {
    let port = long(i64::from(address.port()))?;
    let SocketAddr::V6(address) = address else { return tuple(&[host.as_ptr(), port.as_ptr()]) };
    let (flow, scope) = (long(i64::from(address.flowinfo()))?, long(i64::from(address.scope_id()))?);
    tuple(&[host.as_ptr(), port.as_ptr(), flow.as_ptr(), scope.as_ptr()])
}

/// As inet_ntop writes it, which shows the old kind of IPv4 inside IPv6 (`::1.2.3.4`) in dots.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(ip) => match (ip.segments(), ip.octets()) {
            ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high > 0 => {
                format!("::{}", Ipv4Addr::new(a, b, c, d))
            }
            _ => ip.to_string(),
        },
        IpAddr::V4(ip) => ip.to_string(),
    }
}

fn shown_unix(peer: &Peer) -> Result<Ref> {
    match peer.unix_path() {
        None => Ok(none()),
        Some(path) if path.first() == Some(&0) => bytes(path),
        Some(path) => file_name(path),
    }
}

/// The addresses of senders as Python objects. Most datagrams come from the last one's sender, or at least from its
/// host: an address is then not made again.
#[derive(Default)]
pub(super) struct Senders {
    last: RefCell<Option<Peer>>,
    shown: Slot,
    host: Cell<Option<IpAddr>>,
    host_shown: Slot,
}

impl Senders {
    /// A sender's address.
    pub(super) fn shown(&self, peer: &Peer) -> Result<Ref> {
        if self.last.borrow().as_ref() == Some(peer)
            && let Some(shown) = self.shown.get()
        {
            return Ok(shown);
        }
        let shown = match peer.as_socket_addr() {
            Some(internet) => shown_internet(internet, &*self.host_of(internet.ip())?)?,
            None => shown_unix(peer)?,
        };
        self.last.replace(Some(peer.clone()));
        self.shown.set(shown.clone());
        Ok(shown)
    }

    fn host_of(&self, ip: IpAddr) -> Result<Ref> {
        if self.host.get() == Some(ip)
            && let Some(shown) = self.host_shown.get()
        {
            return Ok(shown);
        }
        let shown = string(&host(ip))?;
        self.host.set(Some(ip));
        self.host_shown.set(shown.clone());
        Ok(shown)
    }

    /// The address that `object` stands for, if it is the one that was shown last: who answers, answers to that.
    pub(super) fn last_of(&self, object: &Obj) -> Option<Peer> {
        if self.shown.as_ptr() == object.as_ptr() { self.last.borrow().clone() } else { None }
    }

    /// For a collector.
    pub(super) fn slots(&self) -> [&Slot; 2] {
        [&self.shown, &self.host_shown]
    }
}

/// The address that `object` certainly stands for on a socket of `family`; None is for the socket module to judge.
pub(super) fn read(family: AddressFamily, object: &Obj) -> Option<Peer> {
    let read = match family {
        AddressFamily::INET => read_v4(object),
        AddressFamily::INET6 => read_v6(object),
        AddressFamily::UNIX => read_unix(object),
        _ => None,
    };
    // An int too large, a str that is no text: looked at again by who says so.
    clear_raised();
    read
}

fn read_v4(object: &Obj) -> Option<Peer> {
    if tuple_len(object)? != 2 {
        return None;
    }
    let host: Ipv4Addr = text(&*tuple_item(object, 0)?)?.parse().ok()?;
    Some(Peer::from(SocketAddr::new(host.into(), number(object, 1)?)))
}

fn read_v6(object: &Obj) -> Option<Peer> {
    let length = tuple_len(object)?;
    let host: Ipv6Addr = text(&*tuple_item(object, 0)?)?.parse().ok()?;
    let flow: u32 = if length > 2 { number(object, 2)? } else { 0 };
    let scope = if length > 3 { number(object, 3)? } else { 0 };
    // A flow label has twenty bits; the socket module refuses more.
    let legal = (2..=4).contains(&length) && flow <= 0xf_ffff;
    legal.then_some(Peer::from(SocketAddr::V6(SocketAddrV6::new(host, number(object, 1)?, flow, scope))))
}

fn number<N: TryFrom<i64>>(tuple: &Obj, index: usize) -> Option<N> {
    let item = tuple_item(tuple, index)?;
    if !item.is_int() {
        return None;
    }
    N::try_from(item.as_long().ok()?).ok()
}

fn read_unix(object: &Obj) -> Option<Peer> {
    let name = match text(object) {
        // What the file system makes of other letters is the locale's business.
        Some(text) => text.is_ascii().then_some(text.as_bytes())?,
        None => exact_bytes(object)?,
    };
    if name.is_empty() { None } else { Peer::unix(name).ok() }
}
