//! `_core.DatagramTransport`: the Python object of a datagram transport, a subclass of `asyncio.DatagramTransport`.
//!
//! What is cold is Python's, in `velodrome._datagrams`: what is known of the socket, and names in place of addresses.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::rc::Rc;

use velodrome_engine::sys::{self, AddressFamily, Peer};
use velodrome_engine::transport::datagram::{Datagram, Sent};
use velodrome_engine::transport::write_queue::Chunk;

use super::addresses::{self, Senders};
use super::datagram_host::{ERROR_RECEIVED, Host, close_socket};
use super::dispatch;
use super::transport::{
    FATAL_ERROR, FORGIVEN_WRITES, TOO_MANY_WRITES, UNCLOSED, check_loop, log_if_debugging, set_limits,
    unless_left,
};
use crate::kit::buffer::{View, exact_bytes, is_data, lend};
use crate::kit::context;
use crate::kit::coroutines::would_block;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, bytes, dict, long, none, os_error, raised_to_leave,
    runtime_error, string, take_raised, text, type_error, write_unraisable,
};
use crate::kit::types::{Layout, Native, This, Visit, make_type as make_native};

static BASE: Imported = Imported::new("velodrome._datagrams", "Base");
pub(super) static FACTS: Imported = Imported::new("velodrome._datagrams", "facts");
pub(super) static HEADER_SIZE: Imported = Imported::new("velodrome._datagrams", "HEADER_SIZE");
static EMPTY_IS_SENT: Imported = Imported::new("velodrome._datagrams", "EMPTY_IS_SENT");
static CHECK_ADDRESS: Imported = Imported::new("velodrome._datagrams", "check_address");
static SEND_FAILED: Imported = Imported::new("velodrome._datagrams", "send_failed");
static DATA: Name = Name::new("data");
static ADDR: Name = Name::new("addr");
static SENDTO: Name = Name::new("sendto");

pub(crate) fn make_type() -> Result<Ref> {
    make_native::<DatagramTransport>(Some(BASE.get()?))
}

/// A number that Python code has found out.
pub(super) fn count_of(number: &Imported) -> Result<usize> {
    Ok(usize::try_from(number.get()?.as_long()?).unwrap_or_default())
}

/// A datagram transport as Python sees it.
#[derive(Default)]
pub(crate) struct DatagramTransport {
    pub(super) event_loop: Slot,
    pub(super) datagram: OnceCell<Rc<Datagram>>,
    pub(super) host: OnceCell<Rc<Host>>,
    pub(super) protocol: Slot,
    extra: Slot,
    /// The user's socket, which owns the descriptor.
    pub(super) socket: Slot,
    /// `_address`: where all datagrams go, if the endpoint was made so.
    address: Slot,
    target: RefCell<Option<Peer>>,
    family: Cell<Option<AddressFamily>>,
    /// The kernel knows where datagrams go.
    connected: Cell<bool>,
    /// It does as well, but Python calls a peer without a name no peer: an end of a Unix socketpair.
    paired: Cell<bool>,
    pub(super) senders: Senders,
    pub(super) opened_context: Slot,
    pub(super) read_context: Slot,
    pub(super) write_context: Slot,
    pub(super) lost_context: Slot,
    /// The exception for `connection_lost` when Python code, not the kernel, was the reason.
    pub(super) lost_exception: Slot,
    /// Of the datagrams that wait for the socket module to send them.
    odd_addresses: RefCell<VecDeque<Ref>>,
    /// Sends after the end.
    dropped: Cell<usize>,
}

impl Drop for DatagramTransport {
    fn drop(&mut self) {
        if let Some(host) = self.host.get() {
            host.forget();
        }
    }
}

impl DatagramTransport {
    fn slots(&self) -> [&Slot; 9] {
        [
            &self.event_loop,
            &self.protocol,
            &self.extra,
            &self.socket,
            &self.address,
            &self.opened_context,
            &self.read_context,
            &self.write_context,
            &self.lost_context,
        ]
    }
}

