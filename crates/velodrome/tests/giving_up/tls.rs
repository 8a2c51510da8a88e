//! Handshakes: given up, the connection is aborted, and nothing stays open on either side.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use velodrome::tls::{
    Tls, create_tls_connection, create_tls_connection_on, create_tls_server, open_tls_connection, rustls,
    start_tls_server,
};
use velodrome::{ListenOptions, Server, create_connection, open_connection};

use crate::chance::{give_up, never_waits};
use crate::net::{Silent, deserted, until_the_end};

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap()
}

fn server_config() -> Arc<rustls::ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
    let builder = rustls::ServerConfig::builder().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate()], key).unwrap())
}

fn client_config() -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate()).unwrap();
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn server() -> (Server, u16) {
    // Whose handshakes are broken off is told; here that is on purpose.
    let server = start_tls_server(until_the_end, "127.0.0.1", 0, server_config()).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

/// `open_tls_connection`, `ConnectOptions::open_tls_connection`
#[test]
fn a_connection_in_the_making() {
    give_up(async |chance| {
        let (server, port) = server().await;
        drop(chance.take(open_tls_connection("localhost", port, client_config())).await);
        deserted(server).await;
    });
}

/// `create_tls_connection`, `ConnectOptions::create_tls_connection`
#[test]
fn a_protocols_connection_in_the_making() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let made = chance.take(create_tls_connection(|| Silent, "localhost", port, client_config())).await;
        if let Some(made) = made {
            made.unwrap().0.close();
        }
        deserted(server).await;
    });
}

/// `start_tls_server`, `ListenOptions::start_tls_server`
#[test]
fn a_server_in_the_making() {
    give_up(async |chance| {
        drop(chance.take(start_tls_server(until_the_end, "localhost", 0, server_config())).await);
    });
}

/// `create_tls_server`, `ListenOptions::create_tls_server`
#[test]
fn a_protocols_server_in_the_making() {
    give_up(async |chance| {
        drop(chance.take(create_tls_server(|| Silent, "localhost", 0, server_config())).await);
        let options = ListenOptions::new();
        drop(options.create_tls_server(|| Silent, "127.0.0.1", 0, server_config()).await.unwrap());
    });
}

/// `Transport::start_tls`
#[test]
fn a_protocols_handshake() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let (transport, _) = create_connection(|| Silent, "127.0.0.1", port).await.unwrap();
        let tls = Tls::client(client_config(), "localhost").unwrap();
        let begun = chance.take(transport.start_tls(tls)).await;
        transport.close();
        assert!(begun.is_none_or(|shaken| shaken.is_ok()));
        deserted(server).await;
    });
}

/// `ListenOptions::start_tls_server_on`, `ListenOptions::create_tls_server_on`
#[test]
fn a_server_on_a_socket_in_the_making() {
    let (listener, options) = (|| TcpListener::bind("127.0.0.1:0").unwrap(), ListenOptions::new());
    never_waits(async |chance| {
        drop(chance.take(options.start_tls_server_on(until_the_end, listener(), server_config())).await);
    });
    never_waits(async |chance| {
        drop(chance.take(options.create_tls_server_on(|| Silent, listener(), server_config())).await);
    });
}

/// `create_tls_connection_on`
#[test]
fn a_protocols_connection_over_a_socket_in_the_making() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let making = create_tls_connection_on(|| Silent, socket, "localhost", client_config());
        if let Some(made) = chance.take(making).await {
            made.unwrap().0.close();
        }
        deserted(server).await;
    });
}

/// `StreamWriter::start_tls`
#[test]
fn a_handshake() {
    give_up(async |chance| {
        let (server, port) = server().await;
        let (reader, writer) = open_connection("127.0.0.1", port).await.unwrap();
        let tls = Tls::client(client_config(), "localhost").unwrap();
        let begun = chance.take(writer.start_tls(tls)).await;
        drop((reader, writer));
        assert!(begun.is_none_or(|shaken| shaken.is_ok()));
        deserted(server).await;
    });
}
