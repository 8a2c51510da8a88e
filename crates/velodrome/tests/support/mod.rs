//! What the tests of this crate are written in: loops with and without a kernel, and things that tell what happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, pending};
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use velodrome::{
    Builder, Clock, Driver, ManualClock, Runtime, Script, StreamReader, StreamWriter, open_socket,
};

/// A loop without a kernel, whose clock moves when it waits; waiting for nothing at all is an error.
pub(crate) fn unreal() -> (Runtime, ManualClock) {
    let (runtime, hand, _script) = scripted();
    (runtime, hand)
}

/// The same, and the script that says what comes.
pub(crate) fn scripted() -> (Runtime, ManualClock, Script) {
    let (clock, hand) = Clock::manual();
    let (driver, script) = Driver::fake(hand.clone());
    (Builder::new().driver(driver).clock(clock).build().unwrap(), hand, script)
}

/// Runs `future` without a kernel.
#[track_caller]
pub(crate) fn imagine<F: Future>(future: F) -> F::Output {
    unreal().0.block_on(future).unwrap()
}

/// Runs `future` without a kernel; gives how long that would have taken.
#[track_caller]
pub(crate) fn time_of(future: impl Future) -> Duration {
    let (runtime, hand) = unreal();
    runtime.block_on(future).unwrap();
    Duration::from_nanos(hand.now())
}

/// Runs `future` on the machine's own loop.
#[track_caller]
pub(crate) fn really<F: Future>(future: F) -> F::Output {
    velodrome::run(future).unwrap()
}

/// A loop that writes down its unhandled errors.
pub(crate) fn recording() -> (Runtime, Rc<RefCell<Vec<String>>>) {
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let log = Rc::clone(&seen);
    let builder = Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string()));
    (builder.build().unwrap(), seen)
}

/// Two connected pairs of streams.
pub(crate) fn pair() -> ((StreamReader, StreamWriter), (StreamReader, StreamWriter)) {
    let (left, right) = UnixStream::pair().unwrap();
    (open_socket(left).unwrap(), open_socket(right).unwrap())
}

/// A pair of streams, and the other end as a socket that blocks.
pub(crate) fn half() -> (StreamReader, StreamWriter, UnixStream) {
    let (left, right) = UnixStream::pair().unwrap();
    let (reader, writer) = open_socket(left).unwrap();
    (reader, writer, right)
}

/// A port of 127.0.0.1 where nobody listens.
pub(crate) fn deserted_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}

/// As many looks at the kernel, and turns, as anything takes that waits for nobody.
pub(crate) async fn settle() {
    for _ in 0..20 {
        velodrome::sleep(Duration::ZERO).await;
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, what: impl ToString) {
        self.0.borrow_mut().push(what.to_string());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Sets a flag when it is dropped.
#[derive(Clone, Default)]
pub(crate) struct Flag(Rc<Cell<bool>>);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.get()
    }

    pub(crate) fn on_drop(&self) -> OnDrop<impl FnMut() + use<>> {
        let flag = Rc::clone(&self.0);
        OnDrop(move || flag.set(true))
    }
}

/// Does something when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Panics when it is dropped.
pub(crate) fn panics_on_drop() -> OnDrop<impl FnMut() + Send + use<>> {
    OnDrop(|| panic!("on purpose"))
}

/// Waits for ever, and sets `flag` when it is dropped.
pub(crate) async fn wait_until_dropped(flag: Flag) {
    let _guard = flag.on_drop();
    pending().await
}

/// Runs `act` with no message from the panic hook: panics are on purpose here.
pub(crate) fn quietly<R>(act: impl FnOnce() -> R) -> R {
    // The hook is one for all threads of this test binary, so it stays once it is set.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref().map(String::as_str));
            if !text.is_some_and(|text| text.starts_with("on purpose")) {
                loud(info);
            }
        }));
    });
    act()
}

/// A listener's error, or any: what tests of failures compare.
pub(crate) fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

/// An error behind which there is another.
#[derive(Debug)]
pub(crate) struct Outer(pub(crate) io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
