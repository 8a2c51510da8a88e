//! A process that is out of descriptors. Alone in its binary, because the limit is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use support::kind;
use velodrome::{
    Builder, StreamReader, StreamWriter, create_subprocess, sleep, spawn_blocking, start_server,
};

const CLIENTS: usize = 5;

async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write(reader.readline().await?.to_ascii_uppercase());
    Ok(())
}

/// Every descriptor that there is.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// How long this thread has computed.
fn computed() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// What wants a descriptor says so; what waits for one does not spin, and goes on when there are some.
#[test]
fn who_has_no_descriptor_left_waits_for_one() {
    let few = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current: few, maximum: few }).unwrap();
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = Rc::clone(&seen);
    let runtime =
        Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build().unwrap();
    runtime
        .block_on(async {
            let server = start_server(shout, "127.0.0.1", 0).await.unwrap();
            let port = server.local_addr().unwrap().port();
            // The kernel has accepted them; the loop has not had a turn.
            let mut clients = [(); CLIENTS].map(|()| TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (before, taken) = (computed(), take_all());
            sleep(Duration::from_millis(300)).await;
            assert_eq!(server.client_count(), 0);
            assert_eq!(
                kind(velodrome::open_connection("127.0.0.1", port).await),
                kind(File::open("/dev/null"))
            );
            assert!(create_subprocess(&mut Command::new("true")).is_err());
            assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7, "a thread needs no descriptor");
            drop(taken);
            let spent = computed() - before;
            assert!(spent < Duration::from_millis(150), "it computed for {spent:?} while it waited");
            for client in &mut clients {
                client.write_all(b"hello\n").unwrap();
            }
            let answers = spawn_blocking(move || {
                clients.map(|mut client| {
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).map(|_| answer).unwrap()
                })
            });
            assert_eq!(answers.await.unwrap(), [(); CLIENTS].map(|()| "HELLO\n".to_owned()));
            let status = create_subprocess(&mut Command::new("true")).unwrap().wait().await.unwrap();
            assert_eq!((status.code(), status.signal()), (Some(0), None));
        })
        .unwrap();
    assert_eq!(seen.borrow().len(), 1, "told once: {seen:?}");
}
