//! The loop of this thread, as the futures of this crate find it.
//!
//! A future does not carry its loop with it: it asks [`current`] when it is polled. That is what lets `sleep` and
//! `spawn` be plain functions, and what decides in a waker whether it stands on its loop's own thread. The engine's
//! loop is shared, not owned: a face that drives turns of its own (Python's) can have futures on them too.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use velodrome_engine::clock::ManualClock;
use velodrome_engine::driver::Timeout;
use velodrome_engine::event_loop::EventLoop;
use velodrome_engine::hub::Hub;
use velodrome_engine::net::Resolver;

use crate::atomics::set_here;
use crate::task::table::Table;
use crate::task::waker::MainWaker;
use crate::task::{Door, TURNS, TaskRef, caught};
use crate::threads::pool::Pool;
use crate::unhandled::{OnError, Unhandled};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// An event wakes a task, which runs a batch later, and may wake another. asyncio asks the kernel before each batch,
/// which doubles the system calls of an echo server; here it is asked when nothing is left to run, or after this many
/// callbacks. Few enough (a callback takes about a microsecond) that no event and no timer waits for long; tokio's
/// interval of 61 is of the same order. A batch is never cut, so one that is larger is followed by a look at once.
const CREDIT: usize = 64;

/// From so many timers on they are waited for together: a thousand that end within a second would otherwise wake the
/// loop a thousand times, at the price of a system call and a switch of contexts each.
const MANY_TIMERS: usize = 1000;

/// How long a wait lasts at least where there are [`MANY_TIMERS`], in nanoseconds: a millisecond, which is what asyncio's
/// waits are rounded up to always, and tokio's.
const TOGETHER: u64 = 1_000_000;

/// How often it is asked whether threads of the pool are still busy where time is paused, in nanoseconds: a millisecond,
/// since such a loop belongs to a test.
const LOOK_AGAIN: u64 = 1_000_000;

/// An engine's loop, and what futures need beside it.
pub(crate) struct Local {
    event_loop: Rc<EventLoop>,
    pub(crate) tasks: Table,
    /// Set: the future given to `block_on` is to be polled.
    main_due: Cell<bool>,
    /// How many callbacks may run before the kernel is asked again.
    credit: Cell<usize>,
    /// Made when a name is first looked up: most programs connect to numbers, or not at all.
    resolver: OnceCell<Resolver>,
    /// Made when something is first to block.
    pool: OnceCell<Pool>,
    settings: Settings,
}

/// What a [`Builder`](crate::Builder) decides beside the engine.
pub(crate) struct Settings {
    pub(crate) on_error: OnError,
    pub(crate) name: String,
    pub(crate) blocking_threads: Option<usize>,
    /// Time is moved by this when there is nothing else to do.
    pub(crate) paused: Option<ManualClock>,
}

impl Local {
    pub(crate) fn new(event_loop: Rc<EventLoop>, settings: Settings) -> Rc<Self> {
        event_loop.hub().ready.set_turns(TURNS);
        Rc::new(Self {
            event_loop,
            tasks: Table::default(),
            main_due: Cell::new(false),
            credit: Cell::new(0),
            resolver: OnceCell::new(),
            pool: OnceCell::new(),
            settings,
        })
    }

    pub(crate) fn hub(&self) -> &Rc<Hub> {
        self.event_loop.hub()
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        self.resolver.get_or_init(Resolver::new)
    }

