//! `Handle` and `TimerHandle`: what `call_soon` and `call_later` return. They are subclasses of asyncio's, which give
//! them their repr, comparison and hash; state and running are native.

use std::cell::Cell;

use velodrome_engine::timers::TimerKey;

use super::callback::{
    Callback, Core, HasCallback, SLOTS, State, attributes, cancelled, run_method, run_observed,
};
use super::event_loop::Loop;
use super::folded::{Folded, Kind};
use super::thread_safe_handle;
use crate::kit::freeing::Spare;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::Imported;
use crate::kit::object::{Obj, Raised, Ref, Result, Slot, boolean, float, none, write_unraisable};
use crate::kit::types::{Layout, Native, This, Visit, make_type, new_object, new_untracked};

static ASYNCIO_HANDLE: Imported = Imported::new("asyncio.events", "Handle");
static ASYNCIO_TIMER_HANDLE: Imported = Imported::new("asyncio.events", "TimerHandle");

pub(crate) fn make_handle_type() -> Result<Ref> {
    make_type::<Handle>(Some(ASYNCIO_HANDLE.get()?))
}

pub(crate) fn make_timer_handle_type() -> Result<Ref> {
    make_type::<TimerHandle>(Some(ASYNCIO_TIMER_HANDLE.get()?))
}

/// `asyncio.Handle`'s native subclass.
#[repr(C)]
pub(crate) struct Handle {
    callback: Callback,
    state: State,
}

/// `asyncio.TimerHandle`'s native subclass.
#[repr(C)]
pub(crate) struct TimerHandle {
    callback: Callback,
    /// Where asyncio keeps `_scheduled`; never full.
    over: Slot,
    /// Where it keeps `_when`: what `call_at` was given, if that is no float.
    given: Slot,
    state: State,
    when: Cell<f64>,
    key: Cell<Option<TimerKey>>,
}

impl TimerHandle {
    #[inline]
    fn new(callback: Callback, state: State) -> Self {
        let (over, given) = Default::default();
        Self { callback, over, given, state, when: Cell::default(), key: Cell::default() }
    }
}

impl HasCallback for Handle {
    fn core(&self) -> Core<'_> {
        Core::new(&self.callback, &self.state)
    }
}

impl HasCallback for TimerHandle {
    fn core(&self) -> Core<'_> {
        Core::new(&self.callback, &self.state)
    }
}

impl Native for Handle {
    const NAME: &'static std::ffi::CStr = c"velodrome._core.Handle";
    const OVERLAID: usize = SLOTS;
    const CHAINS: bool = true;
    const DOC: &'static std::ffi::CStr = c"A callback scheduled with call_soon(); see asyncio.Handle.";

    fn spare() -> Option<&'static Spare> {
        static SPARE: Spare = Spare::new();
        Some(&SPARE)
    }

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::noargs::<Self, _>(c"cancel", cancel_handle, c"Cancel the callback."),
            Method::noargs::<Self, _>(c"cancelled", cancelled::<Self>, c"Whether cancel() was called."),
            Method::noargs::<Self, _>(c"_run", run_method::<Self>, c"Run the callback now."),
        ]
    }

    fn getset() -> Vec<GetSet> {
        attributes::<Self>()
    }

    fn traverse(&self, visit: &mut Visit) {
        self.callback.traverse(visit);
    }

    fn clear(&self) {
        self.core().clear();
    }
}

fn cancel_handle(this: This<'_, Handle>) -> Result<Ref> {
    this.core().cancel(this.object())?;
    Ok(none())
}

impl Native for TimerHandle {
    const NAME: &'static std::ffi::CStr = c"velodrome._core.TimerHandle";
    const OVERLAID: usize = SLOTS + 2;
    const CHAINS: bool = true;
    const DOC: &'static std::ffi::CStr =
        c"A callback scheduled with call_later() or call_at(); see asyncio.TimerHandle.";

    fn spare() -> Option<&'static Spare> {
        static SPARE: Spare = Spare::new();
        Some(&SPARE)
    }

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::noargs::<Self, _>(c"cancel", cancel_timer, c"Cancel the callback."),
            Method::noargs::<Self, _>(c"cancelled", cancelled::<Self>, c"Whether cancel() was called."),
            Method::noargs::<Self, _>(c"when", when, c"The scheduled time, as loop.time() counts."),
            Method::noargs::<Self, _>(c"_run", run_method::<Self>, c"Run the callback now."),
        ]
    }

    fn getset() -> Vec<GetSet> {
        let mut all = attributes::<Self>();
        all.push(GetSet::get::<Self, _>(c"_when", when));
        all.push(GetSet::get::<Self, _>(c"_scheduled", |this| Ok(boolean(this.key.get().is_some()))));
        all
    }

    fn traverse(&self, visit: &mut Visit) {
        self.callback.traverse(visit);
        visit.slot(&self.over);
        visit.slot(&self.given);
    }

    fn clear(&self) {
        self.core().clear();
        drop(self.given.take());
    }
}

fn when(this: This<'_, TimerHandle>) -> Result<Ref> {
    this.given.get().map_or_else(|| float(this.when.get()), Ok)
}

fn cancel_timer(this: This<'_, TimerHandle>) -> Result<Ref> {
    let event_loop = this.callback.event_loop.get();
    if this.core().cancel(this.object())?
        && let Some(key) = this.key.take()
        && let Some(event_loop) = event_loop.as_deref().and_then(Loop::of)
    {
        drop(event_loop.cancel_timer(key));
    }
    Ok(none())
}

