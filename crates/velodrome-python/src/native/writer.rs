//! What native code does for a stream writer: `write` goes straight to the transport, and `drain` without pressure is
//! over before anybody is suspended. `_core.StreamWriter` is asyncio's class with these two methods.

use std::cell::Cell;
use std::ffi::CStr;

use super::tls::app_transport;
use super::transport::{self, Transport};
use super::{dispatch, fairness, reader};
use crate::kit::attributes::{Attribute, Attributes, InstanceDict};
use crate::kit::coroutines::{self, Coroutine, Life, Step, advance, make_coroutine_type};
use crate::kit::freeing::Spare;
use crate::kit::methods::{GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Raised, Ref, Result, Slot, none};
use crate::kit::types::{Layout, Native, This, Visit, make_overlay, new_kept};

static ASYNCIO_WRITER: Imported = Imported::new("asyncio.streams", "StreamWriter");
static PROTOCOL_CLASS: Imported = Imported::new("asyncio.streams", "StreamReaderProtocol");
static INHERITED_DRAIN: Imported = Imported::new("velodrome._streams", "drain");
static TRANSPORT: Attribute = Attribute::new(&ASYNCIO_WRITER, "_transport");
static READER: Attribute = Attribute::new(&ASYNCIO_WRITER, "_reader");
static PROTOCOL: Attribute = Attribute::new(&ASYNCIO_WRITER, "_protocol");
static CONNECTION_LOST: Attribute = Attribute::new(&PROTOCOL_CLASS, "_connection_lost");
static PAUSED: Attribute = Attribute::new(&PROTOCOL_CLASS, "_paused");
static IS_CLOSING: Name = Name::new("is_closing");
static WRITE: Name = Name::new("write");

/// asyncio's class with native methods; it adds no storage.
pub(crate) struct StreamWriter;

pub(crate) fn make_type() -> Result<Ref> {
    make_overlay::<StreamWriter>(ASYNCIO_WRITER.get()?)
}

impl Native for StreamWriter {
    const NAME: &'static CStr = c"velodrome._core.StreamWriter";
    const DOC: &'static CStr = c"asyncio.StreamWriter with native methods.";

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::named::<Self, _, _>(
                c"write",
                write,
                |args| args.sole("write", "data"),
                c"write($self, data)\n--\n\nSend data, or queue what the kernel does not take.",
            ),
            Method::noargs::<Self, _>(c"drain", drain, c"Wait until it is time to write more."),
        ]
    }

    fn traverse(&self, _visit: &mut Visit) {}

    fn clear(&self) {}
}

fn write(this: This<'_, StreamWriter>, data: &Obj) -> Result<Ref> {
    let transport = attribute(&InstanceDict::of(this.object())?, &TRANSPORT)?;
    let write = WRITE.get()?;
    match known(&transport, write)? {
        Known::Plain(transport) => transport::write(transport, data),
        Known::Secured(transport) => app_transport::write(&transport, data),
        Known::Not => transport.call_method(write, [data]).map(|_| none()),
    }
}

/// A transport whose method is ours, and nobody has put another in its place.
enum Known<'a> {
    Plain(This<'a, Transport>),
    Secured(Attributes<'a>),
    Not,
}

fn known<'a>(transport: &'a Obj, method: &Obj) -> Result<Known<'a>> {
    if let Some(plain) = This::<Transport>::of(transport) {
        return Ok(if plain.has_own(method)? { Known::Not } else { Known::Plain(plain) });
    }
    match app_transport::exactly(transport)? {
        Some(secured) if !secured.has(method)? => Ok(Known::Secured(secured)),
        _ => Ok(Known::Not),
    }
}

fn drain(this: This<'_, StreamWriter>) -> Result<Ref> {
    if dispatch::debugging() {
        return INHERITED_DRAIN.get()?.call(&[this.object()]);
    }
    new_kept(Draining {
        life: Life::default(),
        writer: Slot::new(this.object().to_ref()),
        inner: Slot::default(),
        begun: Cell::default(),
    })
}

/// An attribute of the instance; None where there is none, for asyncio to complain of.
fn attribute(dict: &InstanceDict, attribute: &Attribute) -> Result<Ref> {
    Ok(attribute.of(dict)?.unwrap_or_else(none))
}

/// Whether a reader is one whose attributes tell, and they tell of no exception.
fn is_well(reader: &Obj) -> Result<bool> {
    Ok(reader::is_native(reader) && reader::State::of(reader)?.exception()?.is_none())
}

fn is_closing(transport: &Obj) -> Result<bool> {
    let is_closing = IS_CLOSING.get()?;
    match known(transport, is_closing)? {
        Known::Plain(transport) => Ok(transport.stream()?.is_closing()),
        Known::Secured(transport) => app_transport::is_closing(&transport),
        Known::Not => transport.call_method(is_closing, [])?.is_true(),
    }
}

/// Whether there is nothing to wait for and nothing to complain of.
fn unpressed(writer: &Obj) -> Result<bool> {
    let dict = InstanceDict::of(writer)?;
    let reader = attribute(&dict, &READER)?;
    if !reader.is_none() && !is_well(&reader)? {
        return Ok(false);
    }
    let transport = attribute(&dict, &TRANSPORT)?;
    if is_closing(&transport)? {
        return Ok(false);
    }
    let protocol = attribute(&dict, &PROTOCOL)?;
    Ok(protocol.is_exactly(PROTOCOL_CLASS.get()?) && is_at_ease(&protocol)?)
}

/// Whether an exact stream protocol says neither that the connection is lost nor that it was told to pause.
fn is_at_ease(protocol: &Obj) -> Result<bool> {
    let state = Attributes::of(protocol)?;
    Ok(!state.is_true(&CONNECTION_LOST)? && !state.is_true(&PAUSED)?)
}

/// One call of `drain`.
pub(crate) struct Draining {
    life: Life,
    writer: Slot,
    /// asyncio's coroutine, where there is something to wait for.
    inner: Slot,
    begun: Cell<bool>,
}

pub(crate) fn make_draining_type() -> Result<Ref> {
    make_coroutine_type::<Draining>()
}

impl Coroutine for Draining {
    fn function(&self) -> &'static str {
        "StreamWriter.drain"
    }

    fn life(&self) -> &Life {
        &self.life
    }

    fn step(this: This<'_, Self>) -> Result<Step> {
        if let Some(inner) = this.inner.get() {
            return advance(&inner);
        }
        if !this.begun.replace(true) && fairness::must_give_way() {
            return Ok(Step::Yield(none()));
        }
        let writer = this.writer.get().ok_or(Raised)?;
        if unpressed(&writer)? {
            return Ok(Step::Return(none()));
        }
        let inner = INHERITED_DRAIN.get()?.call(&[&*writer])?;
        this.inner.set(inner.clone());
        advance(&inner)
    }

    fn let_go(&self) {
        drop(self.inner.take());
        drop(self.writer.take());
    }

    fn delegate(&self) -> Option<Ref> {
        self.inner.get()
    }
}

impl Native for Draining {
    const NAME: &'static CStr = c"velodrome._core.Draining";
    const DOC: &'static CStr = c"What a stream writer's drain() returns; to be awaited.";

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
        visit.slot(&self.writer);
        visit.slot(&self.inner);
    }

    fn clear(&self) {
        self.let_go();
    }
}
