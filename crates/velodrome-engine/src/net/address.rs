//! Addresses that need no lookup, and the order in which to try several.
//!
//! Most connections of a service go to an address that is a number already, and asking a thread for it would cost
//! more than the connection. Whatever is not certainly a number here is left to the system's resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The address of `host` if it is a number: `192.0.2.1`, `2001:db8::1`, `fe80::1%2`. A zone that is a name, as in
/// `fe80::1%eth0`, needs the system's table of interfaces; the resolver knows it, so the answer is `None`.
pub fn numeric(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(SocketAddr::new(IpAddr::V4(address), port));
    }
    let (host, zone) = host.split_once('%').map_or((host, Some(0)), |(host, zone)| (host, zone_number(zone)));
    let address = host.parse::<Ipv6Addr>().ok()?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, zone?)))
}

/// `parse` alone would accept a sign.
fn zone_number(zone: &str) -> Option<u32> {
    zone.bytes().all(|byte| byte.is_ascii_digit()).then(|| zone.parse().ok())?
}

/// Orders addresses so that families alternate, beginning with the family of the first one, of which
/// `first_family_count` stand in front (RFC 8305, section 4). Within a family the resolver's order is kept.
pub fn interleave(addresses: Vec<SocketAddr>, first_family_count: usize) -> Vec<SocketAddr> {
    interleave_by(addresses, first_family_count, SocketAddr::is_ipv6)
}

/// [`interleave`] for any kind of address, whose family `family` tells.
pub fn interleave_by<T, F: PartialEq>(
    addresses: Vec<T>,
    first_family_count: usize,
    family: impl Fn(&T) -> F,
) -> Vec<T> {
    let mut ordered = Vec::with_capacity(addresses.len());
    let mut families: Vec<_> = by_family(addresses, family).into_iter().map(Vec::into_iter).collect();
    if let Some(first) = families.first_mut() {
        ordered.extend(first.take(first_family_count.saturating_sub(1)));
    }
    while families.iter().any(|family| family.len() > 0) {
        ordered.extend(families.iter_mut().filter_map(Iterator::next));
    }
    ordered
}

fn by_family<T, F: PartialEq>(addresses: Vec<T>, family: impl Fn(&T) -> F) -> Vec<Vec<T>> {
    let mut families: Vec<(F, Vec<T>)> = Vec::new();
    for address in addresses {
        let of = family(&address);
        match families.iter_mut().find(|(known, _)| *known == of) {
            Some((_, members)) => members.push(address),
            None => families.push((of, vec![address])),
        }
    }
    families.into_iter().map(|(_, members)| members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_number(host: &str, expected: &str) {
        assert_eq!(numeric(host, 80).map(|address| address.to_string()).as_deref(), Some(expected));
    }

    #[track_caller]
    fn needs_lookup(host: &str) {
        assert_eq!(numeric(host, 80), None);
    }

    #[test]
    fn numbers_are_recognised() {
        is_number("127.0.0.1", "127.0.0.1:80");
        is_number("::1", "[::1]:80");
        is_number("fe80::1%2", "[fe80::1%2]:80");
        is_number("::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80");
    }

    #[test]
    fn what_is_not_certainly_a_number_is_looked_up() {
        for host in
            ["", "localhost", "127.1", "010.0.0.1", "1.2.3.4%1", "[::1]", "::1%", "::1%+1", "fe80::1%eth0"]
        {
            needs_lookup(host);
        }
    }

    #[track_caller]
    fn interleaves(addresses: &str, first_family_count: usize, expected: &str) {
        let family = |name: &&str| name.as_bytes()[0];
        let ordered = interleave_by(addresses.split(' ').collect(), first_family_count, family);
        assert_eq!(ordered.join(" "), expected);
    }

    #[test]
    fn families_alternate_in_the_order_of_their_first_member() {
        interleaves("a1 a2 a3 b1 b2", 1, "a1 b1 a2 b2 a3");
        interleaves("b1 a1 a2", 0, "b1 a1 a2");
        interleaves("a1 b1 b2 b3 c1", 1, "a1 b1 c1 b2 b3");
    }

    #[test]
    fn more_of_the_first_family_may_stand_in_front() {
        interleaves("a1 a2 a3 b1 b2", 2, "a1 a2 b1 a3 b2");
        interleaves("a1 a2 b1", 9, "a1 a2 b1");
    }

    #[test]
    fn socket_addresses_know_their_family() {
        let of = |host| numeric(host, 1).unwrap();
        let ordered = interleave(vec![of("::1"), of("::2"), of("1.1.1.1")], 1);
        assert_eq!(ordered, [of("::1"), of("1.1.1.1"), of("::2")]);
        assert!(interleave(Vec::new(), 3).is_empty());
    }
}
