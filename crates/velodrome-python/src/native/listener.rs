//! Listening sockets: each accepted connection becomes a protocol and a transport, without a Task in between, at the
//! turn in which asyncio's accepting task would have made them.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use velodrome_engine::ready::{Run, Runnable, Visitor};
use velodrome_engine::sys::Peer;
use velodrome_engine::transport::listener::{Acceptor, Listener};
use velodrome_engine::transport::nodelay::Nodelay;
use velodrome_engine::transport::stream::Descriptor;

use super::event_loop::Loop;
use super::server::{Clients, clients_of};
use super::stream_host::{Opening, open};
use super::{datagram_host, dispatch, watching};
use crate::kit::context;
use crate::kit::methods::{Args, Method};
use crate::kit::names::Imported;
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, clear_raised, none, os_error, raise_os_error, raised_to_leave,
    take_raised,
};
use crate::kit::types::This;

static ACCEPT_EXHAUSTED: Imported = Imported::new("velodrome._support", "accept_exhausted");
static ACCEPT_FAILED: Imported = Imported::new("velodrome._support", "accept_failed");
static ACCEPTED_FAILED: Imported = Imported::new("velodrome._support", "accepted_failed");

/// The listeners of a loop, by descriptor: few, so a list.
#[derive(Default)]
pub(crate) struct Listeners(RefCell<Vec<Rc<Listener>>>);

impl Listeners {
    fn take(&self, fd: RawFd) -> Option<Rc<Listener>> {
        let mut all = self.0.borrow_mut();
        let index = all.iter().position(|listener| listener.fd() == fd)?;
        Some(all.swap_remove(index))
    }

    /// Forget all, when the loop closes: the engine deregisters.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}

/// What every connection of a listening socket needs.
struct Serving {
    event_loop: Slot,
    factory: Slot,
    /// Keeps the listening descriptor open.
    socket: Slot,
    server: Slot,
    clients: Option<Rc<Clients>>,
    /// None for what is not TCP.
    nodelay: Option<Nodelay>,
    /// Copied for each connection.
    context: Slot,
    /// The copy is the connection's own, for all its callbacks: Python 3.15 and later.
    own_contexts: bool,
}

impl Serving {
    fn slots(&self) -> [&Slot; 5] {
        [&self.event_loop, &self.factory, &self.socket, &self.server, &self.context]
    }

    fn with_loop(&self, body: impl FnOnce(This<'_, Loop>) -> Result<()>) {
        let event_loop = self.event_loop.get();
        if let Some(this) = event_loop.as_deref().and_then(Loop::of)
            && body(this).is_err()
        {
            dispatch::step_failed(this.object());
        }
    }
}

struct Host(Rc<Serving>);

impl Acceptor for Host {
    fn accepted(&self, socket: OwnedFd, peer: Peer) {
        let connection = Connection {
            serving: Rc::clone(&self.0),
            socket: Cell::new(Some(socket)),
            peer: Cell::new(Some(peer)),
        };
        self.0.with_loop(|event_loop| {
            let engine = event_loop.engine_shared()?;
            engine.hub().ready.push(Runnable::from_rc(Rc::new(connection), 0));
            Ok(())
        });
    }

    fn exhausted(&self, error: io::Error) {
        self.report(&ACCEPT_EXHAUSTED, &error);
    }

    fn failed(&self, error: io::Error) {
        self.report(&ACCEPT_FAILED, &error);
    }

    fn abandon(&self) {
        for slot in self.0.slots() {
            drop(slot.take());
        }
    }

    fn visit(&self, visitor: Visitor<'_>) {
        for slot in self.0.slots() {
            if !slot.is_empty() {
                visitor(slot.as_ptr().cast());
            }
        }
    }
}

impl Host {
    fn report(&self, how: &Imported, error: &io::Error) {
        self.0.with_loop(|event_loop| {
            let exception = os_error(error)?;
            how.get()?.call(&[event_loop.object(), &self.0.socket.get_or_none(), &exception]).map(drop)
        });
    }
}

/// A connection that was accepted and waits for its turn to get a protocol.
struct Connection {
    serving: Rc<Serving>,
    socket: Cell<Option<OwnedFd>>,
    peer: Cell<Option<Peer>>,
}

impl Run for Connection {
    fn run(self: Rc<Self>, _: usize) {
        dispatch::observed(
            || self.serving.factory.get_or_none(),
            || self.serving.with_loop(|event_loop| self.open(event_loop)),
        );
    }
}

impl Connection {
    fn open(&self, event_loop: This<'_, Loop>) -> Result<()> {
        let Some(context) = self.serving.context.get() else { return Ok(()) };
        let protocol = Slot::default();
        let opened = context::copy(&context).and_then(|context| {
            context::within(&context, || self.open_within(event_loop, &protocol, &context))
        });
        if opened.is_ok() || raised_to_leave() {
            return opened;
        }
        let exception = take_raised().ok_or(Raised)?;
        if event_loop.debug() {
            let failed = [event_loop.object(), &*exception, &*protocol.get_or_none()];
            ACCEPTED_FAILED.get()?.call(&failed)?;
        }
        Ok(())
    }

