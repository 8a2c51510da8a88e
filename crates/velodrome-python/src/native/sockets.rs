//! `sock_recv` and its relatives, as native coroutines. Each tries its system call at once, and only one that would
//! block waits.
//!
//! What is not the common case (debug mode, a socket of another class, arguments by name or of unusual types) is
//! asyncio's own coroutine. So are its errors, because the unusual is what errors are made of.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::RawFd;

use velodrome_engine::driver::Interest;
use velodrome_engine::hub::SCRATCH;

use super::event_loop::Loop;
use super::fairness;
use super::readiness::Waiting;
use super::socket_calls::{self, Tried};
use crate::kit::buffer::{View, exact_bytes, is_data};
use crate::kit::coroutines::{self, Coroutine, Life, Step, make_coroutine_type};
use crate::kit::freeing::Spare;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::Imported;
use crate::kit::object::{Obj, Raised, Ref, Result, Slot, clear_raised, none, runtime_error};
use crate::kit::types::{Layout, Native, This, Visit, new_kept};

static SOCKET: Imported = Imported::new("socket", "socket");

/// The operations, with what asyncio calls them and how many arguments they take.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Recv,
    RecvInto,
    RecvFrom,
    RecvFromInto,
    SendAll,
    SendTo,
    Accept,
}

impl Kind {
    fn function(self) -> &'static str {
        match self {
            Self::Recv => "BaseSelectorEventLoop.sock_recv",
            Self::RecvInto => "BaseSelectorEventLoop.sock_recv_into",
            Self::RecvFrom => "BaseSelectorEventLoop.sock_recvfrom",
            Self::RecvFromInto => "BaseSelectorEventLoop.sock_recvfrom_into",
            Self::SendAll => "BaseSelectorEventLoop.sock_sendall",
            Self::SendTo => "BaseSelectorEventLoop.sock_sendto",
            Self::Accept => "BaseSelectorEventLoop.sock_accept",
        }
    }

    fn side(self) -> Interest {
        if matches!(self, Self::SendAll | Self::SendTo) { Interest::WRITE } else { Interest::READ }
    }

    /// Whether these are the arguments, after the socket, that native code is for.
    fn takes(self, args: Args<'_>) -> bool {
        let (count, first) = (args.len(), args.get(1));
        match self {
            Self::Recv => count == 2 && first.is_some_and(is_size),
            Self::RecvInto | Self::RecvFrom => count == 2,
            Self::RecvFromInto => count == 2 || count == 3,
            Self::SendAll => count == 2 && first.is_some_and(is_bytes_like),
            Self::SendTo => count == 3,
            Self::Accept => count == 1,
        }
    }
}

/// A size that fits into the loop's receive buffer.
fn is_size(object: &Obj) -> bool {
    let size = if object.is_int() { object.as_long() } else { return false };
    if size.is_err() {
        clear_raised();
    }
    size.is_ok_and(|size| (1..=SCRATCH as i64).contains(&size))
}

/// Data of which `len()` counts the bytes.
fn is_bytes_like(object: &Obj) -> bool {
    if exact_bytes(object).is_some() {
        return true;
    }
    let counted = is_data(object)
        && matches!((View::readable(object), object.len()), (Ok(view), Ok(len)) if view.as_slice().len() == len);
    clear_raised();
    counted
}

/// One call of `sock_recv` or a relative.
pub(crate) struct Operation {
    life: Life,
    pub(super) kind: Kind,
    pub(super) event_loop: Slot,
    pub(super) socket: Slot,
    /// The size, the buffer or the data.
    pub(super) first: Slot,
    /// The address, or a second size.
    pub(super) second: Slot,
    /// How much of the data has been sent.
    pub(super) sent: Cell<usize>,
    /// The data's memory, which must not change its size until all is sent.
    pub(super) data: RefCell<Option<View>>,
    waiting: Cell<Option<Waiting>>,
    begun: Cell<bool>,
}

pub(crate) fn make_type() -> Result<Ref> {
    make_coroutine_type::<Operation>()
}

impl Operation {
    fn new(kind: Kind, event_loop: &Obj, args: Args<'_>) -> Self {
        let slot =
            |index| args.get(index).map_or_else(Slot::default, |value: &Obj| Slot::new(value.to_ref()));
        Self {
            life: Life::default(),
            kind,
            event_loop: Slot::new(event_loop.to_ref()),
            socket: slot(0),
            first: slot(1),
            second: slot(2),
            sent: Cell::new(0),
            data: RefCell::default(),
            waiting: Cell::default(),
            begun: Cell::default(),
        }
    }

    fn forget(&self) {
        // The wait first: it leaves its place in the loop's watches.
        drop(self.waiting.take());
        drop(self.data.take());
        for slot in [&self.event_loop, &self.socket, &self.first, &self.second] {
            drop(slot.take());
        }
    }
}

