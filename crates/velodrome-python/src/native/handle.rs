//! `Handle` and `TimerHandle`: what `call_soon` and `call_later` return. They are subclasses of asyncio's, which give
//! them their repr, comparison and hash; state and running are native, with up to three arguments held inline.

use std::cell::Cell;

use velodrome_engine::timers::TimerKey;

use super::dispatch;
use super::event_loop::Loop;
use crate::kit::context;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, float, none, raw_slots, tuple, write_unraisable,
};
use crate::kit::types::{Layout, Native, This, Visit, make_type, new_object};

static EXTRACT_STACK: Imported = Imported::new("asyncio.format_helpers", "extract_stack");
static RUN: Name = Name::new("run");
static REPR: Imported = Imported::new("builtins", "repr");

/// Arguments kept in the handle itself; most callbacks have none or one, `_accept_connection2` has more.
const INLINE: usize = 3;

static ASYNCIO_HANDLE: Imported = Imported::new("asyncio.events", "Handle");
static ASYNCIO_TIMER_HANDLE: Imported = Imported::new("asyncio.events", "TimerHandle");

pub(crate) fn make_handle_type() -> Result<Ref> {
    make_type::<Handle>(Some(ASYNCIO_HANDLE.get()?))
}

pub(crate) fn make_timer_handle_type() -> Result<Ref> {
    make_type::<TimerHandle>(Some(ASYNCIO_TIMER_HANDLE.get()?))
}

/// What both kinds of handle are made of.
#[derive(Default)]
pub(crate) struct Callback {
    event_loop: Slot,
    callback: Slot,
    /// The first `count` are full; with more than INLINE arguments the first is a tuple of all.
    args: [Slot; INLINE],
    count: Cell<usize>,
    context: Slot,
    source_traceback: Slot,
    repr: Slot,
    cancelled: Cell<bool>,
    /// The callback is None to whoever looks, though it may still run.
    hidden: Cell<bool>,
    /// Cancelling from within the callback must not free what is running: the run clears afterwards.
    running: Cell<bool>,
}

impl Callback {
    /// `args` are borrowed; the context is copied from the current one if none is given.
    pub(crate) fn new(
        event_loop: This<'_, Loop>,
        callback: &Obj,
        args: &[*mut pyo3::ffi::PyObject],
        given: Option<&Obj>,
    ) -> Result<Self> {
        let context = match given.filter(|context| !context.is_none()) {
            Some(context) => context.to_ref(),
            None => context::copy_current()?,
        };
        let this = Self {
            event_loop: Slot::new(event_loop.object().to_ref()),
            callback: Slot::new(callback.to_ref()),
            context: Slot::new(context),
            ..Self::default()
        };
        this.keep(args)?;
        if event_loop.debug() {
            this.source_traceback.set(EXTRACT_STACK.get()?.call(&[])?);
        }
        Ok(this)
    }

    fn keep(&self, args: &[*mut pyo3::ffi::PyObject]) -> Result<()> {
        self.count.set(args.len());
        if args.len() > INLINE {
            self.args[0].set(tuple(args)?);
            return Ok(());
        }
        for (slot, arg) in self.args.iter().zip(crate::kit::object::borrowed(args)) {
            slot.set(arg.to_ref());
        }
        Ok(())
    }

    /// `handle._args`: a tuple, or None once cancelled.
    fn args(&self) -> Result<Ref> {
        if self.hidden.get() || self.callback.is_empty() {
            return Ok(none());
        }
        match self.count.get() {
            count if count > INLINE => Ok(self.args[0].get_or_none()),
            count => tuple(raw_slots(&self.args, count)),
        }
    }

    fn call(&self) -> Result<Ref> {
        let (Some(callback), Some(context)) = (self.callback.get(), self.context.get()) else {
            return Ok(none());
        };
        if !context::is_context(&context) {
            return self.call_through(&context, &callback);
        }
        context::within(&context, || self.call_plain(&callback))
    }

    fn call_plain(&self, callback: &Obj) -> Result<Ref> {
        match self.count.get() {
            count if count > INLINE => callback.call_tuple(&self.args[0].get_or_none()),
            count => callback.call_raw(raw_slots(&self.args, count)),
        }
    }

    /// asyncio calls `context.run(callback, *args)`, so anything with a `run` has always been good enough.
    fn call_through(&self, context: &Obj, callback: &Obj) -> Result<Ref> {
        let args = self.args()?;
        let all = tuple(&[callback.as_ptr()])?.concat(&args)?;
        context.getattr(RUN.get()?)?.call_tuple(&all)
    }

    /// Run unless cancelled; what the callback raises goes to the loop's exception handler, or out of the loop.
    fn run(&self, handle: &Obj) {
        if self.cancelled.get() {
            return;
        }
        // A handle may be run by hand from within its own callback.
        let outer = self.running.replace(true);
        let result = self.call();
        self.running.set(outer);
        if result.is_err() {
            dispatch::callback_failed(handle);
        }
        if self.cancelled.get() && !outer {
            self.forget();
        }
    }