/// The bytes of one datagram, the object that they are of, and how to keep them.
struct Data<'a, K> {
    bytes: &'a [u8],
    object: &'a Obj,
    keep: K,
}

type T<'a> = This<'a, DatagramTransport>;

impl<'a> This<'a, DatagramTransport> {
    fn datagram(self) -> Result<&'a Rc<Datagram>> {
        self.value().datagram.get().ok_or_else(|| runtime_error("the transport was not opened"))
    }

    /// What is known at the beginning.
    pub(super) fn learn(
        self,
        fd: i32,
        extra: Option<Ref>,
        connected: bool,
        address: Option<&Obj>,
    ) -> Result<()> {
        drop(self.extra.replace(extra));
        self.connected.set(connected);
        self.paired.set(!connected && sys::getpeername(fd).is_ok());
        self.family.set(sys::getsockname(fd).ok().map(|name| name.family()));
        if let Some(address) = address
            && address.is_true()?
        {
            self.address.set(address.to_ref());
            self.target.replace(self.peer_of(address));
        }
        Ok(())
    }

    /// Report an exception for which the transport is closed.
    pub(super) fn fatal(self, exception: &Obj, message: &str) -> Result<()> {
        FATAL_ERROR.get()?.call(&[self.object(), exception, &*string(message)?])?;
        self.force_close(Some(exception))
    }

    fn force_close(self, exception: Option<&Obj>) -> Result<()> {
        let datagram = self.datagram()?;
        if datagram.is_lost() {
            return Ok(());
        }
        if let Err(raised) = check_loop(&self.event_loop) {
            datagram.strand_now();
            return Err(raised);
        }
        drop(self.lost_exception.replace(exception.map(Obj::to_ref)));
        datagram.abort(None);
        Ok(())
    }

    pub(super) fn release_socket(self) {
        if let Some(socket) = self.socket.take() {
            close_socket(&socket);
        }
    }

    fn send<K: FnOnce() -> Chunk>(self, data: Data<'_, K>, to: Option<&Obj>) -> Result<()> {
        if data.bytes.is_empty() && count_of(&EMPTY_IS_SENT)? == 0 {
            return Ok(());
        }
        let datagram = self.datagram()?;
        let over = if let Some(address) = self.address.get() {
            if let Some(to) = to {
                CHECK_ADDRESS.get()?.call(&[to, &address])?;
            }
            datagram.is_lost()
        } else {
            datagram.is_closed()
        };
        if over { self.count_dropped() } else { self.send_somewhere(data, to) }
    }

    fn count_dropped(self) -> Result<()> {
        let dropped = self.dropped.replace(self.dropped.get() + 1);
        // The end itself counts as the first.
        if dropped + 1 >= FORGIVEN_WRITES {
            TOO_MANY_WRITES.get()?.call(&[])?;
        }
        Ok(())
    }

    fn send_somewhere<K: FnOnce() -> Chunk>(self, data: Data<'_, K>, to: Option<&Obj>) -> Result<()> {
        if self.connected.get() || (to.is_none() && self.paired.get()) {
            return self.send_to(data, None);
        }
        let address = self.address.get();
        let Some(to) = address.as_deref().or(to) else { return self.send_by_socket(data, &none()) };
        let peer = if address.is_some() { self.target.borrow().clone() } else { self.peer_of(to) };
        match peer {
            Some(peer) => self.send_to(data, Some(&peer)),
            None => self.send_by_socket(data, to),
        }
    }

    fn peer_of(self, to: &Obj) -> Option<Peer> {
        if let Some(last) = self.senders.last_of(to) {
            return Some(last);
        }
        addresses::read(self.family.get()?, to)
    }

    fn send_to<K: FnOnce() -> Chunk>(self, data: Data<'_, K>, peer: Option<&Peer>) -> Result<()> {
        match self.queueing(|datagram| datagram.send(data.bytes, peer, data.keep))? {
            Ok(()) => dispatch::rethrow_outside(),
            Err(error) => self.refused(&error),
        }
    }

    /// Do what may begin a queue, whose callbacks have the context of whoever began it.
    fn queueing<R>(self, send: impl FnOnce(&Rc<Datagram>) -> R) -> Result<R> {
        let datagram = self.datagram()?;
        let waited = datagram.polls_write();
        let sent = send(datagram);
        if !waited && datagram.polls_write() {
            self.write_context.set(context::copy_current()?);
        }
        Ok(sent)
    }

    /// What the kernel says of a datagram is told at once; what the protocol raises about it is the sender's.
    fn refused(self, error: &io::Error) -> Result<()> {
        let error = os_error(error)?;
        self.protocol.get_or_none().call_method(ERROR_RECEIVED.get()?, [&*error]).map(drop)
    }

    /// An address that is not plainly one: a name to be looked up, or a mistake, for which the socket module has words,
    /// as in asyncio when the datagram's turn comes.
    fn send_by_socket<K: FnOnce() -> Chunk>(self, data: Data<'_, K>, to: &Obj) -> Result<()> {
        let socket = self.socket.get_or_none();
        if !self.datagram()?.polls_write() {
            match socket.call_method(SENDTO.get()?, [data.object, to]) {
                Ok(_) => return Ok(()),
                Err(Raised) if would_block() => {}
                Err(Raised) => return self.send_failed(),
            }
        }
        self.odd_addresses.borrow_mut().push_back(to.to_ref());
        if !self.queueing(|datagram| datagram.send_later((data.keep)()))? {
            self.forget_odd_addresses();
        }
        dispatch::rethrow_outside()
    }

    /// Send what was queued with an address that is not plainly one.
    pub(super) fn send_odd(self, data: &[u8]) -> Result<Sent> {
        let Some(to) = self.odd_addresses.borrow_mut().pop_front() else { return Ok(Sent::Refused) };
        let socket = self.socket.get_or_none();
        match socket.call_method(SENDTO.get()?, [&*bytes(data)?, &*to]) {
            Ok(_) => Ok(Sent::Yes),
            Err(Raised) if would_block() => {
                self.odd_addresses.borrow_mut().push_front(to);
                Ok(Sent::NotYet)
            }
            Err(raised) => Err(raised),
        }
    }

    pub(super) fn forget_odd_addresses(self) {
        drop(self.odd_addresses.take());
    }

    /// The socket module raised: an error of the system is told, anything else ends the transport.
    fn send_failed(self) -> Result<()> {
        if raised_to_leave() {
            return Err(Raised);
        }
        let exception = take_raised().ok_or(Raised)?;
        SEND_FAILED.get()?.call(&[self.object(), &exception]).map(drop)
    }
}

