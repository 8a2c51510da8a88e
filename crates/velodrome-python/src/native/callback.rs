//! A callback as the three kinds of handle keep it: what it is called with, what has become of it, how it is run, and
//! the attributes under which asyncio's handles show it. Up to two arguments are held inline.

use std::cell::Cell;

use super::contexts::Copied;
use super::dispatch;
use super::event_loop::Loop;
use super::folded::{Folded, Kind};
use crate::kit::context;
use crate::kit::methods::GetSet;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Ref, Result, Slot, boolean, none, raw_slots, runtime_error, tuple};
use crate::kit::types::{Native, This, Visit};

static EXTRACT_STACK: Imported = Imported::new("asyncio.format_helpers", "extract_stack");
static RUN: Name = Name::new("run");
static REPR: Imported = Imported::new("builtins", "repr");

/// Arguments kept in the handle itself: nearly all callbacks have none, one or two. More are kept in a tuple.
pub(super) const INLINE: usize = 2;
/// What both kinds of handle refer to. As many slots as `asyncio.Handle` has, because they lie over those.
#[derive(Default)]
#[repr(C)]
pub(super) struct Callback {
    pub(super) event_loop: Slot,
    callback: Slot,
    /// The first `count` are full; with more than INLINE arguments the first is a tuple of all.
    args: [Slot; INLINE],
    context: Slot,
    source_traceback: Slot,
    repr: Slot,
}

pub(super) const SLOTS: usize = size_of::<Callback>() / size_of::<Slot>();

/// What is no reference.
#[derive(Default)]
pub(super) struct State {
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
        let (this, state) = (Self::blank(event_loop), State::default());
        this.fill(&state, event_loop, callback, args, given)?;
        Ok((this, state))
    }

    #[inline(always)]
    pub(super) fn blank(event_loop: This<'_, Loop>) -> Self {
        Self { event_loop: Slot::new(event_loop.object().to_ref()), ..Self::default() }
    }

    /// For a blank one, as [`Self::new`].
    #[inline(always)]
    pub(super) fn fill(
        &self,
        state: &State,
        event_loop: This<'_, Loop>,
        callback: &Obj,
        args: &[*mut pyo3::ffi::PyObject],
        given: Option<&Obj>,
    ) -> Result<()> {
        let copied = match given.filter(|context| !context.is_none()) {
            Some(context) => Copied::Own(context.to_ref()),
            None => event_loop.contexts.copy_current()?,
        };
        self.set_context(state, copied);
        self.callback.set(callback.to_ref());
        state.count.set(self.keep(args)?);
        if event_loop.debug() {
            self.source_traceback.set(EXTRACT_STACK.get()?.call(&[])?);
        }
        Ok(())
    }

    #[inline]
    fn set_context(&self, state: &State, copied: Copied) {
        state.snapshot.set(matches!(copied, Copied::Snapshot(_)));
        let (Copied::Own(context) | Copied::Snapshot(context)) = copied;
        self.context.set(context);
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
pub(super) struct Core<'a> {
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

    /// What [`super::folded`] keeps; the handle is blank then. None if anything has happened to it, or it has more
    /// arguments than there is room for.
    #[inline]
    pub(super) fn take_apart(self, event_loop: &Obj, kind: Kind, room: usize) -> Option<Folded> {
        let Self { callback: Callback { callback, args, context, .. }, state } = self;
        let count = usize::from(state.count.get());
        if count > room {
            return None;
        }
        let as_made = !state.cancelled.get()
            && !state.running.get()
            && self.callback.event_loop.as_ptr() == event_loop.as_ptr()
            && self.callback.source_traceback.is_empty()
            && self.callback.repr.is_empty();
        // Neither less nor more than was put there, see `inline_args`.
        let full = !callback.is_empty()
            && args.iter().zip(0..).all(|(arg, place)| arg.is_empty() == (place >= count))
            && !context.is_empty()
            && (state.snapshot.get() || context.get().is_some_and(|context| context::is_context(&context)));
        if !(as_made && full) {
            return None;
        }
        state.count.set(0);
        let (callback, context) = (callback.take()?, context.take()?);
        let is_snapshot = state.snapshot.replace(false);
        let context = if is_snapshot { Copied::Snapshot(context) } else { Copied::Own(context) };
        Some(Folded { kind, callback, args: [args[0].take(), args[1].take()], context })
    }

    /// The opposite, for a blank one.
    pub(super) fn put_back(self, folded: Folded) {
        self.state.count.set(folded.count() as u8);
        self.callback.callback.set(folded.callback);
        for (slot, arg) in self.callback.args.iter().zip(folded.args) {
            drop(slot.replace(arg));
        }
        self.callback.set_context(self.state, folded.context);
    }

    /// The callback as attribute: None once cancelled, even while it still runs.
    fn visible_callback(self) -> Ref {
        if self.state.hidden.get() { none() } else { self.callback.callback.get_or_none() }
    }
}

/// A native type that has a [`Callback`].
pub(super) trait HasCallback: Native {
    fn core(&self) -> Core<'_>;
}

pub(super) fn cancelled<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
    Ok(boolean(this.core().state.cancelled.get()))
}

pub(super) fn run_method<T: HasCallback>(this: This<'_, T>) -> Result<Ref> {
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
