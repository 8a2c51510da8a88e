//! hyper's HTTP/1 client on this loop: prints what a server answers to GET.
//!
//!     cargo run -p velodrome --features hyper --example http_client HOST PORT PATH

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use velodrome::adapters::Duplex;
use velodrome::{open_connection, run, spawn};

async fn get(host: &str, port: u16, path: &str) -> Result<(), Box<dyn Error>> {
    let connection = Duplex::from(open_connection(host, port).await?);
    let (mut client, driving) = http1::handshake(connection).await?;
    let driver = spawn(driving);
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let response = client.send_request(request).await?;
    println!("{}", response.status());
    print!("{}", String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()));
    drop(client);
    Ok(driver.await??)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, path] = &args[..] else { return Err("usage: http_client HOST PORT PATH".into()) };
    run(get(host, port.parse()?, path))?
}
