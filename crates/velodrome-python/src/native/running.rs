//! Running turns: the phases of the engine, with Python's lock let go around the wait that blocks.

use std::rc::Rc;

use velodrome_engine::driver::Timeout;
use velodrome_engine::event_loop::EventLoop;
use velodrome_engine::ready::Flow;

use super::dispatch;
use super::event_loop::Loop;
use super::sharing::OPENING;
use crate::kit::gil;
use crate::kit::methods::Method;
use crate::kit::object::{Ref, Result, boolean, none, raise_os_error};
use crate::kit::runnables;
use crate::kit::types::This;

fn wait(this: This<'_, Loop>, engine: &EventLoop) -> Result<()> {
    if !engine.has_work() {
        // Destructors may run, and find work.
        this.contexts.let_go();
    }
    if engine.has_work() {
        return ask(engine, Timeout::Zero);
    }
    let timeout = engine.timeout(this.now_ns()?);
    if timeout == Timeout::Zero {
        return ask(engine, timeout);
    }
    let Some(patience) = this.contention.patience(&engine.hub().clock, timeout) else {
        return wait_detached(this, engine, timeout);
    };
    ask(engine, patience)?;
    if engine.hub().reactor.has_events() {
        return Ok(());
    }
    this.contention.disappointed();
    match engine.timeout(this.now_ns()?) {
        Timeout::Zero => Ok(()),
        rest => wait_detached(this, engine, rest),
    }
}

/// A wait with the lock held.
fn ask(engine: &EventLoop, timeout: Timeout) -> Result<()> {
    engine.wait(timeout).map_err(|error| raise_os_error(&error))
}

fn wait_detached(this: This<'_, Loop>, engine: &EventLoop, timeout: Timeout) -> Result<()> {
    let clock = &engine.hub().clock;
    let (waited, wanted) = gil::detached(|| (engine.wait(timeout), clock.now()));
    this.contention.note(wanted, clock.now());
    waited.map_err(|error| raise_os_error(&error))
}

/// Let another thread have the lock although there is work.
fn share(this: This<'_, Loop>, engine: &EventLoop) -> Result<()> {
    let clock = &engine.hub().clock;
    let (waited, wanted) = gil::detached(|| (engine.wait(OPENING), clock.now()));
    this.sharing.note(wanted, clock.now());
    waited.map_err(|error| raise_os_error(&error))
}

/// Whether the wait would not block.
fn is_busy(this: This<'_, Loop>, engine: &EventLoop) -> Result<bool> {
    Ok(engine.has_work() || engine.timeout(this.now_ns()?) == Timeout::Zero)
}

/// One turn. A wait that cannot block keeps the lock: letting it go could cost 5 ms where another thread computes; see
/// `contention` for one that can, and `sharing` for when it is let go of all the same.
fn turn(this: This<'_, Loop>, engine: &EventLoop) -> Result<()> {
    if this.sharing.is_due(&engine.hub().clock) && is_busy(this, engine)? {
        share(this, engine)?;
        gil::check_signals()?;
    } else if !engine.skips_wait() {
        wait(this, engine)?;
        gil::check_signals()?;
    }
    engine.dispatch();
    if engine.hub().timer_count() > 0 {
        engine.expire(this.now_ns()?);
    }
    match engine.run_ready_each(|| runnables::calls_back(this.object())) {
        Flow::Continue => Ok(()),
        Flow::Leave => dispatch::rethrow(),
    }
}

/// The interpreter is about to end while this loop runs on a daemon thread. Python before 3.14 ends such a thread in
/// the middle of whatever it does by unwinding it, which would run through Rust's frames; so it stops here for good,
/// detached, and touches nothing any more.
fn park(this: This<'_, Loop>) {
    this.parked.set(true);
    gil::detached(|| {
        loop {
            std::thread::park();
        }
    })
}

fn ask_to_park(this: This<'_, Loop>) -> Result<Ref> {
    this.parking.set(true);
    this.engine_shared()?.inbox().wake();
    Ok(none())
}

fn is_parked(this: This<'_, Loop>) -> Result<Ref> {
    Ok(boolean(this.parked.get()))
}

/// A run that goes on for many turns. When it ends the loop may become garbage with all that it holds, so the collector
/// must see each handle.
struct Run<'a> {
    event_loop: This<'a, Loop>,
    engine: &'a EventLoop,
    nested: bool,
}

impl<'a> Run<'a> {
    fn begin(event_loop: This<'a, Loop>, engine: &'a EventLoop) -> Self {
        Self { event_loop, engine, nested: event_loop.running.replace(true) }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.nested {
            return;
        }
        self.event_loop.running.set(false);
        self.engine.hub().ready.for_each(runnables::track_handle);
        self.engine.hub().for_each_timer(|_, runnable| runnables::track_handle(runnable));
        self.event_loop.contexts.let_go();
        self.event_loop.blanks.iter().for_each(|blank| drop(blank.take()));
    }
}

/// Turns until `stop()`, or until an exception leaves.
fn run(this: This<'_, Loop>) -> Result<Ref> {
    let engine: Rc<EventLoop> = this.engine_shared()?;
    let _entered = dispatch::enter(this, &engine);
    let _run = Run::begin(this, &engine);
    loop {
        turn(this, &engine)?;
        if this.parking.get() {
            park(this);
        }
        if engine.is_stopping() {
            return Ok(none());
        }
    }
}

/// asyncio's private single turn, which tools that nest loops call.
fn run_once(this: This<'_, Loop>) -> Result<Ref> {
    let engine: Rc<EventLoop> = this.engine_shared()?;
    let _entered = dispatch::enter(this, &engine);
    turn(this, &engine)?;
    Ok(none())
}

pub(crate) fn methods() -> Vec<Method> {
    vec![
        Method::noargs::<Loop, _>(c"_run", run, c"Run turns until stop()."),
        Method::noargs::<Loop, _>(c"_run_once", run_once, c"Run one turn."),
        Method::noargs::<Loop, _>(c"_ask_to_park", ask_to_park, c"Stop for good after this turn."),
        Method::noargs::<Loop, _>(c"_is_parked", is_parked, c"Whether it has stopped for good."),
    ]
}
