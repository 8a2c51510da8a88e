//! The echo server for datagrams.
//!
//!     cargo run -p velodrome --example echo_udp [PORT]

use std::io;
use std::net::SocketAddr;

use velodrome::{
    DatagramOptions, DatagramProtocol, DatagramTransport, create_datagram_endpoint, run, signals,
};

#[derive(Default)]
struct Echo(Option<DatagramTransport>);

impl DatagramProtocol for Echo {
    fn connection_made(&mut self, transport: DatagramTransport) {
        self.0 = Some(transport);
    }

    fn datagram_received(&mut self, data: &[u8], sender: SocketAddr) {
        if let Some(transport) = &self.0 {
            transport.sendto(data, Some(sender));
        }
    }
}

async fn serve(port: u16) -> io::Result<()> {
    let here = DatagramOptions::new().local_addr("127.0.0.1", port);
    let (transport, _echo) = create_datagram_endpoint(Echo::default, &here).await?;
    println!("Serving on {}", transport.local_addr()?);
    signals::ctrl_c().await?;
    transport.close();
    Ok(())
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8888), |port| port.parse());
    run(serve(port.map_err(io::Error::other)?))?
}
