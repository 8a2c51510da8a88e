//! The kinds of Python callback that wait in the engine's ready queue, as vtables over its three words.
//!
//! A step of a C task needs no handle: `_asyncio` drops what `call_soon` returns, so the queue holds the task's private
//! step object, or its wake-up method and the future, beside the context; nobody can cancel those.

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use velodrome_engine::ready::{Runnable, RunnableVTable, Visitor, Words};

use super::freeing::is_unreachable_but_for_one;
use super::object::{Obj, Ref, Result};
use super::types::{This, track};
use super::{calls, context};
use crate::native::contexts::Copied;
use crate::native::event_loop::Loop;
use crate::native::folded::{self, Folded, Kind};
use crate::native::{dispatch, fairness, handle, thread_safe_handle};

fn word(reference: Ref) -> *mut () {
    reference.into_ptr().cast()
}

/// Take an owned reference out of a word.
unsafe fn owned(word: *mut ()) -> Option<Ref> {
    // SAFETY: the caller owns the word's count; NULL is None.
    if word.is_null() { None } else { unsafe { Ref::from_owned(word.cast()).ok() } }
}

unsafe fn drop_words(words: Words) {
    for word in words {
        // SAFETY: every word of these kinds is an owned reference or NULL.
        drop(unsafe { owned(word) });
    }
}

unsafe fn visit_words(words: Words, visitor: Visitor<'_>) {
    words.into_iter().filter(|word| !word.is_null()).for_each(visitor);
}

/// A handle leaves the loop. If somebody else has it, it may be part of a cycle from now on; see `handle`.
fn let_go(handle: Ref) {
    if handle.count() > 1 {
        track(&handle);
    }
}

unsafe fn drop_handle(words: Words) {
    // SAFETY: made by `handle` or `timer` below, dropped once.
    if let Some(object) = unsafe { owned(words[0]) } {
        let_go(object);
    }
}

const fn kind(run: unsafe fn(Words)) -> RunnableVTable {
    RunnableVTable { run, drop: drop_words, visit: visit_words }
}

const fn kind_of_handle(run: unsafe fn(Words)) -> RunnableVTable {
    RunnableVTable { run, drop: drop_handle, visit: visit_words }
}

static HANDLE: RunnableVTable = kind_of_handle(run_handle);
static THREAD_SAFE: RunnableVTable = kind_of_handle(run_thread_safe);
static TIMER: RunnableVTable = kind_of_handle(run_timer);
static FOREIGN: RunnableVTable = kind(run_foreign);
static STEP: RunnableVTable = kind(run_step);
static WAKEUP: RunnableVTable = kind(run_wakeup);

/// The handle of a runnable that runs, if it has not been run here already, because nobody else can reach it.
#[inline]
unsafe fn reachable(words: Words, kind: Kind) -> Option<Ref> {
    // SAFETY: the caller gives the words away.
    let object = unsafe { owned(words[0])? };
    // SAFETY: see `calling`; the caller has run nothing yet.
    match unsafe { calling() }.filter(|_| is_unreachable_but_for_one(&object)) {
        Some(event_loop) => folded::run_unreachable(event_loop, object, kind),
        None => Some(object),
    }
}

unsafe fn run_handle(words: Words) {
    // SAFETY: made by `handle` below, run once.
    if let Some(object) = unsafe { reachable(words, Kind::Soon) } {
        handle::run(&object);
        let_go(object);
    }
}

unsafe fn run_thread_safe(words: Words) {
    // SAFETY: made by `thread_safe` below, run once.
    if let Some(object) = unsafe { reachable(words, Kind::ThreadSafe) } {
        thread_safe_handle::run(&object);
        let_go(object);
    }
}

unsafe fn run_timer(words: Words) {
    // SAFETY: made by `timer` below, run once.
    if let Some(object) = unsafe { reachable(words, Kind::Timer { when: 0.0 }) } {
        handle::run_timer(&object);
        let_go(object);
    }
}

