//! `_core.SSLProtocol`: the native half of `velodrome._tls.SSLProtocol`, standing before asyncio's class. Its fields are
//! properties with the names that asyncio's methods use, so what either half writes the other reads.

use std::cell::{Cell, OnceCell};
use std::ffi::CStr;
use std::rc::Rc;

use velodrome_engine::hub::Hub;

use super::session::Session;
use super::state::{self, Mark, Phase};
use super::{reading, writing};
use crate::kit::buffer::View;
use crate::kit::methods::{GetSet, Method};
use crate::kit::names::Name;
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, boolean, none, raised_ordinary, runtime_error, string, take_raised,
};
use crate::kit::types::{Layout, Native, This, Visit, make_type as make_native};
use crate::native::event_loop::Loop;
use crate::native::transport::{Transport, streams_of};

static FATAL_ERROR: Name = Name::new("_fatal_error");

pub(crate) fn make_type() -> Result<Ref> {
    make_native::<SslProtocol>(None)
}

#[derive(Default)]
pub(crate) struct SslProtocol {
    pub(super) event_loop: Slot,
    pub(super) hub: OnceCell<Rc<Hub>>,
    pub(super) state: Slot,
    pub(super) phase: Cell<Phase>,
    pub(super) session: Session,
    /// The transport below: a native one, another TLS connection's, or anybody's.
    pub(super) transport: Slot,
    pub(super) app_protocol: Slot,
    /// A weak reference to the stream reader that is fed natively.
    pub(super) reader: Slot,
    pub(super) buffered: Cell<bool>,
    pub(super) get_buffer: Slot,
    pub(super) buffer_updated: Slot,
    /// What could not be encrypted yet: a deque.
    pub(super) backlog: Slot,
    pub(super) backlog_size: Cell<i64>,
    /// The application has closed the connection.
    pub(super) discards: Cell<bool>,
    /// Data is being encrypted: what is written meanwhile waits its turn.
    pub(super) writing: Cell<bool>,
    pub(super) app_reading_paused: Cell<bool>,
    pub(super) app_writing_paused: Cell<bool>,
    pub(super) ssl_reading_paused: Cell<bool>,
    pub(super) ssl_writing_paused: Cell<bool>,
    pub(super) incoming_high: Mark,
    pub(super) incoming_low: Mark,
    pub(super) outgoing_high: Mark,
    pub(super) outgoing_low: Mark,
}

pub(super) type Protocol<'a> = This<'a, SslProtocol>;

impl<'a> Protocol<'a> {
    /// Hand ciphertext in; [`Self::advance`] makes use of it.
    pub(crate) fn feed(self, data: &[u8]) -> Result<()> {
        self.session.feed(data)
    }

    /// Go on with whatever the connection is doing.
    pub(crate) fn advance(self) -> Result<()> {
        reading::advance(self)
    }

    /// Call an inherited method, or whatever overrides it.
    pub(super) fn call(self, method: &Name) -> Result<()> {
        self.object().call_method(method.get()?, []).map(drop)
    }

    pub(super) fn hub(self) -> Result<&'a Rc<Hub>> {
        self.value()
            .hub
            .get()
            .ok_or_else(|| runtime_error("the connection belongs to no loop of velodrome's"))
    }

    /// What was raised goes to `_fatal_error`, but for what must go further.
    pub(super) fn or_fatal(self, result: Result<()>) -> Result<()> {
        let Err(Raised) = result else { return Ok(()) };
        if !raised_ordinary() {
            return Err(Raised);
        }
        let Some(exception) = take_raised() else { return Ok(()) };
        let message = string("Fatal error on SSL protocol")?;
        self.object().call_method(FATAL_ERROR.get()?, [&*exception, &*message]).map(drop)
    }

    fn set_loop(self, value: &Obj) -> Result<()> {
        if let Some(event_loop) = Loop::of(value) {
            let _ = self.value().hub.set(Rc::clone(event_loop.engine_shared()?.hub()));
        }
        self.event_loop.set(value.to_ref());
        Ok(())
    }

    fn set_app_protocol(self, value: &Obj) -> Result<()> {
        drop(self.reader.replace(streams_of(value)?));
        self.app_protocol.set(value.to_ref());
        Ok(())
    }

    fn set_state(self, value: &Obj) -> Result<()> {
        self.phase.set(Phase::of(value)?);
        self.state.set(value.to_ref());
        Ok(())
    }

    /// Whether the transport below is about to close: what is written will not arrive.
    pub(super) fn transport_is_closing(self) -> Result<bool> {
        static IS_CLOSING: Name = Name::new("is_closing");
        let Some(transport) = self.transport.get() else { return Ok(false) };
        match This::<Transport>::of(&transport) {
            Some(native) => Ok(native.stream()?.is_closing()),
            None if transport.is_none() => Ok(false),
            None => transport.call_method(IS_CLOSING.get()?, [])?.is_true(),
        }
    }
}

