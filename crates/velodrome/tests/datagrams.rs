//! Datagrams by protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use support::{Log, kind, panics_on_drop, quietly, really, recording, settle};
use velodrome::{
    Builder, DatagramOptions, DatagramProtocol, DatagramTransport, ProtocolRef, UnixDatagramOptions,
    create_datagram_endpoint, create_unix_datagram_endpoint,
};

const HOST: &str = "127.0.0.1";

/// Writes down what it is told, and says it back.
struct Tells(Log, Option<DatagramTransport>);

impl DatagramProtocol for Tells {
    fn connection_made(&mut self, transport: DatagramTransport) {
        self.0.add("made");
        self.1 = Some(transport);
    }

    fn datagram_received(&mut self, data: &[u8], sender: SocketAddr) {
        self.0.add(String::from_utf8_lossy(data));
        assert!(data != b"panic", "on purpose");
        self.1.as_ref().unwrap().sendto(data, Some(sender));
    }

    fn error_received(&mut self, error: io::Error) {
        self.0.add(format!("{:?}", error.kind()));
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.add(error.map_or("lost".into(), |error| format!("lost: {error}")));
    }
}

fn here() -> DatagramOptions {
    DatagramOptions::new().local_addr(HOST, 0)
}

#[test]
fn datagrams_come_and_go() {
    let log = Log::default();
    really(async {
        let (transport, tells) =
            create_datagram_endpoint(|| Tells(log.clone(), None), &here()).await.unwrap();
        assert_eq!(log.take(), ["made"]);
        let client = UdpSocket::bind((HOST, 0)).unwrap();
        client.connect(transport.local_addr().unwrap()).unwrap();
        for what in ["one", "", "three"] {
            client.send(what.as_bytes()).unwrap();
        }
        settle().await;
        assert_eq!(log.take(), ["one", "", "three"]);
        let mut answer = [0; 8];
        for size in [3, 0, 5] {
            assert_eq!(client.recv(&mut answer).unwrap(), size);
        }
        tells.with(|tells| tells.0.add("looked at")).unwrap();
        transport.close();
        settle().await;
        assert_eq!(kind(transport.local_addr()), Some(io::ErrorKind::NotConnected));
    });
    assert_eq!(log.take(), ["looked at", "lost"]);
}

#[test]
fn an_empty_host_is_every_address() {
    really(async {
        let log = Log::default();
        let anywhere = DatagramOptions::new().local_addr("", 0);
        let (transport, _) = create_datagram_endpoint(|| Tells(log.clone(), None), &anywhere).await.unwrap();
        let port = transport.local_addr().unwrap().port();
        UdpSocket::bind((HOST, 0)).unwrap().send_to(b"hello", (HOST, port)).unwrap();
        settle().await;
        assert_eq!(log.take(), ["made", "hello"]);
        let (connected, _) =
            create_datagram_endpoint(|| Tells(log.clone(), None), &anywhere.remote_addr(HOST, port))
                .await
                .unwrap();
        assert_eq!(connected.local_addr().unwrap().ip().to_string(), HOST);
    });
}

