//! Native objects that stand for coroutines: awaited, sent to, thrown into, closed.
//!
//! `asyncio.iscoroutine` asks for `send`, `throw`, `close` and `__await__`, and then a task drives the object by
//! `am_send`, an `await` by `tp_iternext` (3.12 and later) or `am_send`. A coroutine that has its answer returns it
//! from the first of these: the task that awaits goes on without having been suspended.
//!
//! The life cycle is that of real coroutines, with their words for what may not be done, and their warning of one that
//! was never awaited.

use std::cell::Cell;
use std::ffi::CString;
use std::ptr;

use pyo3::ffi;

use super::calls;
use super::methods::{Args, GetSet, Method};
use super::names::Imported;
use super::object::{
    Obj, Raised, Ref, Result, boolean, clear_raised, none, raise_exception, raised, runtime_error, status,
    string, take_raised, type_error, value_error, with_raised_aside, write_unraisable,
};
use super::stopping::{stop_briefly, stop_with};
use super::types::{Native, This, guarded, make_type_with, slot};

/// What came of going on.
pub(crate) enum Step {
    /// Suspended: a future to wait for, or None to give way to others.
    Yield(Ref),
    /// Done.
    Return(Ref),
}

#[derive(Copy, Clone, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    New,
    Running,
    Suspended,
    Done,
}

/// Where a coroutine is in its life.
#[derive(Default)]
pub(crate) struct Life(Cell<Phase>);

impl Life {
    /// Whether it is yet to be awaited.
    fn begin(&self, sent: &Obj) -> Result<()> {
        match self.0.get() {
            Phase::New if !sent.is_none() => {
                Err(type_error("can't send non-None value to a just-started coroutine"))
            }
            Phase::New | Phase::Suspended => {
                self.0.set(Phase::Running);
                Ok(())
            }
            Phase::Running => Err(value_error("coroutine already executing")),
            Phase::Done => Err(runtime_error("cannot reuse already awaited coroutine")),
        }
    }
}

/// A native type that stands for a coroutine.
pub(crate) trait Coroutine: Native {
    /// The name of the coroutine function that it stands for, as `repr` of a task shows it.
    fn function(&self) -> &'static str;
    fn life(&self) -> &Life;
    /// Begin, or go on after what was yielded.
    fn step(this: This<'_, Self>) -> Result<Step>;
    /// Let go of everything: it ended, was closed, or an exception was thrown into it.
    fn let_go(&self);
    /// A coroutine of Python that does the work, once there is one: it catches what is thrown.
    fn delegate(&self) -> Option<Ref> {
        None
    }
}

fn settle<T: Coroutine>(this: This<'_, T>, step: Result<Step>) -> Result<Step> {
    if let Ok(Step::Yield(_)) = step {
        this.life().0.set(Phase::Suspended);
    } else {
        this.life().0.set(Phase::Done);
        // What is let go may call into Python: not while an exception is pending.
        with_raised_aside(|| this.let_go());
    }
    step
}

fn resume<T: Coroutine>(this: This<'_, T>, sent: &Obj) -> Result<Step> {
    this.life().begin(sent)?;
    settle(this, T::step(this))
}

fn answer(step: Step) -> Result<Ref> {
    match step {
        Step::Yield(value) => Ok(value),
        Step::Return(value) => Err(stop_with(&value)),
    }
}

unsafe extern "C" fn am_send<T: Coroutine>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: called by PyIter_Send with a live object of T's type and a live value.
    let (this, value) = unsafe { (This::<T>::unchecked(object), Obj::from_ptr(value)) };
    let (kind, value) = guarded((ffi::PySendResult::PYGEN_ERROR, ptr::null_mut()), || {
        Ok(match resume(this, value)? {
            Step::Yield(value) => (ffi::PySendResult::PYGEN_NEXT, value.into_ptr()),
            Step::Return(value) => (ffi::PySendResult::PYGEN_RETURN, value.into_ptr()),
        })
    });
    // SAFETY: PyIter_Send's caller gave a place for the result.
    unsafe { result.write(value) };
    kind
}

