//! hyper's HTTP/1 server on this loop: a greeting, and an echo.
//!
//!     cargo run -p velodrome --features hyper --example http_server [PORT]

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use velodrome::adapters::{Duplex, hyper::Timer};
use velodrome::{StreamReader, StreamWriter, run, start_server};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let text = match (&head.method, head.uri.path()) {
        (&Method::GET, "/") => Bytes::from("hello\n"),
        (&Method::POST, "/echo") => match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Ok(status(StatusCode::BAD_REQUEST, error.to_string())),
        },
        _ => return Ok(status(StatusCode::NOT_FOUND, format!("there is no {}\n", head.uri.path()))),
    };
    Ok(Response::new(Full::new(text)))
}

fn status(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response
}

async fn serve_connection(reader: StreamReader, writer: StreamWriter) -> hyper::Result<()> {
    let connection = Duplex::new(reader, writer);
    let patience = Duration::from_secs(30);
    let mut http = http1::Builder::new();
    http.timer(Timer).header_read_timeout(patience).serve_connection(connection, service_fn(answer)).await
}

async fn serve(port: u16) -> io::Result<()> {
    let server = start_server(serve_connection, "127.0.0.1", port).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse());
    run(serve(port.map_err(io::Error::other)?))?
}
