//! An address that is kept for as long as a connection lives: 32 bytes for nearly all, where the kernel's form takes 130.

use std::net::SocketAddr;

use velodrome_engine::sys::Peer;

/// An address, if one is known.
#[derive(Default)]
pub(super) enum Kept {
    #[default]
    Unknown,
    Internet(SocketAddr),
    Other(Box<Peer>),
}

impl From<Option<Peer>> for Kept {
    fn from(peer: Option<Peer>) -> Self {
        match peer {
            None => Self::Unknown,
            Some(peer) => match peer.as_socket_addr() {
                Some(address) => Self::Internet(address),
                None => Self::Other(Box::new(peer)),
            },
        }
    }
}

impl Kept {
    pub(super) fn get(&self) -> Option<Peer> {
        match self {
            Self::Unknown => None,
            Self::Internet(address) => Some(Peer::from(*address)),
            Self::Other(peer) => Some(Peer::clone(peer)),
        }
    }
}