unsafe extern "C" fn tp_iternext<T: Coroutine>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a live object of T's type.
    let this = unsafe { This::<T>::unchecked(object) };
    guarded(ptr::null_mut(), || {
        Ok(match resume(this, &none())? {
            Step::Yield(value) => value.into_ptr(),
            // The end without a value needs no exception: that is how iterators say None.
            Step::Return(value) if value.is_none() => ptr::null_mut(),
            Step::Return(value) => return Err(stop_briefly(&value)),
        })
    })
}

unsafe extern "C" fn am_await<T: Coroutine>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a live object of T's type.
    let this = unsafe { This::<T>::unchecked(object) };
    guarded(ptr::null_mut(), || match this.life().0.get() {
        Phase::Suspended => Err(runtime_error("coroutine is being awaited already")),
        _ => Ok(this.object().to_ref().into_ptr()),
    })
}

unsafe extern "C" fn tp_iter(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a live object, which is its own iterator.
    unsafe { Obj::from_ptr(object) }.to_ref().into_ptr()
}

fn send<T: Coroutine>(this: This<'_, T>, value: &Obj) -> Result<Ref> {
    answer(resume(this, value)?)
}

/// The exception that `throw(type[, value[, traceback]])` is about.
fn thrown(args: Args<'_>) -> Result<Ref> {
    let kind = args.required(0, "throw", "value")?;
    let ptr = kind.as_ptr();
    // SAFETY: alive; attached; both look only at the type, and SetObject takes its own counts.
    unsafe {
        if ffi::PyExceptionInstance_Check(ptr) != 0 {
            return Ok(kind.to_ref());
        }
        if ffi::PyExceptionClass_Check(ptr) == 0 {
            let name = kind.type_name();
            let text = "exceptions must be classes or instances deriving from BaseException, not ";
            return Err(type_error(&format!("{text}{name}")));
        }
        ffi::PyErr_SetObject(ptr, args.get(1).map_or_else(ptr::null_mut, Obj::as_ptr));
    }
    let exception = take_raised().ok_or(Raised)?;
    if let Some(traceback) = args.get(2).filter(|traceback| !traceback.is_none()) {
        // SAFETY: both are alive; anything but a traceback raises.
        status(unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) })?;
    }
    Ok(exception)
}

fn throw<T: Coroutine>(this: This<'_, T>, args: Args<'_>) -> Result<Ref> {
    let exception = thrown(args)?;
    this.life().begin(&none())?;
    let step = match this.delegate() {
        Some(inner) => throw_into(&inner, &exception),
        None => Err(raise_exception(&exception)),
    };
    answer(settle(this, step)?)
}

fn throw_into(inner: &Obj, exception: &Obj) -> Result<Step> {
    static THROW: super::names::Name = super::names::Name::new("throw");
    match inner.call_method(THROW.get()?, [exception]) {
        Ok(value) => Ok(Step::Yield(value)),
        Err(Raised) => stopped().map(Step::Return),
    }
}

/// The value of a pending StopIteration.
fn stopped() -> Result<Ref> {
    static VALUE: super::names::Name = super::names::Name::new("value");
    // SAFETY: attached, and an exception is pending.
    if unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) } == 0 {
        return Err(Raised);
    }
    take_raised().ok_or(Raised)?.getattr(VALUE.get()?)
}

fn close<T: Coroutine>(this: This<'_, T>) -> Result<Ref> {
    static CLOSE: super::names::Name = super::names::Name::new("close");
    if this.life().0.get() == Phase::Running {
        return Err(value_error("coroutine already executing"));
    }
    let closed = match this.delegate() {
        Some(inner) => inner.call_method(CLOSE.get()?, []),
        None => Ok(none()),
    };
    this.life().0.set(Phase::Done);
    this.let_go();
    closed
}

/// A coroutine goes, for [`Native::ends`]: if nobody has awaited it or closed it, that was forgotten.
#[inline]
pub(crate) fn end<T: Coroutine>(coroutine: &T) {
    if coroutine.life().0.get() == Phase::New {
        with_raised_aside(|| warn_of_unawaited(coroutine.function()));
    }
}

