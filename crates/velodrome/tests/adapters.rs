//! Crates that were written for other runtimes, on this loop. Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::rt::Timer as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{kind, pair, really, settle};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, client_async};
use velodrome::adapters::{Duplex, hyper::Executor, hyper::Timer};
use velodrome::{StreamReader, StreamWriter, open_connection, spawn, start_server};

async fn shout(reader: StreamReader, writer: StreamWriter) -> Result<(), Error> {
    let mut socket = accept_async(Duplex::new(reader, writer)).await?;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => socket.send(Message::text(text.to_uppercase())).await?,
            Message::Binary(data) => socket.send(Message::Binary(data)).await?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn websockets_of_tokios_world() {
    really(async {
        let server = start_server(shout, "127.0.0.1", 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let connection = Duplex::from(open_connection("127.0.0.1", port).await.unwrap());
        let (mut socket, _) = client_async("ws://localhost/", connection).await.unwrap();
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("HELLO"));
        // More than the marks of either side.
        let much: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        socket.send(Message::binary(much.clone())).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().into_data() == much);
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
    });
}

fn duplexes() -> (Duplex, Duplex) {
    let (left, right) = pair();
    (left.into(), right.into())
}

#[test]
fn the_traits_of_tokio() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    really(async {
        let (mut ours, mut theirs) = duplexes();
        ours.write_all(b"hello").await.unwrap();
        ours.flush().await.unwrap();
        let mut some = [0; 3];
        assert_eq!(theirs.read(&mut some).await.unwrap(), 3);
        assert_eq!(theirs.read(&mut []).await.unwrap(), 0);
        ours.shutdown().await.unwrap();
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&some, &*rest), (b"hel", "lo"));
        assert_eq!(
            kind(ours.write_all(b"late").await.and(ours.flush().await)),
            Some(io::ErrorKind::BrokenPipe)
        );
        theirs.write_all(b"back").await.unwrap();
        assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 4);
    });
}

#[test]
fn the_traits_of_futures() {
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    really(async {
        let (mut ours, theirs) = duplexes();
        let (mut reader, mut writer) = theirs.into_parts();
        AsyncWriteExt::write_all(&mut ours, b"hello").await.unwrap();
        AsyncWriteExt::close(&mut ours).await.unwrap();
        let mut all = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut all).await.unwrap();
        assert_eq!(all, b"hello");
        AsyncWriteExt::write_all(&mut writer, b"back").await.unwrap();
        let mut back = [0; 4];
        AsyncReadExt::read_exact(&mut ours, &mut back).await.unwrap();
        assert_eq!(&back, b"back");
        drop(ours);
        settle().await;
        assert_eq!(AsyncReadExt::read(&mut reader, &mut back).await.unwrap(), 0);
    });
}

#[test]
fn a_write_that_is_too_much_waits() {
    use futures_util::AsyncWriteExt;
    really(async {
        let (mut ours, theirs) = duplexes();
        let writing =
            spawn(async move { AsyncWriteExt::write_all(&mut ours, &vec![1; 4 << 20]).await.map(|()| ours) });
        settle().await;
        assert!(!writing.is_finished());
        let (mut reader, _writer) = theirs.into_parts();
        assert_eq!(reader.readexactly(4 << 20).await.unwrap().len(), 4 << 20);
        writing.await.unwrap().unwrap();
    });
}

/// More than a write takes, so that what is behind it waits for the next.
fn large() -> Vec<u8> {
    vec![7; 300_000]
}

