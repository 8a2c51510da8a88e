//! The Python side of a stream: an engine `Protocol` that calls the protocol object, each callback in its context.

use std::io;
use std::rc::Rc;

use velodrome_engine::ready::Visitor;
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::stream::{Descriptor, Stream};
use velodrome_engine::transport::{Cause, Protocol, Received, Recv};

use super::contexts::{ContextSlot, Copied};
use super::event_loop::Loop;
use super::server::{self, Clients};
use super::tls::protocol::SslProtocol;
use super::transport::{Transport, log_if_debugging, wake_empty_waiter};
use super::{datagram_host, dispatch, extra, reader, watching};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Backref, Obj, Raised, Ref, Result, Slot, clear_raised, long, none, os_error, raise_os_error,
    raised_to_leave, runtime_error, take_raised, with_raised_aside,
};
use crate::kit::types::{This, new_object};
use crate::kit::weak;
use crate::kit::{buffer, context, recycled, roomy};

pub(super) static CONNECTION_MADE: Name = Name::new("connection_made");
static DATA_RECEIVED: Name = Name::new("data_received");
static GET_BUFFER: Name = Name::new("get_buffer");
static BUFFER_UPDATED: Name = Name::new("buffer_updated");
static EOF_RECEIVED: Name = Name::new("eof_received");
pub(super) static PAUSE_WRITING: Name = Name::new("pause_writing");
pub(super) static RESUME_WRITING: Name = Name::new("resume_writing");
pub(super) static CONNECTION_LOST: Name = Name::new("connection_lost");
static PROTOCOL_FAILED: Imported = Imported::new("velodrome._support", "protocol_failed");
static FAIL_WAITER: Imported = Imported::new("velodrome._support", "fail_empty_waiter");

/// Knows the transport for as long as that lives, and holds it for as long as the loop has a reason to.
pub(super) struct Host {
    transport: Backref,
    held: Slot,
}

impl Host {
    /// The transport goes.
    pub(super) fn forget(&self) {
        self.transport.clear();
    }
}

/// What a transport is opened with.
pub(super) struct Opening<'a> {
    pub(super) protocol: &'a Obj,
    pub(super) socket: Option<&'a Obj>,
    pub(super) extra: Option<&'a Obj>,
    pub(super) server: Option<&'a Obj>,
    /// Of the server, if it is one that is known.
    pub(super) clients: Option<&'a Rc<Clients>>,
    pub(super) peer: Option<Peer>,
    /// The one context of all its callbacks (Python 3.15); None: each has a copy from where asyncio would have scheduled it.
    pub(super) context: Option<&'a Obj>,
}

/// Open a transport: its `connection_made` is queued when this returns.
pub(super) fn open(event_loop: This<'_, Loop>, descriptor: Descriptor, opening: Opening<'_>) -> Result<Ref> {
    let engine = event_loop.engine_shared()?;
    check_protocol(opening.protocol, opening.socket)?;
    let object = new_object(Transport::default())?;
    let this = This::<Transport>::of(&object).ok_or(Raised)?;
    this.event_loop.set(event_loop.object().to_ref());
    this.set_protocol(opening.protocol)?;
    set_contexts(event_loop, this, opening.context.filter(|context| !context.is_none()))?;
    let host = Rc::new(Host { transport: Backref::to(&object), held: Slot::default() });
    let _ = this.host.set(Rc::clone(&host));
    let stream = Stream::new(engine.hub(), descriptor, Rc::clone(&host) as Rc<dyn Protocol>);
    let fd = stream.fd();
    watching::unwatch(event_loop, &engine, fd);
    let _ = this.stream.set(Rc::clone(&stream));
    // A server that is closed by now refuses: before anything of the connection has begun.
    if adopt(this, opening).is_err() {
        drop(this.server.take());
        with_raised_aside(|| stream.discard());
        return Err(Raised);
    }
    if let Err(error) = stream.start() {
        stream.discard();
        let_go_of_server(this);
        return Err(refuse(&error, fd));
    }
    Ok(object)
}

