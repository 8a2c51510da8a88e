//! Callbacks whose handle nobody has kept, and those are nearly all.
//!
//! `call_soon` has to return a handle, which its caller drops as a rule. Then only the queue has it, and nobody can
//! cancel it, or look at it, ever again. So when the next handle is made, the last one is *folded*: its callback,
//! argument and context move into the queue's entry, which has just the room, and the object is filled anew. 100,000
//! callbacks that wait have one handle between them. One that is due before that is folded as it runs. Who asks all the
//! same (`loop._ready`, an exception handler, debug mode) is shown a handle that is made for it then.
//!
//! While handles are folded no foreign code runs, so nobody can come to have one meanwhile.

use velodrome_engine::event_loop::EventLoop;
use velodrome_engine::ready::Runnable;
use velodrome_engine::timers::TimerKey;

use super::callback::INLINE;
use super::contexts::Copied;
use super::event_loop::Loop;
use super::{dispatch, handle, thread_safe_handle};
use crate::kit::context;
use crate::kit::object::{Obj, Ref, Result};
use crate::kit::runnables;
use crate::kit::types::{This, track};

/// What a handle was made for.
#[derive(Copy, Clone)]
pub(crate) enum Kind {
    Soon,
    ThreadSafe,
    Timer { when: f64 },
}

/// What is left of a handle.
pub(crate) struct Folded {
    pub(crate) kind: Kind,
    pub(crate) callback: Ref,
    pub(crate) args: [Option<Ref>; INLINE],
    /// A real one, not something that merely has a `run`.
    pub(crate) context: Copied,
}

impl Folded {
    /// Of arguments; the first are there.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.args.iter().flatten().count()
    }

    /// Call it, in place of the handle.
    #[inline]
    pub(crate) fn run(self, event_loop: This<'_, Loop>) {
        if dispatch::debugging() {
            return self.run_as_handle(event_loop);
        }
        let args =
            self.args.each_ref().map(|arg| arg.as_ref().map_or(std::ptr::null_mut(), |arg| arg.as_ptr()));
        let args = &args[..self.count()];
        let context = match self.context {
            Copied::Own(context) => Ok(context),
            Copied::Snapshot(snapshot) => event_loop.contexts.to_run_in(snapshot),
        };
        let Ok(context) = context else {
            let args: Vec<_> = self.args.iter().flatten().map(|arg| &**arg).collect();
            return dispatch::call_failed(event_loop, &self.callback, &args);
        };
        if context::within(&context, || self.callback.call_raw(args)).is_err() {
            let this = Self { context: Copied::Own(context), ..self };
            dispatch::failed_without_handle(|| this.unfold(event_loop));
        }
    }

    #[cold]
    fn run_as_handle(self, event_loop: This<'_, Loop>) {
        let kind = self.kind;
        let Ok(handle) = self.unfold(event_loop) else { return dispatch::leave() };
        match kind {
            Kind::Soon => handle::run(&handle),
            Kind::ThreadSafe => thread_safe_handle::run(&handle),
            Kind::Timer { .. } => handle::run_timer(&handle),
        }
    }

    /// The handle again, for somebody else than the queue.
    fn unfold(self, event_loop: This<'_, Loop>) -> Result<Ref> {
        let made = blank(event_loop, runnables::index(self.kind))?;
        handle::put_back(&made, self, None);
        track(&made);
        Ok(made)
    }
}

/// A handle for nothing yet, of the kind that has this [index](runnables::index).
fn blank(event_loop: This<'_, Loop>, kind: usize) -> Result<Ref> {
    [handle::blank, thread_safe_handle::blank, handle::blank_timer][kind](event_loop)
}

/// A handle to be filled anew: the last one that ran, or was queued, if nobody else has it.
#[inline]
pub(super) fn blank_for_queue(event_loop: This<'_, Loop>, engine: &EventLoop, kind: Kind) -> Option<Ref> {
    if !event_loop.holds_untracked() {
        return None;
    }
    if let Some(blank) = event_loop.blanks[runnables::index(kind)].take() {
        return Some(blank);
    }
    engine.hub().ready.with_last(|last| runnables::fold(last, event_loop.object(), kind))?
}

/// The same for a timer.
#[inline]
pub(super) fn blank_for_timers(event_loop: This<'_, Loop>, engine: &EventLoop) -> Option<Ref> {
    if !event_loop.holds_untracked() {
        return None;
    }
    let kind = Kind::Timer { when: 0.0 };
    if let Some(blank) = event_loop.blanks[runnables::index(kind)].take() {
        return Some(blank);
    }
    let key = event_loop.last_timer.get()?;
    engine.hub().with_timer(key, |timer| runnables::fold(timer, event_loop.object(), kind))?
}

/// Run a handle that is due and that nobody else can reach, so that it can be used for the next one meanwhile. One that
/// is to run as a handle comes back.
#[inline]
pub(crate) fn run_unreachable(event_loop: This<'_, Loop>, handle: Ref, kind: Kind) -> Option<Ref> {
    if !event_loop.holds_untracked() {
        return Some(handle);
    }
    let Some(folded) = take_apart(&handle, event_loop.object(), kind, INLINE) else { return Some(handle) };
    event_loop.blanks[runnables::index(kind)].set(handle);
    folded.run(event_loop);
    None
}

/// Handles for all that waits: for who wants to see them.
pub(super) fn unfold_all(event_loop: This<'_, Loop>, engine: &EventLoop) -> Result<()> {
    let mut blanks = Blanks::default();
    loop {
        engine.hub().ready.for_each_mut(|runnable| blanks.unfold(runnable, None));
        engine.hub().for_each_timer_mut(|key, timer| blanks.unfold(timer, Some(key)));
        if blanks.missing.is_empty() {
            return Ok(());
        }
        // Out here, because to make an object may run foreign code. If that schedules something, another round is due.
        for kind in std::mem::take(&mut blanks.missing) {
            blanks.made[kind].push(blank(event_loop, kind)?);
        }
    }
}

#[derive(Default)]
struct Blanks {
    made: [Vec<Ref>; runnables::KINDS],
    missing: Vec<usize>,
}

impl Blanks {
    fn unfold(&mut self, runnable: &mut Runnable, key: Option<TimerKey>) {
        let Some(kind) = runnables::index_of_folded(runnable) else { return };
        let Some(blank) = self.made[kind].pop() else { return self.missing.push(kind) };
        if let Some(folded) = runnables::unfold(runnable, blank.clone()) {
            handle::put_back(&blank, folded, key);
        }
    }
}

/// What of a handle is to be kept, if it is as it was made, and there is room for its arguments.
#[inline]
pub(crate) fn take_apart(object: &Obj, event_loop: &Obj, kind: Kind, room: usize) -> Option<Folded> {
    match kind {
        Kind::Soon => handle::take_apart(object, event_loop, room),
        Kind::ThreadSafe => thread_safe_handle::take_apart(object, event_loop, room),
        Kind::Timer { .. } => handle::take_timer_apart(object, event_loop, room),
    }
}
