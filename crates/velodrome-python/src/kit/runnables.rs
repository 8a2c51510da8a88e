//! The kinds of Python callback that wait in the engine's ready queue, as vtables over its three words.
//!
//! A step of a C task needs no handle: `_asyncio` drops what `call_soon` returns, so the queue holds the task's private
//! step object, or its wake-up method and the future, beside the context; nobody can cancel those.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use velodrome_engine::ready::{Runnable, RunnableVTable, Visitor, Words};

use super::object::{Obj, Ref, Result};
use super::types::track;
use super::{calls, context};
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
static THREAD_SAFE: RunnableVTable = kind(run_thread_safe);
static TIMER: RunnableVTable = kind_of_handle(run_timer);
static FOREIGN: RunnableVTable = kind(run_foreign);
static STEP: RunnableVTable = kind(run_step);
static WAKEUP: RunnableVTable = kind(run_wakeup);

unsafe fn run_handle(words: Words) {
    // SAFETY: made by `handle` below, run once.
    if let Some(object) = unsafe { owned(words[0]) } {
        handle::run(&object);
        let_go(object);
    }
}

unsafe fn run_thread_safe(words: Words) {
    // SAFETY: made by `thread_safe` below, run once.
    if let Some(object) = unsafe { owned(words[0]) } {
        thread_safe_handle::run(&object);
    }
}

unsafe fn run_timer(words: Words) {
    // SAFETY: made by `timer` below, run once.
    if let Some(object) = unsafe { owned(words[0]) } {
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

/// Show the native handle in a runnable, if it is one, to the collector.
pub(crate) fn track_handle(runnable: &Runnable) {
    if let Some(words) = runnable.words_of(&HANDLE).or_else(|| runnable.words_of(&TIMER)) {
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