    fn open_within(&self, event_loop: This<'_, Loop>, protocol: &Slot, context: &Obj) -> Result<()> {
        let made = self.serving.factory.get_or_none().call(&[])?;
        protocol.set(made.clone());
        let Some(socket) = self.socket.take() else { return Ok(()) };
        if let Some(nodelay) = &self.serving.nodelay {
            // Fails only on a socket that is gone.
            let _ = nodelay.apply(socket.as_raw_fd());
        }
        let server = self.serving.server.get_or_none();
        let opening = Opening {
            protocol: &made,
            socket: None,
            extra: None,
            server: Some(&server),
            clients: self.serving.clients.as_ref(),
            peer: self.peer.take(),
            context: self.serving.own_contexts.then_some(context),
        };
        open(event_loop, Descriptor::Owned(socket), opening).map(drop)
    }
}

/// `_listen(sock, protocol_factory, server, backlog, context)`.
fn listen(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let socket = args.required(0, "_listen", "sock")?;
    let fd = watching::descriptor(socket)?;
    let backlog = usize::try_from(args.required(3, "_listen", "backlog")?.as_long()?).unwrap_or(1);
    let own = args.get(4).filter(|context| !context.is_none());
    let serving = Serving {
        event_loop: Slot::new(this.object().to_ref()),
        factory: Slot::new(args.required(1, "_listen", "protocol_factory")?.to_ref()),
        socket: Slot::new(socket.to_ref()),
        server: Slot::new(args.required(2, "_listen", "server")?.to_ref()),
        context: Slot::new(own.map_or_else(context::copy_current, |own| Ok(own.to_ref()))?),
        own_contexts: own.is_some(),
        clients: clients_of(args.required(2, "_listen", "server")?),
        nodelay: Nodelay::of_listener(fd),
    };
    let engine = this.engine_shared()?;
    watching::unwatch(this, &engine, fd);
    let started = Listener::start(engine.hub(), fd, backlog, Rc::new(Host(Rc::new(serving))));
    // Making the exception may collect garbage, which may come here: not within the borrow.
    let listener = started.map_err(|error| raise_os_error(&error))?;
    this.listeners.0.borrow_mut().push(listener);
    Ok(none())
}

/// `_unlisten(sock)`: True if it was listening natively.
fn unlisten(this: This<'_, Loop>, socket: &Obj) -> Result<Ref> {
    let fd = watching::descriptor(socket)?;
    let listener = this.listeners.take(fd);
    if let Some(listener) = &listener {
        listener.stop();
    }
    Ok(boolean(listener.is_some()))
}

/// `_open_stream(sock, protocol, extra, server, context)`: a transport over the user's socket object, which stays its owner.
fn open_stream(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let socket = args.required(0, "_open_stream", "sock")?;
    let descriptor = Descriptor::Lent(watching::descriptor(socket)?);
    let opening = Opening {
        protocol: args.required(1, "_open_stream", "protocol")?,
        socket: Some(socket),
        extra: args.get(2),
        server: args.get(3),
        clients: None,
        peer: None,
        context: args.get(4),
    };
    open(this, descriptor, opening)
}

/// `_transport_of(fd)`: the native transport that uses a descriptor, or None; none uses what is not open.
fn transport_of(this: This<'_, Loop>, fd: &Obj) -> Result<Ref> {
    let (Ok(fd), Ok(engine)) = (watching::removed_descriptor(fd), this.engine_shared()) else {
        clear_raised();
        return Ok(none());
    };
    let registration = engine.hub().reactor.registration_of(fd);
    let source = registration.and_then(|registration| registration.source());
    Ok(source.and_then(|source| super::transport::transport_in(&*source)).unwrap_or_else(none))
}

pub(crate) fn methods() -> Vec<Method> {
    vec![
        Method::fast::<Loop, _>(c"_listen", listen, c"Accept connections natively."),
        Method::one::<Loop, _>(c"_unlisten", unlisten, c"Accept no more."),
        Method::fast::<Loop, _>(
            c"_open_datagram",
            datagram_host::open,
            c"A transport over a datagram socket.",
        ),
        Method::fast::<Loop, _>(c"_open_stream", open_stream, c"A transport over a connected socket."),
        Method::one::<Loop, _>(c"_transport_of", transport_of, c"The transport that uses a descriptor."),
    ]
}