unsafe fn run_foreign(words: Words) {
    // SAFETY: made by `foreign` below, run once.
    if let Some(object) = unsafe { owned(words[0]) } {
        dispatch::run_foreign(&object);
    }
}

unsafe fn run_step(words: Words) {
    // SAFETY: made by `step` below, run once.
    let [Some(step), None, Some(context)] = (unsafe { words.map(|word| owned(word)) }) else { return };
    // SAFETY: a step object has tp_call and takes no arguments; the empty tuple is valid.
    let call = || unsafe {
        let Some(call) = (*step.type_ptr()).tp_call else { return step.call(&[]) };
        Ref::from_owned(calls::ternary(call, step.as_ptr(), empty_tuple(), ptr::null_mut()))
    };
    fairness::step_begins();
    settle(context::within(&context, call), &step);
}

unsafe fn run_wakeup(words: Words) {
    // SAFETY: made by `wakeup` below, run once.
    let [Some(method), Some(future), Some(context)] = (unsafe { words.map(|word| owned(word)) }) else {
        return;
    };
    // SAFETY: `wakeup` takes only exact builtin methods of one argument (METH_O).
    let call = || unsafe {
        let Some(function) = ffi::PyCFunction_GetFunction(method.as_ptr()) else { return method.call(&[]) };
        let this = ffi::PyCFunction_GetSelf(method.as_ptr());
        Ref::from_owned(calls::builtin(function, this, future.as_ptr()))
    };
    fairness::step_begins();
    settle(context::within(&context, call), &method);
}

fn settle(result: Result<Ref>, callback: &Obj) {
    if result.is_err() {
        dispatch::step_failed(callback);
    }
}

/// The empty tuple is a singleton, kept for ever from the first use on.
fn empty_tuple() -> *mut ffi::PyObject {
    static EMPTY: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());
    let known = EMPTY.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: attached.
    let made = unsafe { ffi::PyTuple_New(0) };
    EMPTY.store(made, Ordering::Relaxed);
    made
}

/// A native `Handle` that is due.
pub(crate) fn handle(object: Ref) -> Runnable {
    // SAFETY: one owned reference, as the vtable expects.
    unsafe { Runnable::from_raw(&HANDLE, [word(object), ptr::null_mut(), ptr::null_mut()]) }
}

/// A native `ThreadSafeHandle` that is due.
pub(crate) fn thread_safe(object: Ref) -> Runnable {
    // SAFETY: one owned reference, as the vtable expects.
    unsafe { Runnable::from_raw(&THREAD_SAFE, [word(object), ptr::null_mut(), ptr::null_mut()]) }
}

/// A native `TimerHandle` that waits for its time, or is due.
pub(crate) fn timer(object: Ref) -> Runnable {
    // SAFETY: one owned reference, as the vtable expects.
    unsafe { Runnable::from_raw(&TIMER, [word(object), ptr::null_mut(), ptr::null_mut()]) }
}

/// A handle of asyncio's own type, which the standard library makes for signals.
pub(crate) fn foreign(object: Ref) -> Runnable {
    // SAFETY: one owned reference, as the vtable expects.
    unsafe { Runnable::from_raw(&FOREIGN, [word(object), ptr::null_mut(), ptr::null_mut()]) }
}

/// A step of a C task.
pub(crate) fn step(step: Ref, context: Ref) -> Runnable {
    // SAFETY: owned references, as the vtable expects.
    unsafe { Runnable::from_raw(&STEP, [word(step), ptr::null_mut(), word(context)]) }
}

/// A wake-up of a C task by a future.
pub(crate) fn wakeup(method: Ref, future: Ref, context: Ref) -> Runnable {
    // SAFETY: owned references, as the vtable expects.
    unsafe { Runnable::from_raw(&WAKEUP, [word(method), word(future), word(context)]) }
}

