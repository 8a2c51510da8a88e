//! The echo server by TLS, with a certificate for localhost that is good for nothing but this.
//!
//!     cargo run -p velodrome --features tls --example echo_tls [PORT]
//!     openssl s_client -connect localhost:8888 -CAfile crates/velodrome/examples/localhost.pem

use std::error::Error;
use std::io;
use std::sync::Arc;

use velodrome::tls::rustls::ServerConfig;
use velodrome::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use velodrome::tls::start_tls_server;
use velodrome::{StreamReader, StreamWriter, run};

/// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 36500 -nodes -subj /CN=localhost
/// -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 -addext basicConstraints=critical,CA:FALSE
/// -keyout localhost.key -out localhost.pem
fn config() -> Result<ServerConfig, Box<dyn Error>> {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("localhost.pem"))?;
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("localhost.key"))?;
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?)
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let data @ [_, ..] = &*reader.read(64 * 1024).await? {
        writer.write(data);
        writer.drain().await?;
    }
    Ok(())
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let server = start_tls_server(echo, "127.0.0.1", port, Arc::new(config()?)).await?;
    println!("Serving on {}", server.local_addr()?);
    Ok(server.serve_forever().await?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8888), |port| port.parse())?;
    run(serve(port))?
}