/// asyncio binds `connection_made` when it makes a transport. What has none is refused there and then, and the socket is
/// closed with the transport that did not come to be.
pub(super) fn check_protocol(protocol: &Obj, socket: Option<&Obj>) -> Result<()> {
    let refused = protocol.getattr(CONNECTION_MADE.get()?).map(drop);
    if refused.is_err()
        && let Some(socket) = socket
    {
        with_raised_aside(|| datagram_host::close_socket(socket));
    }
    refused
}

fn set_contexts(event_loop: This<'_, Loop>, this: This<'_, Transport>, own: Option<&Obj>) -> Result<()> {
    if let Some(own) = own {
        for slot in [&this.opened_context, &this.read_context, &this.lost_context] {
            slot.set(Copied::Own(own.to_ref()));
        }
    } else {
        this.opened_context.set(event_loop.contexts.copy_current()?);
        this.read_context.set(event_loop.contexts.copy_current()?);
    }
    Ok(())
}

pub(super) fn refuse(error: &io::Error, fd: i32) -> Raised {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            runtime_error(&format!("File descriptor {fd} is used by a transport already"))
        }
        _ => raise_os_error(error),
    }
}

fn adopt(this: This<'_, Transport>, opening: Opening<'_>) -> Result<()> {
    if let Some(peer) = opening.peer {
        let _ = this.peer.set(peer);
    }
    if let Some(socket) = opening.socket {
        this.socket.set(socket.to_ref());
        this.users_socket.set(true);
    }
    if let Some(extra) = opening.extra.filter(|extra| !extra.is_none()) {
        this.extra.set(extra.to_ref());
    }
    extra::learn_addresses(this);
    if let Some(server) = opening.server.filter(|server| !server.is_none()) {
        this.server.set(server.to_ref());
        server::attach(server, this, opening.clients)?;
    }
    Ok(())
}

/// A callback of the protocol, in the context of the given slot.
pub(super) fn call(context: &Slot, protocol: &Slot, method: &Name, args: &[&Obj]) -> Result<Ref> {
    let (Some(context), Some(protocol)) = (context.get(), protocol.get()) else { return Ok(none()) };
    let method = method.get()?;
    context::within(&context, || match args {
        [] => protocol.call_method(method, []),
        [only] => protocol.call_method(method, [only]),
        [first, second] => protocol.call_method(method, [first, second]),
        _ => protocol.getattr(method)?.call(args),
    })
}

/// As [`call`], in a context that may still be a snapshot.
fn call_in(this: This<'_, Transport>, context: &ContextSlot, method: &Name, args: &[&Obj]) -> Result<Ref> {
    settle(this, context)?;
    call(&context.slot, &this.protocol, method, args)
}

fn settle(this: This<'_, Transport>, context: &ContextSlot) -> Result<()> {
    if context.is_settled() {
        return Ok(());
    }
    match this.event_loop.get().as_deref().and_then(Loop::of) {
        Some(event_loop) => context.settle(&event_loop.contexts),
        None => Ok(()),
    }
}

/// What a read callback raised closes the transport, unless it leaves the loop.
fn read_failed(this: This<'_, Transport>, message: &str) {
    if raised_to_leave() {
        return dispatch::leave();
    }
    let Some(exception) = take_raised() else { return };
    if this.fatal(&exception, message).is_err() {
        dispatch::leave();
    }
}

fn deliver(this: This<'_, Transport>, data: Ref) {
    if call_in(this, &this.read_context, &DATA_RECEIVED, &[&data]).is_err() {
        read_failed(this, "Fatal error: protocol.data_received() call failed.");
    }
    recycled::give_back(data);
}

/// For a stream reader straight into its buffer; for anybody else as a bytes object that is to be delivered.
fn take_in(this: This<'_, Transport>, data: &[u8]) -> Result<Option<Ref>> {
    let reader = this.reader.get();
    if let Some(reader) = reader.as_deref().and_then(weak::referent)
        && reader::feed(&reader, data)?
    {
        return Ok(None);
    }
    recycled::bytes(data).map(Some)
}

