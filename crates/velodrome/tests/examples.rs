//! Each example, run as a program and talked to. Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use velodrome::tls::rustls;

/// Far more than any of them takes.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// Beside the test's own program, in `examples`, where cargo put it with the same features.
fn program(name: &str) -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

/// A server that runs until this is dropped.
struct Running {
    child: Child,
    address: String,
    /// Open, or what it prints next would end it. Little enough for the pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Running {
    #[track_caller]
    fn start(name: &str, args: &[&str]) -> Self {
        Self::begin(name, program(name).args(args))
    }

    #[track_caller]
    fn begin(name: &str, command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("Serving on ").unwrap_or_else(|| panic!("{name} said {line:?}"));
        Self { address: address.to_owned(), child, _stdout: stdout }
    }

    fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says `what` and that this is all, and hears all that comes back.
fn ask(mut stream: TcpStream, what: &[u8]) -> Vec<u8> {
    stream.write_all(what).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    back
}

/// What `what` looks like when it has been read, and no more.
fn hear(stream: &mut impl Read, what: &str) {
    let mut heard = vec![0; what.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), what);
}

#[test]
fn a_coroutine_finishes() {
    let done = program("coroutine").output().unwrap();
    assert_eq!(done.stdout, b"Coroutine finished\n");
}

#[test]
fn echo_over_streams() {
    let server = Running::start("echo_server", &["0"]);
    assert_eq!(ask(server.connect(), b"hello"), b"Echo: hello");
}

/// More clients than it has descriptors for, and nowhere to say so.
#[test]
fn a_server_that_cannot_write_its_troubles_down_serves_on() {
    let limited = "ulimit -n 12 && exec \"$0\" 0";
    let nowhere = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(program("echo_server").get_program()).stderr(nowhere);
    let mut server = Running::begin("echo_server", &mut command);
    // All are in the kernel's queue before the first says anything, so that none has left when the last is accepted.
    let clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in clients {
        assert_eq!(ask(client, b"hello"), b"Echo: hello");
    }
    assert!(server.child.try_wait().unwrap().is_none());
}

#[test]
fn echo_by_protocol() {
    let server = Running::start("echo_protocol", &["0"]);
    let much = vec![7; 100_000];
    assert!(ask(server.connect(), &much) == much);
}

#[test]
fn echo_of_datagrams_until_somebody_interrupts() {
    let mut server = Running::start("echo_udp", &["0"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(PATIENCE).unwrap();
    client.send_to(b"hello", &server.address).unwrap();
    let mut answer = [0; 16];
    assert_eq!(client.recv(&mut answer).unwrap(), 5);
    assert_eq!(&answer[..5], b"hello");
    assert!(Command::new("kill").args(["-INT", &server.child.id().to_string()]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn echo_over_a_unix_socket() {
    let path: PathBuf = std::env::temp_dir().join(format!("velodrome-{}-example", std::process::id()));
    let server = Running::start("echo_unix", &[path.to_str().unwrap()]);
    let mut stream = UnixStream::connect(&server.address).unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream.write_all(b"hello").unwrap();
    hear(&mut stream, "hello");
    drop(server);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn echo_by_tls() {
    let server = Running::start("echo_tls", &["0"]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("../examples/localhost.pem")).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, server.connect());
    stream.write_all(b"hello").unwrap();
    hear(&mut stream, "hello");
}

#[test]
fn chatting() {
    let server = Running::start("chat_server", &["0"]);
    let mut guests: Vec<TcpStream> = ["ada", "bob"]
        .iter()
        .map(|name| {
            let mut guest = server.connect();
            hear(&mut guest, "What is your name? ");
            writeln!(guest, "{name}").unwrap();
            guest
        })
        .collect();
    let mut bob = guests.pop().unwrap();
    let mut ada = guests.pop().unwrap();
    hear(&mut ada, "* bob has come\n");
    writeln!(bob, "good evening").unwrap();
    hear(&mut ada, "bob: good evening\n");
    writeln!(ada, "hello bob").unwrap();
    hear(&mut bob, "ada: hello bob\n");
    let mut other = server.connect();
    hear(&mut other, "What is your name? ");
    other.write_all(b"ada\n").unwrap();
    hear(&mut other, "* that name is taken\n");
    drop(bob);
    hear(&mut ada, "* bob has left\n");
}

#[test]
fn a_proxy_passes_on_and_ends_each_direction_by_itself() {
    let echo = Running::start("echo_protocol", &["0"]);
    let proxy = Running::start("tcp_proxy", &["0", "localhost", &echo.port().to_string()]);
    let much: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let (to, from) = (proxy.connect(), proxy.connect());
    drop(from);
    let mut writing = to.try_clone().unwrap();
    let said = much.clone();
    let talks = std::thread::spawn(move || {
        writing.write_all(&said).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    (&to).read_to_end(&mut back).unwrap();
    talks.join().unwrap();
    assert!(back == much);
}

#[test]
fn a_scan_finds_the_port_that_is_open() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let (first, last) = (port.saturating_sub(3).to_string(), port.saturating_add(3).to_string());
    let done = program("port_scanner").args(["127.0.0.1", &first, &last]).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains(&port.to_string()), "{said}");
}

#[test]
fn http_server_and_client() {
    let server = Running::start("http_server", &["0"]);
    let posted = ask(
        server.connect(),
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    );
    let posted = String::from_utf8(posted).unwrap();
    assert!(posted.starts_with("HTTP/1.1 200 OK\r\n") && posted.ends_with("\r\n\r\nhello"), "{posted}");

    let get = |path: &str| {
        let args = ["127.0.0.1", &server.port().to_string(), path].map(str::to_owned);
        let done = program("http_client").args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(get("/"), "200 OK\nhello\n");
    assert_eq!(get("/nowhere"), "404 Not Found\nthere is no /nowhere\n");
}