#[test]
fn several_slices_are_one_write() {
    really(async {
        let (mut ours, theirs) = duplexes();
        let (mut reader, _writer) = theirs.into_parts();
        let large = large();
        let hello = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
        let more = [IoSlice::new(b"more"), IoSlice::new(&large), IoSlice::new(b"!")];
        let written = |mut ours: Pin<&mut Duplex>, slices: &[IoSlice<'_>], cx: &mut Context<'_>| {
            [
                tokio::io::AsyncWrite::poll_write_vectored(ours.as_mut(), cx, slices),
                futures_util::AsyncWrite::poll_write_vectored(ours.as_mut(), cx, slices),
                hyper::rt::Write::poll_write_vectored(ours, cx, slices),
            ]
            .map(|poll| match poll {
                Poll::Ready(count) => count.unwrap(),
                Poll::Pending => panic!("there is room"),
            })
        };
        let all = poll_fn(|cx| {
            let ours = &mut ours;
            let mut each = |slices: &[_]| written(Pin::new(&mut *ours), slices, cx);
            Poll::Ready([each(&hello), each(&more), each(&hello[1..2]), each(&[])])
        })
        .await;
        assert_eq!(all, [[5; 3], [4; 3], [0; 3], [0; 3]]);
        assert_eq!(reader.readexactly(27).await.unwrap(), b"hellohellohellomoremoremore");
        assert!(
            hyper::rt::Write::is_write_vectored(&ours) && tokio::io::AsyncWrite::is_write_vectored(&ours)
        );

        let first = poll_fn(|cx| hyper::rt::Write::poll_write_vectored(Pin::new(&mut ours), cx, &more[1..]));
        assert_eq!(first.await.unwrap(), 256 * 1024, "no more than one write takes");
        let writing = async {
            let behind = poll_fn(|cx| hyper::rt::Write::poll_write_vectored(Pin::new(&mut ours), cx, &hello));
            behind.await.unwrap()
        };
        let reading = async { reader.readexactly(256 * 1024 + 5).await.unwrap() };
        let (count, read) = velodrome::gather!(writing, reading).await;
        assert_eq!((count, &read[256 * 1024..]), (5, &b"hello"[..]), "it waited until there was room");
        ours.into_parts().1.close();
    });
}

#[test]
fn what_is_written_after_the_end_is_refused_at_once() {
    use tokio::io::AsyncWriteExt;
    really(async {
        let (mut ours, theirs) = duplexes();
        ours.write_all(b"all").await.unwrap();
        ours.shutdown().await.unwrap();
        let late = [IoSlice::new(b"la"), IoSlice::new(b"te")];
        for _ in 0..2 {
            let refused = poll_fn(|cx| {
                let mut ours = Pin::new(&mut ours);
                Poll::Ready([
                    tokio::io::AsyncWrite::poll_write(ours.as_mut(), cx, b"late"),
                    futures_util::AsyncWrite::poll_write(ours.as_mut(), cx, b"late"),
                    hyper::rt::Write::poll_write(ours.as_mut(), cx, b"late"),
                    tokio::io::AsyncWrite::poll_write_vectored(ours, cx, &late),
                ])
            });
            for poll in refused.await {
                let Poll::Ready(refused) = poll else { panic!("it waits for nothing") };
                assert_eq!(kind(refused), Some(io::ErrorKind::BrokenPipe));
            }
            ours.shutdown().await.unwrap();
        }
        let (mut reader, _writer) = theirs.into_parts();
        assert_eq!(reader.read_to_end().await.unwrap(), b"all");
    });
}

#[test]
fn hypers_naps_last_as_long_as_they_say() {
    assert_eq!(support::time_of(Timer.sleep(Duration::from_secs(3))), Duration::from_secs(3));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "hyper counts in the standard library's instants")]
fn hypers_naps_count_from_when_they_were_made() {
    let twice = support::time_of(async {
        let nap = Timer.sleep(Duration::from_secs(3));
        velodrome::sleep(Duration::from_secs(2)).await;
        nap.await;
    });
    assert_eq!(twice, Duration::from_secs(3));
    let late = support::time_of(async {
        let nap = Timer.sleep_until(std::time::Instant::now() + Duration::from_secs(3));
        velodrome::sleep(Duration::from_secs(4)).await;
        nap.await;
    });
    assert_eq!(late, Duration::from_secs(4), "it was over before anybody asked");
}

/// Set in a child that has no room for a thread.
const CROWDED: &str = "VELODROME_TEST_CROWDED";

/// The memory that this process has mapped, in bytes.
fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB"));
    size.unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Where no loop runs, a thread would keep the time; the limit is a process's, so this one is a child.
#[test]
fn a_sleep_without_a_loop_or_a_thread_passes_all_the_same() {
    if std::env::var_os(CROWDED).is_none() {
        let this = ["--exact", "a_sleep_without_a_loop_or_a_thread_passes_all_the_same"];
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(this).env(CROWDED, "1").output().unwrap();
        return assert!(output.status.success(), "{output:?}");
    }
    // Half the stack of a thread. None has ended here, so none is left over for reuse.
    let limit = Some(mapped() + 1024 * 1024);
    setrlimit(Resource::As, Rlimit { current: limit, ..getrlimit(Resource::As) }).unwrap();
    assert!(thread::Builder::new().spawn(|| ()).is_err(), "there is room for one");
    let mut sleeps = [
        Box::pin(velodrome::sleep(Duration::from_millis(1))) as Pin<Box<dyn Future<Output = ()>>>,
        Box::pin(Timer.sleep(Duration::from_millis(1))),
    ];
    for sleep in &mut sleeps {
        let mut context = Context::from_waker(Waker::noop());
        assert!((0..2).any(|_| sleep.as_mut().poll(&mut context).is_ready()));
    }
}

#[test]
fn a_nap_that_is_given_up_leaves_no_timer() {
    let (runtime, hand) = support::unreal();
    let polled = runtime.block_on(async {
        let mut long = Timer.sleep(Duration::from_secs(3600));
        poll_fn(|cx| std::task::Poll::Ready(Pin::new(&mut long).poll(cx).is_pending())).await
    });
    assert!(polled.unwrap());
    // A loop without a kernel refuses to wait for nothing; for a timer it would move the clock.
    assert!(runtime.block_on(std::future::pending::<()>()).is_err());
    assert_eq!(hand.now(), 0);
}

#[test]
fn hypers_executor_takes_what_cannot_travel() {
    really(async {
        let flag = support::Flag::default();
        let of_task = flag.on_drop();
        hyper::rt::Executor::execute(&Executor, async move { drop(of_task) });
        settle().await;
        assert!(flag.is_set());
    });
}