impl Coroutine for Operation {
    fn function(&self) -> &'static str {
        self.kind.function()
    }

    fn life(&self) -> &Life {
        &self.life
    }

    fn step(this: This<'_, Self>) -> Result<Step> {
        if let Some(waiting) = this.waiting.take() {
            match waiting.poll()? {
                Step::Yield(future) => {
                    this.waiting.set(Some(waiting));
                    return Ok(Step::Yield(future));
                }
                Step::Return(_) => drop(waiting),
            }
        } else if !this.begun.replace(true) && fairness::must_give_way() {
            return Ok(Step::Yield(none()));
        }
        go_on(this)
    }

    fn let_go(&self) {
        self.forget();
    }
}

/// Try until it is done or would block; then wait.
fn go_on(this: This<'_, Operation>) -> Result<Step> {
    let (Some(event_loop), Some(socket)) = (this.event_loop.get(), this.socket.get()) else {
        return Err(runtime_error("the operation is over"));
    };
    let event_loop = Loop::of(&event_loop).ok_or(Raised)?;
    loop {
        let fd = match socket_calls::attempt(this, event_loop, &socket)? {
            Tried::Done(value) => return Ok(Step::Return(value)),
            Tried::Blocked(fd) => fd,
        };
        if let Some(future) = wait(this, event_loop, &socket, fd)? {
            return Ok(Step::Yield(future));
        }
    }
}

/// Wait for the socket. None if it turns out to be over at once.
fn wait(
    this: This<'_, Operation>,
    event_loop: This<'_, Loop>,
    socket: &Obj,
    fd: RawFd,
) -> Result<Option<Ref>> {
    let waiting = Waiting::begin(event_loop, socket, fd, this.kind.side())?;
    match waiting.poll()? {
        Step::Yield(future) => {
            this.waiting.set(Some(waiting));
            Ok(Some(future))
        }
        Step::Return(_) => Ok(None),
    }
}

impl Native for Operation {
    const NAME: &'static CStr = c"velodrome._core.SocketOperation";
    const DOC: &'static CStr = c"What sock_recv() and its relatives return; to be awaited.";

    fn spare() -> Option<&'static Spare> {
        static SPARE: Spare = Spare::new();
        Some(&SPARE)
    }

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        coroutines::methods::<Self>()
    }

    fn getset() -> Vec<GetSet> {
        coroutines::getset::<Self>()
    }

    fn ends(&self) {
        coroutines::end(self);
    }

    fn traverse(&self, visit: &mut Visit) {
        for slot in [&self.event_loop, &self.socket, &self.first, &self.second] {
            visit.slot(slot);
        }
        let waiting = self.waiting.take();
        if let Some(waiting) = &waiting {
            waiting.traverse(visit);
        }
        self.waiting.set(waiting);
    }

    fn clear(&self) {
        self.forget();
    }
}

/// The method of the loop: native where it can be, asyncio's otherwise.
fn make(this: This<'_, Loop>, args: Args<'_>, kind: Kind, inherited: &Imported) -> Result<Ref> {
    let plain = args.get(0).is_some_and(is_plain_socket) && !args.has_keywords() && !this.debug();
    if plain && kind.takes(args) {
        return new_kept(Operation::new(kind, this.object(), args));
    }
    args.forward(inherited.get()?, this.object())
}

fn is_plain_socket(object: &Obj) -> bool {
    SOCKET.get().is_ok_and(|class| object.type_ptr().cast() == class.as_ptr())
}

macro_rules! operation {
    ($name:ident, $kind:ident) => {
        fn $name(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
            static INHERITED: Imported = Imported::new("velodrome._support", stringify!($name));
            make(this, args, Kind::$kind, &INHERITED)
        }
    };
}

operation!(sock_recv, Recv);
operation!(sock_recv_into, RecvInto);
operation!(sock_recvfrom, RecvFrom);
operation!(sock_recvfrom_into, RecvFromInto);
operation!(sock_sendall, SendAll);
operation!(sock_sendto, SendTo);
operation!(sock_accept, Accept);

pub(crate) fn methods() -> Vec<Method> {
    type T = Loop;
    vec![
        Method::fast::<T, _>(c"sock_recv", sock_recv, c"Receive up to n bytes."),
        Method::fast::<T, _>(c"sock_recv_into", sock_recv_into, c"Receive into a buffer."),
        Method::fast::<T, _>(c"sock_recvfrom", sock_recvfrom, c"Receive a datagram and its sender."),
        Method::fast::<T, _>(c"sock_recvfrom_into", sock_recvfrom_into, c"Receive a datagram into a buffer."),
        Method::fast::<T, _>(c"sock_sendall", sock_sendall, c"Send all of the data."),
        Method::fast::<T, _>(c"sock_sendto", sock_sendto, c"Send a datagram."),
        Method::fast::<T, _>(c"sock_accept", sock_accept, c"Accept a connection."),
    ]
}
