//! The echo server by callbacks: no task and no buffer for each connection.
//!
//!     cargo run -p velodrome --example echo_protocol [PORT]

use std::io;

use velodrome::{Protocol, Transport, create_server, run};

#[derive(Default)]
struct Echo(Option<Transport>);

impl Protocol for Echo {
    fn connection_made(&mut self, transport: Transport) {
        self.0 = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        if let Some(transport) = &self.0 {
            transport.write(data);
        }
    }

    // A peer that writes and does not read: hear no more of it until it does.
    fn pause_writing(&mut self) {
        self.0.iter().for_each(Transport::pause_reading);
    }

    fn resume_writing(&mut self) {
        self.0.iter().for_each(Transport::resume_reading);
    }
}

async fn serve(port: u16) -> io::Result<()> {
    let server = create_server(Echo::default, "127.0.0.1", port).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8888), |port| port.parse());
    run(serve(port.map_err(io::Error::other)?))?
}