    pub(crate) fn pool(&self) -> &Pool {
        self.pool.get_or_init(|| Pool::new(self.settings.blocking_threads, &self.settings.name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// How other threads reach this loop.
    pub(crate) fn door(&self) -> &Door {
        self.event_loop.inbox()
    }

    /// A waker for the future that is given to `block_on`.
    pub(crate) fn new_main_waker(&self) -> Arc<MainWaker> {
        MainWaker::new(Door::clone(self.door()))
    }

    /// Who is told is the user's: their panic goes to the panic hook, and no further than any other's.
    pub(crate) fn report(&self, error: &Unhandled) {
        let _ = caught(|| (self.settings.on_error)(error));
    }

    /// Make the main future due, as it is to begin with.
    pub(crate) fn wake_main(&self) {
        self.main_due.set(true);
    }

    /// Whether the main future is to be polled now; asked once for each time it is.
    pub(crate) fn take_main_due(&self) -> bool {
        self.main_due.replace(false)
    }

    /// One turn: run what is due, after asking the kernel for more if nothing is or it is time to.
    pub(crate) fn turn(&self) -> io::Result<()> {
        let (ready, credit) = (&self.hub().ready, self.credit.get());
        let due = self.main_due.get() || !ready.is_empty();
        if !due || credit == 0 {
            self.ask(due)?;
        }
        // A look with nothing in the queue counts as well: the main future may be all that is ever due.
        self.credit.set(self.credit.get().saturating_sub(ready.len().max(1)));
        let _ = self.event_loop.run_ready();
        Ok(())
    }

    /// Ask the kernel, the clock and other threads what is due; wait for them unless something is already.
    fn ask(&self, due: bool) -> io::Result<()> {
        let (engine, hub) = (&self.event_loop, self.hub());
        let timeout = if due { Timeout::Zero } else { self.patience() };
        self.wait(timeout)?;
        engine.expire(hub.clock.now());
        // What was found, and the tasks that it wakes, run before the kernel is asked again: it would tell of the same
        // bytes once more.
        self.credit.set(CREDIT.max(2 * hub.ready.len()));
        Ok(())
    }

    /// Wait in the kernel; or, where time is paused and nothing has happened, move it to the next deadline.
    fn wait(&self, timeout: Timeout) -> io::Result<()> {
        let engine = &self.event_loop;
        let (Some(hand), Timeout::After(nanos)) = (&self.settings.paused, timeout) else {
            engine.wait(timeout)?;
            engine.dispatch();
            return Ok(());
        };
        // Asked first: of what has been done by now the look at the kernel tells, and of what is done later this does.
        let busy = self.pool.get().is_some_and(Pool::is_busy);
        engine.wait(Timeout::Zero)?;
        engine.dispatch();
        if !self.main_due.get() && self.hub().ready.is_empty() {
            if busy {
                // What comes of that counts as happening now, however long it takes. What nobody waits for rings no bell.
                engine.wait(Timeout::After(LOOK_AGAIN))?;
                engine.dispatch();
            } else {
                hand.advance(nanos);
            }
        }
        Ok(())
    }

    /// How long to wait. Where timers are many, they are not waited for one by one.
    fn patience(&self) -> Timeout {
        let hub = self.hub();
        match self.event_loop.timeout(hub.clock.now()) {
            Timeout::After(nanos) if hub.timer_count() >= MANY_TIMERS && !hub.clock.is_manual() => {
                Timeout::After(nanos.max(TOGETHER))
            }
            timeout => timeout,
        }
    }

    /// Cancel what is left, let transports that closed say so, let go of the engine, then wait for what blocks: so long at
    /// most, if somebody says how long.
    pub(crate) fn shut_down(self: &Rc<Self>, patience: Option<Duration>) {
        let _entered = Entered::swap(Rc::clone(self));
        self.tasks.close();
        let _ = self.event_loop.run_ready();
        // First the door: who waits on a thread of the pool for a task of this loop would wait for ever.
        self.event_loop.close();
        if let Some(pool) = self.pool.get() {
            pool.shut_down(patience);
        }
    }
}

/// The loop that runs on this thread.
pub(crate) fn current() -> Option<Rc<Local>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// The loop that runs on this thread, or an error for who needs one.
pub(crate) fn require(what: &str) -> io::Result<Rc<Local>> {
    current().ok_or_else(|| io::Error::other(format!("{what} needs a running event loop: {CALL_RUN}")))
}

/// An error where a loop runs on this thread.
pub(crate) fn refuse_within() -> io::Result<()> {
    if current().is_none() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Deadlock,
        "an event loop runs on this thread already, and would stand still meanwhile: \
         await the future instead, or spawn it",
    ))
}

/// What to do about there being no loop.
pub(crate) const CALL_RUN: &str = "call it from a future that velodrome::run runs";

/// Do something with the loop that runs on this thread, if one does. It must run no foreign code.
pub(crate) fn with<R>(act: impl FnOnce(Option<&Rc<Local>>) -> R) -> R {
    if CURRENT.try_with(|_| ()).is_err() {
        // The thread ends, and its loop is gone.
        return act(None);
    }
    CURRENT.with(|current| act(current.borrow().as_ref()))
}

/// Make the main future due without leaving this thread. False if its loop does not run here.
pub(crate) fn wake_main_here(door: &Door) -> bool {
    with(|local| {
        let local = local.filter(|local| Arc::ptr_eq(local.door(), door));
        local.inspect(|local| local.wake_main()).is_some()
    })
}

/// Put a task of the loop that runs here into its queue.
pub(crate) fn queue(task: TaskRef) {
    with(move |local| {
        if let Some(local) = local {
            local.hub().ready.push(task.into_runnable());
        }
    });
}

/// A task of the loop that runs here is over.
pub(crate) fn forget(task: &TaskRef) {
    // The count goes when nothing is borrowed.
    let _ours = with(|local| local.and_then(|local| local.tasks.forget(task.index())));
}

/// While it lives, its loop is the one of this thread.
pub(crate) struct Entered(Option<Rc<Local>>);

impl Entered {
    /// Begin to run `local` here.
    ///
    /// # Errors
    /// Deadlock, if a loop runs on this thread already: it would wait for the inner one. If the thread is ending.
    pub(crate) fn run(local: Rc<Local>) -> io::Result<Self> {
        refuse_within()?;
        Self::swap(local)
            .ok_or_else(|| io::Error::other("an event loop cannot run on a thread that is ending"))
    }

    /// Put `local` in the place of what ran before. None where the thread ends and has no place any more: what is kept for
    /// a thread is dropped then, and a runtime may be.
    fn swap(local: Rc<Local>) -> Option<Self> {
        let here = address(&local);
        let before = CURRENT.try_with(|current| current.replace(Some(local))).ok()?;
        set_here(here);
        Some(Self(before))
    }
}

/// What tells loops apart.
fn address(local: &Rc<Local>) -> *const () {
    Arc::as_ptr(local.door()).cast()
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        set_here(before.as_ref().map_or(std::ptr::null(), address));
        // The one that leaves is dropped when nothing is borrowed: it may be the last to hold its loop.
        let _left = CURRENT.try_with(|current| current.replace(before));
    }
}
