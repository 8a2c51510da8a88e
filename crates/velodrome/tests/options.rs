//! What is chosen for a socket, read back from the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use support::{really, settle};
use velodrome::{
    ConnectOptions, DatagramOptions, DatagramProtocol, ListenOptions, Protocol, Server, StreamWriter,
    Transport, create_connection, create_datagram_endpoint,
};

const HOST: &str = "127.0.0.1";

/// Descriptors of what a server has accepted.
type Accepted = Rc<RefCell<Vec<OwnedFd>>>;

/// Keeps a duplicate of its connection, and the connection open.
struct Kept(Accepted);

impl Protocol for Kept {
    fn connection_made(&mut self, transport: Transport) {
        self.0.borrow_mut().push(transport.duplicate_fd().unwrap());
    }

    fn data_received(&mut self, _: &[u8]) {}
}

impl DatagramProtocol for Kept {
    fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {}
}

fn port(server: &Server) -> u16 {
    server.local_addr().unwrap().port()
}

/// The two ends of a connection by streams, then the two of one by protocols; made with these choices.
async fn connections(connect: ConnectOptions, listen: ListenOptions) -> [OwnedFd; 4] {
    let accepted = Accepted::default();
    let keeps = Rc::clone(&accepted);
    let keep = move |_reader, writer: StreamWriter| {
        keeps.borrow_mut().push(writer.duplicate_fd().unwrap());
        async {}
    };
    let server = listen.start_server(keep, HOST, 0).await.unwrap();
    let (_reader, writer) = connect.open_connection(HOST, port(&server)).await.unwrap();
    let streams = writer.duplicate_fd().unwrap();
    while accepted.borrow().is_empty() {
        settle().await;
    }
    let keeps = Rc::clone(&accepted);
    let server = listen.create_server(move || Kept(Rc::clone(&keeps)), HOST, 0).await.unwrap();
    let ours = Accepted::default();
    let (transport, _) = connect.create_connection(|| Kept(ours), HOST, port(&server)).await.unwrap();
    let protocols = transport.duplicate_fd().unwrap();
    while accepted.borrow().len() < 2 {
        settle().await;
    }
    let mut theirs = accepted.take().into_iter();
    [streams, theirs.next().unwrap(), protocols, theirs.next().unwrap()]
}

#[test]
fn small_writes_leave_at_once_unless_told_otherwise() {
    really(async {
        for socket in connections(ConnectOptions::new(), ListenOptions::new()).await {
            assert!(sockopt::tcp_nodelay(&socket).unwrap());
            assert!(!sockopt::socket_keepalive(&socket).unwrap());
        }
        let (connect, listen) = (ConnectOptions::new().nodelay(false), ListenOptions::new().nodelay(false));
        for socket in connections(connect, listen).await {
            assert!(!sockopt::tcp_nodelay(&socket).unwrap());
        }
    });
}

#[test]
fn silent_peers_are_asked_if_that_is_chosen() {
    really(async {
        let (connect, listen) = (ConnectOptions::new().keepalive(true), ListenOptions::new().keepalive(true));
        for socket in connections(connect, ListenOptions::new()).await.into_iter().step_by(2) {
            assert!(sockopt::socket_keepalive(&socket).unwrap());
        }
        for socket in connections(ConnectOptions::new(), listen).await.into_iter().skip(1).step_by(2) {
            assert!(sockopt::socket_keepalive(&socket).unwrap());
        }
    });
}

#[test]
fn what_is_open_can_be_changed() {
    really(async {
        let server = ListenOptions::new().start_server(|_, _| async {}, HOST, 0).await.unwrap();
        let (_reader, writer) = ConnectOptions::new().open_connection(HOST, port(&server)).await.unwrap();
        let ours = || Kept(Accepted::default());
        let (transport, _) = create_connection(ours, HOST, port(&server)).await.unwrap();
        for on in [false, true, false] {
            writer.set_nodelay(on).unwrap();
            writer.set_keepalive(on).unwrap();
            transport.set_nodelay(on).unwrap();
            transport.set_keepalive(on).unwrap();
            for socket in [writer.duplicate_fd().unwrap(), transport.duplicate_fd().unwrap()] {
                assert_eq!(sockopt::tcp_nodelay(&socket).unwrap(), on);
                assert_eq!(sockopt::socket_keepalive(&socket).unwrap(), on);
            }
        }
    });
}

/// Address and port, as a server's sockets reuse them.
async fn reuse(options: ListenOptions) -> (bool, bool) {
    let server = options.start_server(|_, _| async {}, HOST, 0).await.unwrap();
    let sockets = server.duplicate_fds().unwrap();
    assert_eq!(sockets.len(), 1);
    server.close();
    assert!(server.duplicate_fds().unwrap().is_empty(), "those of a closed server are gone");
    (sockopt::socket_reuseaddr(&sockets[0]).unwrap(), sockopt::socket_reuseport(&sockets[0]).unwrap())
}

#[test]
fn what_a_server_reuses_is_chosen() {
    really(async {
        assert_eq!(reuse(ListenOptions::new()).await, (true, false));
        assert_eq!(reuse(ListenOptions::new().reuse_address(false)).await, (false, false));
        assert_eq!(reuse(ListenOptions::new().reuse_port(true)).await, (true, true));
    });
}

#[test]
fn every_interface_is_a_socket_for_each_family() {
    really(async {
        let server = ListenOptions::new().start_server(|_, _| async {}, "", 0).await.unwrap();
        let sockets = server.duplicate_fds().unwrap();
        assert_eq!(sockets.len(), server.local_addrs().len());
        for (socket, address) in sockets.iter().zip(server.local_addrs()) {
            if address.is_ipv6() {
                assert!(sockopt::ipv6_v6only(socket).unwrap(), "or it would take the other's port");
            }
        }
    });
}

/// How many clients the kernel lets wait for a server that never accepts. A Unix socket says at once that there is no
/// more room, where TCP lets a client wait.
async fn waiting_clients(backlog: u16) -> usize {
    let path = std::env::temp_dir().join(format!("velodrome-{}-backlog-{backlog}", std::process::id()));
    let options = ListenOptions::new().backlog(backlog);
    let _server = options.start_unix_server(|_, _| async {}, &path).await.unwrap();
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).unwrap();
    let connect = || {
        let (kind, flags) = (SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        rustix::net::connect(&socket, &address).map(|()| socket)
    };
    // The loop has no turn in between.
    let clients: Vec<OwnedFd> = std::iter::from_fn(|| connect().ok()).take(1000).collect();
    clients.len()
}

#[test]
fn so_many_clients_may_wait_as_was_chosen() {
    really(async {
        let (few, more) = (waiting_clients(3).await, waiting_clients(40).await);
        // The kernels differ by one in what they call full.
        assert!((3..=4).contains(&few) && (40..=41).contains(&more), "{few}, {more}");
    });
}

#[test]
fn a_datagram_socket_has_what_was_chosen() {
    really(async {
        for on in [false, true] {
            let options = DatagramOptions::new().local_addr(HOST, 0).reuse_port(on).allow_broadcast(on);
            let ours = || Kept(Accepted::default());
            let (transport, _) = create_datagram_endpoint(ours, &options).await.unwrap();
            let socket = transport.duplicate_fd().unwrap();
            assert_eq!(sockopt::socket_reuseport(&socket).unwrap(), on);
            assert_eq!(sockopt::socket_broadcast(&socket).unwrap(), on);
            transport.abort();
            settle().await;
            let closed = transport.duplicate_fd().map_err(|error| error.kind());
            assert_eq!(closed.unwrap_err(), io::ErrorKind::NotConnected);
        }
    });
}
