//! Around the running of callbacks: which loop runs on this thread, where exceptions go, how debug mode looks on.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use velodrome_engine::event_loop::EventLoop;

use super::event_loop::Loop;
use super::handle;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, float, none, raise_exception, raised_to_leave, take_raised,
    write_unraisable,
};
use crate::kit::types::This;

static CALLBACK_FAILED: Imported = Imported::new("velodrome._support", "callback_failed");
static SLOW_CALLBACK: Imported = Imported::new("velodrome._support", "slow_callback");
static CURRENT_HANDLE: Name = Name::new("_current_handle");
static SLOW_DURATION: Name = Name::new("slow_callback_duration");
static CANCELLED: Name = Name::new("_cancelled");
static RUN: Name = Name::new("_run");

/// What runs on this thread.
struct Running {
    engine: Rc<EventLoop>,
    event_loop: Ref,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
    static DEBUGGING: Cell<bool> = const { Cell::new(false) };
    /// The exception with which the run is being left.
    /// Not dropped with its thread, which then holds no lock.
    static LEAVING: ManuallyDrop<Slot> = ManuallyDrop::new(Slot::default());
}

/// Note that a loop runs on this thread, until the returned guard is dropped.
pub(crate) fn enter(event_loop: This<'_, Loop>, engine: &Rc<EventLoop>) -> Entered {
    DEBUGGING.set(event_loop.debug());
    let running = Running { engine: Rc::clone(engine), event_loop: event_loop.object().to_ref() };
    Entered(RUNNING.replace(Some(running)))
}

/// Restores what ran before: greenlets switch away in the middle of a run.
pub(crate) struct Entered(Option<Running>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        DEBUGGING.set(before.as_ref().is_some_and(|before| debug_of(&before.event_loop)));
        drop(RUNNING.replace(before));
    }
}

fn debug_of(event_loop: &Obj) -> bool {
    Loop::of(event_loop).is_some_and(|this| this.debug())
}

/// How many loops of the process are in debug mode: nearly always none, which one load tells.
static DEBUG_LOOPS: AtomicUsize = AtomicUsize::new(0);

/// Whether any loop is in debug mode.
pub(crate) fn anyone_debugging() -> bool {
    DEBUG_LOOPS.load(Ordering::Relaxed) > 0
}

/// Whether the running loop is in debug mode.
#[inline]
pub(crate) fn debugging() -> bool {
    anyone_debugging() && debugging_here()
}

/// Apart, because the compiler would look up the thread's own variable before the other is read.
#[cold]
#[inline(never)]
fn debugging_here() -> bool {
    DEBUGGING.get()
}

/// A loop's debug mode was switched, or the loop goes.
pub(crate) fn count_debug(before: bool, after: bool) {
    match (before, after) {
        (false, true) => DEBUG_LOOPS.fetch_add(1, Ordering::Relaxed),
        (true, false) => DEBUG_LOOPS.fetch_sub(1, Ordering::Relaxed),
        _ => 0,
    };
}

/// Follow `set_debug` on the loop that runs.
pub(crate) fn debug_changed(event_loop: &Obj, debug: bool) {
    let ours = RUNNING.with_borrow(|running| running.as_ref().is_some_and(|it| it.event_loop.is(event_loop)));
    if ours {
        DEBUGGING.set(debug);
    }
}

fn running_loop() -> Option<Ref> {
    RUNNING.with_borrow(|running| running.as_ref().map(|it| it.event_loop.clone()))
}

/// The pending exception leaves the loop: after this callback the run ends with it.
pub(crate) fn leave() {
    if let Some(exception) = take_raised() {
        LEAVING.with(|slot| slot.set(exception));
    }
    RUNNING.with_borrow(|running| match running {
        Some(running) => running.engine.hub().ready.leave(),
        None => STRANDED.store(true, Ordering::Relaxed),
    });
}

/// An exception is to leave, and no loop runs that it could leave.
static STRANDED: AtomicBool = AtomicBool::new(false);

/// Raise what a protocol's callback raised within a call from outside any run, as asyncio's calls would.
pub(crate) fn rethrow_outside() -> Result<()> {
    if STRANDED.load(Ordering::Relaxed) && STRANDED.swap(false, Ordering::Relaxed) {
        rethrow()
    } else {
        Ok(())
    }
}

