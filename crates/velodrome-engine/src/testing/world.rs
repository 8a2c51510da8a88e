//! A loop with no kernel for the tests of this crate, and the things that listen to it and write down what they hear.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use crate::clock::{Clock, ManualClock};
use crate::driver::{Driver, Readiness, Script, Timeout};
use crate::event_loop::EventLoop;
use crate::hub::Hub;
use crate::reactor::Source;
use crate::ready::{Run, Runnable};
use crate::transport::stream::{Descriptor, Stream};
use crate::transport::write_queue::Chunk;
use crate::transport::{Cause, Protocol, Received, Recv};

/// A descriptor of the fake kernel's. The bell of a [`World`] is a real one, whose number is there as well; no test
/// opens so many that one of them could be this.
pub const FD: RawFd = 1000;

/// A loop, what it believes to be the kernel, and its clock.
pub struct World {
    /// The loop.
    pub engine: EventLoop,
    /// The kernel's part.
    pub script: Script,
    /// What moves the clock.
    pub hand: ManualClock,
}

impl World {
    /// At the beginning of time.
    pub fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let (driver, script) = Driver::fake(hand.clone());
        Self { engine: EventLoop::with(driver, clock).unwrap(), script, hand }
    }

    /// What transports know of the loop.
    pub fn hub(&self) -> &Rc<Hub> {
        self.engine.hub()
    }

    /// A turn that does not wait.
    pub fn turn(&self) {
        self.engine.wait(Timeout::Zero).unwrap();
        self.engine.dispatch();
        self.engine.expire(self.hand.now());
        let _ = self.engine.run_ready();
    }

    /// As many turns as anything takes that waits for nobody.
    pub fn settle(&self) {
        (0..5).for_each(|_| self.turn());
    }

    /// Calls `act` in the next turn, as any callback.
    pub fn soon(&self, act: impl FnOnce() + 'static) {
        self.hub().ready.push(once(act));
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A callback out of a closure.
pub fn once(act: impl FnOnce() + 'static) -> Runnable {
    struct Once(Cell<Option<Box<dyn FnOnce()>>>);

    impl Run for Once {
        fn run(self: Rc<Self>, _: usize) {
            self.0.take().unwrap()();
        }
    }

    Runnable::from_rc(Rc::new(Once(Cell::new(Some(Box::new(act))))), 0)
}

/// A waker, and how often it was woken since that was last asked.
pub fn counting_waker() -> (Waker, impl Fn() -> usize) {
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let count = Arc::new(Count::default());
    (Waker::from(Arc::clone(&count)), move || count.0.swap(0, Ordering::Relaxed))
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    /// It happened.
    pub fn add(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// What happened since this was last asked.
    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// A source that writes down what it is ready for.
#[derive(Default)]
pub struct Listens(pub Log);

impl Source for Listens {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        self.0.add(match (readiness.contains(Readiness::READ), readiness.contains(Readiness::WRITE)) {
            (true, true) => "both",
            (true, false) => "read",
            (false, true) => "write",
            (false, false) => "nothing",
        });
    }

    fn abandon(&self) {
        self.0.add("abandoned");
    }
}

/// What a test does about an event of its transport.
type React = Box<dyn Fn(&str, &Rc<Stream>)>;

/// A protocol that writes down what it is told.
pub struct Recorder {
    /// What it was told.
    pub log: Log,
    stream: RefCell<Option<Rc<Stream>>>,
    /// Its answer to the end of what the peer sends.
    pub stays_open: Cell<bool>,
    react: RefCell<Option<React>>,
}

impl Recorder {
    /// A transport over `descriptor` that is open.
    pub fn open(world: &World, descriptor: Descriptor) -> (Rc<Stream>, Rc<Self>) {
        let recorder = Rc::new(Self {
            log: Log::default(),
            stream: RefCell::default(),
            stays_open: Cell::new(false),
            react: RefCell::default(),
        });
        let stream = Stream::new(world.hub(), descriptor, Rc::clone(&recorder) as Rc<dyn Protocol>);
        recorder.stream.replace(Some(Rc::clone(&stream)));
        stream.start().unwrap();
        world.turn();
        assert_eq!(recorder.log.take(), ["made"]);
        (stream, recorder)
    }

    /// A transport over a number.
    pub fn over(world: &World, fd: RawFd) -> (Rc<Stream>, Rc<Self>) {
        Self::open(world, Descriptor::Lent(fd))
    }

    /// Do this about each event from now on, after it is written down.
    pub fn react(&self, react: impl Fn(&str, &Rc<Stream>) + 'static) {
        self.react.replace(Some(Box::new(react)));
    }

    fn tell(&self, what: impl Display) {
        let what = what.to_string();
        self.log.add(&what);
        let stream = self.stream.borrow().clone();
        let react = self.react.take();
        if let (Some(react), Some(stream)) = (&react, &stream) {
            react(&what, stream);
        }
        let mut place = self.react.borrow_mut();
        *place = place.take().or(react);
    }
}

impl Protocol for Recorder {
    fn connection_made(&self) {
        self.tell("made");
    }

    fn data_ready(&self, recv: Recv<'_>) -> Received {
        let mut buffer = [0; 64];
        let received = recv(&mut buffer);
        if let Ok(count @ 1..) = received {
            self.tell(format!("data {}", buffer[..count].escape_ascii()));
        }
        Received::from_io(received)
    }

    fn eof_received(&self) -> bool {
        self.tell("eof");
        self.stays_open.get()
    }

    fn pause_writing(&self) {
        self.tell("pause");
    }

    fn resume_writing(&self) {
        self.tell("resume");
    }

    fn drained(&self) {
        self.tell("drained");
    }

    fn failed(&self, error: &io::Error, _doing: &'static str) {
        self.tell(format!("failed {:?}", error.kind()));
    }

    fn losing(&self, cause: Cause) {
        self.tell(format!("losing by {cause:?}"));
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.tell(match error {
            Some(error) => format!("lost {:?}", error.kind()),
            None => "lost".to_owned(),
        });
        self.stream.replace(None);
    }

    fn abandon(&self) {
        self.tell("abandoned");
        self.stream.replace(None);
    }
}

/// Writes, as a face does.
pub fn write(stream: &Rc<Stream>, data: &[u8]) {
    stream.write(data, || Chunk::Owned(data.to_vec())).unwrap();
}