    /// True if this call cancelled it.
    pub(super) fn cancel(&self, handle: &Obj) -> Result<bool> {
        if self.cancelled.get() {
            return Ok(false);
        }
        if self.in_debug_mode() {
            // The log of a slow callback names it even when it cancelled its own handle.
            self.cancelled.set(true);
            self.repr.set(REPR.get()?.call(&[handle])?);
        }
        self.cancelled.set(true);
        self.hidden.set(true);
        if !self.running.get() {
            self.forget();
        }
        Ok(true)
    }

    fn in_debug_mode(&self) -> bool {
        dispatch::anyone_debugging()
            && self.event_loop.get().is_some_and(|object| Loop::of(&object).is_some_and(|this| this.debug()))
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

    pub(super) fn clear(&self) {
        self.cancelled.set(true);
        self.forget();
        drop(self.event_loop.take());
        drop(self.context.take());
        drop(self.source_traceback.take());
    }

    /// The callback as attribute: None once cancelled, even while it still runs.
    fn visible_callback(&self) -> Ref {
        if self.hidden.get() { none() } else { self.callback.get_or_none() }
    }
}

/// A native type that has a [`Callback`].
pub(crate) trait HasCallback: Native {
    fn core(&self) -> &Callback;
}

/// `asyncio.Handle`'s native subclass.
pub(crate) struct Handle(Callback);

/// `asyncio.TimerHandle`'s native subclass.
pub(crate) struct TimerHandle {
    core: Callback,
    when: f64,
    key: Cell<Option<TimerKey>>,
}

impl HasCallback for Handle {
    fn core(&self) -> &Callback {
        &self.0
    }
}

impl HasCallback for TimerHandle {
    fn core(&self) -> &Callback {
        &self.core
    }
}

pub(super) fn cancelled<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(boolean(this.core().cancelled.get()))
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
    Ok(this.core().event_loop.get_or_none())
}

fn get_context<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().context.get_or_none())
}

fn get_source_traceback<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().source_traceback.get_or_none())
}

fn set_source_traceback<T: HasCallback>(this: This<'_, T>, value: &Obj) -> Result<()> {
    this.core().source_traceback.set(value.to_ref());
    Ok(())
}

fn get_repr<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(this.core().repr.get_or_none())
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
    const CHAINS: bool = true;
    const DOC: &'static std::ffi::CStr = c"A callback scheduled with call_soon(); see asyncio.Handle.";

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
        self.0.traverse(visit);
    }

    fn clear(&self) {
        self.0.clear();
    }
}

fn cancel_handle(this: This<'_, Handle>) -> Result<Ref> {
    this.0.cancel(this.object())?;
    Ok(none())
}

impl Native for TimerHandle {
    const NAME: &'static std::ffi::CStr = c"velodrome._core.TimerHandle";
    const CHAINS: bool = true;
    const DOC: &'static std::ffi::CStr =
        c"A callback scheduled with call_later() or call_at(); see asyncio.TimerHandle.";

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
        self.core.traverse(visit);
    }

    fn clear(&self) {
        self.core.clear();
    }
}

fn when(this: This<'_, TimerHandle>) -> Result<Ref> {
    float(this.when)
}

fn cancel_timer(this: This<'_, TimerHandle>) -> Result<Ref> {
    let event_loop = this.core.event_loop.get();
    if this.core.cancel(this.object())?
        && let Some(key) = this.key.take()
        && let Some(event_loop) = event_loop.as_deref().and_then(Loop::of)
    {
        drop(event_loop.cancel_timer(key));
    }
    Ok(none())
}

/// Make a handle.
pub(crate) fn new(
    event_loop: This<'_, Loop>,
    callback: &Obj,
    args: Args<'_>,
    first: usize,
    context: Option<&Obj>,
) -> Result<Ref> {
    new_object(Handle(Callback::new(event_loop, callback, args.raw_from(first), context)?))
}

/// A handle that stands for callbacks no one can cancel.
pub(crate) fn spent() -> Result<Ref> {
    new_object(Handle(Callback::default()))
}

/// Make a handle for one call that has been made already, to show it to an exception handler.
pub(crate) fn for_report(event_loop: This<'_, Loop>, callback: &Obj, args: &[&Obj]) -> Result<Ref> {
    let args: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
    new_object(Handle(Callback::new(event_loop, callback, &args, None)?))
}

/// Make a timer handle, not yet scheduled.
pub(crate) fn new_timer(
    event_loop: This<'_, Loop>,
    when: f64,
    callback: &Obj,
    args: &[*mut pyo3::ffi::PyObject],
    context: Option<&Obj>,
) -> Result<Ref> {
    let core = Callback::new(event_loop, callback, args, context)?;
    new_object(TimerHandle { core, when, key: Cell::new(None) })
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
        run_observed(handle, &this.0);
    }
}

/// Run a native timer handle that has become due.
pub(crate) fn run_timer(handle: &Obj) {
    if let Some(this) = This::<TimerHandle>::of(handle) {
        this.key.set(None);
        run_observed(handle, &this.core);
    }
}

pub(super) fn run_observed(handle: &Obj, core: &Callback) {
    if core.cancelled.get() {
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
        && this.0.cancel(handle).is_err()
    {
        // The repr that debug mode keeps could not be made.
        write_unraisable(handle);
    }
}
