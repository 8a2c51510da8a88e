//! `_core.StreamTransport`: the Python object of a stream transport, a subclass of `asyncio.Transport`.
//!
//! What few ask for is made when asked for: the socket object, the addresses. A socket object made here never owns the
//! descriptor; one that the user brought always does.

use std::cell::{Cell, OnceCell};
use std::ffi::CStr;
use std::rc::Rc;

use velodrome_engine::reactor::Source;
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::flow_control::LimitsError;
use velodrome_engine::transport::stream::{Refused, Stream};
use velodrome_engine::transport::write_queue::Chunk;

use super::contexts::ContextSlot;
use super::datagram::DatagramTransport;
use super::event_loop::Loop;
use super::server::{self, Clients};
use super::stream_host::Host;
use super::tls::protocol::SslProtocol;
use super::{dispatch, extra};
use crate::kit::buffer::{View, exact_bytes, is_data, lend};
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, clear_raised, iterate, long, none, runtime_error, string, tuple,
    type_error, value_error,
};
use crate::kit::taking::FALSY_LINES_ARE_NONE;
use crate::kit::types::{Layout, Native, This, Visit, held, make_type as make_native};

static BUFFERED_PROTOCOL: Imported = Imported::new("asyncio.protocols", "BufferedProtocol");
static STREAM_PROTOCOL: Imported = Imported::new("asyncio.streams", "StreamReaderProtocol");
static ADOPT_STREAMS: Imported = Imported::new("velodrome._streams", "adopt");
pub(super) static FATAL_ERROR: Imported = Imported::new("velodrome._support", "fatal_error");
pub(super) static TOO_MANY_WRITES: Imported = Imported::new("velodrome._support", "too_many_writes");
pub(crate) static UNCLOSED: Imported = Imported::new("velodrome._support", "unclosed_transport");
static SENDFILE_MODE: Imported = Imported::new("velodrome._support", "SENDFILE_MODE");
static HIGH: Name = Name::new("high");
static SET_RESULT: Name = Name::new("set_result");
static CREATE_FUTURE: Name = Name::new("create_future");
static DONE: Name = Name::new("done");

/// asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES: so many writes to a dead connection are forgiven silently.
pub(super) const FORGIVEN_WRITES: usize = 5;

// The base that asyncio's own have: sendfile's fallback asks for it.
static ASYNCIO_TRANSPORT: Imported = Imported::new("asyncio.transports", "_FlowControlMixin");

pub(crate) fn make_type() -> Result<Ref> {
    make_native::<Transport>(Some(ASYNCIO_TRANSPORT.get()?))
}

/// The transport that a source of the engine belongs to.
pub(super) fn transport_in(source: &dyn Source) -> Option<Ref> {
    let mut found = None;
    source.owner(&mut |object| {
        let object = held(object);
        if This::<Transport>::of(&object).is_some() || This::<DatagramTransport>::of(&object).is_some() {
            found = Some(object);
        }
    });
    found
}

/// A stream transport as Python sees it.
#[derive(Default)]
pub(crate) struct Transport {
    pub(super) event_loop: Slot,
    pub(super) stream: OnceCell<Rc<Stream>>,
    pub(super) host: OnceCell<Rc<Host>>,
    pub(super) protocol: Slot,
    /// The protocol is a BufferedProtocol.
    pub(super) buffered: Cell<bool>,
    /// It is the protocol of a TLS connection, which takes ciphertext without lending a buffer.
    pub(super) secured: Cell<bool>,
    /// A weak reference to the stream reader that is fed natively.
    pub(super) reader: Slot,
    /// The `_extra` dict, once somebody brought or asked for it.
    pub(super) extra: Slot,
    /// The Python socket: the user's, which owns the descriptor, or one made on demand, which does not.
    pub(super) socket: Slot,
    pub(super) users_socket: Cell<bool>,
    /// Dropped without having been closed, and so it says that it is not closing: what dies together with it, a
    /// `StreamWriter`, complains only then.
    forgotten: Cell<bool>,
    /// The `TransportSocket` over it.
    pub(super) public_socket: Slot,
    pub(super) server: Slot,
    /// Where the server keeps its transports, and how it keeps this one: see `server.rs`.
    pub(super) server_clients: OnceCell<Rc<Clients>>,
    pub(super) server_entry: Slot,
    pub(super) empty_waiter: Slot,
    pub(super) opened_context: ContextSlot,
    pub(super) read_context: ContextSlot,
    pub(super) lost_context: ContextSlot,
    /// The exception for `connection_lost` when a callback, not the kernel, was the reason.
    pub(super) lost_exception: Slot,
    pub(super) peer: OnceCell<Peer>,
    pub(super) name: OnceCell<Peer>,
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(host) = self.host.get() {
            host.forget();
        }
    }
}

