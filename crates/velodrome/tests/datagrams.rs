//! Datagrams by protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;

use support::{Log, kind, quietly, really, settle};
use velodrome::{Builder, DatagramOptions, DatagramProtocol, DatagramTransport, create_datagram_endpoint};

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