#[test]
fn two_endpoints_talk() {
    let (one, other) = (Log::default(), Log::default());
    really(async {
        let (server, _) = create_datagram_endpoint(|| Tells(one.clone(), None), &here()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let there = DatagramOptions::new().remote_addr("localhost", port).local_addr(HOST, 0);
        struct Hears(Log);
        impl DatagramProtocol for Hears {
            fn datagram_received(&mut self, data: &[u8], _: SocketAddr) {
                self.0.add(String::from_utf8_lossy(data));
            }
        }
        let (client, _) = create_datagram_endpoint(|| Hears(other.clone()), &there).await.unwrap();
        client.sendto("hello", None);
        settle().await;
        server.abort();
        settle().await;
    });
    assert_eq!(
        (one.take(), other.take()),
        (vec!["made".into(), "hello".into(), "lost".into()], vec!["hello".into()])
    );
}

#[test]
fn a_datagram_that_finds_nobody_is_told() {
    let log = Log::default();
    really(async {
        let deserted = UdpSocket::bind((HOST, 0)).unwrap().local_addr().unwrap().port();
        let there = DatagramOptions::new().remote_addr(HOST, deserted);
        let (transport, _) = create_datagram_endpoint(|| Tells(log.clone(), None), &there).await.unwrap();
        transport.sendto("anybody?", None);
        settle().await;
        assert!(!transport.is_closing());
    });
    assert_eq!(log.take()[..2], ["made", "ConnectionRefused"]);
}

#[test]
fn a_panic_costs_its_socket_and_not_the_loop() {
    let (log, seen) = (Log::default(), Rc::new(RefCell::new(Vec::new())));
    let told = Rc::clone(&seen);
    let runtime =
        Builder::new().on_error(move |error| told.borrow_mut().push(error.to_string())).build().unwrap();
    quietly(|| {
        runtime.block_on(async {
            let (transport, _) =
                create_datagram_endpoint(|| Tells(log.clone(), None), &here()).await.unwrap();
            let client = UdpSocket::bind((HOST, 0)).unwrap();
            client.send_to(b"panic", transport.local_addr().unwrap()).unwrap();
            settle().await;
            assert!(transport.is_closing());
        })
    })
    .unwrap();
    assert_eq!(log.take(), ["made", "panic", "lost: datagram_received panicked"]);
    assert_eq!(*seen.borrow(), ["a datagram socket is aborted: datagram_received panicked"]);
}

#[test]
fn a_protocol_whose_destructor_panics_does_not_end_the_loop() {
    struct Bad<T>(#[allow(dead_code, reason = "it is there to be dropped")] T);
    impl<T: 'static> DatagramProtocol for Bad<T> {
        fn datagram_received(&mut self, _data: &[u8], _sender: SocketAddr) {}
    }
    let (runtime, seen) = recording();
    quietly(|| {
        runtime.block_on(async {
            let bad = || Bad(panics_on_drop());
            let (transport, _) = create_datagram_endpoint(bad, &here()).await.unwrap();
            transport.close();
            settle().await;
        })
    })
    .unwrap();
    assert_eq!(*seen.borrow(), ["a protocol was dropped: its destructor panicked"]);
}

#[test]
fn options_and_what_is_wrong_with_them() {
    really(async {
        let hears = || Tells(Log::default(), None);
        let options = here().reuse_port(true).allow_broadcast(true);
        let (one, _) = create_datagram_endpoint(hears, &options).await.unwrap();
        let port = one.local_addr().unwrap().port();
        let again = DatagramOptions::new().local_addr(HOST, port);
        let taken = create_datagram_endpoint(hears, &again).await.unwrap_err();
        assert!(taken.to_string().starts_with(&format!("cannot bind to {HOST}:{port}: ")), "{taken}");
        create_datagram_endpoint(hears, &again.reuse_port(true)).await.unwrap();
        let nowhere = create_datagram_endpoint(hears, &DatagramOptions::new()).await;
        assert_eq!(kind(nowhere), Some(io::ErrorKind::InvalidInput));
        let families = here().remote_addr("::1", 9);
        assert_eq!(kind(create_datagram_endpoint(hears, &families).await), Some(io::ErrorKind::InvalidInput));
        assert_eq!(one.write_buffer_limits(), (16 * 1024, 64 * 1024));
        assert!(one.set_write_buffer_limits(Some(1), Some(2)).is_err());
    });
}

#[test]
fn an_endpoint_ends_with_its_loop() {
    let log = Log::default();
    really(async {
        drop(create_datagram_endpoint(|| Tells(log.clone(), None), &here()).await.unwrap());
        settle().await;
        assert_eq!(log.take(), ["made"], "and not with its handles");
    });
    assert_eq!(log.take(), ["lost: the event loop of this socket has ended"]);
}

/// Writes down what it is told, and says it back if the sender has a name.
struct TellsByPath(Log, Option<DatagramTransport<PathBuf>>);

impl DatagramProtocol<PathBuf> for TellsByPath {
    fn connection_made(&mut self, transport: DatagramTransport<PathBuf>) {
        self.1 = Some(transport);
    }

    fn datagram_received(&mut self, data: &[u8], sender: PathBuf) {
        self.0.add(String::from_utf8_lossy(data));
        if !sender.as_os_str().is_empty() {
            self.1.as_ref().unwrap().sendto(data, Some(sender));
        }
    }

    fn error_received(&mut self, error: io::Error) {
        self.0.add(format!("{:?}", error.kind()));
    }
}

fn unused_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("velodrome-test-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

async fn tells_at(path: &Path, log: &Log) -> io::Result<DatagramTransport<PathBuf>> {
    let options = UnixDatagramOptions::new().local_path(path);
    Ok(create_unix_datagram_endpoint(|| TellsByPath(log.clone(), None), &options).await?.0)
}

#[test]
fn unix_datagrams_come_and_are_answered_by_path() {
    let (log, path, named) = (Log::default(), unused_path("datagrams"), unused_path("datagrams-client"));
    really(async {
        let transport = tells_at(&path, &log).await.unwrap();
        assert_eq!(transport.local_path().unwrap().as_deref(), Some(&*path));
        let (nameless, client) = (UnixDatagram::unbound().unwrap(), UnixDatagram::bind(&named).unwrap());
        nameless.send_to(b"unanswered", &path).unwrap();
        client.send_to(b"hello", &path).unwrap();
        client.send_to(b"", &path).unwrap();
        settle().await;
        assert_eq!(log.take(), ["unanswered", "hello", ""]);
        let mut answer = [0; 8];
        assert_eq!((client.recv(&mut answer).unwrap(), &answer[..5]), (5, &b"hello"[..]));
        assert_eq!(client.recv(&mut answer).unwrap(), 0);
        transport.close();
        settle().await;
        assert!(!path.exists(), "the file goes with the socket");
    });
    std::fs::remove_file(named).unwrap();
}

#[test]
fn an_abstract_name_has_no_file_and_is_answered_too() {
    let (log, name) = (Log::default(), format!("\0velodrome-test-{}-datagrams", std::process::id()));
    really(async {
        let transport = tells_at(Path::new(&name), &log).await.unwrap();
        let other = UnixDatagramOptions::new().local_path(format!("{name}-other")).remote_path(&name);
        let answered = Log::default();
        let make = || TellsByPath(answered.clone(), None);
        let (client, _) = create_unix_datagram_endpoint(make, &other).await.unwrap();
        transport.sendto("first", Some(client.local_path().unwrap().unwrap()));
        settle().await;
        assert_eq!(log.take().first().map(String::as_str), Some("first"), "said back by the client");
        assert_eq!(answered.take().first().map(String::as_str), Some("first"));
        client.abort();
        transport.abort();
    });
}

#[test]
fn a_path_that_is_in_use_is_left_alone_and_a_deserted_one_is_taken() {
    let (log, path) = (Log::default(), unused_path("datagrams-stale"));
    drop(UnixDatagram::bind(&path).unwrap());
    really(async {
        let transport = tells_at(&path, &log).await.unwrap();
        assert_eq!(kind(tells_at(&path, &log).await), Some(io::ErrorKind::AddrInUse));
        assert!(path.exists());
        transport.close();
        settle().await;
    });
    std::fs::write(&path, "a file").unwrap();
    assert_eq!(kind(really(tells_at(&path, &log))), Some(io::ErrorKind::AddrInUse));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_path_nobody_receives_at_is_told_and_ends_nothing() {
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = Rc::clone(&seen);
    let runtime =
        Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build().unwrap();
    runtime
        .block_on(async {
            let transport = tells_at(&unused_path("datagrams-alone"), &Log::default()).await.unwrap();
            transport.sendto("hello", Some(unused_path("datagrams-nobody")));
            transport.sendto("hello", Some("x".repeat(200).into()));
            settle().await;
            assert!(!transport.is_closing());
            transport.close();
            settle().await;
        })
        .unwrap();
    assert!(seen.borrow().iter().any(|line| line.contains("cannot be a Unix socket's path")), "{seen:?}");
}

/// Begins to open an endpoint when its own is lost, and keeps what it has begun.
struct TooLate(Log, Rc<RefCell<Option<Opening>>>);

type Opening = Pin<Box<dyn Future<Output = io::Result<(DatagramTransport, ProtocolRef<Tells>)>>>>;

impl DatagramProtocol for TooLate {
    fn datagram_received(&mut self, _: &[u8], _: SocketAddr) {}

    fn connection_lost(&mut self, _: Option<io::Error>) {
        let (log, options) = (self.0.clone(), here());
        let mut opening: Opening =
            Box::pin(async move { create_datagram_endpoint(|| Tells(log, None), &options).await });
        assert!(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        self.1.replace(Some(opening));
    }
}

#[test]
fn an_endpoint_that_was_never_made_is_not_lost_either() {
    let (log, begun) = (Log::default(), Rc::default());
    really(async {
        let factory = || TooLate(log.clone(), Rc::clone(&begun));
        let (transport, _) = create_datagram_endpoint(factory, &here()).await.unwrap();
        // It is told in the loop's last turn.
        transport.abort();
    });
    assert!(begun.take().is_some());
    assert_eq!(log.take(), [""; 0]);
}
