//! What a server can be told besides to listen: Unix sockets, their files, options, and the end of its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use support::{kind, really, settle};
use velodrome::{
    ConnectOptions, ListenOptions, StreamReader, StreamWriter, getaddrinfo, open_connection,
    open_unix_connection, spawn, start_server, start_unix_server, timeout, yield_now,
};

const HOST: &str = "127.0.0.1";

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(1 << 16).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

/// A path of its own for each test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("velodrome-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn answers_at(path: &PathBuf) -> bool {
    let Ok((mut reader, writer)) = open_unix_connection(path).await else { return false };
    writer.write("here?");
    reader.readexactly(5).await.is_ok_and(|said| said == b"here?")
}

#[test]
fn a_unix_server_answers_and_removes_its_file() {
    let path = Scratch::new("answers");
    really(async {
        let server = start_unix_server(echo, &path.0).await.unwrap();
        assert!(answers_at(&path.0).await);
        assert_eq!((server.unix_path(), server.local_addrs().len()), (Some(&*path.0), 0));
        assert_eq!(kind(server.local_addr()), Some(io::ErrorKind::Unsupported));
        server.close();
        assert!(!path.0.exists());
        let gone = open_unix_connection(&path.0).await.unwrap_err();
        assert!(gone.to_string().starts_with(&format!("cannot connect to {}: ", path.0.display())), "{gone}");
    });
}

#[test]
fn a_unix_connection_has_no_internet_address() {
    let path = Scratch::new("address");
    really(async {
        let _server = start_unix_server(echo, &path.0).await.unwrap();
        let (_reader, writer) = open_unix_connection(&path.0).await.unwrap();
        assert_eq!(kind(writer.peer_addr()), Some(io::ErrorKind::Unsupported));
        assert_eq!(writer.peer_unix_path(), Some(path.0.clone()));
    });
}

#[test]
fn an_abstract_name_has_no_file() {
    let name = format!("\0velodrome-{}", std::process::id());
    really(async {
        let server = start_unix_server(echo, &name).await.unwrap();
        let (mut reader, writer) = open_unix_connection(&name).await.unwrap();
        writer.write("x");
        assert_eq!(reader.read(1).await.unwrap(), b"x");
        drop((reader, writer));
        drop(server);
        let gone = open_unix_connection(&name).await.unwrap_err();
        assert!(gone.to_string().contains(&name.replace('\0', "@")), "{gone}");
    });
}

#[test]
fn a_file_left_behind_is_replaced_and_a_living_server_is_not() {
    let path = Scratch::new("stale");
    drop(UnixListener::bind(&path.0).unwrap());
    assert!(path.0.exists());
    really(async {
        let first = start_unix_server(echo, &path.0).await.unwrap();
        assert!(answers_at(&path.0).await);
        let second = start_unix_server(echo, &path.0).await;
        assert_eq!(kind(second), Some(io::ErrorKind::AddrInUse));
        assert!(answers_at(&path.0).await, "the first one lives");
        drop(first);
    });
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let path = Scratch::new("file");
    std::fs::write(&path.0, "precious").unwrap();
    really(async {
        assert_eq!(kind(start_unix_server(echo, &path.0).await), Some(io::ErrorKind::AddrInUse));
        assert_eq!(kind(start_unix_server(echo, "").await), Some(io::ErrorKind::InvalidInput));
    });
    assert_eq!(std::fs::read_to_string(&path.0).unwrap(), "precious");
}

#[test]
fn a_file_that_has_become_anothers_stays() {
    let path = Scratch::new("other");
    let other = really(async {
        let server = start_unix_server(echo, &path.0).await.unwrap();
        std::fs::remove_file(&path.0).unwrap();
        let other = UnixListener::bind(&path.0).unwrap();
        drop(server);
        other
    });
    assert!(UnixStream::connect(&path.0).is_ok());
    drop(other);
}

#[test]
fn a_file_may_be_kept() {
    let path = Scratch::new("kept");
    really(async {
        let options = ListenOptions::new().cleanup_socket(false);
        drop(options.start_unix_server(echo, &path.0).await.unwrap());
    });
    assert!(path.0.exists());
}

#[test]
fn clients_are_closed_when_what_was_written_has_left() {
    really(async {
        // More than any socket's buffer takes.
        const MUCH: usize = 8 << 20;
        let flood = |_reader: StreamReader, writer: StreamWriter| async move {
            writer.write(vec![1; MUCH]);
            writer.wait_closed().await
        };
        let server = start_server(flood, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, _writer) = open_connection(HOST, port).await.unwrap();
        let (mut cut, _other) = open_connection(HOST, port).await.unwrap();
        settle().await;
        assert_eq!(server.client_count(), 2);
        server.close();
        server.close_clients();
        assert_eq!(server.client_count(), 2, "they have something to say yet");
        assert_eq!(reader.read_to_end().await.unwrap().len(), MUCH);
        settle().await;
        assert_eq!(server.client_count(), 1);
        server.abort_clients();
        server.wait_closed().await;
        assert!(cut.read_to_end().await.is_ok_and(|got| got.len() < MUCH));
    });
}

