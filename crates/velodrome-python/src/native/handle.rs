//! `Handle` and `TimerHandle`: what `call_soon` and `call_later` return. They are subclasses of asyncio's, which give
//! them their repr, comparison and hash; state and running are native, with up to two arguments held inline.

use std::cell::Cell;

use velodrome_engine::timers::TimerKey;

use super::contexts::Copied;
use super::dispatch;
use super::event_loop::Loop;
use crate::kit::context;
use crate::kit::freeing::Spare;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, float, none, raw_slots, runtime_error, tuple, write_unraisable,
};
use crate::kit::types::{Layout, Native, This, Visit, make_type, new_object, new_untracked};

static EXTRACT_STACK: Imported = Imported::new("asyncio.format_helpers", "extract_stack");
static RUN: Name = Name::new("run");
static REPR: Imported = Imported::new("builtins", "repr");

/// Arguments kept in the handle itself: nearly all callbacks have none, one or two. More are kept in a tuple.
const INLINE: usize = 2;

static ASYNCIO_HANDLE: Imported = Imported::new("asyncio.events", "Handle");
static ASYNCIO_TIMER_HANDLE: Imported = Imported::new("asyncio.events", "TimerHandle");

pub(crate) fn make_handle_type() -> Result<Ref> {
    make_type::<Handle>(Some(ASYNCIO_HANDLE.get()?))
}

pub(crate) fn make_timer_handle_type() -> Result<Ref> {
    make_type::<TimerHandle>(Some(ASYNCIO_TIMER_HANDLE.get()?))
}

/// What both kinds of handle refer to. As many slots as `asyncio.Handle` has, because they lie over those.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Callback {
    event_loop: Slot,
    callback: Slot,
    /// The first `count` are full; with more than INLINE arguments the first is a tuple of all.
    args: [Slot; INLINE],
    context: Slot,
    source_traceback: Slot,
    repr: Slot,
}

const SLOTS: usize = size_of::<Callback>() / size_of::<Slot>();

/// What is no reference.
#[derive(Default)]
pub(crate) struct State {
    /// Of arguments; INLINE + 1 stands for any more.
    count: Cell<u8>,
    cancelled: Cell<bool>,
    /// The callback is None to whoever looks, though it may still run.
    hidden: Cell<bool>,
    /// Cancelling from within the callback must not free what is running: the run clears afterwards.
    running: Cell<bool>,
    /// The context is a snapshot, see [`super::contexts`].
    snapshot: Cell<bool>,
}

impl Callback {
    /// `args` are borrowed; the context is copied from the current one if none is given.
    #[inline(always)]
    pub(super) fn new(
        event_loop: This<'_, Loop>,
        callback: &Obj,
        args: &[*mut pyo3::ffi::PyObject],
        given: Option<&Obj>,
    ) -> Result<(Self, State)> {
        let state = State::default();
        let context = match given.filter(|context| !context.is_none()) {
            Some(context) => context.to_ref(),
            None => match event_loop.contexts.copy_current()? {
                Copied::Own(context) => context,
                Copied::Snapshot(context) => {
                    state.snapshot.set(true);
                    context
                }
            },
        };
        let this = Self {
            event_loop: Slot::new(event_loop.object().to_ref()),
            callback: Slot::new(callback.to_ref()),
            context: Slot::new(context),
            ..Self::default()
        };
        state.count.set(this.keep(args)?);
        if event_loop.debug() {
            this.source_traceback.set(EXTRACT_STACK.get()?.call(&[])?);
        }
        Ok((this, state))
    }

    #[inline]
    fn keep(&self, args: &[*mut pyo3::ffi::PyObject]) -> Result<u8> {
        if args.len() > INLINE {
            self.args[0].set(tuple(args)?);
            return Ok(INLINE as u8 + 1);
        }
        for (slot, arg) in self.args.iter().zip(crate::kit::object::borrowed(args)) {
            slot.set(arg.to_ref());
        }
        Ok(args.len() as u8)
    }

    fn forget(&self) {
        drop(self.callback.take());
        for arg in &self.args {
            drop(arg.take());
        }
    }

