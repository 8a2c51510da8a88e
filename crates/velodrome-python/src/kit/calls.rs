//! Calls during which the interpreter may end the thread.
//!
//! Before Python 3.14, a thread that wants the interpreter's lock after the interpreter is gone is ended by
//! `pthread_exit`, which unwinds its stack; to unwind Rust frames so is undefined, and ends the process with a signal.
//! Whatever of ours calls Python code goes through this file: the first Rust frame that the unwinding reaches stops it
//! by sleeping for good, as Python 3.14 does itself. Normal returns pay nothing but an indirect call.

use std::hint::black_box;
use std::mem;
use std::thread;

use pyo3::ffi::{self, PyObject, PySendResult, PyThreadState};

/// Dropped by an unwinding stack only.
struct Sleeper;

impl Drop for Sleeper {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

#[inline]
fn watched<R>(call: impl FnOnce() -> R) -> R {
    let sleeper = Sleeper;
    let result = call();
    mem::forget(sleeper);
    result
}

/// The C function `$function`, called as one that may unwind. The declarations of pyo3-ffi say that it does not, and from
/// a call that cannot unwind the compiler leaves the guard out; `black_box` hides from it which function it is.
macro_rules! unwinding {
    ($function:path, ($($argument:ident: $kind:ty),*) -> $result:ty) => {{
        let declared: unsafe extern "C" fn($($kind),*) -> $result = $function;
        // SAFETY: one calling convention; they differ in what the compiler may assume about unwinding.
        let function = mem::transmute::<
            unsafe extern "C" fn($($kind),*) -> $result,
            unsafe extern "C-unwind" fn($($kind),*) -> $result,
        >(black_box(declared));
        watched(|| function($($argument),*))
    }};
}

/// # Safety
/// As the C function.
#[inline]
pub(super) unsafe fn vectorcall(
    callable: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        unwinding!(ffi::PyObject_Vectorcall, (
            callable: *mut PyObject, args: *const *mut PyObject, count: usize, names: *mut PyObject
        ) -> *mut PyObject)
    }
}

/// # Safety
/// As the C function.
#[inline]
pub(super) unsafe fn vectorcall_method(
    name: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        unwinding!(ffi::PyObject_VectorcallMethod, (
            name: *mut PyObject, args: *const *mut PyObject, count: usize, names: *mut PyObject
        ) -> *mut PyObject)
    }
}

/// # Safety
/// As the C function.
#[inline]
pub(super) unsafe fn call(
    callable: *mut PyObject,
    args: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        unwinding!(ffi::PyObject_Call, (
            callable: *mut PyObject, args: *mut PyObject, keywords: *mut PyObject
        ) -> *mut PyObject)
    }
}

/// Call a type's own `tp_call`.
///
/// # Safety
/// As that function wants it.
#[inline]
pub(super) unsafe fn ternary(
    function: ffi::ternaryfunc,
    this: *mut PyObject,
    args: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller's promise.
    unsafe {
        unwinding!(function, (
            this: *mut PyObject, args: *mut PyObject, keywords: *mut PyObject
        ) -> *mut PyObject)
    }
}

/// Call a builtin function's own code.
///
/// # Safety
/// As that function wants it.
#[inline]
pub(super) unsafe fn builtin(
    function: ffi::PyCFunction,
    this: *mut PyObject,
    arg: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller's promise.
    unsafe { unwinding!(function, (this: *mut PyObject, arg: *mut PyObject) -> *mut PyObject) }
}

/// # Safety
/// As the C function.
#[inline]
pub(super) unsafe fn send(
    iterator: *mut PyObject,
    value: *mut PyObject,
    result: *mut *mut PyObject,
) -> PySendResult {
    // SAFETY: the caller's promise.
    unsafe {
        unwinding!(ffi::PyIter_Send, (
            iterator: *mut PyObject, value: *mut PyObject, result: *mut *mut PyObject
        ) -> PySendResult)
    }
}

/// # Safety
/// As the C function.
#[inline]
pub(super) unsafe fn restore_thread(state: *mut PyThreadState) {
    // SAFETY: the caller's promise.
    unsafe { unwinding!(ffi::PyEval_RestoreThread, (state: *mut PyThreadState) -> ()) }
}