impl Transport {
    fn slots(&self) -> [&Slot; 13] {
        [
            &self.event_loop,
            &self.protocol,
            &self.reader,
            &self.extra,
            &self.socket,
            &self.public_socket,
            &self.server,
            &self.server_entry,
            &self.empty_waiter,
            &self.opened_context.slot,
            &self.read_context.slot,
            &self.lost_context.slot,
            &self.lost_exception,
        ]
    }
}

/// What is to be fed natively behind an exact `StreamReaderProtocol`: a weak reference to its reader.
pub(super) fn streams_of(protocol: &Obj) -> Result<Option<Ref>> {
    if protocol.type_ptr().cast() != STREAM_PROTOCOL.get()?.as_ptr() {
        return Ok(None);
    }
    let reader = ADOPT_STREAMS.get()?.call(&[protocol])?;
    Ok((!reader.is_none()).then_some(reader))
}

impl<'a> This<'a, Transport> {
    pub(crate) fn stream(self) -> Result<&'a Rc<Stream>> {
        self.value().stream.get().ok_or_else(|| runtime_error("the transport was not opened"))
    }

    /// Set the protocol, and learn how it wants to read.
    pub(crate) fn set_protocol(self, protocol: &Obj) -> Result<()> {
        self.buffered.set(protocol.is_instance(BUFFERED_PROTOCOL.get()?)?);
        self.secured.set(This::<SslProtocol>::of(protocol).is_some());
        drop(self.reader.replace(streams_of(protocol)?));
        self.protocol.set(protocol.to_ref());
        Ok(())
    }

    /// Report an exception that a callback of the protocol raised, and close for it.
    pub(crate) fn fatal(self, exception: &Obj, message: &str) -> Result<()> {
        FATAL_ERROR.get()?.call(&[self.object(), exception, &*string(message)?])?;
        self.force_close(Some(exception))
    }

    fn force_close(self, exception: Option<&Obj>) -> Result<()> {
        let stream = self.stream()?;
        if stream.is_lost() {
            return Ok(());
        }
        if let Err(raised) = check_loop(&self.event_loop) {
            stream.strand_now();
            return Err(raised);
        }
        drop(self.lost_exception.replace(exception.map(Obj::to_ref)));
        stream.abort(None);
        Ok(())
    }

    /// Whether one context serves all its callbacks.
    pub(super) fn has_own_context(self) -> bool {
        // (That of connection_made is dropped as soon as it was called.)
        !self.lost_context.slot.is_empty()
            && self.lost_context.slot.as_ptr() == self.read_context.slot.as_ptr()
    }

    fn admit(self, method: &str) -> Result<()> {
        if self.stream()?.eof_written() {
            return Err(runtime_error(&format!("Cannot call {method}() after write_eof()")));
        }
        if !self.empty_waiter.is_empty() {
            return Err(runtime_error(&format!("unable to {method}; sendfile is in progress")));
        }
        Ok(())
    }

    fn settle(self, written: std::result::Result<(), Refused>) -> Result<Ref> {
        if let Err(Refused::Lost(count)) = written
            && count >= FORGIVEN_WRITES
        {
            TOO_MANY_WRITES.get()?.call(&[])?;
        }
        dispatch::rethrow_outside()?;
        Ok(none())
    }
}

