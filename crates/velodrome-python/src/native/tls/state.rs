//! The plain fields of [`super::protocol`], as properties: one line each, and nothing that needs a thought.

use std::cell::Cell;

use super::protocol::SslProtocol as T;
use crate::kit::methods::GetSet;
use crate::kit::names::Name;
use crate::kit::object::{Obj, Ref, Result, Slot, boolean, long, text};

/// asyncio's `SSLProtocolState`, of which only these make a difference here.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// UNWRAPPED, or a state of a later Python.
    #[default]
    Other,
    Handshake,
    Wrapped,
    Flushing,
    Shutdown,
}

impl Phase {
    pub(super) fn of(state: &Obj) -> Result<Self> {
        static NAME: Name = Name::new("name");
        let name = state.getattr(NAME.get()?)?;
        Ok(match text(&name) {
            Some("DO_HANDSHAKE") => Self::Handshake,
            Some("WRAPPED") => Self::Wrapped,
            Some("FLUSHING") => Self::Flushing,
            Some("SHUTDOWN") => Self::Shutdown,
            _ => Self::Other,
        })
    }
}

/// A mark of flow control: any number, as asyncio takes it, and what it is as a number.
#[derive(Default)]
pub(super) struct Mark {
    given: Slot,
    value: Cell<f64>,
}

impl Mark {
    fn get(&self) -> Result<Ref> {
        self.given.get().map_or_else(|| long(0), Ok)
    }

    fn set(&self, value: &Obj) -> Result<()> {
        self.value.set(value.as_double()?);
        self.given.set(value.to_ref());
        Ok(())
    }

    /// An empty buffer reaches no mark: with one of zero asyncio would pause for nothing, and nobody would resume.
    #[expect(clippy::cast_precision_loss, reason = "a buffer has less than 2^52 bytes")]
    pub(super) fn reached_by(&self, size: usize) -> bool {
        size > 0 && size as f64 >= self.value.get()
    }

    #[expect(clippy::cast_precision_loss, reason = "a buffer has less than 2^52 bytes")]
    pub(super) fn holds(&self, size: usize) -> bool {
        size as f64 <= self.value.get()
    }
}

fn set(flag: &Cell<bool>, value: &Obj) -> Result<()> {
    flag.set(value.is_true()?);
    Ok(())
}

fn put(slot: &Slot, value: &Obj) -> Result<()> {
    slot.set(value.to_ref());
    Ok(())
}

pub(super) fn flags() -> Vec<GetSet> {
    vec![
        GetSet::both::<T, _, _>(
            c"_app_protocol_is_buffer",
            |this| Ok(boolean(this.buffered.get())),
            |this, value| set(&this.buffered, value),
        ),
        GetSet::both::<T, _, _>(
            c"_app_reading_paused",
            |this| Ok(boolean(this.app_reading_paused.get())),
            |this, value| set(&this.app_reading_paused, value),
        ),
        GetSet::both::<T, _, _>(
            c"_app_writing_paused",
            |this| Ok(boolean(this.app_writing_paused.get())),
            |this, value| set(&this.app_writing_paused, value),
        ),
        GetSet::both::<T, _, _>(
            c"_ssl_reading_paused",
            |this| Ok(boolean(this.ssl_reading_paused.get())),
            |this, value| set(&this.ssl_reading_paused, value),
        ),
        GetSet::both::<T, _, _>(
            c"_ssl_writing_paused",
            |this| Ok(boolean(this.ssl_writing_paused.get())),
            |this, value| set(&this.ssl_writing_paused, value),
        ),
        GetSet::both::<T, _, _>(
            c"_discards",
            |this| Ok(boolean(this.discards.get())),
            |this, value| set(&this.discards, value),
        ),
        GetSet::both::<T, _, _>(
            c"_writing",
            |this| Ok(boolean(this.writing.get())),
            |this, value| set(&this.writing, value),
        ),
    ]
}

pub(super) fn objects() -> Vec<GetSet> {
    vec![
        GetSet::both::<T, _, _>(
            c"_incoming",
            |this| Ok(this.session.incoming.get_or_none()),
            |this, value| put(&this.session.incoming, value),
        ),
        GetSet::both::<T, _, _>(
            c"_outgoing",
            |this| Ok(this.session.outgoing.get_or_none()),
            |this, value| put(&this.session.outgoing, value),
        ),
        GetSet::both::<T, _, _>(
            c"_transport",
            |this| Ok(this.transport.get_or_none()),
            |this, value| put(&this.transport, value),
        ),
        GetSet::both::<T, _, _>(
            c"_app_protocol_get_buffer",
            |this| Ok(this.get_buffer.get_or_none()),
            |this, value| put(&this.get_buffer, value),
        ),
        GetSet::both::<T, _, _>(
            c"_app_protocol_buffer_updated",
            |this| Ok(this.buffer_updated.get_or_none()),
            |this, value| put(&this.buffer_updated, value),
        ),
        GetSet::both::<T, _, _>(
            c"_write_backlog",
            |this| Ok(this.backlog.get_or_none()),
            |this, value| put(&this.backlog, value),
        ),
    ]
}

pub(super) fn numbers() -> Vec<GetSet> {
    vec![
        GetSet::both::<T, _, _>(
            c"_write_buffer_size",
            |this| long(this.backlog_size.get()),
            |this, value| {
                this.backlog_size.set(value.as_long()?);
                Ok(())
            },
        ),
        GetSet::both::<T, _, _>(
            c"_incoming_high_water",
            |this| this.incoming_high.get(),
            |this, value| this.incoming_high.set(value),
        ),
        GetSet::both::<T, _, _>(
            c"_incoming_low_water",
            |this| this.incoming_low.get(),
            |this, value| this.incoming_low.set(value),
        ),
        GetSet::both::<T, _, _>(
            c"_outgoing_high_water",
            |this| this.outgoing_high.get(),
            |this, value| this.outgoing_high.set(value),
        ),
        GetSet::both::<T, _, _>(
            c"_outgoing_low_water",
            |this| this.outgoing_low.get(),
            |this, value| this.outgoing_low.set(value),
        ),
    ]
}
