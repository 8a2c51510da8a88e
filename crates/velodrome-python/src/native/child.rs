//! `_core.Child`: a child process by its pidfd. When to look at it is `velodrome._processes`'s business.

use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use velodrome_engine::process;

use super::event_loop::Loop;
use crate::kit::methods::Method;
use crate::kit::object::{Obj, Ref, Result, long, none, raise_os_error, value_error};
use crate::kit::types::{Layout, Native, This, Visit, make_type as make_native, new_object};

pub(crate) fn make_type() -> Result<Ref> {
    make_native::<Child>(None)
}

/// A child process; none once closed.
pub(crate) struct Child(RefCell<Option<Rc<process::Child>>>);

impl This<'_, Child> {
    fn child(self) -> Result<Rc<process::Child>> {
        self.0.borrow().clone().ok_or_else(|| value_error("I/O operation on closed pidfd"))
    }
}

/// A number that a C int can hold; one that it cannot is no process and no signal.
fn c_int(object: &Obj) -> Result<i32> {
    Ok(i32::try_from(object.as_long()?).unwrap_or(-1))
}

/// `_open_child(pid)`, a method of the loop like all that makes native objects.
pub(super) fn open(_this: This<'_, Loop>, pid: &Obj) -> Result<Ref> {
    let child = process::Child::open(c_int(pid)?).map_err(|error| raise_os_error(&error))?;
    new_object(Child(RefCell::new(Some(Rc::new(child)))))
}

fn fileno(this: This<'_, Child>) -> Result<Ref> {
    long(i64::from(this.child()?.fd()))
}

fn send_signal(this: This<'_, Child>, signal: &Obj) -> Result<Ref> {
    let number = c_int(signal)?;
    this.child()?.send_signal(number).map_err(|error| raise_os_error(&error))?;
    Ok(none())
}

fn reap(this: This<'_, Child>) -> Result<Ref> {
    match this.child()?.reap().map_err(|error| raise_os_error(&error))? {
        Some(ending) => long(i64::from(ending.returncode())),
        None => Ok(none()),
    }
}

fn close(this: This<'_, Child>) -> Result<Ref> {
    drop(this.0.take());
    Ok(none())
}

impl Native for Child {
    const NAME: &'static CStr = c"velodrome._core.Child";
    const DOC: &'static CStr = c"A child process by its pidfd, which can mean no other process.";

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::noargs::<Self, _>(c"fileno", fileno, c"The pidfd: readable when the process has ended."),
            Method::one::<Self, _>(c"send_signal", send_signal, c"Send a signal to this process only."),
            Method::noargs::<Self, _>(c"reap", reap, c"The return code, or None if the process runs."),
            Method::noargs::<Self, _>(c"close", close, c"Close the pidfd."),
        ]
    }

    fn traverse(&self, _visit: &mut Visit) {}

    fn clear(&self) {}
}
