//! Clients and servers over TCP, on the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use support::{Flag, deserted_port, kind, quietly, really, recording, settle};
use velodrome::{
    AddressFamily, LookupOptions, Server, SocketType, StreamReader, StreamWriter, Task, open_connection,
    spawn, start_server, yield_now,
};

const HOST: &str = "127.0.0.1";

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(1 << 16).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

async fn echo_server() -> (Server, u16) {
    let server = start_server(echo, HOST, 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

async fn say(port: u16, what: &str) -> String {
    let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
    writer.write(what);
    writer.write_eof();
    String::from_utf8(reader.read_to_end().await.unwrap()).unwrap()
}

#[test]
fn many_clients_at_once() {
    really(async {
        let (_server, port) = echo_server().await;
        let clients: Vec<Task<String>> =
            (0..50).map(|n| spawn(async move { say(port, &format!("client {n}")).await })).collect();
        for (n, client) in clients.into_iter().enumerate() {
            assert_eq!(client.await.unwrap(), format!("client {n}"));
        }
    });
}

#[test]
fn both_ends_know_both_addresses() {
    really(async {
        let seen: Rc<RefCell<Vec<(SocketAddr, SocketAddr)>>> = Rc::default();
        let log = Rc::clone(&seen);
        let look = move |_reader, writer: StreamWriter| {
            log.borrow_mut().push((writer.local_addr().unwrap(), writer.peer_addr().unwrap()));
            async {}
        };
        let server = start_server(look, HOST, 0).await.unwrap();
        let (mut reader, writer) = open_connection(HOST, server.local_addr().unwrap().port()).await.unwrap();
        let ours = (writer.peer_addr().unwrap(), writer.local_addr().unwrap());
        assert_eq!(ours.0, server.local_addr().unwrap());
        reader.read(1).await.unwrap();
        assert_eq!(*seen.borrow(), [ours]);
    });
}

#[test]
fn names_are_looked_up() {
    really(async {
        let (_server, port) = echo_server().await;
        let (mut reader, writer) = open_connection("localhost", port).await.unwrap();
        writer.write("by name");
        assert_eq!(reader.read(100).await.unwrap(), b"by name");
        let error = open_connection("no\0name", port).await.unwrap_err();
        assert!(error.to_string().starts_with(r#"cannot look up "no\0name": "#), "{error}");
    });
}

#[test]
fn a_lookup_that_is_given_up_harms_nobody() {
    really(async {
        let task = spawn(async { open_connection("localhost", 1).await.map(drop) });
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        settle().await;
    });
}

#[test]
fn who_is_refused_is_told_by_whom() {
    really(async {
        let port = deserted_port();
        let error = open_connection(HOST, port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("cannot connect to 127.0.0.1:{port} (")), "{error}");
    });
}

#[test]
fn without_a_loop_there_is_no_network() {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut connecting = Box::pin(open_connection(HOST, 1));
    let std::task::Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut context) else { panic!() };
    assert!(error.to_string().starts_with("open_connection needs a running event loop"), "{error}");
    let mut starting = Box::pin(start_server(echo, HOST, 0));
    let std::task::Poll::Ready(Err(error)) = starting.as_mut().poll(&mut context) else { panic!() };
    assert!(error.to_string().starts_with("start_server needs a running event loop"), "{error}");
    let options = LookupOptions::new();
    let mut asking = Box::pin(options.getaddrinfo(HOST, 1));
    let std::task::Poll::Ready(Err(error)) = asking.as_mut().poll(&mut context) else { panic!() };
    assert!(error.to_string().starts_with("getaddrinfo needs a running event loop"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_told_with_its_address() {
    really(async {
        let taken = TcpListener::bind((HOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let error = start_server(echo, HOST, address.port()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    });
}

#[test]
fn an_empty_host_is_every_interface() {
    really(async {
        let server = start_server(echo, "", 0).await.unwrap();
        for address in server.local_addrs() {
            let loopback = if address.is_ipv4() { HOST } else { "::1" };
            assert!(address.ip().is_unspecified());
            if std::net::TcpListener::bind((loopback, 0)).is_ok() {
                open_connection(loopback, address.port()).await.unwrap();
            }
        }
        assert!(server.local_addrs()[0].is_ipv4());
    });
}

#[test]
fn a_closed_server_accepts_no_more_and_keeps_what_it_has() {
    really(async {
        let (server, port) = echo_server().await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("one");
        assert_eq!(reader.read(100).await.unwrap(), b"one");

        let server = Rc::new(server);
        let serving = Rc::clone(&server);
        let forever = spawn(async move { serving.serve_forever().await });
        let waiting = Rc::clone(&server);
        let closed = spawn(async move { waiting.wait_closed().await });
        settle().await;
        assert!(server.is_serving() && !forever.is_finished());

        server.close();
        forever.await.unwrap().unwrap();
        assert!(!server.is_serving());
        assert_eq!(kind(open_connection(HOST, port).await), Some(io::ErrorKind::ConnectionRefused));

        writer.write("two");
        assert_eq!(reader.read(100).await.unwrap(), b"two");
        assert!(!closed.is_finished(), "one connection is left");
        drop(writer);
        closed.await.unwrap();
    });
}

#[test]
fn dropping_the_server_closes_it() {
    really(async {
        let (server, port) = echo_server().await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("before");
        assert_eq!(reader.read(100).await.unwrap(), b"before");
        drop(server);
        assert_eq!(kind(open_connection(HOST, port).await), Some(io::ErrorKind::ConnectionRefused));
        writer.write("after");
        assert_eq!(reader.read(100).await.unwrap(), b"after");
    });
}

#[test]
fn a_server_may_be_closed_by_its_handler() {
    really(async {
        let server: Rc<RefCell<Option<Rc<Server>>>> = Rc::default();
        let of_handler = Rc::clone(&server);
        let handler = move |_reader, writer: StreamWriter| {
            let server = of_handler.take();
            async move {
                server.unwrap().close();
                writer.write("closed");
            }
        };
        let started = Rc::new(start_server(handler, HOST, 0).await.unwrap());
        server.replace(Some(Rc::clone(&started)));
        let (mut reader, _writer) =
            open_connection(HOST, started.local_addr().unwrap().port()).await.unwrap();
        started.serve_forever().await.unwrap();
        assert_eq!(reader.read_to_end().await.unwrap(), b"closed");
        started.wait_closed().await;
    });
}

#[test]
fn a_handler_that_fails_or_panics_is_one_connections_affair() {
    let (runtime, seen) = recording();
    let client = quietly(|| {
        runtime.block_on(async {
            async fn handler(mut reader: StreamReader, _writer: StreamWriter) -> io::Result<()> {
                match &*reader.read(100).await? {
                    b"p" => panic!("on purpose"),
                    b"e" => Err(io::Error::other("no thanks")),
                    _ => Ok(()),
                }
            }
            let server = start_server(handler, HOST, 0).await.unwrap();
            let port = server.local_addr().unwrap().port();
            let mut failed = None;
            for word in ["p", "e", "fine"] {
                let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
                writer.write(word);
                assert_eq!(reader.read(1).await.unwrap(), b"");
                failed = failed.or((word == "e").then(|| writer.local_addr().ok()).flatten());
            }
            failed.unwrap()
        })
    });
    assert_eq!(*seen.borrow(), [format!("the connection from {}: no thanks", client.unwrap())]);
}

#[test]
fn a_handler_that_panics_when_it_is_called_does_not_end_the_server() {
    quietly(|| {
        really(async {
            let mut first = true;
            let first = Rc::new(RefCell::new(move || std::mem::replace(&mut first, false)));
            let handler = move |_reader, writer: StreamWriter| {
                assert!(!first.borrow_mut()(), "on purpose");
                async move { writer.write("fine") }
            };
            let server = start_server(handler, HOST, 0).await.unwrap();
            let port = server.local_addr().unwrap().port();
            assert_eq!(say(port, "").await, "");
            assert_eq!(say(port, "").await, "fine");
        });
    });
}

#[test]
fn connections_end_with_the_loop() {
    let dropped = Flag::default();
    let mut peer = really(async {
        let of_handler = dropped.clone();
        let handler = move |reader, writer| {
            let guard = of_handler.on_drop();
            async move {
                let _kept: (StreamReader, StreamWriter) = (reader, writer);
                let _guard = guard;
                pending::<()>().await;
            }
        };
        let server = start_server(handler, HOST, 0).await.unwrap();
        let peer = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        settle().await;
        peer
    });
    assert!(dropped.is_set());
    assert_eq!(io::Read::read(&mut peer, &mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_thousand_connections_one_after_the_other() {
    really(async {
        let (server, port) = echo_server().await;
        for _ in 0..1000 {
            assert_eq!(say(port, "x").await, "x");
        }
        server.close();
        server.wait_closed().await;
    });
}

#[test]
fn the_resolver_answers_what_it_is_asked() {
    really(async {
        let all = LookupOptions::new().numeric_host(true).getaddrinfo("127.0.0.1", 80).await.unwrap();
        for socket_type in [SocketType::Stream, SocketType::Datagram, SocketType::Raw] {
            assert!(all.iter().any(|found| found.socket_type == socket_type), "{all:?}");
            let options = LookupOptions::new().socket_type(socket_type);
            let some = options.getaddrinfo("127.0.0.1", "").await.unwrap();
            assert!(
                !some.is_empty() && some.iter().all(|found| found.socket_type == socket_type),
                "{some:?}"
            );
        }
        let udp = LookupOptions::new().protocol(17).getaddrinfo("127.0.0.1", "80").await.unwrap();
        assert!(!udp.is_empty() && udp.iter().all(|found| found.protocol == 17), "{udp:?}");

        let of = |family| LookupOptions::new().family(family).socket_type(SocketType::Stream);
        let v4 = of(AddressFamily::V4).getaddrinfo("", 80).await.unwrap();
        assert_eq!(v4[0].address, ([127, 0, 0, 1], 80).into());
        let v6 = of(AddressFamily::V6).passive(true).getaddrinfo("", 80).await.unwrap();
        assert_eq!(v6[0].address, "[::]:80".parse().unwrap());
        assert!(of(AddressFamily::V6).getaddrinfo("127.0.0.1", 80).await.is_err());
    });
}

#[test]
fn a_choice_can_be_taken_back() {
    really(async {
        let both =
            LookupOptions::new().canonical_name(true).numeric_host(true).socket_type(SocketType::Stream);
        let named = both.clone().getaddrinfo("127.0.0.1", 80).await.unwrap();
        assert_eq!(named[0].canonical_name.as_deref(), Some("127.0.0.1"));
        let plain = both.canonical_name(false).getaddrinfo("127.0.0.1", 80).await.unwrap();
        assert_eq!(plain[0].canonical_name, None);
    });
}

#[test]
fn a_look_up_that_fails_says_of_what() {
    really(async {
        let number = LookupOptions::new().numeric_host(true);
        let error = number.getaddrinfo("no number", 80).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("cannot look up \"no number\""), "{error}");
        let service = LookupOptions::new().numeric_service(true).getaddrinfo("127.0.0.1", "http").await;
        assert!(service.is_err());
    });
}