/// Raise the exception with which the run is being left, if any.
pub(crate) fn rethrow() -> Result<()> {
    match LEAVING.with(|slot| slot.take()) {
        Some(exception) => Err(raise_exception(&exception)),
        None => Ok(()),
    }
}

/// A handle's callback raised: tell the exception handler, or leave the loop.
pub(crate) fn callback_failed(handle: &Obj) {
    if raised_to_leave() || report(handle).is_err() {
        leave();
    }
}

fn report(handle: &Obj) -> Result<()> {
    let exception = take_raised().ok_or(Raised)?;
    CALLBACK_FAILED.get()?.call(&[handle, &exception]).map(drop)
}

/// A call that had no handle raised: make one for the report.
pub(crate) fn call_failed(event_loop: This<'_, Loop>, callback: &Obj, args: &[&Obj]) {
    failed_without_handle(|| handle::for_report(event_loop, callback, args));
}

/// The same with a handle that the caller can make.
#[cold]
pub(super) fn failed_without_handle(make: impl FnOnce() -> Result<Ref>) {
    if raised_to_leave() {
        return leave();
    }
    let Some(exception) = take_raised() else { return };
    let reported = make().and_then(|handle| CALLBACK_FAILED.get()?.call(&[&handle, &exception]));
    if reported.is_err() {
        leave();
    }
}

/// A step of a C task raised out of the task: SystemExit, KeyboardInterrupt, or a context that was entered already.
pub(crate) fn step_failed(callback: &Obj) {
    let event_loop = running_loop();
    match event_loop.as_deref().and_then(Loop::of) {
        Some(this) => call_failed(this, callback, &[]),
        None => write_unraisable(callback),
    }
}

/// Run a handle that the standard library made.
pub(crate) fn run_foreign(handle: &Obj) {
    let ran = (|| {
        if handle.getattr(CANCELLED.get()?)?.is_true()? {
            return Ok(none());
        }
        handle.call_method(RUN.get()?, [])
    })();
    if ran.is_err() {
        leave();
    }
}

/// Debug mode: run, and log a callback that keeps the loop for longer than it should.
pub(crate) fn run_slowly(handle: &Obj, run: impl FnOnce()) {
    let Some(event_loop) = running_loop() else { return run() };
    let Some(this) = Loop::of(&event_loop) else { return run() };
    let observed = (|| {
        event_loop.setattr(CURRENT_HANDLE.get()?, handle)?;
        let before = this.now()?;
        run();
        let lasted = this.now()? - before;
        event_loop.setattr(CURRENT_HANDLE.get()?, &none())?;
        if lasted >= event_loop.getattr(SLOW_DURATION.get()?)?.as_double()? {
            SLOW_CALLBACK.get()?.call(&[handle, &*float(lasted)?])?;
        }
        Ok(())
    })();
    if let Err(Raised) = observed {
        leave();
    }
}

/// The same of what the engine calls, which has no handle until there is something to log. `callback` tells what is run,
/// ahead of that, because a transport has forgotten its protocol afterwards.
#[inline]
pub(super) fn observed<R>(callback: impl FnOnce() -> Ref, run: impl FnOnce() -> R) -> R {
    if debugging() { observe(&callback(), run) } else { run() }
}

#[cold]
#[inline(never)]
fn observe<R>(callback: &Obj, run: impl FnOnce() -> R) -> R {
    let event_loop = running_loop();
    let Some(this) = event_loop.as_deref().and_then(Loop::of) else { return run() };
    let Ok(before) = this.now() else {
        leave();
        return run();
    };
    let result = run();
    if log_if_slow(this, callback, before).is_err() {
        leave();
    }
    result
}

fn log_if_slow(this: This<'_, Loop>, callback: &Obj, before: f64) -> Result<()> {
    let lasted = this.now()? - before;
    if lasted < this.object().getattr(SLOW_DURATION.get()?)?.as_double()? {
        return Ok(());
    }
    let handle = handle::for_report(this, callback, &[])?;
    SLOW_CALLBACK.get()?.call(&[&handle, &*float(lasted)?]).map(drop)
}