    pub(super) fn traverse(&self, visit: &mut Visit) {
        visit.slot(&self.event_loop);
        visit.slot(&self.callback);
        self.args.iter().for_each(|arg| visit.slot(arg));
        visit.slot(&self.context);
        visit.slot(&self.source_traceback);
        visit.slot(&self.repr);
    }
}

/// Either kind of handle.
#[derive(Copy, Clone)]
pub(crate) struct Core<'a> {
    callback: &'a Callback,
    state: &'a State,
}

impl<'a> Core<'a> {
    pub(super) fn new(callback: &'a Callback, state: &'a State) -> Self {
        Self { callback, state }
    }

    /// `handle._args`: a tuple, or None once cancelled.
    fn args(self) -> Result<Ref> {
        if self.state.hidden.get() || self.callback.callback.is_empty() {
            return Ok(none());
        }
        match usize::from(self.state.count.get()) {
            count if count > INLINE => Ok(self.callback.args[0].get_or_none()),
            count => self.inline_args(count).map_or_else(|| Ok(none()), tuple),
        }
    }

    /// The arguments that are kept in the handle. asyncio's descriptors reach what lies over its slots, so Python code
    /// can have emptied them (`asyncio.Handle._cancelled.__delete__(handle)`).
    fn inline_args(self, count: usize) -> Option<&'a [*mut pyo3::ffi::PyObject]> {
        let args = &self.callback.args;
        (!args[..count].iter().any(Slot::is_empty)).then(|| raw_slots(args, count))
    }

    /// The context of its own; None once the handle is cleared.
    #[inline]
    fn context(self) -> Result<Option<Ref>> {
        if !self.state.snapshot.get() {
            return Ok(self.callback.context.get());
        }
        let event_loop = self.callback.event_loop.get();
        let Some(event_loop) = event_loop.as_deref().and_then(Loop::of) else { return Ok(None) };
        event_loop.contexts.settle(&self.callback.context, &self.state.snapshot)?;
        Ok(self.callback.context.get())
    }

    #[inline]
    fn call(self) -> Result<Ref> {
        let (Some(callback), Some(context)) = (self.callback.callback.get(), self.context()?) else {
            return Ok(none());
        };
        if !context::is_context(&context) {
            return self.call_through(&context, &callback);
        }
        context::within(&context, || self.call_plain(&callback))
    }

    #[inline]
    fn call_plain(self, callback: &Obj) -> Result<Ref> {
        match usize::from(self.state.count.get()) {
            count if count > INLINE => callback.call_tuple(&self.callback.args[0].get_or_none()),
            count => match self.inline_args(count) {
                Some(args) => callback.call_raw(args),
                None => Err(runtime_error("an argument of the handle was deleted")),
            },
        }
    }

    /// asyncio calls `context.run(callback, *args)`, so anything with a `run` has always been good enough.
    fn call_through(self, context: &Obj, callback: &Obj) -> Result<Ref> {
        let args = self.args()?;
        let all = tuple(&[callback.as_ptr()])?.concat(&args)?;
        context.getattr(RUN.get()?)?.call_tuple(&all)
    }

    /// Run unless cancelled; what the callback raises goes to the loop's exception handler, or out of the loop.
    fn run(self, handle: &Obj) {
        if self.state.cancelled.get() {
            return;
        }
        // A handle may be run by hand from within its own callback.
        let outer = self.state.running.replace(true);
        let result = self.call();
        self.state.running.set(outer);
        if result.is_err() {
            dispatch::callback_failed(handle);
        }
        if self.state.cancelled.get() && !outer {
            self.callback.forget();
        }
    }

    /// True if this call cancelled it.
    pub(super) fn cancel(self, handle: &Obj) -> Result<bool> {
        if self.state.cancelled.get() {
            return Ok(false);
        }
        if self.in_debug_mode() {
            // The log of a slow callback names it even when it cancelled its own handle.
            self.state.cancelled.set(true);
            self.callback.repr.set(REPR.get()?.call(&[handle])?);
        }
        self.state.cancelled.set(true);
        self.state.hidden.set(true);
        if !self.state.running.get() {
            self.callback.forget();
        }
        Ok(true)
    }

    fn in_debug_mode(self) -> bool {
        dispatch::anyone_debugging()
            && self
                .callback
                .event_loop
                .get()
                .is_some_and(|object| Loop::of(&object).is_some_and(|this| this.debug()))
    }

    pub(super) fn clear(self) {
        self.state.cancelled.set(true);
        self.callback.forget();
        drop(self.callback.event_loop.take());
        drop(self.callback.context.take());
        drop(self.callback.source_traceback.take());
    }

    /// The callback as attribute: None once cancelled, even while it still runs.
    fn visible_callback(self) -> Ref {
        if self.state.hidden.get() { none() } else { self.callback.callback.get_or_none() }
    }
}

