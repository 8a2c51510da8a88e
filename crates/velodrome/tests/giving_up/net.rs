//! Connections and servers in the making: given up, they leave nothing open, and a server that has begun goes on.

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use velodrome::{
    ConnectOptions, DatagramAddress, DatagramOptions, DatagramProtocol, ListenOptions, Protocol, Server,
    StreamReader, StreamWriter, UnixDatagramOptions, create_connection, create_connection_on,
    create_datagram_endpoint, create_datagram_endpoint_on, create_server, create_unix_connection,
    create_unix_datagram_endpoint, create_unix_server, getaddrinfo, open_connection, open_unix_connection,
    sleep, spawn, start_server, start_unix_server,
};

use crate::chance::{give_up, never_waits};

const HOST: &str = "127.0.0.1";
const SHORT: Duration = Duration::from_millis(1);

/// Counts nothing, says nothing.
pub(crate) struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &[u8]) {}
}

impl<A: DatagramAddress> DatagramProtocol<A> for Silent {
    fn datagram_received(&mut self, _: &[u8], _: A) {}
}

pub(crate) async fn until_the_end(mut reader: StreamReader, _writer: StreamWriter) -> io::Result<()> {
    reader.read_to_end().await.map(drop)
}

async fn server() -> (Server, u16) {
    let server = start_server(until_the_end, HOST, 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

/// A path of this process for a socket.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("velodrome-giving-up-{}-{name}", std::process::id()))
}

/// Who is connected hears of it when a client is gone: nobody is left behind.
pub(crate) async fn deserted(server: Server) {
    while server.client_count() > 0 {
        sleep(SHORT).await;
    }
    server.close();
    server.wait_closed().await;
}

/// `getaddrinfo`
#[test]
fn a_lookup_leaves_nothing() {
    give_up(async |chance| {
        chance.take(getaddrinfo("localhost", 80)).await;
    });
}

/// `open_connection`, `ConnectOptions::open_connection`
#[test]
fn a_connection_in_the_making() {
    give_up(async |chance| {
        let (server, port) = server().await;
        drop(chance.take(open_connection(HOST, port)).await);
        deserted(server).await;
    });
    // By a name there are lookups and several addresses.
    give_up(async |chance| {
        let (server, port) = server().await;
        drop(chance.take(ConnectOptions::new().open_connection("localhost", port)).await);
        deserted(server).await;
    });
}

/// `open_unix_connection`, `ConnectOptions::open_unix_connection`
#[test]
fn a_unix_connection_in_the_making() {
    never_waits(async |chance| {
        let path = path("streams");
        let server = start_unix_server(until_the_end, &path).await.unwrap();
        drop(chance.take(open_unix_connection(&path)).await);
        deserted(server).await;
    });
}

/// `create_connection`, `ConnectOptions::create_connection`
#[test]
fn a_protocols_connection_in_the_making() {
    give_up(async |chance| {
        let (server, port) = server().await;
        if let Some(made) = chance.take(create_connection(|| Silent, HOST, port)).await {
            made.unwrap().0.close();
        }
        deserted(server).await;
    });
}

/// `create_unix_connection`, `ConnectOptions::create_unix_connection`
#[test]
fn a_protocols_unix_connection_in_the_making() {
    give_up(async |chance| {
        let path = path("protocols");
        let server = start_unix_server(until_the_end, &path).await.unwrap();
        if let Some(made) = chance.take(create_unix_connection(|| Silent, &path)).await {
            made.unwrap().0.close();
        }
        deserted(server).await;
    });
}

/// `start_server`, `ListenOptions::start_server`
#[test]
fn a_server_in_the_making() {
    give_up(async |chance| {
        drop(chance.take(start_server(until_the_end, "localhost", 0)).await);
    });
}

/// `create_server`, `ListenOptions::create_server`
#[test]
fn a_protocols_server_in_the_making() {
    give_up(async |chance| {
        drop(chance.take(ListenOptions::new().create_server(|| Silent, "localhost", 0)).await);
        drop(create_server(|| Silent, HOST, 0).await.unwrap());
    });
}

/// `start_unix_server`, `ListenOptions::start_unix_server`
#[test]
fn a_unix_server_in_the_making() {
    never_waits(async |chance| {
        let path = path("server");
        drop(chance.take(start_unix_server(until_the_end, &path)).await);
        drop(start_unix_server(until_the_end, &path).await.unwrap());
    });
}

/// `create_unix_server`, `ListenOptions::create_unix_server`
#[test]
fn a_protocols_unix_server_in_the_making() {
    never_waits(async |chance| {
        let path = path("create");
        drop(chance.take(create_unix_server(|| Silent, &path)).await);
        drop(create_unix_server(|| Silent, &path).await.unwrap());
    });
}

/// `ListenOptions::start_server_on`, `ListenOptions::create_server_on`
#[test]
fn a_server_on_a_socket_in_the_making() {
    let (listener, options) = (|| TcpListener::bind((HOST, 0)).unwrap(), ListenOptions::new());
    never_waits(async |chance| drop(chance.take(options.start_server_on(until_the_end, listener())).await));
    never_waits(async |chance| drop(chance.take(options.create_server_on(|| Silent, listener())).await));
}

/// `create_connection_on`
#[test]
fn a_protocols_connection_over_a_socket_in_the_making() {
    give_up(async |chance| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        if let Some(made) = chance.take(create_connection_on(|| Silent, ours)).await {
            made.unwrap().0.close();
        }
        sleep(SHORT).await;
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "it is closed");
    });
}