fn sendto(this: T<'_>, args: Args<'_>) -> Result<Ref> {
    let [data, to] = if args.has_keywords() || args.len() > 2 {
        args.parse("sendto", [DATA.get()?, ADDR.get()?])?
    } else {
        [args.get(0), args.get(1)]
    };
    let Some(object) = data else { return args.required(0, "sendto", "data").map(Obj::to_ref) };
    let to = to.filter(|to| !to.is_none());
    if let Some(bytes) = exact_bytes(object) {
        this.send(Data { bytes, object, keep: || lend(object) }, to)?;
        return Ok(none());
    }
    if !is_data(object) {
        let kind = object.type_name();
        return Err(type_error(&format!("data argument must be a bytes-like object, not '{kind}'")));
    }
    match View::readable(object) {
        Err(Raised) => this.send_failed()?,
        Ok(view) => {
            // Whoever changes the buffer afterwards must not change what is sent.
            let keep = || Chunk::Owned(view.as_slice().to_vec());
            this.send(Data { bytes: view.as_slice(), object, keep }, to)?;
        }
    }
    Ok(none())
}

fn close(this: T<'_>) -> Result<Ref> {
    let datagram = this.datagram()?;
    if datagram.is_closing() {
        return Ok(none());
    }
    if let Err(raised) = check_loop(&this.event_loop) {
        // By the time that asyncio's finds no loop to report to, it has begun to close.
        datagram.strand();
        return unless_left(datagram.is_lost(), raised);
    }
    datagram.close();
    Ok(none())
}

