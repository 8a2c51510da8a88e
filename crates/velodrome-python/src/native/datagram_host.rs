//! The Python side of a datagram transport: an engine `DatagramProtocol` that calls the protocol object, each callback
//! in its context.

use std::io;
use std::rc::Rc;

use velodrome_engine::ready::Visitor;
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::Cause;
use velodrome_engine::transport::datagram::{Datagram, DatagramProtocol, Doing, Sent};
use velodrome_engine::transport::stream::Descriptor;

use super::datagram::{DatagramTransport, FACTS, HEADER_SIZE, count_of};
use super::event_loop::Loop;
use super::stream_host::{
    CONNECTION_LOST, CONNECTION_MADE, PAUSE_WRITING, RESUME_WRITING, call, callback_of, check_protocol, flow,
    refuse, report_call,
};
use super::{dispatch, watching};
use crate::kit::context;
use crate::kit::methods::Args;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Backref, Obj, Raised, Ref, Result, Slot, clear_raised, none, os_error, raised_to_leave, take_raised,
    tuple_item,
};
use crate::kit::recycled;
use crate::kit::types::{This, new_object};

static DATAGRAM_RECEIVED: Name = Name::new("datagram_received");
pub(super) static ERROR_RECEIVED: Name = Name::new("error_received");
static OS_ERROR: Imported = Imported::new("builtins", "OSError");
static CLOSE: Name = Name::new("close");

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

    fn with(&self, body: impl FnOnce(This<'_, DatagramTransport>)) {
        let transport = self.transport.get();
        if let Some(this) = transport.as_deref().and_then(This::<DatagramTransport>::of) {
            body(this);
        }
    }

    /// The same for a callback that the loop runs, which debug mode shall time.
    fn run(&self, method: &Name, body: impl FnOnce(This<'_, DatagramTransport>)) {
        self.with(|this| dispatch::observed(|| callback_of(&this.protocol, method), || body(this)));
    }
}

/// `_open_datagram(sock, protocol, address, extra)`: a transport over the user's socket object, which stays its owner.
pub(super) fn open(event_loop: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let socket = args.required(0, "_open_datagram", "sock")?;
    let protocol = args.required(1, "_open_datagram", "protocol")?;
    let fd = watching::descriptor(socket)?;
    let engine = event_loop.engine_shared()?;
    check_protocol(protocol, Some(socket))?;
    let header = count_of(&HEADER_SIZE)?;
    let object = new_object(DatagramTransport::default())?;
    let this = This::<DatagramTransport>::of(&object).ok_or(Raised)?;
    this.event_loop.set(event_loop.object().to_ref());
    this.protocol.set(protocol.to_ref());
    this.opened_context.set(context::copy_current()?);
    this.read_context.set(context::copy_current()?);
    let host = Rc::new(Host { transport: Backref::to(&object), held: Slot::default() });
    let _ = this.host.set(Rc::clone(&host));
    let facts = FACTS.get()?.call(&[socket, &*args.get(3).map_or_else(none, |extra| extra.to_ref())])?;
    let connected = tuple_item(&facts, 1).map_or(Ok(false), |it| it.is_true())?;
    this.learn(fd, tuple_item(&facts, 0), connected, args.get(2))?;
    let protocol = Rc::clone(&host) as Rc<dyn DatagramProtocol>;
    let datagram = Datagram::new(engine.hub(), Descriptor::Lent(fd), header, protocol);
    watching::unwatch(event_loop, &engine, fd);
    if let Err(error) = datagram.start() {
        datagram.discard();
        return Err(refuse(&error, fd));
    }
    this.socket.set(socket.to_ref());
    let _ = this.datagram.set(datagram);
    Ok(object)
}

/// What a callback raised that the loop called: reported, unless it leaves the loop.
fn received_failed(this: This<'_, DatagramTransport>, method: &Name, args: &[&Obj]) {
    report_call(&this.event_loop, &this.protocol, method, args);
}

/// The socket module raised when a datagram's turn came: an error of the system is told, anything else ends the
/// transport.
fn refused(this: This<'_, DatagramTransport>) {
    if raised_to_leave() {
        return received_failed(this, &ERROR_RECEIVED, &[]);
    }
    let Some(exception) = take_raised() else { return };
    if !OS_ERROR.get().and_then(|class| exception.is_instance(class)).unwrap_or(false) {
        if this.fatal(&exception, "Fatal write error on datagram transport").is_err() {
            dispatch::leave();
        }
    } else if call(&this.write_context, &this.protocol, &ERROR_RECEIVED, &[&*exception]).is_err() {
        received_failed(this, &ERROR_RECEIVED, &[&*exception]);
    }
}

/// A datagram could not be made into Python objects: there is no memory.
fn no_memory(this: This<'_, DatagramTransport>) {
    let Some(exception) = take_raised() else { return };
    if this.fatal(&exception, "Fatal read error on datagram transport").is_err() {
        dispatch::leave();
    }
}

/// After `connection_lost`: close the socket and let go of the protocol and the loop, as asyncio does.
fn let_go(this: This<'_, DatagramTransport>) {
    this.release_socket();
    this.forget_odd_addresses();
    for slot in [
        &this.protocol,
        &this.event_loop,
        &this.opened_context,
        &this.read_context,
        &this.write_context,
        &this.lost_context,
    ] {
        drop(slot.take());
    }
}

impl DatagramProtocol for Host {
    fn connection_made(&self) {
        self.run(&CONNECTION_MADE, |this| {
            if call(&this.opened_context, &this.protocol, &CONNECTION_MADE, &[this.object()]).is_err() {
                report_call(&this.event_loop, &this.protocol, &CONNECTION_MADE, &[this.object()]);
            }
        });
    }

    fn datagram_received(&self, data: &[u8], sender: &Peer) {
        self.run(&DATAGRAM_RECEIVED, |this| {
            let (Ok(data), Ok(sender)) = (recycled::bytes(data), this.senders.shown(sender)) else {
                return no_memory(this);
            };
            let args = [&*data, &*sender];
            if call(&this.read_context, &this.protocol, &DATAGRAM_RECEIVED, &args).is_err() {
                received_failed(this, &DATAGRAM_RECEIVED, &args);
            }
            recycled::give_back(data);
        });
    }

    fn error_received(&self, error: io::Error, doing: Doing) {
        self.run(&ERROR_RECEIVED, |this| {
            let Ok(error) = os_error(&error) else { return no_memory(this) };
            let context = match doing {
                Doing::Receiving => &this.read_context,
                Doing::Sending => &this.write_context,
            };
            if call(context, &this.protocol, &ERROR_RECEIVED, &[&*error]).is_err() {
                received_failed(this, &ERROR_RECEIVED, &[&*error]);
            }
        });
    }

    fn send(&self, data: &[u8]) -> Sent {
        let mut sent = Sent::Refused;
        self.run(&ERROR_RECEIVED, |this| match this.send_odd(data) {
            Ok(answer) => sent = answer,
            Err(Raised) => refused(this),
        });
        sent
    }

    fn pause_writing(&self) {
        self.with(|this| {
            // In the context of whoever sends, which may be the protocol's own.
            let protocol = this.protocol.get_or_none();
            let called = PAUSE_WRITING.get().and_then(|method| protocol.call_method(method, []));
            flow(this.object(), called, "protocol.pause_writing() failed");
        });
    }

    fn resume_writing(&self) {
        self.run(&RESUME_WRITING, |this| {
            let called = call(&this.write_context, &this.protocol, &RESUME_WRITING, &[]);
            flow(this.object(), called, "protocol.resume_writing() failed");
        });
    }

    fn losing(&self, _cause: Cause) {
        self.with(|this| match context::copy_current() {
            Ok(context) => this.lost_context.set(context),
            Err(Raised) => clear_raised(),
        });
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.run(&CONNECTION_LOST, |this| {
            let reason = this.lost_exception.take();
            let reason = reason.or_else(|| error.and_then(|error| os_error(&error).ok()));
            let reason = reason.unwrap_or_else(none);
            let context = if this.lost_context.is_empty() { &this.write_context } else { &this.lost_context };
            if call(context, &this.protocol, &CONNECTION_LOST, &[&*reason]).is_err() {
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

/// Close the user's socket object, whatever it says.
pub(super) fn close_socket(socket: &Obj) {
    let closed = CLOSE.get().and_then(|close| socket.call_method(close, []));
    if closed.is_err() {
        clear_raised();
    }
}