/// `create_datagram_endpoint_on`
#[test]
fn an_endpoint_over_a_socket_in_the_making() {
    give_up(async |chance| {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        let factory = || Silent;
        let made = chance.take(create_datagram_endpoint_on::<PathBuf, _>(factory, ours)).await;
        if let Some(made) = made {
            made.unwrap().0.close();
        }
        sleep(SHORT).await;
    });
}

/// `Server::serve_forever`
#[test]
fn a_server_serves_though_nobody_waits_for_its_end() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let server = Rc::new(server);
        let closing = Rc::clone(&server);
        let closer = spawn(async move {
            sleep(SHORT).await;
            let connected = open_connection(HOST, port).await;
            closing.close();
            connected.is_ok()
        });
        chance.take(server.serve_forever()).await;
        assert!(closer.await.unwrap(), "it served until it was closed");
        server.serve_forever().await.unwrap();
        server.wait_closed().await;
    });
}

/// `Server::wait_closed`
#[test]
fn the_end_of_a_server_is_told_again() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let (_reader, writer) = open_connection(HOST, port).await.unwrap();
        while server.client_count() == 0 {
            sleep(SHORT).await;
        }
        server.close();
        spawn(async move {
            sleep(SHORT).await;
            drop(writer);
        })
        .detach();
        chance.take(server.wait_closed()).await;
        server.wait_closed().await;
        assert_eq!(server.client_count(), 0);
    });
}

/// `create_datagram_endpoint`
#[test]
fn an_endpoint_in_the_making() {
    give_up(async |chance| {
        let options = DatagramOptions::new().local_addr(HOST, 0);
        if let Some(made) = chance.take(create_datagram_endpoint(|| Silent, &options)).await {
            made.unwrap().0.close();
        }
    });
}

/// `create_unix_datagram_endpoint`
#[test]
fn a_unix_endpoint_in_the_making() {
    give_up(async |chance| {
        let path = path("datagrams");
        let options = UnixDatagramOptions::new().local_path(&path);
        if let Some(made) = chance.take(create_unix_datagram_endpoint(|| Silent, &options)).await {
            made.unwrap().0.close();
        }
        sleep(SHORT).await;
        assert!(!path.exists());
    });
}
