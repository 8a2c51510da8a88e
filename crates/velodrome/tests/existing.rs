//! Sockets that the program had before: asyncio's `sock=`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, socket};
use support::{Log, really, settle};
use velodrome::{
    DatagramAddress, DatagramProtocol, DatagramTransport, ListenOptions, Protocol, Server, StreamReader,
    StreamWriter, Transport, create_connection_on, create_datagram_endpoint_on, open_connection, open_socket,
    open_unix_connection,
};

const HOST: &str = "127.0.0.1";

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write(reader.readline().await?);
    Ok(())
}

/// Says back what it hears, and writes down what befalls it.
struct Echo(Log, Option<Transport>);

impl Protocol for Echo {
    fn connection_made(&mut self, transport: Transport) {
        self.0.add("made");
        self.1 = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        self.0.add(String::from_utf8_lossy(data));
        self.1.as_ref().unwrap().write(data);
    }
}

struct EchoDatagrams<A: DatagramAddress>(Log, Option<DatagramTransport<A>>);

impl<A: DatagramAddress> DatagramProtocol<A> for EchoDatagrams<A> {
    fn connection_made(&mut self, transport: DatagramTransport<A>) {
        self.0.add("made");
        self.1 = Some(transport);
    }

    fn datagram_received(&mut self, data: &[u8], sender: A) {
        self.0.add(String::from_utf8_lossy(data));
        self.1.as_ref().unwrap().sendto(data, Some(sender));
    }
}

/// As another program hands it down: it blocks, and is inherited.
fn handed_down(socket: impl Into<OwnedFd>) -> OwnedFd {
    let socket = socket.into();
    fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    socket
}

/// Whether a program that is started has the descriptor of that number too.
fn is_inherited(number: RawFd) -> bool {
    let look = format!("test -e /dev/fd/{number}");
    Command::new("sh").arg("-c").arg(look).status().unwrap().success()
}

/// What was handed down is taken by `take`, which gives back a duplicate, and who keeps the original: from then on it neither blocks nor is inherited.
async fn is_made_ours<K>(socket: impl Into<OwnedFd>, take: impl AsyncFnOnce(OwnedFd) -> (OwnedFd, K)) {
    let socket = handed_down(socket);
    let number = socket.as_raw_fd();
    assert!(is_inherited(number) && !fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
    let (taken, _keeper) = take(socket).await;
    assert!(fcntl_getfl(&taken).unwrap().contains(OFlags::NONBLOCK));
    assert!(!is_inherited(number));
}

async fn answers(server: &Server) -> bool {
    let (mut reader, writer) = match server.unix_path() {
        Some(path) => open_unix_connection(path).await.unwrap(),
        None => open_connection(HOST, server.local_addr().unwrap().port()).await.unwrap(),
    };
    writer.write("here?\n");
    reader.readline().await.unwrap() == b"here?\n"
}

/// A socket of TCP that is bound and does not listen.
fn bound() -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    socket
}

#[test]
fn a_server_listens_on_what_it_is_given() {
    really(async {
        let (options, log) = (ListenOptions::new(), Log::default());
        let factory = || {
            let log = log.clone();
            move || Echo(log.clone(), None)
        };
        for socket in [TcpListener::bind((HOST, 0)).unwrap().into(), bound()] {
            let again = socket.try_clone().unwrap();
            let server = options.start_server_on(echo, socket).await.unwrap();
            assert!(answers(&server).await);
            drop(server);
            let server = options.create_server_on(factory(), again).await.unwrap();
            assert!(answers(&server).await);
        }
        assert_eq!(log.take(), ["made", "here?\n"].repeat(2));
    });
}

