//! What errors say: what they are of, and what to do about it. Their kinds are what programs match on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use support::{Log, Outer, pair, really};
use velodrome::signals::{SIGKILL, SIGTERM, SIGUSR1, signal};
use velodrome::{
    AsyncFd, Builder, DatagramOptions, DatagramProtocol, LookupOptions, Outcome, Protocol, ReadError,
    create_connection, create_datagram_endpoint, create_subprocess, getaddrinfo, open_connection,
    open_read_pipe, open_socket, open_unix_connection, open_write_pipe, spawn_blocking, start_server,
    start_unix_server,
};

/// That it failed in this way, in these words.
#[track_caller]
fn says<T>(result: Result<T, impl Into<io::Error>>, kind: io::ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("no error") };
    let error = error.into();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing: {error}");
    }
}

/// The kernel's own number, which is kept below.
fn number(error: &io::Error) -> Option<i32> {
    error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
}

#[test]
fn a_program_that_does_not_start_is_named() {
    really(async {
        let start = |command: &mut Command| create_subprocess(command);
        says(start(&mut Command::new("no-such-thing")), io::ErrorKind::NotFound, &["no-such-thing", "PATH"]);
        let elsewhere = start(Command::new("true").current_dir("/no/where"));
        says(elsewhere, io::ErrorKind::NotFound, &["true", "/no/where", "does not exist"]);
        says(start(&mut Command::new("/etc/passwd")), io::ErrorKind::PermissionDenied, &["chmod"]);
        let error = start(&mut Command::new("no-such-thing")).unwrap_err();
        assert_eq!(number(&error), Some(rustix::io::Errno::NOENT.raw_os_error()));
    });
}

#[test]
fn a_program_that_hears_no_signal_is_named() {
    really(async {
        let program = create_subprocess(&mut Command::new("cat")).unwrap();
        says(program.send_signal(999), io::ErrorKind::InvalidInput, &["signal 999", "velodrome::signals"]);
        program.kill().unwrap();
        program.wait().await.unwrap();
        let kind = io::Error::from(rustix::io::Errno::SRCH).kind();
        let id = program.id().to_string();
        says(program.send_signal(SIGTERM), kind, &["signal 15", &id, "it has ended"]);
    });
}

#[test]
fn what_cannot_be_watched_says_what_to_do() {
    really(async {
        let file = || File::open("/etc/passwd").unwrap();
        let watched = AsyncFd::new(file()).unwrap();
        let denied = io::ErrorKind::PermissionDenied;
        says(watched.readable().await, denied, &["regular file", "spawn_blocking"]);
        says(open_read_pipe(file()), denied, &["regular file", "spawn_blocking"]);
        says(open_write_pipe(file()), denied, &["regular file", "spawn_blocking"]);

        let (ours, _theirs) = UnixStream::pair().unwrap();
        let _first = AsyncFd::new(ours.as_fd()).unwrap();
        says(AsyncFd::new(ours.as_fd()), io::ErrorKind::AlreadyExists, &["watches it already", "try_clone"]);
    });
}

#[test]
fn what_is_no_connection_says_so() {
    really(async {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        says(open_socket(listening), io::ErrorKind::NotConnected, &["stream socket that is connected"]);
    });
}

/// No resolver has it, and none has to be asked: a space is in no name.
const NO_NAME: &str = "no name";

/// The same of whoever asks.
#[track_caller]
fn says_of_a_name<T>(result: io::Result<T>) {
    let Err(error) = result else { panic!("no error") };
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound), "what the resolver said is kept");
    says(Err::<(), _>(error), io::ErrorKind::NotFound, &["look up \"no name\"", "spelt"]);
}

#[test]
fn a_name_that_there_is_not_is_not_found_by_whoever_asks() {
    really(async {
        says_of_a_name(open_connection(NO_NAME, 80).await);
        says_of_a_name(getaddrinfo(NO_NAME, 80).await);
        says_of_a_name(LookupOptions::new().getaddrinfo(NO_NAME, 80).await);
        says_of_a_name(start_server(|_, _| async {}, NO_NAME, 0).await);
        let there = DatagramOptions::new().remote_addr(NO_NAME, 80);
        says_of_a_name(create_datagram_endpoint(|| Silent, &there).await);
    });
}

#[test]
fn a_connection_that_nobody_takes_keeps_what_the_kernel_said() {
    really(async {
        for host in ["127.0.0.1", "localhost"] {
            let error = open_connection(host, support::deserted_port()).await.unwrap_err();
            assert_eq!(number(&error), Some(rustix::io::Errno::CONNREFUSED.raw_os_error()), "{error}");
            says(Err::<(), _>(error), io::ErrorKind::ConnectionRefused, &["connect to", "127.0.0.1:"]);
        }
    });
}

#[test]
fn a_signal_that_is_not_heard_is_named() {
    really(async {
        says(signal(SIGKILL), io::ErrorKind::InvalidInput, &["signal 9", "none that can be caught"]);
        says(signal(0), io::ErrorKind::InvalidInput, &["signal 0", "no such signal"]);
        let most = std::iter::from_fn(|| signal(SIGUSR1).ok()).collect::<Vec<_>>();
        says(signal(SIGUSR1), io::ErrorKind::StorageFull, &["listens as often as it can", "drop"]);
        drop(most);
        signal(SIGUSR1).unwrap();
    });
}

struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &[u8]) {}
}

impl DatagramProtocol for Silent {
    fn datagram_received(&mut self, _: &[u8], _: std::net::SocketAddr) {}
}

#[test]
fn what_is_asked_of_a_closed_connection_says_so() {
    really(async {
        let words = &["the connection is closed", "is_closing"];
        let ((_reader, writer), _theirs) = pair();
        writer.abort();
        writer.wait_closed().await.unwrap();
        says(writer.set_keepalive(true), io::ErrorKind::NotConnected, words);

        let server = velodrome::create_server(|| Silent, "127.0.0.1", 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (transport, _) = create_connection(|| Silent, "127.0.0.1", port).await.unwrap();
        transport.abort();
        support::settle().await;
        says(transport.set_nodelay(true), io::ErrorKind::NotConnected, words);

        let here = DatagramOptions::new().local_addr("127.0.0.1", 0);
        let (endpoint, _) = create_datagram_endpoint(|| Silent, &here).await.unwrap();
        endpoint.abort();
        support::settle().await;
        says(endpoint.local_addr(), io::ErrorKind::NotConnected, words);
    });
}

#[test]
fn an_address_that_is_none_of_the_internet_leads_to_the_path() {
    let path = std::env::temp_dir().join(format!("velodrome-{}-errors", std::process::id()));
    really(async {
        let server = start_unix_server(|_, _| async {}, &path).await.unwrap();
        says(server.local_addr(), io::ErrorKind::Unsupported, &["no internet address", "path"]);
        let (_reader, writer) = open_unix_connection(&path).await.unwrap();
        says(writer.peer_addr(), io::ErrorKind::Unsupported, &["no internet address", "path"]);
        drop(server);
        says(open_unix_connection(&path).await, io::ErrorKind::NotFound, &["connect to", "velodrome-"]);
    });
}

#[test]
fn a_line_too_long_leads_to_the_limit() {
    really(async {
        let ((mut reader, _writer), (_reader, writer)) = pair();
        reader.set_limit(3);
        writer.write("too long\n");
        says(reader.readline().await, io::ErrorKind::InvalidData, &["set_limit"]);
    });
}

#[test]
fn what_needs_a_loop_is_called_by_its_name() {
    let error = spawn_blocking(|| ()).join().unwrap_err();
    says(Err::<(), _>(error), io::ErrorKind::Other, &["spawn_blocking needs", "velodrome::run"]);
}

/// What is told of a connection whose handler returns what `outcome` gives.
fn told<O, K: 'static>(outcome: impl Fn() -> O + 'static) -> Vec<String>
where
    O: Outcome<K> + 'static,
{
    let (seen, path) =
        (Log::default(), std::env::temp_dir().join(format!("velodrome-{}-told", std::process::id())));
    let log = seen.clone();
    let runtime = Builder::new().on_error(move |error| log.add(error)).build().unwrap();
    let served = runtime.block_on(async {
        let server = start_unix_server(move |_, _| std::future::ready(outcome()), &path).await?;
        let (mut reader, _writer) = open_unix_connection(&path).await?;
        reader.read(1).await?;
        drop(server);
        io::Result::Ok(())
    });
    served.unwrap().unwrap();
    seen.take()
}

/// An error that is none, as anyhow's: it becomes one.
struct Anyhow;

impl From<Anyhow> for Box<dyn Error> {
    fn from(_: Anyhow) -> Self {
        "no thanks".into()
    }
}

#[test]
fn a_handler_may_return_any_error() {
    let same = || io::Error::other("no thanks");
    assert_eq!(told(|| ()), [""; 0]);
    assert_eq!(told(|| io::Result::Ok(())), [""; 0]);
    let errors = [
        told(move || Err::<(), _>(same())),
        told(|| Err::<(), _>("no thanks")),
        told(|| Err::<(), _>(Anyhow)),
        told(move || Err::<(), Box<dyn Error>>(same().into())),
        told(move || Err::<(), Box<dyn Error + Send + Sync>>(same().into())),
    ];
    for error in errors {
        assert_eq!(error, ["the connection: no thanks"]);
    }
}

/// An error, and what is behind it, as programs print them.
fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<_> =
        std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    texts.join(": ")
}

#[test]
fn a_chain_of_errors_tells_each_once() {
    let outer = || io::Error::other(Outer(io::Error::other("inner")));
    assert_eq!(chain(&ReadError::from(outer())), "outer: inner");
    assert_eq!(chain(&ReadError::from(io::Error::other("alone"))), "alone");
    let log = Log::default();
    let seen = log.clone();
    let told = move |error: &velodrome::Unhandled| {
        assert!(error.error().downcast_ref::<io::Error>().is_some_and(|error| error.get_ref().is_some()));
        seen.add(chain(error));
    };
    let served = Builder::new().on_error(told).build().unwrap().block_on(async {
        let path = std::env::temp_dir().join(format!("velodrome-{}-chain", std::process::id()));
        let fails = move |_, _| std::future::ready(Err::<(), _>(outer()));
        let _server = start_unix_server(fails, &path).await?;
        open_unix_connection(&path).await?.0.read(1).await?;
        io::Result::Ok(())
    });
    served.unwrap().unwrap();
    assert_eq!(log.take(), ["the connection: outer: inner"]);
}