fn abort(this: T<'_>) -> Result<Ref> {
    this.force_close(None)?;
    Ok(none())
}

/// `_fatal_error(exc, message)`.
fn fatal_error(this: T<'_>, args: Args<'_>) -> Result<Ref> {
    let exception = args.required(0, "_fatal_error", "exc")?;
    this.fatal(exception, args.get(1).and_then(text).unwrap_or("Fatal error on transport"))?;
    Ok(none())
}

/// `_force_close(exc)`.
fn force_close(this: T<'_>, exception: &Obj) -> Result<Ref> {
    this.force_close((!exception.is_none()).then_some(exception))?;
    Ok(none())
}

fn is_closing(this: T<'_>) -> Result<Ref> {
    Ok(boolean(this.datagram()?.is_closing()))
}

fn is_reading(this: T<'_>) -> Result<Ref> {
    Ok(boolean(this.datagram()?.is_reading()))
}

fn pause_reading(this: T<'_>) -> Result<Ref> {
    let datagram = this.datagram()?;
    if datagram.is_reading() {
        datagram.pause_reading();
        log_if_debugging(&this.event_loop, this.object(), "%r pauses reading")?;
    }
    Ok(none())
}

fn resume_reading(this: T<'_>) -> Result<Ref> {
    let datagram = this.datagram()?;
    if !datagram.is_closing() && datagram.is_paused() {
        datagram.resume_reading();
        log_if_debugging(&this.event_loop, this.object(), "%r resumes reading")?;
    }
    Ok(none())
}

fn set_protocol(this: T<'_>, protocol: &Obj) -> Result<Ref> {
    this.protocol.set(protocol.to_ref());
    Ok(none())
}

fn get_protocol(this: T<'_>) -> Result<Ref> {
    Ok(this.protocol.get_or_none())
}

fn get_write_buffer_size(this: T<'_>) -> Result<Ref> {
    long(this.datagram()?.buffered() as i64)
}

fn get_write_buffer_limits(this: T<'_>) -> Result<Ref> {
    let (low, high) = this.datagram()?.write_limits();
    crate::kit::object::tuple(&[long(low as i64)?.as_ptr(), long(high as i64)?.as_ptr()])
}

fn set_write_buffer_limits(this: T<'_>, args: Args<'_>) -> Result<Ref> {
    let datagram = this.datagram()?;
    set_limits(args, |high, low| datagram.set_write_limits(Some(high), Some(low)))
}

fn get_extra(this: T<'_>) -> Result<Ref> {
    match this.extra.get() {
        Some(extra) => Ok(extra),
        None => dict(),
    }
}

fn set_extra(this: T<'_>, extra: &Obj) -> Result<()> {
    this.extra.set(extra.to_ref());
    Ok(())
}

/// `_conn_lost`: 0, then 1 and one more for each send that was dropped.
fn get_conn_lost(this: T<'_>) -> Result<Ref> {
    let ended = usize::from(this.datagram()?.is_lost());
    long((ended + this.dropped.get()) as i64)
}

/// `repr()`, with what asyncio's says.
fn describe(this: T<'_>) -> Result<String> {
    let datagram = this.datagram()?;
    let state = match (datagram.is_closed(), datagram.is_closing()) {
        (true, _) => " closed",
        (_, true) => " closing",
        _ => "",
    };
    let mut shown = format!("<DatagramTransport{state} fd={}", datagram.fd());
    if !datagram.is_closed() {
        let read = if datagram.polls_read() { "polling" } else { "idle" };
        let write = if datagram.polls_write() { "polling" } else { "idle" };
        shown += &format!(" read={read} write=<{write}, bufsize={}>", datagram.buffered());
    }
    Ok(shown + ">")
}