#[cold]
#[inline(never)]
fn warn_of_unawaited(function: &str) {
    let text = format!("coroutine '{function}' was never awaited");
    let warned = CString::new(text).is_ok_and(|text| {
        // SAFETY: attached, with no exception pending; the text ends with a zero.
        unsafe { ffi::PyErr_WarnEx(ffi::PyExc_RuntimeWarning, text.as_ptr(), 1) == 0 }
    });
    if !warned && raised() {
        write_unraisable(&none());
    }
}

/// The methods that make a coroutine, for [`Native::methods`].
pub(crate) fn methods<T: Coroutine>() -> Vec<Method> {
    vec![
        Method::one::<T, _>(
            c"send",
            send::<T>,
            c"Go on until the next suspension; StopIteration at the end.",
        ),
        Method::fast::<T, _>(c"throw", throw::<T>, c"Raise an exception where it is suspended."),
        Method::noargs::<T, _>(c"close", close::<T>, c"End it where it is suspended."),
    ]
}

/// What tools show and ask, for [`Native::getset`]. `__class__` is what `inspect.iscoroutine` goes by, which frameworks ask
/// before they await something (anyio's task groups do); there is neither frame nor code,
/// so `inspect.getcoroutinestate` takes one that was not begun for closed.
pub(crate) fn getset<T: Coroutine>() -> Vec<GetSet> {
    static CLASS: Imported = Imported::new("types", "CoroutineType");
    vec![
        GetSet::get::<T, _>(c"__class__", |_| CLASS.get().map(Obj::to_ref)),
        GetSet::get::<T, _>(c"cr_running", |this| Ok(boolean(this.life().0.get() == Phase::Running))),
        GetSet::get::<T, _>(c"cr_suspended", |this| Ok(boolean(this.life().0.get() == Phase::Suspended))),
        GetSet::get::<T, _>(c"cr_await", |this| Ok(this.delegate().unwrap_or_else(none))),
        GetSet::get::<T, _>(c"cr_frame", |_| Ok(none())),
        GetSet::get::<T, _>(c"cr_code", |_| Ok(none())),
        GetSet::get::<T, _>(c"cr_origin", |_| Ok(none())),
        GetSet::get::<T, _>(c"__name__", |this| {
            string(this.function().rsplit('.').next().unwrap_or_default())
        }),
        GetSet::get::<T, _>(c"__qualname__", |this| string(this.function())),
    ]
}

/// Make the type.
pub(crate) fn make_coroutine_type<T: Coroutine>() -> Result<Ref> {
    make_type_with::<T>(
        None,
        vec![
            slot(ffi::Py_am_await, am_await::<T> as *mut std::ffi::c_void),
            slot(ffi::Py_am_send, am_send::<T> as *mut std::ffi::c_void),
            slot(ffi::Py_tp_iter, tp_iter as *mut std::ffi::c_void),
            slot(ffi::Py_tp_iternext, tp_iternext::<T> as *mut std::ffi::c_void),
        ],
    )
}

/// The iterator of an awaitable: what `await` gets.
pub(crate) fn iterator(awaitable: &Obj) -> Result<Ref> {
    // SAFETY: alive; attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyObject_GetIter(awaitable.as_ptr())) }
}

/// Go on with an iterator or coroutine.
pub(crate) fn advance(iterator: &Obj) -> Result<Step> {
    let mut result = ptr::null_mut();
    // SAFETY: alive; attached; the result is owned by us unless it is NULL.
    unsafe {
        match calls::send(iterator.as_ptr(), ffi::Py_None(), &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Ref::from_owned(result).map(Step::Yield),
            ffi::PySendResult::PYGEN_RETURN => Ref::from_owned(result).map(Step::Return),
            ffi::PySendResult::PYGEN_ERROR => Err(Raised),
        }
    }
}

/// Whether the pending exception says that a non-blocking call would have had to wait; it is cleared then.
pub(crate) fn would_block() -> bool {
    debug_assert!(raised());
    // SAFETY: attached, and an exception is pending; exception types live for ever.
    let blocked = unsafe {
        ffi::PyErr_ExceptionMatches(ffi::PyExc_BlockingIOError) != 0
            || ffi::PyErr_ExceptionMatches(ffi::PyExc_InterruptedError) != 0
    };
    if blocked {
        clear_raised();
    }
    blocked
}