pub(super) fn write(this: This<'_, Transport>, data: &Obj) -> Result<Ref> {
    if let Some(bytes) = exact_bytes(data) {
        this.admit("write")?;
        return this.settle(this.stream()?.write(bytes, || lend(data)));
    }
    if !is_data(data) {
        let kind = data.type_name();
        return Err(type_error(&format!("data argument must be a bytes-like object, not '{kind}'")));
    }
    this.admit("write")?;
    let view = View::readable(data)?;
    // Whoever changes the buffer afterwards must not change what is sent.
    this.settle(this.stream()?.write(view.as_slice(), || Chunk::Owned(view.as_slice().to_vec())))
}

/// `write()` of bytes that are not an object.
pub(super) fn write_slice(this: This<'_, Transport>, data: &[u8]) -> Result<()> {
    this.admit("write")?;
    this.settle(this.stream()?.write(data, || Chunk::Owned(data.to_vec()))).map(drop)
}

fn writelines(this: This<'_, Transport>, lines: &Obj) -> Result<Ref> {
    this.admit("writelines")?;
    if FALSY_LINES_ARE_NONE && !lines.is_true()? {
        return Ok(none());
    }
    let mut chunks = Vec::new();
    iterate(lines, |line| {
        chunks.push(match exact_bytes(line) {
            Some(_) => lend(line),
            None => Chunk::Owned(View::readable(line)?.as_slice().to_vec()),
        });
        Ok(())
    })?;
    this.settle(this.stream()?.write_all(chunks))
}

fn write_eof(this: This<'_, Transport>) -> Result<Ref> {
    this.stream()?.write_eof();
    Ok(none())
}

fn close(this: This<'_, Transport>) -> Result<Ref> {
    let stream = this.stream()?;
    if stream.is_closing() {
        return Ok(none());
    }
    if let Err(raised) = check_loop(&this.event_loop) {
        // By the time that asyncio's finds no loop to report to, it has begun to close.
        stream.strand();
        return unless_left(stream.is_lost(), raised);
    }
    stream.close();
    Ok(none())
}

fn abort(this: This<'_, Transport>) -> Result<Ref> {
    this.force_close(None)?;
    Ok(none())
}

/// `_force_close(exc)`, which asyncio's SSLProtocol calls.
fn force_close(this: This<'_, Transport>, exception: &Obj) -> Result<Ref> {
    this.force_close((!exception.is_none()).then_some(exception))?;
    Ok(none())
}

/// `_fatal_error(exc, message)`, likewise.
fn fatal_error(this: This<'_, Transport>, args: Args<'_>) -> Result<Ref> {
    let exception = args.required(0, "_fatal_error", "exc")?;
    let message = args.get(1).and_then(crate::kit::object::text).unwrap_or("Fatal error on transport");
    this.fatal(exception, message)?;
    Ok(none())
}

fn is_closing(this: This<'_, Transport>) -> Result<Ref> {
    Ok(boolean(this.stream()?.is_closing() && !this.forgotten.get()))
}

fn is_reading(this: This<'_, Transport>) -> Result<Ref> {
    Ok(boolean(this.stream()?.is_reading()))
}

fn pause_reading(this: This<'_, Transport>) -> Result<Ref> {
    let stream = this.stream()?;
    if stream.is_reading() {
        stream.pause_reading();
        log_if_debugging(&this.event_loop, this.object(), "%r pauses reading")?;
    }
    Ok(none())
}

fn resume_reading(this: This<'_, Transport>) -> Result<Ref> {
    let stream = this.stream()?;
    if !stream.is_closing() && !stream.is_reading() {
        stream.resume_reading();
        log_if_debugging(&this.event_loop, this.object(), "%r resumes reading")?;
    }
    Ok(none())
}