/// A native type that has a [`Callback`].
pub(crate) trait HasCallback: Native {
    fn core(&self) -> Core<'_>;
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
    /// Where asyncio keeps `_scheduled` and `_when`; never full.
    over: [Slot; 2],
    state: State,
    when: f64,
    key: Cell<Option<TimerKey>>,
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

pub(super) fn cancelled<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(boolean(this.core().state.cancelled.get()))
}

fn run_method<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    this.core().run(this.object());
    dispatch::rethrow()?;
    Ok(none())
}

fn get_callback<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().visible_callback())
}

fn get_args<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    this.core().args()
}

fn get_loop<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().callback.event_loop.get_or_none())
}

fn get_context<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().context()?.unwrap_or_else(none))
}

fn get_source_traceback<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().callback.source_traceback.get_or_none())
}

fn set_source_traceback<T: HasCallback>(this: This<'_, T>, value: &Obj) -> Result<()> {
    this.core().callback.source_traceback.set(value.to_ref());
    Ok(())
}

fn get_repr<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().callback.repr.get_or_none())
}

/// Attributes that asyncio's handles keep in slots, under the same names.
pub(super) fn attributes<T: HasCallback>() -> Vec<GetSet> {
    vec![
        GetSet::get::<T, _>(c"_callback", get_callback::<T>),
        GetSet::get::<T, _>(c"_args", get_args::<T>),
        GetSet::get::<T, _>(c"_cancelled", cancelled::<T>),
        GetSet::get::<T, _>(c"_loop", get_loop::<T>),
        GetSet::get::<T, _>(c"_context", get_context::<T>),
        GetSet::get::<T, _>(c"_repr", get_repr::<T>),
        GetSet::both::<T, _, _>(c"_source_traceback", get_source_traceback::<T>, set_source_traceback::<T>),
    ]
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
        self.over.iter().for_each(|slot| visit.slot(slot));
    }

    fn clear(&self) {
        self.core().clear();
    }
}

fn when(this: This<'_, TimerHandle>) -> Result<Ref> {
    float(this.when)
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
#[inline]
fn new_held<T: Native>(event_loop: This<'_, Loop>, value: T) -> Result<Ref> {
    if event_loop.holds_untracked() { new_untracked(value) } else { new_object(value) }
}

/// Make a handle that goes into the ready queue at once.
pub(crate) fn new_ready(
    event_loop: This<'_, Loop>,
    callback: &Obj,
    args: Args<'_>,
    context: Option<&Obj>,
) -> Result<Ref> {
    let (callback, state) = Callback::new(event_loop, callback, args.raw_from(1), context)?;
    new_held(event_loop, Handle { callback, state })
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

/// Make a timer handle, which goes to the timers at once.
pub(crate) fn new_timer(
    event_loop: This<'_, Loop>,
    when: f64,
    callback: &Obj,
    args: &[*mut pyo3::ffi::PyObject],
    context: Option<&Obj>,
) -> Result<Ref> {
    let (callback, state) = Callback::new(event_loop, callback, args, context)?;
    let over = Default::default();
    new_held(event_loop, TimerHandle { callback, over, state, when, key: Cell::new(None) })
}

/// Remember where the loop's timers keep it.
pub(crate) fn set_key(handle: &Obj, key: TimerKey) -> Result<()> {
    This::<TimerHandle>::of(handle).ok_or(Raised)?.key.set(Some(key));
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

pub(super) fn run_observed(handle: &Obj, core: Core<'_>) {
    if core.state.cancelled.get() {
        return;
    }
    if dispatch::debugging() {
        dispatch::run_slowly(handle, || core.run(handle));
    } else {
        core.run(handle);
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
