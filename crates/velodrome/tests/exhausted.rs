//! A process that is out of descriptors, or of threads. A binary of its own, because the limits are the process's.
//! Compiled with `--all-features`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use hyper::rt::Timer as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::kind;
use velodrome::adapters::hyper::Timer;
use velodrome::{
    Builder, StreamReader, StreamWriter, create_subprocess, sleep, spawn_blocking, start_server,
};

const CLIENTS: usize = 5;

async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write(reader.readline().await?.to_ascii_uppercase());
    Ok(())
}

/// A process has each limit once: its tests take turns.
static LIMITS: Mutex<()> = Mutex::new(());

/// A limit of this process, lowered until this is dropped.
struct Lowered {
    resource: Resource,
    before: Rlimit,
    _turn: MutexGuard<'static, ()>,
}

impl Lowered {
    fn to(resource: Resource, limit: u64) -> Self {
        let turn = LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
        let before = getrlimit(resource);
        setrlimit(resource, Rlimit { current: Some(limit), ..before }).unwrap();
        Self { resource, before, _turn: turn }
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(self.resource, self.before).unwrap();
    }
}

/// The memory that this process has mapped, in bytes.
fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB"));
    size.unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Runs `act` while no thread can be started: there is no room for a stack, and threads have all the stacks that were left
/// over for reuse.
fn without_threads(act: impl FnOnce()) {
    let limit = Lowered::to(Resource::As, mapped() + 1024 * 1024);
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(Mutex::new(ends));
    let wait = || {
        let ends = Arc::clone(&ends);
        move || drop(ends.lock().map(|ends| ends.recv()))
    };
    let threads: Vec<_> = iter::from_fn(|| thread::Builder::new().spawn(wait()).ok()).collect();
    act();
    drop((limit, end));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Every descriptor that there is.
fn take_all() -> Vec<File> {
    iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// How long this thread has computed.
fn computed() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// What wants a descriptor says so; what waits for one does not spin, and goes on when there are some.
#[test]
fn who_has_no_descriptor_left_waits_for_one() {
    let _limit = Lowered::to(Resource::Nofile, 64);
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

/// Where no loop runs, a thread would keep the time.
#[test]
fn a_sleep_without_a_loop_or_a_thread_passes_all_the_same() {
    without_threads(|| {
        let mut sleeps = [
            Box::pin(sleep(Duration::from_millis(1))) as Pin<Box<dyn Future<Output = ()>>>,
            Box::pin(Timer.sleep(Duration::from_millis(1))),
        ];
        for sleep in &mut sleeps {
            let mut context = Context::from_waker(Waker::noop());
            assert!((0..2).any(|_| sleep.as_mut().poll(&mut context).is_ready()));
        }
    });
}
