//! `add_reader` and `add_writer`: level-triggered watching of descriptors that belong to the user.
//!
//! The user may close a descriptor the moment it is removed here, or without removing it at all; so every change goes
//! to the kernel at once, and one that fails is an OSError there and then.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

use velodrome_engine::driver::{Interest, Readiness};
use velodrome_engine::event_loop::EventLoop;
use velodrome_engine::reactor::{Registration, Source};
use velodrome_engine::ready::Visitor;

use super::event_loop::Loop;
use super::handle;
use crate::kit::methods::{Args, Method};
use crate::kit::names::Name;
use crate::kit::object::{
    Obj, Ref, Result, Slot, boolean, clear_raised, long, none, raise_os_error, raised, text, value_error,
};
use crate::kit::types::This;

static FILENO: Name = Name::new("fileno");

/// Who reads and who writes one descriptor.
#[derive(Default)]
struct Watch {
    reader: Slot,
    writer: Slot,
}

impl Watch {
    fn slot(&self, side: Interest) -> &Slot {
        if side == Interest::READ { &self.reader } else { &self.writer }
    }

    fn interest(&self) -> Interest {
        let read = if self.reader.is_empty() { Interest::NONE } else { Interest::READ };
        if self.writer.is_empty() { read } else { read.union(Interest::WRITE) }
    }
}

impl Source for Watch {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        for (wanted, slot) in [(Readiness::READ, &self.reader), (Readiness::WRITE, &self.writer)] {
            if readiness.contains(wanted)
                && let Some(callback) = slot.get()
            {
                handle::run(&callback);
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        for slot in [&self.reader, &self.writer] {
            if !slot.is_empty() {
                visitor(slot.as_ptr().cast());
            }
        }
    }

    fn abandon(&self) {
        drop(self.reader.take());
        drop(self.writer.take());
    }
}

struct Entry {
    watch: Rc<Watch>,
    registration: Rc<Registration>,
}

/// The watches of a loop, by descriptor.
#[derive(Default)]
pub(crate) struct Watches(RefCell<Vec<Option<Rc<Entry>>>>);

impl Watches {
    fn find(&self, fd: RawFd) -> Option<Rc<Entry>> {
        self.0.borrow().get(usize::try_from(fd).ok()?)?.clone()
    }

    fn insert(&self, fd: RawFd, entry: Entry) {
        let Ok(index) = usize::try_from(fd) else { return };
        let mut all = self.0.borrow_mut();
        if index >= all.len() {
            all.resize_with(index + 1, || None);
        }
        all[index] = Some(Rc::new(entry));
    }

    fn remove(&self, fd: RawFd) {
        let entry = usize::try_from(fd).ok().and_then(|index| self.0.borrow_mut().get_mut(index)?.take());
        drop(entry);
    }

    /// Forget all, when the loop closes: the engine deregisters.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}

/// Watch one side of `fd` with `callback`, which replaces (and cancels) the one before.
fn add(this: This<'_, Loop>, args: Args<'_>, side: Interest) -> Result<Ref> {
    let fd = descriptor(args.required(0, "add_reader", "fd")?)?;
    let callback = args.required(1, "add_reader", "callback")?;
    let engine = this.engine_shared()?;
    let made = handle::new(this, callback, args, 2, None)?;
    let entry = match this.watches.find(fd) {
        Some(entry) => entry,
        None => return begin(this, &engine, fd, side, made),
    };
    let wider = entry.watch.interest().union(side);
    engine
        .hub()
        .reactor
        .set_interest_now(&entry.registration, wider)
        .map_err(|error| raise_os_error(&error))?;
    let before = entry.watch.slot(side).replace(Some(made.clone()));
    if let Some(before) = before {
        handle::cancel(&before);
    }
    Ok(made)
}

fn begin(this: This<'_, Loop>, engine: &EventLoop, fd: RawFd, side: Interest, made: Ref) -> Result<Ref> {
    let watch = Rc::new(Watch::default());
    watch.slot(side).set(made.clone());
    let source: Rc<dyn Source> = Rc::clone(&watch) as Rc<dyn Source>;
    let registered = engine.hub().reactor.register(fd, source, side);
    let registration = registered.map_err(|error| raise_os_error(&error))?;
    this.watches.insert(fd, Entry { watch, registration });
    Ok(made)
}

/// Stop watching one side. True if it was watched.
fn remove(this: This<'_, Loop>, fd: &Obj, side: Interest) -> Result<Ref> {
    let Ok(engine) = this.engine_shared() else {
        clear_raised();
        return Ok(boolean(false));
    };
    let Some(entry) = this.watches.find(removed_descriptor(fd)?) else { return Ok(boolean(false)) };
    let before = entry.watch.slot(side).take();
    let rest = entry.watch.interest();
    if rest.is_none() {
        unwatch(this, &engine, entry.registration.fd());
    } else {
        // Narrowing fails only for a descriptor that is closed already.
        let _ = engine.hub().reactor.set_interest_now(&entry.registration, rest);
    }
    if let Some(before) = &before {
        handle::cancel(before);
    }
    Ok(boolean(before.is_some()))
}

/// Stop watching `fd` altogether: a transport takes its number over.
pub(crate) fn unwatch(this: This<'_, Loop>, engine: &EventLoop, fd: RawFd) {
    if let Some(entry) = this.watches.find(fd) {
        this.watches.remove(fd);
        drop(engine.hub().reactor.deregister(&entry.registration));
    }
}

/// A descriptor's number, as `selectors` reads it: an int, or an object with `fileno()`.
pub(crate) fn descriptor(object: &Obj) -> Result<RawFd> {
    let number = if object.is_int() { Some(object.as_long()) } else { fileno(object) };
    match number {
        Some(Ok(number)) => match RawFd::try_from(number) {
            Ok(fd) if fd >= 0 => Ok(fd),
            _ => Err(value_error(&format!("Invalid file descriptor: {number}"))),
        },
        Some(Err(raised)) => Err(raised),
        None => Err(invalid_object(object)),
    }
}

/// A number too large for a descriptor is one that nobody watches.
pub(crate) fn removed_descriptor(object: &Obj) -> Result<RawFd> {
    if object.is_int() && object.as_long().is_err() {
        clear_raised();
        return Ok(RawFd::MAX);
    }
    descriptor(object)
}

fn fileno(object: &Obj) -> Option<Result<i64>> {
    let Ok(number) = FILENO.get().and_then(|name| object.call_method(name, [])) else {
        clear_raised();
        return None;
    };
    number.is_int().then(|| number.as_long())
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
