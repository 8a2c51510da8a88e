//! What the resolver can be asked beside the addresses of a host: the keyword arguments of `loop.getaddrinfo`.

use std::io;
use std::net::SocketAddr;

use velodrome_engine::sys::{self, names};

use super::lookup;
use crate::{advice, local};

/// A family of addresses of the internet: `AF_INET`, `AF_INET6`.
///
/// ```
/// # velodrome::run(async {
/// use velodrome::{AddressFamily, LookupOptions};
///
/// let found = LookupOptions::new().family(AddressFamily::V6).getaddrinfo("::1", 80).await?;
/// assert!(found.iter().all(|found| found.address.is_ipv6()));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// What an address is for: `SOCK_STREAM` and its sisters.
///
/// ```
/// # velodrome::run(async {
/// use velodrome::{LookupOptions, SocketType};
///
/// let found = LookupOptions::new().getaddrinfo("127.0.0.1", 53).await?;
/// assert!(found.iter().any(|found| found.socket_type == SocketType::Datagram));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketType {
    /// `SOCK_STREAM`, which is TCP unless the protocol says otherwise.
    Stream,
    /// `SOCK_DGRAM`, which is UDP unless the protocol says otherwise.
    Datagram,
    /// `SOCK_RAW`.
    Raw,
}

/// One answer of the resolver: a tuple of what `loop.getaddrinfo` returns.
///
/// ```
/// # velodrome::run(async {
/// use velodrome::{LookupOptions, SocketType};
///
/// let options = LookupOptions::new().socket_type(SocketType::Stream).canonical_name(true);
/// let found = options.getaddrinfo("127.0.0.1", 80).await?;
/// assert_eq!(found[0].address, ([127, 0, 0, 1], 80).into());
/// assert_eq!((found[0].socket_type, found[0].protocol), (SocketType::Stream, 6));
/// assert_eq!(found[0].canonical_name.as_deref(), Some("127.0.0.1"));
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The address, with the port of the service.
    pub address: SocketAddr,
    /// The kind of socket that it is for.
    pub socket_type: SocketType,
    /// The protocol by its number: 6 is TCP, 17 UDP.
    pub protocol: i32,
    /// The host's proper name: in the first answer, if it [was asked for](LookupOptions::canonical_name).
    pub canonical_name: Option<String>,
}

/// Choices for a look-up; [`getaddrinfo`](crate::getaddrinfo) asks for the addresses of stream sockets, and no more.
///
/// ```
/// use velodrome::{AddressFamily, LookupOptions, SocketType};
///
/// velodrome::run(async {
///     let options = LookupOptions::new().family(AddressFamily::V4).socket_type(SocketType::Datagram);
///     let found = options.getaddrinfo("localhost", 53).await?;
///     assert_eq!(found[0].address, ([127, 0, 0, 1], 53).into());
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LookupOptions {
    family: Option<AddressFamily>,
    socket_type: Option<SocketType>,
    protocol: i32,
    flags: i32,
}

impl LookupOptions {
    /// Every family, every kind of socket.
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only addresses of this family.
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().family(velodrome::AddressFamily::V4);
    /// ```
    #[must_use]
    pub fn family(mut self, family: AddressFamily) -> Self {
        self.family = Some(family);
        self
    }

    /// Only for this kind of socket. For any, an address comes once for each.
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().socket_type(velodrome::SocketType::Stream);
    /// ```
    #[must_use]
    pub fn socket_type(mut self, socket_type: SocketType) -> Self {
        self.socket_type = Some(socket_type);
        self
    }

    /// Only for this protocol, by its number: 6 is TCP, 17 UDP.
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().protocol(17);
    /// ```
    #[must_use]
    pub fn protocol(mut self, number: i32) -> Self {
        self.protocol = number;
        self
    }

