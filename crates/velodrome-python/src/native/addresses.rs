//! Addresses between Python's tuples and the kernel's structures.
//!
//! To Python each address looks exactly as the socket module shows it. From Python only what is certainly an address
//! is read here; names, odd spellings and mistakes are the socket module's, in its own words.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use velodrome_engine::sys::{AddressFamily, Peer};

use crate::kit::buffer::exact_bytes;
use crate::kit::object::{
    Obj, Ref, Result, bytes, clear_raised, file_name, long, none, string, text, tuple, tuple_item, tuple_len,
};

/// An address as Python's socket module shows it.
pub(super) fn shown(peer: Option<&Peer>) -> Result<Ref> {
    let Some(peer) = peer else { return Ok(none()) };
    match peer.as_socket_addr() {
        Some(internet) => shown_internet(internet),
        None => shown_unix(peer),
    }
}

fn shown_internet(address: SocketAddr) -> Result<Ref> {
    let host = string(&host(address.ip()))?;
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

/// How many senders are remembered: more than most services hear of in a moment, in a few kilobytes.
const REMEMBERED: usize = 64;

/// The addresses of senders as Python objects. Whoever sent lately will send again, most of all the very last one: its
/// address is not made a second time. Each sender has one place, which it may lose to another.
#[derive(Default)]
pub(super) struct Senders {
    places: RefCell<Vec<Option<(Peer, Ref)>>>,
    /// Where the last one is.
    last: Cell<usize>,
}

impl Senders {
    /// A sender's address.
    pub(super) fn shown(&self, peer: &Peer) -> Result<Ref> {
        let internet = peer.as_socket_addr();
        let place = internet.map_or(0, place_of);
        if let Some(Some((known, shown))) = self.places.borrow().get(place)
            && known == peer
        {
            self.last.set(place);
            return Ok(shown.clone());
        }
        let made = shown(Some(peer))?;
        let before = self.remember(place, (peer.clone(), made.clone()));
        // Whatever its drop does, nothing is borrowed.
        drop(before);
        Ok(made)
    }

    fn remember(&self, place: usize, known: (Peer, Ref)) -> Option<(Peer, Ref)> {
        let mut places = self.places.borrow_mut();
        if place >= places.len() {
            // A socket with one sender needs one place.
            let room = if places.is_empty() { place + 1 } else { REMEMBERED };
            places.resize_with(room, || None);
        }
        self.last.set(place);
        places.get_mut(place)?.replace(known)
    }

    /// The address that `object` stands for, if it is the one that was shown last: who answers, answers to that.
    pub(super) fn last_of(&self, object: &Obj) -> Option<Peer> {
        let places = self.places.borrow();
        let (peer, shown) = places.get(self.last.get())?.as_ref()?;
        shown.is(object).then(|| peer.clone())
    }
}

/// Clients of one host differ by port, and those of several by the end of their addresses.
fn place_of(address: SocketAddr) -> usize {
    let low = match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    (usize::from(address.port()) + usize::from(low)) % REMEMBERED
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