/// asyncio's transports fail to schedule their end on a closed loop.
pub(super) fn check_loop(event_loop: &Slot) -> Result<()> {
    match event_loop.get().as_deref().and_then(Loop::of) {
        Some(event_loop) => event_loop.engine().map(drop),
        None => Ok(()),
    }
}

/// With something left to send, asyncio's `close` has nothing to schedule yet, and does not notice.
pub(super) fn unless_left(lost: bool, raised: Raised) -> Result<Ref> {
    if lost {
        return Err(raised);
    }
    clear_raised();
    Ok(none())
}

/// What asyncio's transports log of themselves in debug mode.
pub(super) fn log_if_debugging(event_loop: &Slot, transport: &Obj, message: &str) -> Result<()> {
    static LOG: Imported = Imported::new("velodrome._support", "log_debug");
    if event_loop.get().as_deref().and_then(Loop::of).is_some_and(|event_loop| event_loop.debug()) {
        LOG.get()?.call(&[&*string(message)?, transport])?;
    }
    Ok(())
}

fn can_write_eof(_this: This<'_, Transport>) -> Result<Ref> {
    Ok(boolean(true))
}

fn set_protocol(this: This<'_, Transport>, protocol: &Obj) -> Result<Ref> {
    this.set_protocol(protocol)?;
    Ok(none())
}

fn get_protocol(this: This<'_, Transport>) -> Result<Ref> {
    Ok(this.protocol.get_or_none())
}

fn get_write_buffer_size(this: This<'_, Transport>) -> Result<Ref> {
    long(this.stream()?.buffered() as i64)
}

fn get_write_buffer_limits(this: This<'_, Transport>) -> Result<Ref> {
    let (low, high) = this.stream()?.write_limits();
    tuple(&[long(low as i64)?.as_ptr(), long(high as i64)?.as_ptr()])
}

fn set_write_buffer_limits(this: This<'_, Transport>, args: Args<'_>) -> Result<Ref> {
    let stream = this.stream()?;
    // By asyncio it would have left by now, and would pause nobody.
    stream.flush_gathered();
    set_limits(args, |high, low| stream.set_write_limits(Some(high), Some(low)))
}

/// The marks of flow control as any transport is given them.
pub(super) fn set_limits(
    args: Args<'_>,
    set: impl FnOnce(usize, usize) -> std::result::Result<(), LimitsError>,
) -> Result<Ref> {
    let [high, low] = args.parse("set_write_buffer_limits", [HIGH.get()?, LOW.get()?])?;
    let (high, low) = (number(high)?, number(low)?);
    let high = high.unwrap_or_else(|| low.map_or(DEFAULT_HIGH, |low| 4.0 * low));
    let low = low.unwrap_or_else(|| (high / 4.0).floor());
    // Any number will do, as for asyncio; what is too large to count bytes is no limit.
    let in_order = high >= low && low >= 0.0;
    if !in_order || set(high as usize, low as usize).is_err() {
        let text = format!("high ({high}) must be >= low ({low}) must be >= 0");
        return Err(value_error(&text));
    }
    Ok(none())
}

static LOW: Name = Name::new("low");

/// asyncio's default high-water mark, in bytes.
const DEFAULT_HIGH: f64 = 65536.0;

fn number(value: Option<&Obj>) -> Result<Option<f64>> {
    value.filter(|value| !value.is_none()).map(Obj::as_double).transpose()
}

/// For sendfile: a future that is done when nothing is buffered; writing is refused meanwhile.
fn make_empty_waiter(this: This<'_, Transport>) -> Result<Ref> {
    if !this.empty_waiter.is_empty() {
        return Err(runtime_error("Empty waiter is already set"));
    }
    let stream = this.stream()?;
    stream.flush_gathered();
    let waiter = this.event_loop.get_or_none().call_method(CREATE_FUTURE.get()?, [])?;
    if stream.buffered() == 0 {
        waiter.call_method(SET_RESULT.get()?, [&*none()])?;
    }
    this.empty_waiter.set(waiter.clone());
    Ok(waiter)
}