/// An object for a handle that the loop is going to hold until it has run. While the loop runs it is no garbage, and
/// nor is what it holds, so the collector need not look at it; it is shown to the collector when it leaves the loop and
/// somebody else has it (`kit/runnables.rs`), or when the loop stops (`native/running.rs`).
#[inline(always)]
pub(super) fn new_held<T: Native>(event_loop: This<'_, Loop>, value: T) -> Result<Ref> {
    if event_loop.holds_untracked() { new_untracked(value) } else { new_object(value) }
}

/// Make a handle that goes into the ready queue at once, of a blank one if there is one.
pub(crate) fn new_ready(
    event_loop: This<'_, Loop>,
    blank: Option<Ref>,
    callback: &Obj,
    args: Args<'_>,
    context: Option<&Obj>,
) -> Result<Ref> {
    if let Some(blank) = blank {
        let this = This::<Handle>::of(&blank).ok_or(Raised)?;
        this.callback.fill(&this.state, event_loop, callback, args.raw_from(1), context)?;
        return Ok(blank);
    }
    let (callback, state) = Callback::new(event_loop, callback, args.raw_from(1), context)?;
    new_held(event_loop, Handle { callback, state })
}

/// A handle for nothing yet, but to be held by the loop.
pub(super) fn blank(event_loop: This<'_, Loop>) -> Result<Ref> {
    new_held(event_loop, Handle { callback: Callback::blank(event_loop), state: State::default() })
}

/// The same for a timer.
pub(super) fn blank_timer(event_loop: This<'_, Loop>) -> Result<Ref> {
    new_held(event_loop, TimerHandle::new(Callback::blank(event_loop), State::default()))
}

/// See [`super::folded`].
#[inline]
pub(super) fn take_apart(handle: &Obj, event_loop: &Obj, room: usize) -> Option<Folded> {
    This::<Handle>::of(handle)?.core().take_apart(event_loop, Kind::Soon, room)
}

/// The same for a timer.
#[inline]
pub(super) fn take_timer_apart(handle: &Obj, event_loop: &Obj, room: usize) -> Option<Folded> {
    let this = This::<TimerHandle>::of(handle)?;
    if !this.given.is_empty() {
        return None;
    }
    this.core().take_apart(event_loop, Kind::Timer { when: this.when.get() }, room)
}

/// Put what was taken apart into a blank handle of its kind, which the loop keeps where `key` says.
pub(super) fn put_back(blank: &Obj, folded: Folded, key: Option<TimerKey>) {
    if let Some(this) = This::<Handle>::of(blank) {
        this.core().put_back(folded);
    } else if let Some(this) = This::<TimerHandle>::of(blank) {
        if let Kind::Timer { when } = folded.kind {
            this.when.set(when);
        }
        this.key.set(key);
        this.core().put_back(folded);
    } else if let Some(core) = thread_safe_handle::core_of(blank) {
        core.put_back(folded);
    }
}

/// Make a handle for somebody who holds it himself.
pub(crate) fn new(
    event_loop: This<'_, Loop>,
    callback: &Obj,
    args: Args<'_>,
    first: usize,
    context: Option<&Obj>,
) -> Result<Ref> {
    let (callback, state) = Callback::new(event_loop, callback, args.raw_from(first), context)?;
    new_object(Handle { callback, state })
}

/// A handle that stands for callbacks no one can cancel.
pub(crate) fn spent() -> Result<Ref> {
    new_object(Handle { callback: Callback::default(), state: State::default() })
}

/// Make a handle for one call that has been made already, to show it to an exception handler.
pub(crate) fn for_report(event_loop: This<'_, Loop>, callback: &Obj, args: &[&Obj]) -> Result<Ref> {
    let args: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
    let (callback, state) = Callback::new(event_loop, callback, &args, None)?;
    new_object(Handle { callback, state })
}

/// Make a timer handle, which goes to the timers at once, of a blank one if there is one.
pub(crate) fn new_timer(
    event_loop: This<'_, Loop>,
    blank: Option<Ref>,
    callback: &Obj,
    args: &[*mut pyo3::ffi::PyObject],
    context: Option<&Obj>,
) -> Result<Ref> {
    if let Some(blank) = blank {
        let this = This::<TimerHandle>::of(&blank).ok_or(Raised)?;
        this.callback.fill(&this.state, event_loop, callback, args, context)?;
        return Ok(blank);
    }
    let (callback, state) = Callback::new(event_loop, callback, args, context)?;
    new_held(event_loop, TimerHandle::new(callback, state))
}

/// Remember when it is due, and where the loop's timers keep it.
pub(crate) fn set_timer(handle: &Obj, when: f64, key: TimerKey) -> Result<()> {
    let this = This::<TimerHandle>::of(handle).ok_or(Raised)?;
    this.when.set(when);
    this.key.set(Some(key));
    Ok(())
}

/// Remember the object that says when it is due.
pub(crate) fn set_given(handle: &Obj, given: &Obj) -> Result<()> {
    This::<TimerHandle>::of(handle).ok_or(Raised)?.given.set(given.to_ref());
    Ok(())
}

/// Whether this is a native handle.
pub(crate) fn is_handle(object: &Obj) -> bool {
    This::<Handle>::of(object).is_some()
}

/// Run a native handle from the ready queue.
pub(crate) fn run(handle: &Obj) {
    if let Some(this) = This::<Handle>::of(handle) {
        run_observed(handle, this.core());
    }
}

/// Run a native timer handle that has become due.
pub(crate) fn run_timer(handle: &Obj) {
    if let Some(this) = This::<TimerHandle>::of(handle) {
        this.key.set(None);
        run_observed(handle, this.core());
    }
}

/// Cancel a native handle that native code holds: a reader that was replaced.
pub(crate) fn cancel(handle: &Obj) {
    if let Some(this) = This::<Handle>::of(handle)
        && this.core().cancel(handle).is_err()
    {
        // The repr that debug mode keeps could not be made.
        write_unraisable(handle);
    }
}
