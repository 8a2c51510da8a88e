//! Who watches which descriptor of the user's: callbacks of `add_reader`, and operations that wait for a socket.
//!
//! A callback is watched for until it is removed. An operation leaves its watch when it is done, but the kernel is
//! left to go on watching: the next operation on the same socket then needs no system call to wait. Such a lease is
//! found again by the socket's identity, through a weak reference, because a socket that nobody else holds must close;
//! and any event that comes while nobody waits ends it.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use velodrome_engine::driver::{Interest, Readiness};
use velodrome_engine::hub::Hub;
use velodrome_engine::reactor::{Registration, Source};
use velodrome_engine::ready::Visitor;
use velodrome_engine::sys::{self, SocketType};

use super::{dispatch, handle};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Raised, Ref, Result, Slot, clear_raised, none, with_raised_aside};
use crate::kit::weak;

static DONE: Name = Name::new("done");
static FUTURE: Imported = Imported::new("velodrome._support", "Future");
static FUTURE_SET_RESULT: Imported = Imported::new("velodrome._support", "set_result");
static SET_RESULT: Name = Name::new("set_result");

/// Who reads and who writes one descriptor: a handle, or the future of an operation.
pub(super) struct Watch {
    hub: Rc<Hub>,
    fd: RawFd,
    reader: Slot,
    writer: Slot,
    /// The dispatch after which each side got the callback it has, whose events were another's: see [`Watch::exchange`].
    read_from: Cell<u32>,
    write_from: Cell<u32>,
    /// The object that `add_reader` was given for the descriptor: it may be closed before it is removed.
    file: Slot,
    /// A weak reference to the socket whose operations have waited here.
    socket: Slot,
    /// Whether a short receive has taken all there is: of datagrams there may be more.
    is_stream: Cell<bool>,
    /// The last receive took less than it could have: until the kernel reports, there is nothing to read.
    drained: Cell<bool>,
}

impl Watch {
    pub(super) fn slot(&self, side: Interest) -> &Slot {
        if side == Interest::READ { &self.reader } else { &self.writer }
    }

    pub(super) fn interest(&self) -> Interest {
        let read = if self.reader.is_empty() { Interest::NONE } else { Interest::READ };
        if self.writer.is_empty() { read } else { read.union(Interest::WRITE) }
    }

    /// Call `callback` from now on, and get back who was called before. What the kernel has said already was for that
    /// one: asyncio cancels its handle, which is queued, so nobody is called for it. The level is told of again.
    pub(super) fn exchange(&self, side: Interest, callback: Ref) -> Option<Ref> {
        self.begun(side).set(self.hub.reactor.last_dispatch());
        self.slot(side).replace(Some(callback))
    }

    fn begun(&self, side: Interest) -> &Cell<u32> {
        if side == Interest::READ { &self.read_from } else { &self.write_from }
    }

    fn hear(&self, side: Interest) {
        if self.begun(side).get() != self.hub.reactor.last_dispatch() {
            self.tell(side);
        }
    }

    fn tell(&self, side: Interest) {
        let Some(waits) = self.slot(side).get() else { return };
        if handle::is_handle(&waits) {
            return handle::run(&waits);
        }
        drop(self.slot(side).take());
        if let Some(registration) = self.hub.reactor.registration_of(self.fd) {
            self.hub.reactor.rest(&registration, self.interest());
        }
        if wake(&waits).is_err() {
            dispatch::step_failed(&waits);
        }
    }
}

/// Tell who awaits a future that its time has come; it may have been cancelled meanwhile.
pub(super) fn wake(future: &Obj) -> Result<()> {
    match set_result(future) {
        Ok(_) => Ok(()),
        Err(Raised) => with_raised_aside(|| future.call_method(DONE.get()?, [])?.is_true()).and_then(forgive),
    }
}

/// `future.set_result(None)`, without looking the method up where the future is asyncio's own.
fn set_result(future: &Obj) -> Result<Ref> {
    if future.type_ptr().cast() == FUTURE.get()?.as_ptr() {
        return FUTURE_SET_RESULT.get()?.call(&[future, &*none()]);
    }
    future.call_method(SET_RESULT.get()?, [&*none()])
}

/// The complaint that a future is done already is no news.
fn forgive(done: bool) -> Result<()> {
    if !done {
        return Err(Raised);
    }
    clear_raised();
    Ok(())
}

impl Source for Watch {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        if readiness.contains(Readiness::READ) {
            self.hear(Interest::READ);
        }
        if readiness.contains(Readiness::WRITE) {
            self.hear(Interest::WRITE);
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        for slot in [&self.reader, &self.writer, &self.file, &self.socket] {
            if !slot.is_empty() {
                visitor(slot.as_ptr().cast());
            }
        }
    }

