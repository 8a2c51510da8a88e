//! The attempts that socket operations make, each of which may find that it would block.
//!
//! Receiving into `bytes` or a buffer and sending are system calls of ours: Python's own let the interpreter's lock go
//! around each, which costs up to 5 ms where another thread computes. The rest calls the methods of the socket.

use std::io;
use std::os::fd::RawFd;

use velodrome_engine::sys;

use super::event_loop::Loop;
use super::sockets::{Kind, Operation};
use crate::kit::buffer::{View, exact_bytes, is_exact_buffer};
use crate::kit::coroutines::would_block;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Raised, Ref, Result, boolean, bytes, index, long, none, raise_os_error};
use crate::kit::types::This;

/// The method itself: operations are for exact sockets, so it need not be looked up.
static FILENO: Imported = Imported::new("velodrome._support", "socket_fileno");
static ACCEPT: Name = Name::new("accept");
static SETBLOCKING: Name = Name::new("setblocking");
static RECV_INTO: Name = Name::new("recv_into");
static RECVFROM: Name = Name::new("recvfrom");
static RECVFROM_INTO: Name = Name::new("recvfrom_into");
static SENDTO: Name = Name::new("sendto");

/// What an attempt came to.
pub(super) enum Tried {
    Done(Ref),
    /// It must wait for this descriptor.
    Blocked(RawFd),
}

type Call<'a> = This<'a, Operation>;

/// One attempt.
pub(super) fn attempt(this: Call<'_>, event_loop: This<'_, Loop>, socket: &Obj) -> Result<Tried> {
    match this.kind {
        Kind::Recv => recv(this, event_loop, socket),
        Kind::RecvInto => recv_into(this, event_loop, socket),
        Kind::SendAll => send_all(this, socket),
        Kind::Accept => by_method(socket, || accept(socket)),
        Kind::RecvFrom => {
            by_method(socket, || socket.call_method(RECVFROM.get()?, [&*this.first.get_or_none()]))
        }
        Kind::RecvFromInto => by_method(socket, || receive_from_into(this, socket)),
        Kind::SendTo => by_method(socket, || {
            socket.call_method(SENDTO.get()?, [&*this.first.get_or_none(), &*this.second.get_or_none()])
        }),
    }
}

/// -1 for a closed socket, of which the kernel will say EBADF.
fn descriptor(socket: &Obj) -> Result<RawFd> {
    let number = FILENO.get()?.call(&[socket])?.as_long()?;
    Ok(RawFd::try_from(number).unwrap_or(-1))
}

fn blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Whether the kernel need not be asked: it would say that there is nothing.
fn drained(event_loop: This<'_, Loop>, socket: &Obj, fd: RawFd) -> bool {
    event_loop.watches.find(fd).is_some_and(|entry| entry.is_drained() && entry.is_of(socket))
}

/// A receive that found less than it could have taken has emptied the socket.
fn note(event_loop: This<'_, Loop>, fd: RawFd, received: usize, size: usize) {
    if let Some(entry) = event_loop.watches.find(fd) {
        entry.note_drained(received > 0 && received < size);
    }
}

fn recv(this: Call<'_>, event_loop: This<'_, Loop>, socket: &Obj) -> Result<Tried> {
    let fd = descriptor(socket)?;
    if drained(event_loop, socket, fd) {
        return wait_for_news(event_loop, fd);
    }
    let size = usize::try_from(this.first.get_or_none().as_long()?).unwrap_or(0);
    let received = event_loop.engine_shared()?.hub().with_scratch(|scratch| {
        sys::recv_now(fd, &mut scratch[..size]).map(|count| (count, bytes(&scratch[..count])))
    });
    match received {
        Ok((count, data)) => {
            note(event_loop, fd, count, size);
            data.map(Tried::Done)
        }
        Err(error) => settle(&error, fd),
    }
}

/// Once: after this wait the kernel is asked.
fn wait_for_news(event_loop: This<'_, Loop>, fd: RawFd) -> Result<Tried> {
    note(event_loop, fd, 0, 0);
    Ok(Tried::Blocked(fd))
}

fn settle(error: &io::Error, fd: RawFd) -> Result<Tried> {
    if blocked(error) { Ok(Tried::Blocked(fd)) } else { Err(raise_os_error(error)) }
}

fn recv_into(this: Call<'_>, event_loop: This<'_, Loop>, socket: &Obj) -> Result<Tried> {
    let buffer = this.first.get_or_none();
    let fd = descriptor(socket)?;
    let view = if is_exact_buffer(&buffer) { View::writable(&buffer) } else { Err(Raised) };
    let Ok(mut view) = view else {
        crate::kit::object::clear_raised();
        // It says what is wrong with the buffer in its own words.
        return by_method(socket, || socket.call_method(RECV_INTO.get()?, [&*buffer]));
    };
    let size = view.as_slice().len();
    if size == 0 {
        return long(0).map(Tried::Done);
    }
    if drained(event_loop, socket, fd) {
        return wait_for_news(event_loop, fd);
    }
    match view.fill(&mut |memory| sys::recv_now(fd, memory)) {
        Ok(count) => {
            note(event_loop, fd, count, size);
            long(index(count)).map(Tried::Done)
        }
        Err(error) => settle(&error, fd),
    }
}

fn send_all(this: Call<'_>, socket: &Obj) -> Result<Tried> {
    let fd = descriptor(socket)?;
    let data = this.first.get_or_none();
    if exact_bytes(&data).is_none() && this.data.borrow().is_none() {
        let view = View::readable(&data)?;
        this.data.replace(Some(view));
    }
    let (size, sent) = send_rest(this, &data, fd);
    match sent {
        Ok(count) if this.sent.get() + count == size => Ok(Tried::Done(none())),
        Ok(count) => {
            this.sent.set(this.sent.get() + count);
            Ok(Tried::Blocked(fd))
        }
        Err(error) => settle(&error, fd),
    }
}

/// The size of all, and how much of what had not been sent went now.
fn send_rest(this: Call<'_>, data: &Obj, fd: RawFd) -> (usize, io::Result<usize>) {
    let view = this.data.borrow();
    let all = exact_bytes(data).unwrap_or_else(|| view.as_ref().map_or(&[], View::as_slice));
    (all.len(), sys::send_now(fd, all.get(this.sent.get()..).unwrap_or_default()))
}

/// An attempt by a method of the socket.
fn by_method(socket: &Obj, call: impl FnOnce() -> Result<Ref>) -> Result<Tried> {
    match call() {
        Ok(value) => Ok(Tried::Done(value)),
        Err(Raised) if would_block() => descriptor(socket).map(Tried::Blocked),
        Err(Raised) => Err(Raised),
    }
}

fn accept(socket: &Obj) -> Result<Ref> {
    let accepted = socket.call_method(ACCEPT.get()?, [])?;
    if let Some(connection) = crate::kit::object::tuple_item(&accepted, 0) {
        connection.call_method(SETBLOCKING.get()?, [&*boolean(false)])?;
    }
    Ok(accepted)
}

fn receive_from_into(this: Call<'_>, socket: &Obj) -> Result<Ref> {
    let buffer = this.first.get_or_none();
    let size = match this.second.get() {
        Some(size) if size.is_true()? => size,
        _ => long(index(buffer.len()?))?,
    };
    socket.call_method(RECVFROM_INTO.get()?, [&*buffer, &*size])
}