#[test]
fn the_file_of_a_unix_socket_is_its_makers() {
    let path = std::env::temp_dir().join(format!("velodrome-{}-existing", std::process::id()));
    really(async {
        let socket = UnixListener::bind(&path).unwrap();
        let server = ListenOptions::new().start_server_on(echo, socket).await.unwrap();
        assert_eq!((server.unix_path(), server.local_addrs().len()), (Some(&*path), 0));
        assert!(answers(&server).await);
        drop(server);
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_protocol_is_told_of_a_connection_that_was_there() {
    let log = Log::default();
    really(async {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, address) = listener.accept().unwrap();
        let (transport, _) = create_connection_on(|| Echo(log.clone(), None), theirs).await.unwrap();
        assert_eq!((transport.peer_addr().unwrap(), log.take()), (address, vec!["made".to_owned()]));
        let (mut reader, writer) = open_socket(ours).unwrap();
        writer.write("hello");
        assert_eq!(reader.readexactly(5).await.unwrap(), b"hello");
        assert_eq!(log.take(), ["hello"]);
    });
}

#[test]
fn a_protocol_is_told_of_datagrams_to_a_socket_that_was_there() {
    let log = Log::default();
    really(async {
        let client = UdpSocket::bind((HOST, 0)).unwrap();
        let socket = UdpSocket::bind((HOST, 0)).unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        let factory = || EchoDatagrams::<SocketAddr>(log.clone(), None);
        let (transport, _) = create_datagram_endpoint_on(factory, socket).await.unwrap();
        client.send(b"internet").unwrap();
        settle().await;
        assert_eq!(client.recv(&mut [0; 16]).unwrap(), 8);
        assert_eq!(transport.local_addr().unwrap(), client.peer_addr().unwrap());

        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let factory = || EchoDatagrams::<PathBuf>(log.clone(), None);
        let (transport, _) = create_datagram_endpoint_on(factory, ours).await.unwrap();
        theirs.send(b"unix").unwrap();
        settle().await;
        transport.sendto("connected", None);
        assert_eq!(theirs.recv(&mut [0; 16]).unwrap(), 9, "without a name nobody is answered");
    });
    assert_eq!(log.take(), ["made", "internet", "made", "unix"]);
}

#[test]
fn what_was_handed_down_neither_blocks_nor_goes_on_to_others() {
    really(async {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        is_made_ours(listener, async |socket| {
            let server = ListenOptions::new().start_server_on(echo, socket).await.unwrap();
            (server.duplicate_fds().unwrap().remove(0), server)
        })
        .await;
        let (ours, _theirs) = UnixStream::pair().unwrap();
        is_made_ours(ours, async |socket| {
            let (reader, writer) = open_socket(socket).unwrap();
            (writer.duplicate_fd().unwrap(), (reader, writer))
        })
        .await;
        is_made_ours(UdpSocket::bind((HOST, 0)).unwrap(), async |socket| {
            let factory = || EchoDatagrams::<SocketAddr>(Log::default(), None);
            let (transport, _) = create_datagram_endpoint_on(factory, socket).await.unwrap();
            (transport.duplicate_fd().unwrap(), transport)
        })
        .await;
    });
}

/// That it is refused for what it is, with a word that leads on.
#[track_caller]
fn refused<T>(result: io::Result<T>, words: &[&str]) {
    let Err(error) = result else { panic!("taken") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing: {error}");
    }
}

/// Connected, as a stream is: the kernel has nothing against reading and writing it like one.
fn datagrams() -> OwnedFd {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket.connect(socket.local_addr().unwrap()).unwrap();
    socket.into()
}

fn stream() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

#[test]
fn the_wrong_kind_of_socket_is_refused_with_the_way_to_the_right_one() {
    let silent = || Echo(Log::default(), None);
    let paths = || EchoDatagrams::<PathBuf>(Log::default(), None);
    let addresses = || EchoDatagrams::<SocketAddr>(Log::default(), None);
    really(async {
        let leads_on = &["it is a datagram socket", "create_datagram_endpoint_on"];
        refused(open_socket(datagrams()), leads_on);
        refused(create_connection_on(silent, datagrams()).await, leads_on);

        let options = ListenOptions::new();
        refused(options.start_server_on(echo, datagrams()).await, &["it is a datagram socket"]);
        refused(options.create_server_on(silent, datagrams()).await, &["it is a datagram socket"]);
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        refused(options.start_server_on(echo, connected).await, &["listen on the socket", "open_socket"]);

        refused(
            create_datagram_endpoint_on(paths, stream()).await,
            &["it is a stream socket", "open_socket"],
        );
        refused(
            create_datagram_endpoint_on(paths, datagrams()).await,
            &["not those of the protocol", "PathBuf"],
        );
        let (unix, _) = UnixDatagram::pair().unwrap();
        refused(
            create_datagram_endpoint_on(addresses, unix).await,
            &["not those of the protocol", "SocketAddr"],
        );
    });
}