impl Native for DatagramTransport {
    const NAME: &'static CStr = c"velodrome._core.DatagramTransport";
    const DOC: &'static CStr = c"A datagram transport; see asyncio.DatagramTransport.";
    const DICT: bool = true;
    const FINALIZE: bool = true;
    const REPR: bool = true;

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        type T = DatagramTransport;
        vec![
            Method::fast::<T, _>(
                c"sendto",
                sendto,
                c"Send a datagram, or queue it if the kernel has no room.",
            ),
            Method::noargs::<T, _>(c"close", close, c"Send what is queued, then close."),
            Method::noargs::<T, _>(c"abort", abort, c"Close now; what is queued is dropped."),
            Method::noargs::<T, _>(c"is_closing", is_closing, c"Whether the transport is closing or closed."),
            Method::noargs::<T, _>(c"is_reading", is_reading, c"Whether datagrams would be delivered."),
            Method::noargs::<T, _>(
                c"pause_reading",
                pause_reading,
                c"Deliver nothing until resume_reading().",
            ),
            Method::noargs::<T, _>(c"resume_reading", resume_reading, c"Deliver datagrams again."),
            Method::named::<T, _, _>(
                c"set_protocol",
                set_protocol,
                |args| args.sole("set_protocol", "protocol"),
                c"set_protocol($self, protocol)\n--\n\nChange the protocol.",
            ),
            Method::noargs::<T, _>(c"get_protocol", get_protocol, c"The protocol."),
            Method::noargs::<T, _>(c"get_write_buffer_size", get_write_buffer_size, c"Bytes queued."),
            Method::noargs::<T, _>(c"get_write_buffer_limits", get_write_buffer_limits, c"(low, high)."),
            Method::fast::<T, _>(
                c"set_write_buffer_limits",
                set_write_buffer_limits,
                c"Set the marks of flow control.",
            ),
            Method::one::<T, _>(c"_force_close", force_close, c"abort() with an exception."),
            Method::fast::<T, _>(c"_fatal_error", fatal_error, c"Report an exception and close."),
        ]
    }

    fn getset() -> Vec<GetSet> {
        type T = DatagramTransport;
        vec![
            GetSet::both::<T, _, _>(c"_extra", get_extra, set_extra),
            GetSet::both::<T, _, _>(c"_protocol", get_protocol, |this, it| set_protocol(this, it).map(drop)),
            GetSet::get::<T, _>(c"_sock", |this| Ok(this.socket.get_or_none())),
            GetSet::get::<T, _>(c"_sock_fd", |this| long(i64::from(this.datagram()?.fd()))),
            GetSet::get::<T, _>(c"_loop", |this| Ok(this.event_loop.get_or_none())),
            GetSet::get::<T, _>(c"_address", |this| Ok(this.address.get_or_none())),
            GetSet::get::<T, _>(c"_closing", is_closing),
            GetSet::get::<T, _>(c"_conn_lost", get_conn_lost),
            GetSet::get::<T, _>(c"_paused", |this| Ok(boolean(this.datagram()?.is_paused()))),
            GetSet::get::<T, _>(c"_buffer_size", get_write_buffer_size),
            GetSet::get::<T, _>(c"_protocol_paused", |this| Ok(boolean(this.datagram()?.writing_paused()))),
        ]
    }

    fn repr(this: This<'_, Self>) -> Result<Ref> {
        string(&describe(this)?)
    }

    fn traverse(&self, visit: &mut Visit) {
        self.slots().into_iter().for_each(|slot| visit.slot(slot));
        self.senders.slots().into_iter().for_each(|slot| visit.slot(slot));
        visit.slot(&self.lost_exception);
        for address in &*self.odd_addresses.borrow() {
            visit.pointer(address.as_ptr().cast());
        }
    }

    fn clear(&self) {
        // The socket stays: it is closed by whoever stops listening to it.
        for slot in [&self.protocol, &self.extra, &self.address, &self.lost_exception] {
            drop(slot.take());
        }
        drop(self.odd_addresses.take());
    }

    fn finalize(this: This<'_, Self>) {
        let Some(datagram) = this.datagram.get() else { return };
        if !datagram.is_closed() {
            let warned = UNCLOSED.get().and_then(|warn| warn.call(&[this.object()]));
            if warned.is_err() {
                write_unraisable(this.object());
            }
            // Listened to no more before anyone closes the descriptor.
            datagram.stop_listening();
            this.release_socket();
            datagram.discard();
        }
    }
}