fn filled(received: &io::Result<usize>) -> Option<usize> {
    received.as_ref().ok().copied().filter(|count| *count > 0)
}

fn receive_bytes(this: This<'_, Transport>, recv: Recv<'_>) -> Received {
    let Ok(stream) = this.stream() else { return Received::Nothing };
    let roomy = if this.reader.is_empty() { roomy::take() } else { None };
    let (received, data) = match roomy {
        Some(mut roomy) => {
            let received = recv(roomy.memory());
            let data = filled(&received).map(|count| match roomy.deliver(count) {
                Some(whole) => Ok(Some(whole)),
                None => take_in(this, &roomy.memory()[..count]),
            });
            (received, data)
        }
        None => stream.hub().with_scratch(|buffer| {
            let received = recv(buffer);
            let data = filled(&received).map(|count| take_in(this, &buffer[..count]));
            (received, data)
        }),
    };
    match data {
        None => return Received::from_io(received),
        Some(Ok(Some(data))) => deliver(this, data),
        Some(Ok(None)) => {}
        Some(Err(Raised)) => read_failed(this, "Fatal error: protocol.data_received() call failed."),
    }
    Received::Bytes
}

/// Ciphertext, from the loop's buffer to OpenSSL and on.
fn receive_secured(this: This<'_, Transport>, recv: Recv<'_>) -> Received {
    if settle(this, &this.read_context).is_err() {
        clear_raised();
        return Received::Nothing;
    }
    let (Ok(stream), Some(protocol), Some(context)) =
        (this.stream(), this.protocol.get(), this.read_context.slot.get())
    else {
        return Received::Nothing;
    };
    let Some(tls) = This::<SslProtocol>::of(&protocol) else { return Received::Nothing };
    let (received, fed) = stream.hub().with_scratch(|buffer| {
        let received = recv(buffer);
        let fed = filled(&received).map(|count| tls.feed(&buffer[..count]));
        (received, fed)
    });
    let Some(fed) = fed else { return Received::from_io(received) };
    if fed.and_then(|()| context::within(&context, || tls.advance())).is_err() {
        read_failed(this, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Received::Bytes
}

/// The protocol's own buffer, and room in it.
fn users_buffer(protocol: &Obj) -> Result<Ref> {
    let buffer = protocol.call_method(GET_BUFFER.get()?, [&*long(-1)?])?;
    if buffer.len()? == 0 {
        return Err(runtime_error("get_buffer() returned an empty buffer"));
    }
    Ok(buffer)
}

/// In one visit to the context, as asyncio's reader callback.
fn receive_buffered(this: This<'_, Transport>, recv: Recv<'_>) -> Received {
    let received = settle(this, &this.read_context).and_then(|()| {
        let context = this.read_context.slot.get_or_none();
        context::within(&context, || Ok(receive_into(this, recv)))
    });
    received.unwrap_or_else(|Raised| {
        read_failed(this, "Fatal error: protocol.get_buffer() call failed.");
        Received::Nothing
    })
}

fn receive_into(this: This<'_, Transport>, recv: Recv<'_>) -> Received {
    let protocol = this.protocol.get_or_none();
    let Ok(buffer) = users_buffer(&protocol) else {
        read_failed(this, "Fatal error: protocol.get_buffer() call failed.");
        return Received::Nothing;
    };
    let Ok(received) = buffer::fill(&buffer, recv) else {
        read_failed(this, "Fatal read error on socket transport");
        return Received::Nothing;
    };
    if let Ok(count @ 1..) = received {
        let protocol = this.protocol.get_or_none();
        let updated =
            long(count as i64).and_then(|count| protocol.call_method(BUFFER_UPDATED.get()?, [&*count]));
        if updated.is_err() {
            read_failed(this, "Fatal error: protocol.buffer_updated() call failed.");
        }
    }
    Received::from_io(received)
}

/// Flow control callbacks: what they raise is reported, and the transport lives on.
pub(super) fn flow(transport: &Obj, called: Result<Ref>, what: &str) {
    if called.is_ok() {
        return;
    }
    if raised_to_leave() {
        return dispatch::leave();
    }
    let Some(exception) = take_raised() else { return };
    let reported = crate::kit::object::string(what)
        .and_then(|what| PROTOCOL_FAILED.get()?.call(&[transport, &exception, &what]));
    if reported.is_err() {
        dispatch::leave();
    }
}

/// A callback of the protocol raised: report it as the loop reports any callback.
pub(super) fn report_call(event_loop: &Slot, protocol: &Slot, method: &Name, args: &[&Obj]) {
    let event_loop = event_loop.get();
    let Some(event_loop) = event_loop.as_deref().and_then(Loop::of) else { return };
    let protocol = protocol.get_or_none();
    let callback = match method.get() {
        Ok(name) => keep_error(|| protocol.getattr(name)),
        Err(Raised) => None,
    };
    dispatch::call_failed(event_loop, callback.as_deref().unwrap_or(&protocol), args);
}

/// A method of the protocol, or the protocol where it has none, for debug mode to name what it ran.
pub(super) fn callback_of(protocol: &Slot, method: &Name) -> Ref {
    let protocol = protocol.get_or_none();
    method.get().and_then(|name| protocol.getattr(name)).unwrap_or_else(|Raised| {
        clear_raised();
        protocol
    })
}

/// Run `body` with the pending exception put aside.
fn keep_error(body: impl FnOnce() -> Result<Ref>) -> Option<Ref> {
    let pending = take_raised();
    let result = body();
    if result.is_err() {
        clear_raised();
    }
    if let Some(pending) = pending {
        crate::kit::object::raise_exception(&pending);
    }
    result.ok()
}

/// The exception for `connection_lost`: a callback's, the kernel's, or none.
fn reason(this: This<'_, Transport>, error: Option<io::Error>) -> Ref {
    if let Some(exception) = this.lost_exception.take() {
        return exception;
    }
    match error.map(|error| os_error(&error)) {
        Some(Ok(exception)) => exception,
        _ => none(),
    }
}

fn let_go_of_server(this: This<'_, Transport>) {
    let server = this.server.take();
    if server.is_some_and(|server| server::detach(&server, this).is_err()) {
        dispatch::step_failed(this.object());
    }
}

/// After `connection_lost`: let go of the socket, the server and the protocol, as asyncio does.
fn let_go(this: This<'_, Transport>) {
    extra::release_socket(this);
    let_go_of_server(this);
    let waiter = this.empty_waiter.get();
    let failed = waiter.map_or(Ok(none()), |waiter| FAIL_WAITER.get()?.call(&[&waiter]));
    if failed.is_err() {
        dispatch::step_failed(this.object());
    }
    for slot in
        [&this.protocol, &this.reader, &this.event_loop, &this.read_context.slot, &this.lost_context.slot]
    {
        drop(slot.take());
    }
}

/// Which method hears of data.
fn receiving(this: This<'_, Transport>) -> &'static Name {
    if this.secured.get() || this.buffered.get() { &BUFFER_UPDATED } else { &DATA_RECEIVED }
}

fn receive(this: This<'_, Transport>, recv: Recv<'_>) -> Received {
    match (this.secured.get(), this.buffered.get()) {
        (true, _) => receive_secured(this, recv),
        (_, true) => receive_buffered(this, recv),
        _ => receive_bytes(this, recv),
    }
}

impl Host {
    fn with<R>(&self, otherwise: R, body: impl FnOnce(This<'_, Transport>) -> R) -> R {
        let transport = self.transport.get();
        match transport.as_deref().and_then(This::<Transport>::of) {
            Some(this) => body(this),
            None => otherwise,
        }
    }

    /// The same for a callback that the loop runs, which debug mode shall time.
    fn run<R>(&self, method: &Name, otherwise: R, body: impl FnOnce(This<'_, Transport>) -> R) -> R {
        self.with(otherwise, |this| dispatch::observed(|| callback_of(&this.protocol, method), || body(this)))
    }
}

impl Protocol for Host {
    fn connection_made(&self) {
        self.run(&CONNECTION_MADE, (), |this| {
            if call_in(this, &this.opened_context, &CONNECTION_MADE, &[this.object()]).is_err() {
                report_call(&this.event_loop, &this.protocol, &CONNECTION_MADE, &[this.object()]);
            }
            drop(this.opened_context.slot.take());
        });
    }

    fn data_ready(&self, recv: Recv<'_>) -> Received {
        self.with(Received::Nothing, |this| {
            dispatch::observed(|| callback_of(&this.protocol, receiving(this)), || receive(this, recv))
        })
    }

    fn eof_received(&self) -> bool {
        self.run(&EOF_RECEIVED, false, |this| {
            let logged = log_if_debugging(&this.event_loop, this.object(), "%r received EOF");
            let answer = logged.and_then(|()| call_in(this, &this.read_context, &EOF_RECEIVED, &[]));
            match answer.and_then(|answer| answer.is_true()) {
                Ok(keep_open) => keep_open,
                Err(Raised) => {
                    read_failed(this, "Fatal error: protocol.eof_received() call failed.");
                    true
                }
            }
        })
    }

    fn pause_writing(&self) {
        self.with((), |this| {
            // In the context of whoever writes, which may be the protocol's own.
            let protocol = this.protocol.get_or_none();
            let called = PAUSE_WRITING.get().and_then(|method| protocol.call_method(method, []));
            flow(this.object(), called, "protocol.pause_writing() failed");
        });
    }

    fn resume_writing(&self) {
        self.run(&RESUME_WRITING, (), |this| {
            let called = call_in(this, &this.read_context, &RESUME_WRITING, &[]);
            flow(this.object(), called, "protocol.resume_writing() failed");
        });
    }

    fn drained(&self) {
        self.with((), |this| {
            if wake_empty_waiter(this).is_err() {
                dispatch::step_failed(this.object());
            }
        });
    }

    fn failed(&self, _error: &io::Error, doing: &'static str) {
        self.with((), |this| {
            if log_if_debugging(&this.event_loop, this.object(), doing).is_err() {
                clear_raised();
            }
        });
    }

    fn losing(&self, cause: Cause) {
        self.with((), |this| {
            if this.has_own_context() {
                return;
            }
            // As a call_soon from where asyncio would have made it: the caller, or the callback that reads.
            let event_loop = this.event_loop.get();
            let context =
                match (cause, this.read_context.slot.get(), event_loop.as_deref().and_then(Loop::of)) {
                    (Cause::Transport, Some(reading), _) => context::copy(&reading).map(Copied::Own),
                    (_, _, Some(event_loop)) => event_loop.contexts.copy_current(),
                    _ => context::copy_current().map(Copied::Own),
                };
            match context {
                Ok(context) => this.lost_context.set(context),
                Err(Raised) => clear_raised(),
            }
        });
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.run(&CONNECTION_LOST, (), |this| {
            let reason = reason(this, error);
            let lost = &this.lost_context;
            let context = if lost.slot.is_empty() { &this.read_context } else { lost };
            if call_in(this, context, &CONNECTION_LOST, &[&reason]).is_err() {
                report_call(&this.event_loop, &this.protocol, &CONNECTION_LOST, &[&*reason]);
            }
            let_go(this);
        });
    }

    fn hold(&self, held: bool) {
        let transport = if held { self.transport.get() } else { None };
        drop(self.held.replace(transport));
    }

    fn abandon(&self) {
        drop(self.held.take());
    }

    fn owner(&self, visitor: Visitor<'_>) {
        if let Some(transport) = self.transport.get() {
            visitor(transport.as_ptr().cast());
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        if !self.held.is_empty() {
            visitor(self.held.as_ptr().cast());
        }
    }
}