/// For sendfile, too: a future that is done when the kernel takes more. It fails when the connection is lost.
fn wait_for_room(this: This<'_, Transport>) -> Result<Ref> {
    let stream = this.stream()?;
    let waiter = this.event_loop.get_or_none().call_method(CREATE_FUTURE.get()?, [])?;
    drop(this.empty_waiter.replace(Some(waiter.clone())));
    stream.wait_for_room();
    Ok(waiter)
}

fn reset_empty_waiter(this: This<'_, Transport>) -> Result<Ref> {
    drop(this.empty_waiter.take());
    Ok(none())
}

/// The write queue is empty: tell who waits for it.
pub(super) fn wake_empty_waiter(this: This<'_, Transport>) -> Result<()> {
    if let Some(waiter) = this.empty_waiter.get()
        && !waiter.call_method(DONE.get()?, [])?.is_true()?
    {
        waiter.call_method(SET_RESULT.get()?, [&*none()])?;
    }
    Ok(())
}

/// `_read_ready_cb`: who is told of what was read; None once the connection is lost. CPython's own tests ask.
fn get_reading_callback(this: This<'_, Transport>) -> Result<Ref> {
    static DATA_RECEIVED: Name = Name::new("data_received");
    static BUFFER_UPDATED: Name = Name::new("buffer_updated");
    let Some(protocol) = this.protocol.get() else { return Ok(none()) };
    protocol.getattr(if this.buffered.get() { BUFFER_UPDATED.get()? } else { DATA_RECEIVED.get()? })
}

impl Native for Transport {
    const NAME: &'static CStr = c"velodrome._core.StreamTransport";
    const DOC: &'static CStr = c"A stream transport; see asyncio.Transport.";
    const DICT: bool = true;
    const FINALIZE: bool = true;
    const REPR: bool = true;

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        let mut all = writing_methods();
        all.extend(reading_methods());
        all.push(Method::fast::<Self, _>(
            c"get_extra_info",
            extra::get_extra_info,
            c"What is known about the connection.",
        ));
        all
    }

    fn getset() -> Vec<GetSet> {
        vec![
            GetSet::both::<Self, _, _>(c"_extra", extra::get_extra, extra::set_extra),
            GetSet::get::<Self, _>(c"_sock", extra::get_sock),
            GetSet::get::<Self, _>(c"_read_ready_cb", get_reading_callback),
            GetSet::get::<Self, _>(c"_sock_fd", extra::get_sock_fd),
            GetSet::both::<Self, _, _>(c"_protocol", get_protocol, |this, it| this.set_protocol(it)),
            GetSet::get::<Self, _>(c"_loop", |this| Ok(this.event_loop.get_or_none())),
            GetSet::get::<Self, _>(c"_server", |this| Ok(this.server.get_or_none())),
            GetSet::get::<Self, _>(c"_closing", is_closing),
            GetSet::get::<Self, _>(c"_paused", |this| Ok(boolean(this.stream()?.is_paused()))),
            GetSet::get::<Self, _>(c"_eof", |this| Ok(boolean(this.stream()?.eof_written()))),
            GetSet::get::<Self, _>(c"_conn_lost", |this| long(i64::from(this.stream()?.is_lost()))),
            GetSet::get::<Self, _>(c"_empty_waiter", |this| Ok(this.empty_waiter.get_or_none())),
            GetSet::get::<Self, _>(c"_start_tls_compatible", can_write_eof),
            GetSet::get::<Self, _>(c"_sendfile_compatible", |_| Ok(SENDFILE_MODE.get()?.to_ref())),
            GetSet::get::<Self, _>(c"_low_water", |this| long(this.stream()?.write_limits().0 as i64)),
            GetSet::get::<Self, _>(c"_high_water", |this| long(this.stream()?.write_limits().1 as i64)),
            GetSet::get::<Self, _>(c"_protocol_paused", |this| Ok(boolean(this.stream()?.writing_paused()))),
        ]
    }

    fn repr(this: This<'_, Self>) -> Result<Ref> {
        string(&extra::describe(this)?)
    }

    fn traverse(&self, visit: &mut Visit) {
        self.slots().into_iter().for_each(|slot| visit.slot(slot));
    }

    fn clear(&self) {
        // The socket stays: dropping it would close a descriptor that the engine owns.
        for slot in [
            &self.protocol,
            &self.reader,
            &self.extra,
            &self.server,
            &self.server_entry,
            &self.empty_waiter,
            &self.lost_exception,
        ] {
            drop(slot.take());
        }
    }

    fn finalize(this: This<'_, Self>) {
        let Some(stream) = this.stream.get() else { return };
        if !stream.is_closed() {
            let warned = UNCLOSED.get().and_then(|warn| warn.call(&[this.object()]));
            if warned.is_err() {
                crate::kit::object::write_unraisable(this.object());
            }
            // Listened to no more before anyone closes the descriptor.
            stream.stop_listening();
            extra::release_socket(this);
            this.forgotten.set(!stream.is_closing());
            stream.discard();
            // Whoever waits for the server's end would wait for it for ever.
            let server = this.server.take();
            if server.is_some_and(|server| server::detach(&server, this).is_err()) {
                crate::kit::object::write_unraisable(this.object());
            }
        }
    }
}