fn feed(this: Protocol<'_>, data: &Obj) -> Result<Ref> {
    this.feed(View::readable(data)?.as_slice()).map(|()| none())
}

fn receive(this: Protocol<'_>, data: &Obj) -> Result<Ref> {
    feed(this, data)?;
    this.advance().map(|()| none())
}

impl Native for SslProtocol {
    const NAME: &'static CStr = c"velodrome._core.SSLProtocol";
    const DOC: &'static CStr = c"The native part of a TLS connection.";
    const OPEN: bool = true;

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn create() -> Result<Self> {
        Ok(Self::default())
    }

    fn methods() -> Vec<Method> {
        type T = SslProtocol;
        vec![
            Method::one::<T, _>(c"_feed", feed, c"Take ciphertext in."),
            Method::one::<T, _>(c"_receive", receive, c"Take ciphertext in, and go on."),
            Method::noargs::<T, _>(c"_do_read", reading::do_read, c"Read what is there."),
            Method::noargs::<T, _>(c"_process_outgoing", writing::process_outgoing, c"Send what is there."),
            Method::noargs::<T, _>(
                c"_control_app_writing",
                writing::control_app_writing,
                c"Pause or resume who writes.",
            ),
            Method::noargs::<T, _>(
                c"_get_read_buffer_size",
                reading::get_read_buffer_size,
                c"Ciphertext that could have been read.",
            ),
            Method::noargs::<T, _>(
                c"_has_unread",
                |this| this.session.is_readable().map(boolean),
                c"Whether the application could read something, decrypted already or not.",
            ),
            Method::noargs::<T, _>(
                c"_control_ssl_reading",
                reading::control_ssl_reading,
                c"Pause or resume the transport below.",
            ),
            Method::noargs::<T, _>(
                c"_flush",
                writing::flush_now,
                c"Send, and leave nothing to the turn's end.",
            ),
        ]
    }

    fn getset() -> Vec<GetSet> {
        let mut all = state::flags();
        all.extend(state::objects());
        all.extend(state::numbers());
        all.extend([
            GetSet::both::<Self, _, _>(
                c"_loop",
                |this| Ok(this.event_loop.get_or_none()),
                |this, it| this.set_loop(it),
            ),
            GetSet::both::<Self, _, _>(
                c"_state",
                |this| Ok(this.state.get_or_none()),
                |this, it| this.set_state(it),
            ),
            GetSet::both::<Self, _, _>(
                c"_app_protocol",
                |this| Ok(this.app_protocol.get_or_none()),
                |this, it| this.set_app_protocol(it),
            ),
            GetSet::both::<Self, _, _>(
                c"_sslobj",
                |this| Ok(this.session.sslobj.get_or_none()),
                |this, value| this.session.set_sslobj(value),
            ),
            GetSet::get::<Self, _>(c"_direct", |this| Ok(boolean(this.session.is_direct()))),
        ]);
        all
    }

    fn traverse(&self, visit: &mut Visit) {
        self.session.visit(visit);
        self.slots().into_iter().for_each(|slot| visit.slot(slot));
    }

    fn clear(&self) {
        self.session.clear();
        for slot in self.slots() {
            drop(slot.take());
        }
    }
}

impl SslProtocol {
    fn slots(&self) -> [&Slot; 8] {
        [
            &self.event_loop,
            &self.state,
            &self.transport,
            &self.app_protocol,
            &self.reader,
            &self.get_buffer,
            &self.buffer_updated,
            &self.backlog,
        ]
    }
}