/// The loop whose callback begins. What is folded finds its loop here, which no word has room for; first of all, because
/// what it calls may run another loop, or let one of another thread go on.
static CALLING: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// The loop whose callback begins.
///
/// # Safety
/// Only for a runnable that runs, before anything else: then a turn has just said who it is (`native/running.rs`),
/// attached ever since, and keeps it alive until the runnable has returned.
unsafe fn calling<'a>() -> Option<This<'a, Loop>> {
    // SAFETY: the caller's promise.
    Loop::of(unsafe { Obj::from_ptr(CALLING.load(Ordering::Relaxed)) })
}

/// The next callback that runs is of this loop.
#[inline]
pub(crate) fn calls_back(event_loop: &Obj) {
    CALLING.store(event_loop.as_ptr(), Ordering::Relaxed);
}

/// How many kinds of handle can be folded.
pub(crate) const KINDS: usize = 3;

/// As their [`index`] says.
static HANDLES: [&RunnableVTable; KINDS] = [&HANDLE, &THREAD_SAFE, &TIMER];

/// What is left of handles, see [`folded`](crate::native::folded): callback, argument, context, or callback, time,
/// context. Each with a context of its own, then with a snapshot.
static FOLDED: [[RunnableVTable; 2]; KINDS] = [
    [kind(run_folded::<0, false>), kind(run_folded::<0, true>)],
    [kind(run_folded::<1, false>), kind(run_folded::<1, true>)],
    [kind_of_timer(run_folded::<2, false>), kind_of_timer(run_folded::<2, true>)],
];

const fn kind_of_timer(run: unsafe fn(Words)) -> RunnableVTable {
    RunnableVTable { run, drop: drop_timer, visit: visit_timer }
}

unsafe fn drop_timer([callback, _, context]: Words) {
    // SAFETY: the word in between is a time; the others as in drop_words.
    unsafe { drop_words([callback, ptr::null_mut(), context]) }
}

unsafe fn visit_timer([callback, _, context]: Words, visitor: Visitor<'_>) {
    // SAFETY: as in drop_timer.
    unsafe { visit_words([callback, ptr::null_mut(), context], visitor) }
}

unsafe fn run_folded<const KIND: usize, const SNAPSHOT: bool>(words: Words) {
    // SAFETY: words made by `fold`, run once; `calling` is asked first of all.
    if let (Some(event_loop), Some(folded)) = unsafe { (calling(), folded_from(words, KIND, SNAPSHOT)) } {
        folded.run(event_loop);
    }
}

/// Words of a [`FOLDED`] kind, with what they own.
#[inline]
unsafe fn folded_from([callback, middle, context]: Words, kind: usize, snapshot: bool) -> Option<Folded> {
    let (kind, arg) = match kind {
        0 => (Kind::Soon, middle),
        1 => (Kind::ThreadSafe, middle),
        _ => (Kind::Timer { when: f64::from_bits(middle as u64) }, ptr::null_mut()),
    };
    // SAFETY: the caller gives away what `fold` put there.
    let (callback, arg, context) = unsafe { (owned(callback)?, owned(arg), owned(context)?) };
    let context = if snapshot { Copied::Snapshot(context) } else { Copied::Own(context) };
    Some(Folded { kind, callback, args: [arg, None], context })
}