#[test]
fn clients_come_and_go_and_are_counted() {
    really(async {
        let server = Rc::new(start_server(echo, HOST, 0).await.unwrap());
        let port = server.local_addr().unwrap().port();
        for round in 0..3 {
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("x");
            reader.read(1).await.unwrap();
            assert_eq!(server.client_count(), 1, "in round {round}");
            server.close_clients();
            assert_eq!(reader.read(1).await.unwrap(), b"");
            settle().await;
            assert_eq!(server.client_count(), 0, "in round {round}");
        }
        assert!(server.is_serving());
    });
}

#[test]
fn a_clients_end_may_be_waited_for_by_many() {
    really(async {
        let server = Rc::new(start_server(echo, HOST, 0).await.unwrap());
        let (_reader, _writer) = open_connection(HOST, server.local_addr().unwrap().port()).await.unwrap();
        settle().await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let server = Rc::clone(&server);
                spawn(async move { server.wait_closed().await })
            })
            .collect();
        settle().await;
        server.close();
        settle().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        server.abort_clients();
        for task in waiting {
            task.await.unwrap();
        }
    });
}

#[test]
fn options_reach_the_socket() {
    really(async {
        let options = ListenOptions::new().reuse_port(true).keepalive(true).nodelay(false).backlog(7);
        let server = options.start_server(echo, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        assert_eq!(kind(start_server(echo, HOST, port).await), Some(io::ErrorKind::AddrInUse));
        let _second = options.start_server(echo, HOST, port).await.unwrap();
        let from = ([127, 0, 0, 3], 0).into();
        let client = ConnectOptions::new().local_addr(from).keepalive(true).happy_eyeballs_delay(None);
        let (_reader, writer) = client.open_connection(HOST, port).await.unwrap();
        assert_eq!(writer.local_addr().unwrap().ip().to_string(), "127.0.0.3");
    });
}

#[test]
fn a_limit_is_the_readers() {
    really(async {
        let say = |_reader, writer: StreamWriter| async move { writer.write("far too long a line\n") };
        let server = start_server(say, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let limited = ConnectOptions::new().limit(4);
        let (mut reader, _writer) = limited.open_connection(HOST, port).await.unwrap();
        assert!(matches!(reader.readline().await, Err(velodrome::ReadError::LimitOverrun { .. })));
        let (mut reader, _writer) = open_connection(HOST, port).await.unwrap();
        assert_eq!(reader.readline().await.unwrap().len(), 20);
    });
}

#[test]
fn addresses_are_found() {
    really(async {
        let numbers = getaddrinfo("::1", 7).await.unwrap();
        assert_eq!(numbers, ["[::1]:7".parse().unwrap()]);
        let names = getaddrinfo("localhost", 7).await.unwrap();
        assert!(!names.is_empty() && names.iter().all(|address| address.ip().is_loopback()));
        assert!(getaddrinfo("no\0name", 7).await.is_err());
    });
}

#[test]
fn a_connection_whose_handler_never_ran_is_closed_with_the_loop() {
    let ran = Rc::new(Cell::new(false));
    let handler = {
        let ran = Rc::clone(&ran);
        move |_reader, _writer| {
            ran.set(true);
            async {}
        }
    };
    let mut client = really(async {
        let server = start_server(handler, HOST, 0).await.unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        while server.client_count() == 0 {
            yield_now().await;
        }
        client
    });
    assert!(!ran.get(), "the task had its turn, and this test shows nothing");
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// The output of `future`, which counts how often it is polled.
async fn counted<F: Future>(polls: Rc<Cell<usize>>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx)
    })
    .await
}

#[test]
fn who_waits_for_a_server_has_no_turn_for_each_client_that_leaves() {
    really(async {
        let server = Rc::new(start_server(echo, HOST, 0).await.unwrap());
        let port = server.local_addr().unwrap().port();
        let (polls, serving) = (Rc::new(Cell::new(0)), Rc::clone(&server));
        let counter = Rc::clone(&polls);
        let forever = spawn(async move { counted(counter, serving.serve_forever()).await });
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(open_connection(HOST, port).await.unwrap());
        }
        while server.client_count() < 4 {
            yield_now().await;
        }
        clients.truncate(3);
        while server.client_count() > 3 {
            yield_now().await;
        }
        settle().await;
        assert_eq!(polls.get(), 1, "the server goes on");
        server.close();
        forever.await.unwrap().unwrap();

        let (polls, ending) = (Rc::new(Cell::new(0)), Rc::clone(&server));
        let counter = Rc::clone(&polls);
        let closed = spawn(async move { counted(counter, ending.wait_closed()).await });
        settle().await;
        while let Some(client) = clients.pop() {
            drop(client);
            while server.client_count() > clients.len() {
                yield_now().await;
            }
            settle().await;
        }
        closed.await.unwrap();
        assert_eq!(polls.get(), 2, "once to begin, once for the last client");
    });
}

#[test]
fn a_server_that_outlives_its_loop_says_so_and_lets_nobody_in() {
    let server = really(async { start_server(echo, HOST, 0).await.unwrap() });
    assert!(!server.is_serving());
    let refused = TcpStream::connect(server.local_addr().unwrap());
    assert_eq!(kind(refused), Some(io::ErrorKind::ConnectionRefused));
    really(async {
        let served = timeout(Duration::from_secs(5), server.serve_forever()).await;
        let error = served.expect("it waits for ever").unwrap_err();
        assert_eq!(error.to_string(), "the event loop of this server has ended");
        timeout(Duration::from_secs(5), server.wait_closed()).await.expect("it waits for ever");
    });
}
