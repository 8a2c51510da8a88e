//! `add_reader` and `add_writer`: level-triggered watching of descriptors that belong to the user.
//!
//! The user may close a descriptor the moment it is removed here, or without removing it at all; so every change goes
//! to the kernel at once, and one that fails is an OSError there and then.

use std::os::fd::RawFd;
use std::rc::Rc;

use velodrome_engine::driver::Interest;
use velodrome_engine::event_loop::EventLoop;

use super::event_loop::Loop;
use super::handle;
use super::watches::Entry;
use crate::kit::methods::{Args, Method};
use crate::kit::names::Name;
use crate::kit::object::{
    Obj, Raised, Ref, Result, boolean, clear_raised, long, none, overflow_error, raise_os_error, raised,
    text, value_error,
};
use crate::kit::types::This;

static CONTEXT: Name = Name::new("context");
static FILENO: Name = Name::new("fileno");

/// Watch one side of `fd` with `callback`, which replaces (and cancels) the one before.
fn add(this: This<'_, Loop>, args: Args<'_>, side: Interest) -> Result<Ref> {
    let file = args.required(0, "add_reader", "fd")?;
    let fd = if file.is_bool() { file.as_descriptor()? } else { descriptor(file)? };
    let callback = args.required(1, "add_reader", "callback")?;
    let context = args.only_keyword("add_reader", CONTEXT.get()?, &[])?;
    let engine = this.engine_shared()?;
    let made = handle::new(this, callback, args, 2, context)?;
    let hub = engine.hub();
    let entry = match this.watches.find(fd) {
        Some(entry) if !entry.is_idle() => entry,
        _ => {
            // A lease is no one's any more: the number may be another file's by now.
            this.watches.end(hub, fd);
            let entry = this.watches.begin(hub, fd, side, &made).map_err(|error| raise_os_error(&error))?;
            entry.note_file(file);
            return Ok(made);
        }
    };
    let wider = entry.watch.interest().union(side);
    hub.reactor.set_interest_now(&entry.registration, wider).map_err(|error| raise_os_error(&error))?;
    let before = entry.watch.exchange(side, made.clone());
    if let Some(before) = before {
        handle::cancel(&before);
    }
    Ok(made)
}

/// Stop watching one side. True if it was watched.
fn remove(this: This<'_, Loop>, fd: &Obj, side: Interest) -> Result<Ref> {
    let Ok(engine) = this.engine_shared() else {
        clear_raised();
        return Ok(boolean(false));
    };
    let Some(entry) = find_removed(this, fd)? else { return Ok(boolean(false)) };
    let before = entry.watch.slot(side).take();
    this.watches.leave(engine.hub(), &entry);
    if let Some(before) = &before {
        handle::cancel(before);
    }
    Ok(boolean(before.is_some()))
}

/// What is watched for `file`, which may have been closed since: then, as `selectors` does, by the object itself.
fn find_removed(this: This<'_, Loop>, file: &Obj) -> Result<Option<Rc<Entry>>> {
    match removed_descriptor(file) {
        Ok(fd) => Ok(this.watches.find(fd)),
        Err(raised) => match this.watches.find_closed(file) {
            Some(entry) => {
                clear_raised();
                Ok(Some(entry))
            }
            None => Err(raised),
        },
    }
}

/// Stop watching `fd` altogether: a transport takes its number over.
pub(crate) fn unwatch(this: This<'_, Loop>, engine: &EventLoop, fd: RawFd) {
    this.watches.end(engine.hub(), fd);
}

/// A descriptor's number, as `selectors` reads it: an int, or an object with `fileno()`.
pub(crate) fn descriptor(object: &Obj) -> Result<RawFd> {
    RawFd::try_from(number(object)?).map_err(|_| overflow_error("Python int too large to convert to C int"))
}

/// A number too large for a descriptor is one that nobody watches.
pub(crate) fn removed_descriptor(object: &Obj) -> Result<RawFd> {
    Ok(RawFd::try_from(number(object)?).unwrap_or(RawFd::MAX))
}

/// Not negative, and the largest there is for all that are larger.
fn number(object: &Obj) -> Result<i64> {
    let number = if object.is_int() { Some(as_long(object)) } else { fileno(object) };
    match number {
        Some(number) if number >= 0 => Ok(number),
        Some(number) => Err(value_error(&format!("Invalid file descriptor: {number}"))),
        None => Err(invalid_object(object)),
    }
}

fn as_long(number: &Obj) -> i64 {
    number.as_long().unwrap_or_else(|Raised| {
        clear_raised();
        i64::MAX
    })
}

fn fileno(object: &Obj) -> Option<i64> {
    let Ok(number) = FILENO.get().and_then(|name| object.call_method(name, [])) else {
        clear_raised();
        return None;
    };
    number.is_int().then(|| as_long(&number))
}

fn invalid_object(object: &Obj) -> crate::kit::object::Raised {
    debug_assert!(!raised());
    let shown = object.repr().ok();
    let shown = shown.as_deref().and_then(text).unwrap_or("?");
    value_error(&format!("Invalid file object: {shown}"))
}

fn add_reader(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    add(this, args, Interest::READ)
}

fn add_writer(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    add(this, args, Interest::WRITE)
}

fn remove_reader(this: This<'_, Loop>, fd: &Obj) -> Result<Ref> {
    remove(this, fd, Interest::READ)
}

fn remove_writer(this: This<'_, Loop>, fd: &Obj) -> Result<Ref> {
    remove(this, fd, Interest::WRITE)
}

/// What is watched on `fd`: 1 for reading, 2 for writing, as `selectors` counts.
fn watched(this: This<'_, Loop>, fd: &Obj) -> Result<Ref> {
    let interest = this.watches.find(descriptor(fd)?).map_or(Interest::NONE, |entry| entry.watch.interest());
    long(interest.bits() as i64)
}

/// The descriptor is the loop's own: nobody's data comes from it.
fn mark_internal(this: This<'_, Loop>, fd: &Obj) -> Result<Ref> {
    let fd = descriptor(fd)?;
    this.engine_shared()?.hub().reactor.mark_internal(fd);
    Ok(none())
}

pub(crate) fn methods() -> Vec<Method> {
    vec![
        Method::one::<Loop, _>(c"_mark_internal", mark_internal, c"The descriptor is the loop's own."),
        Method::fast::<Loop, _>(c"_add_reader", add_reader, c"Watch a descriptor for reading."),
        Method::fast::<Loop, _>(c"_add_writer", add_writer, c"Watch a descriptor for writing."),
        Method::one::<Loop, _>(c"_remove_reader", remove_reader, c"Stop watching for reading."),
        Method::one::<Loop, _>(c"_remove_writer", remove_writer, c"Stop watching for writing."),
        Method::one::<Loop, _>(c"_watched", watched, c"What is watched: 1 reading, 2 writing."),
    ]
}