    fn abandon(&self) {
        for slot in [&self.reader, &self.writer, &self.file, &self.socket] {
            drop(slot.take());
        }
    }
}

/// A watch and its place in the reactor.
pub(super) struct Entry {
    pub(super) watch: Rc<Watch>,
    pub(super) registration: Rc<Registration>,
}

impl Entry {
    /// Remember which object stood for the descriptor; a number stands for itself.
    pub(super) fn note_file(&self, file: &Obj) {
        if !file.is_int() {
            self.watch.file.set(file.to_ref());
        }
    }

    /// Whether operations of this very socket have waited here.
    pub(super) fn is_of(&self, socket: &Obj) -> bool {
        let reference = self.watch.socket.get();
        reference.as_deref().and_then(weak::referent).is_some_and(|found| found.is(socket))
    }

    /// Make it the socket's own.
    pub(super) fn adopt(&self, socket: &Obj) -> Result<()> {
        self.watch.socket.set(weak::reference(socket)?);
        let kind = sys::socket_type(self.watch.fd);
        self.watch.is_stream.set(kind.is_ok_and(|kind| kind == SocketType::STREAM));
        Ok(())
    }

    /// Whether nobody waits: a lease between two operations.
    pub(super) fn is_idle(&self) -> bool {
        self.watch.interest().is_none()
    }

    /// Whether there was nothing more to read when it was last tried, and the kernel has had nothing to report since.
    pub(super) fn is_drained(&self) -> bool {
        self.watch.drained.get() && self.registration.armed().contains(Interest::READ)
    }

    /// Note how a receive went.
    pub(super) fn note_drained(&self, drained: bool) {
        self.watch.drained.set(drained && self.watch.is_stream.get());
    }
}

/// The watches of a loop, by descriptor.
#[derive(Default)]
pub(crate) struct Watches(RefCell<Vec<Option<Rc<Entry>>>>);

impl Watches {
    pub(super) fn find(&self, fd: RawFd) -> Option<Rc<Entry>> {
        self.0.borrow().get(usize::try_from(fd).ok()?)?.clone()
    }

    /// The watch that an object was given for which has no number any more.
    pub(super) fn find_closed(&self, file: &Obj) -> Option<Rc<Entry>> {
        let all = self.0.borrow();
        let of_file = |entry: &&Rc<Entry>| entry.watch.file.as_ptr() == file.as_ptr();
        all.iter().flatten().find(of_file).cloned()
    }

    /// Begin to watch one side of `fd` for `waits`.
    pub(super) fn begin(
        &self,
        hub: &Rc<Hub>,
        fd: RawFd,
        side: Interest,
        waits: &Obj,
    ) -> std::io::Result<Rc<Entry>> {
        // An event of before is one of another registration.
        let never = hub.reactor.last_dispatch().wrapping_sub(1);
        let watch = Rc::new(Watch {
            hub: Rc::clone(hub),
            fd,
            reader: Slot::default(),
            writer: Slot::default(),
            read_from: Cell::new(never),
            write_from: Cell::new(never),
            file: Slot::default(),
            socket: Slot::default(),
            is_stream: Cell::new(false),
            drained: Cell::new(false),
        });
        watch.slot(side).set(waits.to_ref());
        let registration = hub.reactor.register(fd, Rc::clone(&watch) as Rc<dyn Source>, side)?;
        let entry = Rc::new(Entry { watch, registration });
        self.insert(fd, &entry);
        Ok(entry)
    }

    fn insert(&self, fd: RawFd, entry: &Rc<Entry>) {
        let Ok(index) = usize::try_from(fd) else { return };
        let mut all = self.0.borrow_mut();
        if index >= all.len() {
            all.resize_with(index + 1, || None);
        }
        all[index] = Some(Rc::clone(entry));
    }

    /// Stop watching `fd` altogether.
    pub(super) fn end(&self, hub: &Hub, fd: RawFd) {
        let index = usize::try_from(fd).ok();
        let entry = index.and_then(|index| self.0.borrow_mut().get_mut(index)?.take());
        if let Some(entry) = entry {
            drop(hub.reactor.deregister(&entry.registration));
        }
    }

    /// One who waited has left: keep for the others, or end.
    pub(super) fn leave(&self, hub: &Hub, entry: &Rc<Entry>) {
        let fd = entry.registration.fd();
        if !self.find(fd).is_some_and(|found| Rc::ptr_eq(&found, entry)) {
            return;
        }
        let rest = entry.watch.interest();
        if rest.is_none() {
            self.end(hub, fd);
        } else {
            // Narrowing fails only for a descriptor that is closed already.
            let _ = hub.reactor.set_interest_now(&entry.registration, rest);
        }
    }

    /// Forget all, when the loop closes: the engine deregisters.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}
