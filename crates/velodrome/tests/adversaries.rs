//! Peers that end a connection at the worst time, by a reset: nobody panics, and the server serves the next one.
//! Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use support::{half, kind, quietly, really};
use velodrome::tls::{open_tls_connection, rustls, start_tls_server};
use velodrome::{
    Builder, Protocol, Server, StreamReader, StreamWriter, Transport, create_server, open_connection, sleep,
    spawn, spawn_blocking, start_server, timeout,
};

const HOST: &str = "127.0.0.1";
const MUCH: usize = 4 << 20;

/// Greets, so that there is something a client can leave unread: to close then is a reset.
async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write("hello\n");
    while let data @ [_, ..] = &*reader.read(1 << 16).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

struct Echo(Option<Transport>);

impl Protocol for Echo {
    fn connection_made(&mut self, transport: Transport) {
        transport.write("hello\n");
        self.0 = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        self.0.as_ref().unwrap().write(data);
    }
}

/// A client that leaves the greeting, or an answer, unread, at one point or another.
fn rude_client(port: u16, point: usize) -> io::Result<()> {
    let mut socket = TcpStream::connect((HOST, port))?;
    match point % 4 {
        // Perhaps before it is accepted.
        0 => {}
        1 => {
            socket.peek(&mut [0])?;
        }
        2 => {
            socket.read_exact(&mut [0; 6])?;
            socket.write_all(b"more")?;
            socket.peek(&mut [0])?;
        }
        _ => {
            // In the middle of a write of the server's, which nobody reads.
            socket.set_write_timeout(Some(Duration::from_millis(20)))?;
            // The protocol says everything back, so the kernel may never be full.
            (0..64).take_while(|_| socket.write(&[0; 1 << 16]).is_ok()).for_each(drop);
        }
    }
    Ok(())
}

async fn is_answered(port: u16) {
    let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
    writer.write("still there?\n");
    assert_eq!(reader.readline().await.unwrap(), b"hello\n");
    assert_eq!(reader.readline().await.unwrap(), b"still there?\n");
}

async fn outlives_rude_clients(server: &Server) {
    let port = server.local_addr().unwrap().port();
    let clients = (0..12).map(|point| spawn_blocking(move || rude_client(port, point)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap().unwrap();
    }
    is_answered(port).await;
    let gone = async {
        while server.client_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("every connection ends");
}

/// Runs `serving`; gives what was told of errors that have no caller.
fn told(serving: impl Future<Output = ()>) -> Vec<String> {
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = Rc::clone(&seen);
    let runtime =
        Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build().unwrap();
    runtime.block_on(serving).unwrap();
    seen.take()
}

#[test]
fn a_server_of_streams_outlives_clients_that_reset() {
    let told = told(async { outlives_rude_clients(&start_server(echo, HOST, 0).await.unwrap()).await });
    assert!(!told.is_empty() && told.iter().all(|line| line.starts_with("the connection from ")), "{told:?}");
}

#[test]
fn a_server_of_protocols_outlives_clients_that_reset() {
    let told = told(async {
        outlives_rude_clients(&create_server(|| Echo(None), HOST, 0).await.unwrap()).await;
    });
    assert_eq!(told, [""; 0], "the protocols were told themselves");
}

fn server_config() -> Arc<rustls::ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../examples/localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../examples/localhost.key")).unwrap();
    let builder = rustls::ServerConfig::builder().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}

fn client_config() -> Arc<rustls::ClientConfig> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../examples/localhost.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// So many bytes of a real hello, then nothing more; a whole one is answered, and the answer left unread.
fn half_a_handshake(port: u16, share: usize) -> io::Result<()> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut session = rustls::ClientConnection::new(client_config(), name).map_err(io::Error::other)?;
    let (mut socket, mut hello) = (TcpStream::connect((HOST, port))?, Vec::new());
    session.write_tls(&mut hello)?;
    socket.write_all(&hello[..hello.len() * share / 4])?;
    if share == 4 {
        socket.peek(&mut [0])?;
    }
    Ok(())
}

#[test]
fn a_tls_server_outlives_handshakes_that_are_broken_off_anywhere() {
    let told = told(async {
        let server = start_tls_server(echo, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        for share in 0..=4 {
            spawn_blocking(move || half_a_handshake(port, share)).await.unwrap().unwrap();
        }
        let (mut reader, _writer) = open_tls_connection("localhost", port, client_config()).await.unwrap();
        assert_eq!(reader.readline().await.unwrap(), b"hello\n");
        while server.client_count() > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(told.len(), 5, "each is told of: {told:?}");
}

#[test]
fn a_tls_client_is_told_of_a_server_that_resets_in_the_handshake() {
    really(async {
        let rude = |_: StreamReader, writer: StreamWriter| async move { writer.abort() };
        let server = start_server(rude, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let failed = kind(open_tls_connection("localhost", port, client_config()).await).unwrap();
        let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&failed), "{failed:?}");
    });
}

/// Cancelled at each point where a task waits for a stream, it leaves the stream to the next one as it was.
#[test]
fn a_task_that_is_cancelled_where_it_waits_for_a_stream_leaves_it_whole() {
    really(async {
        for point in 0..9 {
            let (mut reader, writer, mut peer) = half();
            let reached = Rc::new(Cell::new(false));
            let (flag, full) = (Rc::clone(&reached), point >= 6);
            if full {
                writer.write(vec![7; MUCH]);
            }
            let ends = Rc::new(RefCell::new(Some((reader, writer))));
            let lent = Rc::clone(&ends);
            let task = spawn(async move {
                let (mut reader, writer) = lent.take().unwrap();
                let wait = async {
                    flag.set(true);
                    match point {
                        0 => drop(reader.read(4).await),
                        1 => drop(reader.readexactly(4).await),
                        2 => drop(reader.readline().await),
                        3 => drop(reader.readuntil(b"!").await),
                        4 => drop(reader.read_to_end().await),
                        5 => drop(reader.read_into(&mut [0; 4]).await),
                        6 => drop(writer.drain().await),
                        7 => drop(writer.flush().await),
                        _ => drop(writer.wait_closed().await),
                    }
                };
                assert!(timeout(Duration::from_millis(2), wait).await.is_err(), "point {point} did not wait");
                lent.replace(Some((reader, writer)));
            });
            task.await.unwrap();
            assert!(reached.get());
            let writer;
            (reader, writer) = ends.take().unwrap();
            peer.write_all(b"ok!\n").unwrap();
            assert_eq!(reader.readline().await.unwrap(), b"ok!\n");
            let left = spawn_blocking(move || {
                let mut left = Vec::new();
                peer.read_to_end(&mut left).map(|_| left)
            });
            writer.close();
            writer.wait_closed().await.unwrap();
            assert_eq!(left.await.unwrap().unwrap().len(), if full { MUCH } else { 0 });
        }
    });
}

/// A panic in a task is its result, and what it held is dropped; others hear nothing of it.
#[test]
fn a_panic_in_the_middle_of_a_write_is_the_tasks_own() {
    quietly(|| {
        really(async {
            let (_reader, writer, mut peer) = half();
            let task = spawn(async move {
                writer.write("last words");
                writer.drain().await.unwrap();
                panic!("on purpose");
            });
            assert!(task.await.unwrap_err().is_panic());
            let mut words = String::new();
            let read = spawn_blocking(move || peer.read_to_string(&mut words).map(|_| words));
            assert_eq!(read.await.unwrap().unwrap(), "last words");
        });
    });
}
