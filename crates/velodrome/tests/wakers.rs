//! Who gives up waiting leaves no waker behind: it would keep the memory of its whole task.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::future::Future;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use support::{half, really, settle};
use velodrome::{AsyncFd, create_subprocess, sleep, spawn, start_server, timeout};

/// Awake already.
struct Awake;

impl Wake for Awake {
    fn wake(self: Arc<Self>) {}
}

/// Begins to wait again and again, and gives up each time.
#[track_caller]
fn forgets<F: Future>(mut begin: impl FnMut() -> F) {
    let counted = Arc::new(Awake);
    let waker = Waker::from(Arc::clone(&counted));
    for _ in 0..100 {
        assert!(pin!(begin()).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&counted), 2, "wakers were left behind");
}

#[test]
fn who_waits_for_a_program() {
    really(async {
        let program = create_subprocess(Command::new("sleep").arg("1000")).unwrap();
        program.kill_on_drop(true);
        forgets(|| program.wait());
    });
}

#[test]
fn who_waits_for_a_server() {
    really(async {
        let server = start_server(|_, _| async {}, "127.0.0.1", 0).await.unwrap();
        forgets(|| server.serve_forever());
        forgets(|| server.wait_closed());
    });
}

#[test]
fn who_waits_for_a_descriptor() {
    really(async {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = AsyncFd::new(ours).unwrap();
        forgets(|| ours.readable());
        forgets(|| ours.writable());
    });
}

#[test]
fn who_waits_for_a_writer() {
    really(async {
        let (_reader, writer, _theirs) = half();
        writer.write(vec![0; 10_000_000]);
        forgets(|| writer.drain());
        forgets(|| writer.flush());
        forgets(|| writer.wait_closed());
    });
}

/// Those who stay are woken, whoever has left between them.
#[test]
fn who_stays_is_woken_all_the_same() {
    really(async {
        let (_reader, writer, mut theirs) = half();
        writer.write(vec![0; 1_000_000]);
        let writer = std::rc::Rc::new(writer);
        let tasks: Vec<_> = (0..30)
            .map(|at| {
                let writer = std::rc::Rc::clone(&writer);
                spawn(async move {
                    let patience = Duration::from_secs(if at % 3 == 0 { 0 } else { 60 });
                    timeout(patience, writer.flush()).await.is_ok()
                })
            })
            .collect();
        settle().await;
        let reading = std::thread::spawn(move || theirs.read_exact(&mut vec![0; 1_000_000]));
        for (at, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), at % 3 != 0);
        }
        while !reading.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

/// They are part of what a connection's handler takes in memory.
#[test]
fn waits_for_a_writer_are_small() {
    really(async {
        let (_reader, writer, _theirs) = half();
        let sizes =
            (size_of_val(&writer.drain()), size_of_val(&writer.flush()), size_of_val(&writer.wait_closed()));
        assert_eq!(sizes, (24, 24, 24));
    });
}