    /// Whether no host means every interface, to listen there (`AI_PASSIVE`), and not this machine, to connect to it.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let found = velodrome::LookupOptions::new().passive(true).getaddrinfo("", 80).await?;
    /// assert!(found.iter().all(|found| found.address.ip().is_unspecified()));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn passive(self, on: bool) -> Self {
        self.flag(names::AI_PASSIVE, on)
    }

    /// Whether the host's proper name is asked for too (`AI_CANONNAME`), which an alias stands for.
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().canonical_name(true);
    /// ```
    #[must_use]
    pub fn canonical_name(self, on: bool) -> Self {
        self.flag(names::AI_CANONNAME, on)
    }

    /// Whether the host has to be a number (`AI_NUMERICHOST`), so that no name server is asked.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let options = velodrome::LookupOptions::new().numeric_host(true);
    /// assert!(options.getaddrinfo("localhost", 80).await.is_err());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn numeric_host(self, on: bool) -> Self {
        self.flag(names::AI_NUMERICHOST, on)
    }

    /// Whether the service has to be a number (`AI_NUMERICSERV`).
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().numeric_service(true);
    /// ```
    #[must_use]
    pub fn numeric_service(self, on: bool) -> Self {
        self.flag(names::AI_NUMERICSERV, on)
    }

    /// Whether only families are wanted of which this machine has an address itself (`AI_ADDRCONFIG`).
    ///
    /// ```
    /// let options = velodrome::LookupOptions::new().configured_only(true);
    /// ```
    #[must_use]
    pub fn configured_only(self, on: bool) -> Self {
        self.flag(names::AI_ADDRCONFIG, on)
    }

    fn flag(mut self, flag: i32, on: bool) -> Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// Look up `host`, where empty is this machine, and `service`, which is a port, the name of one, or empty:
    /// `loop.getaddrinfo`. The system's resolver is asked, on a thread that the loop keeps for that.
    ///
    /// **Cancel safety**: may be dropped at any time; a lookup that has begun goes on on its thread, and its answer is
    /// dropped.
    ///
    /// ```
    /// # velodrome::run(async {
    /// let options = velodrome::LookupOptions::new().socket_type(velodrome::SocketType::Stream);
    /// let found = options.getaddrinfo("localhost", 443).await?;
    /// assert!(found.iter().all(|found| found.address.ip().is_loopback() && found.address.port() == 443));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such name, or it has no address of the kind; `InvalidInput` for choices that cannot go
    /// together; what the resolver says. If no loop runs on this thread.
    pub async fn getaddrinfo(&self, host: &str, service: impl ToString) -> io::Result<Vec<AddressInfo>> {
        let (local, hints, service) = (local::require("getaddrinfo")?, self.hints(), service.to_string());
        let what = format!("look up {host:?}, service {service:?}");
        let some = |text: String| (!text.is_empty()).then_some(text);
        let (host, service) = (some(host.to_owned()), some(service));
        let ask = |done: lookup::Done<_>| {
            let job = move || done(names::getaddrinfo(host.as_deref(), service.as_deref(), hints));
            local.resolver().submit(Box::new(job))
        };
        let found = lookup::answer_to(ask).await.map_err(|error| advice::unknown(what, error))?;
        Ok(found.into_iter().filter_map(AddressInfo::new).collect())
    }

    fn hints(&self) -> names::Hints {
        names::Hints {
            family: self.family.map(AddressFamily::to_system),
            kind: self.socket_type.map(SocketType::to_system),
            protocol: self.protocol,
            flags: self.flags,
        }
    }
}

impl AddressFamily {
    fn to_system(self) -> sys::AddressFamily {
        match self {
            Self::V4 => sys::AddressFamily::INET,
            Self::V6 => sys::AddressFamily::INET6,
        }
    }
}

impl SocketType {
    fn to_system(self) -> sys::SocketType {
        match self {
            Self::Stream => sys::SocketType::STREAM,
            Self::Datagram => sys::SocketType::DGRAM,
            Self::Raw => sys::SocketType::RAW,
        }
    }

    fn of_system(kind: sys::SocketType) -> Option<Self> {
        [Self::Stream, Self::Datagram, Self::Raw].into_iter().find(|known| known.to_system() == kind)
    }
}

impl AddressInfo {
    /// None for a kind of socket that nothing here can open.
    fn new(found: names::AddressInfo) -> Option<Self> {
        let names::AddressInfo { address, kind, protocol, canonical_name } = found;
        Some(Self { address, socket_type: SocketType::of_system(kind)?, protocol, canonical_name })
    }
}
