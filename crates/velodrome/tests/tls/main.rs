//! TLS between two ends of ours, and with an end that misbehaves. Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod configs;
mod edges;
mod starting;
#[path = "../support/mod.rs"]
mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use configs::{HOST, certificate, client_config, server_config};
use support::{Log, kind, really, recording, settle};
use velodrome::tls::{
    Tls, create_tls_connection, create_tls_connection_on, create_tls_server, open_tls_connection, rustls,
    start_tls_server,
};
use velodrome::{
    Builder, ConnectOptions, ListenOptions, Protocol, Server, StreamReader, StreamWriter, Transport,
    open_connection, spawn, start_server, timeout, yield_now,
};

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(1 << 16).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

async fn echo_server() -> (Server, u16) {
    let server = start_tls_server(echo, HOST, 0, server_config()).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[test]
fn what_is_said_comes_back_and_the_end_is_told() {
    really(async {
        let (_server, port) = echo_server().await;
        let (mut reader, writer) = open_tls_connection("localhost", port, client_config(true)).await.unwrap();
        writer.write("hello");
        writer.writelines([" ", "world"]);
        assert_eq!(reader.readexactly(11).await.unwrap(), b"hello world");
        writer.write_eof();
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
        writer.write("late");
        assert_eq!(kind(writer.drain().await), Some(io::ErrorKind::BrokenPipe));
        writer.close();
        writer.wait_closed().await.ok();
    });
}

#[test]
fn much_is_said_and_the_writer_waits_for_the_reader() {
    really(async {
        const MUCH: usize = 8 << 20;
        let flood = |_reader: StreamReader, writer: StreamWriter| async move {
            for _ in 0..MUCH / 65536 {
                writer.write([7; 65536]);
                writer.drain().await?;
                assert!(writer.buffered() < 256 * 1024);
            }
            writer.flush().await
        };
        let server = start_tls_server(flood, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, _writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        let all = reader.read_to_end().await.unwrap();
        assert!(all.len() == MUCH && all.iter().all(|byte| *byte == 7));
    });
}

#[test]
fn many_at_once() {
    really(async {
        let (_server, port) = echo_server().await;
        let clients: Vec<_> = (0..20)
            .map(|n| {
                spawn(async move {
                    let (mut reader, writer) =
                        open_tls_connection("localhost", port, client_config(true)).await.unwrap();
                    let said = format!("client {n}\n").repeat(n * 100 + 1);
                    writer.write(&said);
                    assert_eq!(reader.readexactly(said.len()).await.unwrap(), said.as_bytes());
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn a_server_that_cannot_prove_itself_is_not_talked_to() {
    let (runtime, seen) = recording();
    runtime
        .block_on(async {
            let (server, port) = echo_server().await;
            let stranger = open_tls_connection("localhost", port, client_config(false)).await.unwrap_err();
            assert_eq!(stranger.kind(), io::ErrorKind::InvalidData);
            assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");
            let (_reader, writer) = open_connection(HOST, port).await.unwrap();
            let other = Tls::client(client_config(true), "example.org").unwrap();
            assert_eq!(kind(writer.start_tls(other).await), Some(io::ErrorKind::InvalidData));
            settle().await;
            server.close();
            server.wait_closed().await;
        })
        .unwrap();
    // The server is told by the alert what its client thought of it.
    assert_eq!(seen.borrow().len(), 2, "{seen:?}");
    assert!(seen.borrow()[0].contains("TLS: received fatal alert"), "{seen:?}");
    assert_eq!(kind(Tls::client(client_config(true), "no name")), Some(io::ErrorKind::InvalidInput));
}

#[test]
fn who_does_not_speak_tls_is_refused() {
    let (runtime, seen) = recording();
    runtime
        .block_on(async {
            let (_server, port) = echo_server().await;
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("GET / HTTP/1.0\r\n\r\n");
            // An alert, and the end.
            assert!(reader.read_to_end().await.is_ok_and(|alert| alert.first() == Some(&21)));
        })
        .unwrap();
    assert!(seen.borrow()[0].contains("TLS: "), "{seen:?}");
}

#[test]
fn a_handshake_takes_no_longer_than_it_may() {
    let silent = |mut reader: StreamReader, writer: StreamWriter| async move {
        let read = reader.read_to_end().await;
        drop(writer);
        read.map(drop)
    };
    really(async {
        let server = start_server(silent, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let opening = open_tls_connection("localhost", port, client_config(true));
        assert!(timeout(Duration::from_millis(50), opening).await.is_err());
        settle().await;
        assert_eq!(server.client_count(), 0, "given up, the connection ends");
    });
}

#[test]
fn starttls_keeps_reader_and_writer() {
    really(async {
        let mail = |mut reader: StreamReader, writer: StreamWriter| async move {
            assert_eq!(reader.readline().await?, b"STARTTLS\n");
            writer.write("220\n");
            writer.drain().await?;
            // Time for the client's first words to be read before anybody expects them.
            settle().await;
            let handshake = writer.start_tls(Tls::server(server_config())).await?;
            assert_eq!(handshake.alpn_protocol.as_deref(), Some(&b"echo"[..]));
            assert!(handshake.peer_certificates.is_empty());
            echo(reader, writer).await
        };
        let server = start_server(mail, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("STARTTLS\n");
        assert_eq!(reader.readline().await.unwrap(), b"220\n");
        let tls = Tls::client(client_config(true), "localhost").unwrap();
        let handshake = writer.start_tls(tls.clone()).await.unwrap();
        assert_eq!(handshake.peer_certificates, [certificate()]);
        assert_eq!(handshake.protocol_version, Some(rustls::ProtocolVersion::TLSv1_3));
        writer.write("secret");
        assert_eq!(reader.readexactly(6).await.unwrap(), b"secret");
        assert_eq!(kind(writer.start_tls(tls).await), Some(io::ErrorKind::Unsupported));
    });
}

#[test]
fn a_reader_that_waits_meanwhile_reads_what_is_encrypted() {
    really(async {
        let secures = |_reader: StreamReader, writer: StreamWriter| async move {
            writer.start_tls(Tls::server(server_config())).await?;
            writer.write("secret");
            writer.drain().await
        };
        let server = start_server(secures, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        let reading = spawn(async move { reader.readexactly(6).await });
        yield_now().await;
        writer.start_tls(Tls::client(client_config(true), "localhost").unwrap()).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), b"secret");
    });
}

#[test]
fn what_was_said_before_does_not_pass_for_encrypted() {
    let (runtime, seen) = recording();
    runtime
        .block_on(async {
            let mail = |mut reader: StreamReader, writer: StreamWriter| async move {
                reader.readline().await?;
                writer.start_tls(Tls::server(server_config())).await?;
                panic!("the injected command came through: {:?}", reader.readline().await);
                #[allow(unreachable_code, reason = "says what it would return")]
                io::Result::Ok(())
            };
            let server = start_server(mail, HOST, 0).await.unwrap();
            let (mut reader, writer) =
                open_connection(HOST, server.local_addr().unwrap().port()).await.unwrap();
            writer.write("STARTTLS\nINJECTED COMMAND\n");
            let _ = reader.read_to_end().await;
        })
        .unwrap();
    assert!(seen.borrow()[0].contains("TLS: "), "{seen:?}");
}

/// A client on a thread of its own, by rustls and blocking sockets: what goes over the wire is not only between us.
fn foreign_client(port: u16, ends_well: bool) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(client_config(true), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, TcpStream::connect((HOST, port)).unwrap());
        stream.write_all(b"hello").unwrap();
        let mut back = vec![0; 5];
        stream.read_exact(&mut back).unwrap();
        if ends_well {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            stream.read_to_end(&mut back).unwrap();
        }
        back
    })
}

#[test]
fn a_foreign_client_is_understood() {
    let (runtime, seen) = recording();
    runtime
        .block_on(async {
            let (server, port) = echo_server().await;
            let client = foreign_client(port, true);
            while server.client_count() == 0 {
                velodrome::sleep(Duration::from_millis(1)).await;
            }
            server.close();
            server.wait_closed().await;
            assert_eq!(client.join().unwrap(), b"hello");
        })
        .unwrap();
    assert_eq!(*seen.borrow(), [""; 0]);
}

#[test]
fn an_end_that_tls_knows_nothing_of_is_an_error() {
    let (runtime, seen) = recording();
    runtime
        .block_on(async {
            let (server, port) = echo_server().await;
            let client = foreign_client(port, false);
            while server.client_count() == 0 {
                velodrome::sleep(Duration::from_millis(1)).await;
            }
            server.close();
            server.wait_closed().await;
            client.join().unwrap();
            settle().await;
        })
        .unwrap();
    // Or a reset, where the client's kernel had something of ours that it never read.
    let told = ["close_notify", "reset by peer"];
    assert!(told.iter().any(|what| seen.borrow()[0].contains(what)), "{seen:?}");
}

#[test]
fn options_are_for_tls_too() {
    really(async {
        let (_server, port) = echo_server().await;
        let options = ConnectOptions::new().limit(3);
        let (mut reader, writer) =
            options.open_tls_connection("localhost", port, client_config(true)).await.unwrap();
        writer.write("too long\n");
        assert!(reader.readline().await.is_err());
    });
}

/// Shouts back what it hears, unless that was shouted, and writes down what it is told.
struct Tells(Log, Option<Transport>);

impl Protocol for Tells {
    fn connection_made(&mut self, transport: Transport) {
        self.0.add("made");
        self.1 = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        self.0.add(String::from_utf8_lossy(data));
        if data != data.to_ascii_uppercase() {
            self.1.as_ref().unwrap().write(data.to_ascii_uppercase());
        }
    }

    fn eof_received(&mut self) -> bool {
        self.0.add("eof");
        false
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.add(error.map_or("lost".into(), |error| format!("lost: {:?}", error.kind())));
    }
}

async fn telling_server(log: &Log) -> (Server, u16) {
    let log = log.clone();
    let server = create_tls_server(move || Tells(log.clone(), None), HOST, 0, server_config()).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[test]
fn a_protocol_hears_of_its_connection_when_hands_are_shaken() {
    let (theirs, ours) = (Log::default(), Log::default());
    really(async {
        let (server, port) = telling_server(&theirs).await;
        let factory = || Tells(ours.clone(), None);
        let connecting = create_tls_connection(factory, "localhost", port, client_config(true));
        let (transport, _) = connecting.await.unwrap();
        assert_eq!(ours.take(), ["made"]);
        transport.write("hello");
        settle().await;
        assert_eq!(theirs.take(), ["made", "hello"]);
        assert_eq!(ours.take(), ["HELLO"]);
        transport.close();
        while server.client_count() > 0 {
            settle().await;
        }
        settle().await;
        assert_eq!(ours.take().last().map(String::as_str), Some("lost"));
        assert_eq!(theirs.take().last().map(String::as_str), Some("lost"));
    });
}

#[test]
fn sockets_that_are_there_speak_tls_too() {
    really(async {
        let (options, log) = (ListenOptions::new(), Log::default());
        let listener = || std::net::TcpListener::bind((HOST, 0)).unwrap();
        let streams = options.start_tls_server_on(echo, listener(), server_config()).await.unwrap();
        let theirs = log.clone();
        let factory = move || Tells(theirs.clone(), None);
        let protocols = options.create_tls_server_on(factory, listener(), server_config()).await.unwrap();
        for server in [&streams, &protocols] {
            let socket = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let ours = Log::default();
            let tells = || Tells(ours.clone(), None);
            let config = client_config(true);
            let (transport, _) = create_tls_connection_on(tells, socket, "localhost", config).await.unwrap();
            assert_eq!(ours.len(), 1, "its protocol knows");
            transport.close();
        }
        while log.len() == 0 {
            yield_now().await;
        }
    });
}

#[test]
fn a_protocol_hears_nothing_of_a_handshake_that_failed() {
    let (theirs, ours, seen) = (Log::default(), Log::default(), Log::default());
    let told = seen.clone();
    let runtime = Builder::new().on_error(move |error| told.add(error)).build().unwrap();
    runtime
        .block_on(async {
            let (server, port) = telling_server(&theirs).await;
            let factory = || Tells(ours.clone(), None);
            let refused = create_tls_connection(factory, "localhost", port, client_config(false)).await;
            assert_eq!(kind(refused), Some(io::ErrorKind::InvalidData));
            TcpStream::connect((HOST, port)).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            while seen.len() < 2 || server.client_count() > 0 {
                settle().await;
            }
        })
        .unwrap();
    assert_eq!((theirs.take(), ours.take()), (vec![], vec![]));
    assert!(seen.take().iter().all(|line| line.starts_with("the connection from ")));
}

#[test]
fn a_connection_that_is_given_up_in_the_handshake_is_closed() {
    really(async {
        let (heard, closed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (hears, closes) = (Rc::clone(&heard), Rc::clone(&closed));
        let silent = move |mut reader: StreamReader, writer: StreamWriter| {
            let (heard, closed) = (Rc::clone(&hears), Rc::clone(&closes));
            async move {
                heard.set(reader.read(1 << 16).await.unwrap().len());
                closed.set(reader.read_to_end().await.unwrap().is_empty());
                drop(writer);
            }
        };
        let server = start_server(silent, HOST, 0).await.unwrap();
        let (port, log) = (server.local_addr().unwrap().port(), Log::default());
        let told = log.clone();
        let factory = move || Tells(told.clone(), None);
        let connecting = spawn(create_tls_connection(factory, "localhost", port, client_config(true)));
        while heard.get() == 0 {
            settle().await;
        }
        assert!(connecting.cancel() && connecting.await.is_err());
        while !closed.get() {
            settle().await;
        }
        assert!(heard.get() > 100, "a hello was sent before");
        assert_eq!(log.take(), [""; 0]);
    });
}

#[test]
fn a_connection_that_is_closed_in_the_handshake_says_so() {
    really(async {
        let server =
            start_server(|_reader, writer| async move { writer.wait_closed().await }, HOST, 0).await.unwrap();
        let (_reader, writer) = open_connection(HOST, server.local_addr().unwrap().port()).await.unwrap();
        let writer = Rc::new(writer);
        let shakes = Rc::clone(&writer);
        let tls = Tls::client(client_config(true), "localhost").unwrap();
        let shaking = spawn(async move { shakes.start_tls(tls).await });
        settle().await;
        writer.abort();
        let error = shaking.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(error.to_string().contains("closed during the TLS handshake"), "{error}");
    });
}

#[test]
fn a_file_is_encrypted_for_either_end() {
    really(async {
        let content: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let path = std::env::temp_dir().join(format!("velodrome-{}-tls-file", std::process::id()));
        std::fs::write(&path, &content).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let received = Rc::new(RefCell::new(Vec::new()));
        let keeps = Rc::clone(&received);
        let keep = move |mut reader: StreamReader, writer: StreamWriter| {
            let keeps = Rc::clone(&keeps);
            async move {
                let all = reader.readexactly(300_000).await.unwrap();
                keeps.borrow_mut().push(all);
                drop(writer);
            }
        };
        let server = start_tls_server(keep, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (_reader, writer) = open_tls_connection("localhost", port, client_config(true)).await.unwrap();
        assert_eq!(writer.sendfile(&file, 0, None).await.unwrap(), 300_000);
        let tells = || Tells(Log::default(), None);
        let connecting = create_tls_connection(tells, "localhost", port, client_config(true));
        let (transport, _) = connecting.await.unwrap();
        assert_eq!(transport.sendfile(&file, 0, None).await.unwrap(), 300_000);
        while received.borrow().len() < 2 {
            settle().await;
        }
        assert!(received.take().iter().all(|received| *received == content));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn slices_go_through_the_layer_one_by_one() {
    use std::io::IoSlice;

    use tokio::io::AsyncWrite;
    use velodrome::adapters::Duplex;

    really(async {
        let (_server, port) = echo_server().await;
        let streams = open_tls_connection("localhost", port, client_config(true)).await.unwrap();
        let mut duplex = Duplex::from(streams);
        assert!(!duplex.is_write_vectored(), "it would copy them all the same");
        let slices = [IoSlice::new(b""), IoSlice::new(b"hello"), IoSlice::new(b"world")];
        let count = poll_fn(|cx| std::pin::Pin::new(&mut duplex).poll_write_vectored(cx, &slices)).await;
        assert_eq!(count.unwrap(), 5);
        let (mut reader, _writer) = duplex.into_parts();
        assert_eq!(reader.readexactly(5).await.unwrap(), b"hello");
    });
}
