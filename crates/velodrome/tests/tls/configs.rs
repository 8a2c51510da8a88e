//! Who is trusted, and how the tests' server proves to be it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use velodrome::tls::rustls;

pub(crate) const HOST: &str = "127.0.0.1";

pub(crate) fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("../../examples/localhost.pem")).unwrap()
}

pub(crate) fn server_config() -> Arc<rustls::ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../examples/localhost.key")).unwrap();
    let builder = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate()], key).unwrap();
    config.alpn_protocols = vec![b"echo".to_vec()];
    Arc::new(config)
}

pub(crate) fn client_config(trusts: bool) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    if trusts {
        roots.add(certificate()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"echo".to_vec()];
    Arc::new(config)
}
