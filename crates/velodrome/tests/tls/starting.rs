//! What the two sides know of the handshake afterwards, and handshakes in the middle of a protocol's connection.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use velodrome::tls::{Tls, create_tls_connection, create_tls_server, open_tls_connection, start_tls_server};
use velodrome::{
    Protocol, StreamReader, StreamWriter, Transport, create_connection, create_server, open_connection,
    spawn, start_server, timeout,
};

use super::configs::{HOST, certificate, client_config, server_config};
use super::support::{Log, kind, really, settle};

/// What `transport` knows of its handshake.
fn known(transport: &Transport) -> String {
    transport.tls().map_or("nothing".into(), |tls| {
        let (alpn, certificates) = (tls.alpn_protocol.unwrap_or_default(), tls.peer_certificates.len());
        format!("{} for {:?}, {certificates}", String::from_utf8_lossy(&alpn), tls.server_name)
    })
}

/// Writes down what it knows when it is told of its connection.
struct Knows(Log);

impl Protocol for Knows {
    fn connection_made(&mut self, transport: Transport) {
        self.0.add(known(&transport));
    }

    fn data_received(&mut self, _: &[u8]) {}
}

#[test]
fn a_protocol_knows_what_was_agreed_upon() {
    let (theirs, ours) = (Log::default(), Log::default());
    really(async {
        let hears = theirs.clone();
        let server = create_tls_server(move || Knows(hears.clone()), HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let factory = || Knows(ours.clone());
        let (transport, _) =
            create_tls_connection(factory, "localhost", port, client_config(true)).await.unwrap();
        settle().await;
        assert_eq!(known(&transport), "echo for None, 1");
    });
    assert_eq!(theirs.take(), ["echo for Some(\"localhost\"), 0"]);
    assert_eq!(ours.take(), ["echo for None, 1"]);
}

#[test]
fn a_stream_knows_what_was_agreed_upon() {
    let seen = Rc::new(RefCell::new(None));
    let sees = Rc::clone(&seen);
    really(async {
        let see = move |_reader: StreamReader, writer: StreamWriter| {
            sees.replace(writer.tls().map(|tls| (tls.server_name, tls.alpn_protocol)));
            async move { writer.wait_closed().await }
        };
        let server = start_tls_server(see, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (_reader, writer) = open_tls_connection("localhost", port, client_config(true)).await.unwrap();
        settle().await;
        assert_eq!(writer.tls().unwrap().peer_certificates, [certificate()]);
        let plain = start_server(|_, _| async {}, HOST, 0).await.unwrap();
        let (_reader, writer) = open_connection(HOST, plain.local_addr().unwrap().port()).await.unwrap();
        assert!(writer.tls().is_none());
    });
    assert_eq!(seen.take(), Some((Some("localhost".to_owned()), Some(b"echo".to_vec()))));
}

/// Has its connection encrypted when the client asks for it, and gives back what it hears.
#[derive(Clone, Default)]
struct Mail {
    transport: Option<Transport>,
    log: Log,
}

impl Protocol for Mail {
    fn connection_made(&mut self, transport: Transport) {
        self.log.add(format!("made, {}", known(&transport)));
        self.transport = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        let transport = self.transport.clone().unwrap();
        if data != b"STARTTLS\n" {
            return transport.write(data);
        }
        transport.write("220\n");
        transport.pause_reading();
        let (early, log) = (transport.clone(), self.log.clone());
        spawn(async move {
            let shaken = early.start_tls(Tls::server(server_config())).await;
            log.add(shaken.map_or_else(|error| format!("{:?}", error.kind()), |_| known(&early)));
        })
        .detach();
    }

    fn eof_received(&mut self) -> bool {
        self.log.add("eof");
        true
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.log.add(error.map_or("lost".into(), |error| format!("lost: {:?}", error.kind())));
    }
}

/// A mail server on a port, and what it is told.
async fn mail_server() -> (velodrome::Server, u16, Log) {
    let mail = Mail::default();
    let log = mail.log.clone();
    let server = create_server(move || mail.clone(), HOST, 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port, log)
}

#[test]
fn a_protocol_keeps_its_transport_when_it_is_encrypted() {
    really(async {
        let (server, port, log) = mail_server().await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("STARTTLS\n");
        assert_eq!(reader.readline().await.unwrap(), b"220\n");
        writer.start_tls(Tls::client(client_config(true), "localhost").unwrap()).await.unwrap();
        writer.write("hello");
        assert_eq!(reader.readexactly(5).await.unwrap(), b"hello");
        assert_eq!(log.take(), ["made, nothing", "echo for Some(\"localhost\"), 0"]);
        server.close_clients();
        assert_eq!(reader.read_to_end().await.unwrap(), b"", "which it would not be without a close_notify");
        writer.close();
        settle().await;
        assert_eq!(log.take().last().map(String::as_str), Some("lost"));
    });
}

#[test]
fn a_client_of_protocols_starts_tls_too() {
    really(async {
        let mail = |mut reader: StreamReader, writer: StreamWriter| async move {
            assert_eq!(reader.readline().await?, b"STARTTLS\n");
            writer.start_tls(Tls::server(server_config())).await?;
            super::echo(reader, writer).await
        };
        let server = start_server(mail, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hears = Rc::clone(&heard);
        let (transport, _) = create_connection(move || Hears(hears), HOST, port).await.unwrap();
        let early = transport.clone();
        transport.write("STARTTLS\n");
        let tls = || Tls::client(client_config(true), "localhost").unwrap();
        transport.start_tls(tls()).await.unwrap();
        early.write("hello");
        settle().await;
        assert_eq!(*heard.borrow(), b"hello");
        assert_eq!(kind(transport.start_tls(tls()).await), Some(io::ErrorKind::Unsupported));
        transport.abort();
        settle().await;
        assert_eq!(kind(transport.start_tls(tls()).await), Some(io::ErrorKind::Unsupported));
    });
}

struct Hears(Rc<RefCell<Vec<u8>>>);

impl Protocol for Hears {
    fn data_received(&mut self, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

#[test]
fn a_handshake_that_fails_ends_a_protocols_connection() {
    really(async {
        let (_server, port, log) = mail_server().await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("STARTTLS\n");
        assert_eq!(reader.readline().await.unwrap(), b"220\n");
        writer.write("not a word of TLS, nor of anything else that is known");
        let rest = timeout(Duration::from_secs(10), reader.read_to_end()).await;
        assert!(rest.is_ok(), "it hung up");
        settle().await;
        assert_eq!(log.take(), ["made, nothing", "lost: InvalidData", "InvalidData"]);
    });
}

#[test]
fn a_peer_that_has_ended_does_not_keep_a_handshake_waiting() {
    really(async {
        let (transport, _server) = ended().await;
        let shaking = transport.start_tls(Tls::server(server_config()));
        let shaken = timeout(Duration::from_secs(10), shaking).await.expect("it is told at once");
        assert_eq!(kind(shaken), Some(io::ErrorKind::UnexpectedEof));
    });
}

/// A protocol's connection whose peer has ended, and that stays open on this side.
async fn ended() -> (Transport, velodrome::Server) {
    let end = |_reader: StreamReader, writer: StreamWriter| async move {
        writer.write_eof();
        writer.wait_closed().await
    };
    let server = start_server(end, HOST, 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let mail = Mail::default();
    let log = mail.log.clone();
    let (transport, _) = create_connection(move || mail, HOST, port).await.unwrap();
    while log.len() < 2 {
        settle().await;
    }
    (transport, server)
}