/// Fold the handle in a runnable, if it is of this kind and nobody else can reach it: it comes back blank.
#[inline]
pub(crate) fn fold(runnable: &mut Runnable, event_loop: &Obj, kind: Kind) -> Option<Ref> {
    let [object, ..] = runnable.words_of(HANDLES[index(kind)])?;
    // SAFETY: the runnable owns the reference in word 0 of these kinds.
    let object = unsafe { Obj::from_ptr(object.cast()) };
    if !is_unreachable_but_for_one(object) {
        return None;
    }
    let room = ROOM[index(kind)];
    let Folded { kind, callback, args: [arg, _], context } =
        folded::take_apart(object, event_loop, kind, room?)?;
    let (snapshot, context) = match context {
        Copied::Own(context) => (false, context),
        Copied::Snapshot(context) => (true, context),
    };
    let middle = match kind {
        Kind::Timer { when } => when.to_bits() as usize as *mut (),
        _ => arg.map_or(ptr::null_mut(), word),
    };
    let vtable = &FOLDED[index(kind)][usize::from(snapshot)];
    // SAFETY: owned references, and a time, where the vtable expects them.
    let folded = unsafe { Runnable::from_raw(vtable, [word(callback), middle, word(context)]) };
    let [handle, ..] = mem::replace(runnable, folded).into_words();
    // SAFETY: the reference that the handle's runnable owned.
    unsafe { owned(handle) }
}

/// Which kind of handle has been folded, and whether its context is a snapshot.
fn find_folded(runnable: &Runnable) -> Option<(usize, bool)> {
    let kinds = (0..KINDS).flat_map(|kind| [(kind, false), (kind, true)]);
    let mut found =
        kinds.filter(|&(kind, snapshot)| runnable.words_of(&FOLDED[kind][usize::from(snapshot)]).is_some());
    found.next()
}

/// Where in the tables the kind of a folded handle stands.
pub(crate) fn index_of_folded(runnable: &Runnable) -> Option<usize> {
    find_folded(runnable).map(|(kind, _)| kind)
}

/// Put a blank handle in the place of what is left of one of its kind, which is then to be put into it.
pub(crate) fn unfold(runnable: &mut Runnable, blank: Ref) -> Option<Folded> {
    let (kind, snapshot) = find_folded(runnable)?;
    // SAFETY: one owned reference, as these vtables expect.
    let handle =
        unsafe { Runnable::from_raw(HANDLES[kind], [word(blank), ptr::null_mut(), ptr::null_mut()]) };
    let words = mem::replace(runnable, handle).into_words();
    // SAFETY: of the kind that was found.
    unsafe { folded_from(words, kind, snapshot) }
}

/// For how many arguments there is room besides callback and context, and a timer's time; None if not even for that.
const ROOM: [Option<usize>; KINDS] =
    [Some(1), Some(1), if size_of::<usize>() == size_of::<f64>() { Some(0) } else { None }];

/// Where a kind of handle stands in the tables.
pub(crate) fn index(kind: Kind) -> usize {
    match kind {
        Kind::Soon => 0,
        Kind::ThreadSafe => 1,
        Kind::Timer { .. } => 2,
    }
}

/// Show the native handle in a runnable, if it is one, to the collector.
pub(crate) fn track_handle(runnable: &Runnable) {
    if let Some(words) = HANDLES.into_iter().find_map(|kind| runnable.words_of(kind)) {
        // SAFETY: the runnable owns the reference in word 0 of these kinds.
        track(unsafe { Obj::from_ptr(words[0].cast()) });
    }
}

/// The native handle in a runnable, if it is one.
pub(crate) fn handle_of(runnable: &Runnable) -> Option<Ref> {
    let kinds = [&HANDLE, &THREAD_SAFE, &TIMER, &FOREIGN];
    let words = kinds.into_iter().find_map(|kind| runnable.words_of(kind))?;
    // SAFETY: the runnable owns the reference in word 0 of these kinds.
    Some(unsafe { Obj::from_ptr(words[0].cast()) }.to_ref())
}

/// The C function of an exact builtin method that takes one argument, to tell wake-ups from anything else.
pub(crate) fn builtin_function(object: &Obj) -> Option<usize> {
    // SAFETY: alive; looks at the type before the fields.
    unsafe {
        if ffi::PyCFunction_CheckExact(object.as_ptr()) == 0
            || ffi::PyCFunction_GetFlags(object.as_ptr()) != ffi::METH_O
        {
            return None;
        }
        ffi::PyCFunction_GetFunction(object.as_ptr()).map(|function| function as usize)
    }
}