fn writing_methods() -> Vec<Method> {
    type T = Transport;
    vec![
        Method::named::<T, _, _>(
            c"write",
            write,
            |args| args.sole("write", "data"),
            c"write($self, data)\n--\n\nSend data, or queue what the kernel does not take.",
        ),
        Method::named::<T, _, _>(
            c"writelines",
            writelines,
            |args| args.sole("writelines", "list_of_data"),
            c"writelines($self, list_of_data)\n--\n\nSend all of an iterable of data.",
        ),
        Method::noargs::<T, _>(
            c"write_eof",
            write_eof,
            c"Tell the peer that no more comes, once all is sent.",
        ),
        Method::noargs::<T, _>(c"can_write_eof", can_write_eof, c"True."),
        Method::noargs::<T, _>(c"close", close, c"Send what is queued, then close."),
        Method::noargs::<T, _>(c"abort", abort, c"Close now; what is queued is dropped."),
        Method::noargs::<T, _>(c"is_closing", is_closing, c"Whether the transport is closing or closed."),
        Method::noargs::<T, _>(c"get_write_buffer_size", get_write_buffer_size, c"Bytes queued."),
        Method::noargs::<T, _>(c"get_write_buffer_limits", get_write_buffer_limits, c"(low, high)."),
        Method::fast::<T, _>(
            c"set_write_buffer_limits",
            set_write_buffer_limits,
            c"Set the marks of flow control.",
        ),
        Method::one::<T, _>(c"_force_close", force_close, c"abort() with an exception."),
        Method::fast::<T, _>(c"_fatal_error", fatal_error, c"Report an exception and close."),
        Method::noargs::<T, _>(c"_make_empty_waiter", make_empty_waiter, c"A future for an empty queue."),
        Method::noargs::<T, _>(c"_wait_for_room", wait_for_room, c"A future for room to write."),
        Method::noargs::<T, _>(c"_reset_empty_waiter", reset_empty_waiter, c"Allow writing again."),
    ]
}

fn reading_methods() -> Vec<Method> {
    type T = Transport;
    vec![
        Method::noargs::<T, _>(c"is_reading", is_reading, c"Whether data would be delivered."),
        Method::noargs::<T, _>(c"pause_reading", pause_reading, c"Deliver no data until resume_reading()."),
        Method::noargs::<T, _>(c"resume_reading", resume_reading, c"Deliver data again."),
        Method::named::<T, _, _>(
            c"set_protocol",
            set_protocol,
            |args| args.sole("set_protocol", "protocol"),
            c"set_protocol($self, protocol)\n--\n\nChange the protocol.",
        ),
        Method::noargs::<T, _>(c"get_protocol", get_protocol, c"The protocol."),
    ]
}
