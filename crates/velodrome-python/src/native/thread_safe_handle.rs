//! `ThreadSafeHandle`: what `call_soon_threadsafe` returns from Python 3.14 on. Its `cancel()` and `cancelled()`, on
//! another thread than the one that runs the callback, answer only when the callback has ended.
//!
//! asyncio gives each handle a lock for that. Under the interpreter's lock none is needed until somebody has to wait,
//! which hardly ever happens: the handle notes who runs it, and whoever has to wait makes the lock to wait for.

use std::cell::Cell;
use std::ffi::c_ulong;

use super::callback::{Callback, Core, HasCallback, State, attributes, cancelled, run_observed};
use super::dispatch;
use super::event_loop::Loop;
use super::folded::{Folded, Kind};
use super::handle::new_held;
use crate::kit::gil::thread_ident;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Raised, Ref, Result, Slot, none, write_unraisable};
use crate::kit::types::{Layout, Native, This, Visit, make_type as make_native};

/// None before 3.14.
static BASE: Imported = Imported::new("velodrome._inherited", "ThreadSafeHandle");
static LOCK: Imported = Imported::new("threading", "Lock");
static ACQUIRE: Name = Name::new("acquire");
static RELEASE: Name = Name::new("release");

/// Whether this Python's asyncio has such handles.
pub(crate) fn is_known() -> Result<bool> {
    Ok(!BASE.get()?.is_none())
}

/// The type; None where asyncio has none.
pub(crate) fn make_type() -> Result<Ref> {
    if is_known()? { make_native::<ThreadSafeHandle>(Some(BASE.get()?)) } else { Ok(none()) }
}

pub(crate) struct ThreadSafeHandle {
    callback: Callback,
    state: State,
    /// `threading.get_ident()` of the thread that runs the callback; 0 while none does.
    runner: Cell<c_ulong>,
    /// A lock that is held until the callback has ended; those who wait pass it on. Empty while nobody waits.
    gate: Slot,
}

impl ThreadSafeHandle {
    fn new(callback: Callback, state: State) -> Self {
        Self { callback, state, runner: Cell::new(0), gate: Slot::default() }
    }

    fn runs_elsewhere(&self) -> bool {
        let runner = self.runner.get();
        runner != 0 && runner != thread_ident()
    }

    /// Wait until no other thread runs the callback.
    fn wait_for_end(&self) -> Result<()> {
        while self.runs_elsewhere() {
            let gate = self.gate()?;
            // The callback may have ended while the gate was made.
            if self.runs_elsewhere() {
                gate.call_method(ACQUIRE.get()?, [])?;
                gate.call_method(RELEASE.get()?, [])?;
            }
        }
        Ok(())
    }

    fn gate(&self) -> Result<Ref> {
        if let Some(gate) = self.gate.get() {
            return Ok(gate);
        }
        let made = LOCK.get()?.call(&[])?;
        made.call_method(ACQUIRE.get()?, [])?;
        // Another thread may have made one meanwhile, and wait at it.
        if self.gate.is_empty() {
            self.gate.set(made);
        }
        Ok(self.gate.get_or_none())
    }

    fn run(&self, handle: &Obj) -> Result<()> {
        self.wait_for_end()?;
        let outer = self.runner.replace(thread_ident());
        run_observed(handle, self.core());
        self.runner.set(outer);
        if outer == 0
            && let Some(gate) = self.gate.take()
            && RELEASE.get().and_then(|release| gate.call_method(release, [])).is_err()
        {
            write_unraisable(handle);
        }
        Ok(())
    }
}

impl HasCallback for ThreadSafeHandle {
    fn core(&self) -> Core<'_> {
        Core::new(&self.callback, &self.state)
    }
}

fn cancel(this: This<'_, ThreadSafeHandle>) -> Result<Ref> {
    this.wait_for_end()?;
    this.core().cancel(this.object())?;
    Ok(none())
}

fn cancelled_method(this: This<'_, ThreadSafeHandle>) -> Result<Ref> {
    this.wait_for_end()?;
    cancelled(this)
}

fn run_method(this: This<'_, ThreadSafeHandle>) -> Result<Ref> {
    this.run(this.object())?;
    dispatch::rethrow()?;
    Ok(none())
}

impl Native for ThreadSafeHandle {
    const NAME: &'static std::ffi::CStr = c"velodrome._core.ThreadSafeHandle";
    const CHAINS: bool = true;
    const DOC: &'static std::ffi::CStr =
        c"A callback scheduled with call_soon_threadsafe(); cancel() waits while it runs on another thread.";

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::noargs::<Self, _>(c"cancel", cancel, c"Cancel the callback."),
            Method::noargs::<Self, _>(c"cancelled", cancelled_method, c"Whether cancel() was called."),
            Method::noargs::<Self, _>(c"_run", run_method, c"Run the callback now."),
        ]
    }

    fn getset() -> Vec<GetSet> {
        attributes::<Self>()
    }

    fn traverse(&self, visit: &mut Visit) {
        self.callback.traverse(visit);
        visit.slot(&self.gate);
    }

    fn clear(&self) {
        self.core().clear();
    }
}

/// Make one that goes into the ready queue at once, of a blank one if there is one.
pub(crate) fn new_ready(
    event_loop: This<'_, Loop>,
    blank: Option<Ref>,
    callback: &Obj,
    args: Args<'_>,
    context: Option<&Obj>,
) -> Result<Ref> {
    if let Some(blank) = blank {
        let this = This::<ThreadSafeHandle>::of(&blank).ok_or(Raised)?;
        this.callback.fill(&this.state, event_loop, callback, args.raw_from(1), context)?;
        return Ok(blank);
    }
    let (callback, state) = Callback::new(event_loop, callback, args.raw_from(1), context)?;
    new_held(event_loop, ThreadSafeHandle::new(callback, state))
}

/// One for nothing yet, but to be held by the loop.
pub(super) fn blank(event_loop: This<'_, Loop>) -> Result<Ref> {
    new_held(event_loop, ThreadSafeHandle::new(Callback::blank(event_loop), State::default()))
}

/// See [`super::folded`].
pub(super) fn take_apart(handle: &Obj, event_loop: &Obj, room: usize) -> Option<Folded> {
    let this = This::<ThreadSafeHandle>::of(handle)?;
    if this.runner.get() != 0 || !this.gate.is_empty() {
        return None;
    }
    this.core().take_apart(event_loop, Kind::ThreadSafe, room)
}

pub(super) fn core_of(handle: &Obj) -> Option<Core<'_>> {
    This::<ThreadSafeHandle>::of(handle).map(|this| this.value().core())
}

/// Run one from the ready queue.
pub(crate) fn run(handle: &Obj) {
    if let Some(this) = This::<ThreadSafeHandle>::of(handle)
        && this.run(handle).is_err()
    {
        dispatch::leave();
    }
}
