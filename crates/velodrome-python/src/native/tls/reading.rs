//! From ciphertext to the application: asyncio's `_do_read`, natively.

use super::protocol::{Protocol, SslProtocol};
use super::session::{RECORD, Read};
use super::state::Phase;
use super::writing;
use crate::kit::buffer::{View, exact_bytes};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Raised, Ref, Result, index, long, none, runtime_error};
use crate::kit::recycled;
use crate::kit::types::This;
use crate::kit::weak;
use crate::native::reader;

static DO_HANDSHAKE: Name = Name::new("_do_handshake");
static DO_FLUSH: Name = Name::new("_do_flush");
static DO_SHUTDOWN: Name = Name::new("_do_shutdown");
static DO_READ: Name = Name::new("_do_read");
static DO_WRITE: Name = Name::new("_do_write");
static CALL_EOF_RECEIVED: Name = Name::new("_call_eof_received");
static START_SHUTDOWN: Name = Name::new("_start_shutdown");
static DATA_RECEIVED: Name = Name::new("data_received");
static CALL_SOON: Name = Name::new("call_soon");
static SUPER_CONTROL: Imported = Imported::new("velodrome._tls", "control_ssl_reading");

/// asyncio's `buffer_updated`, after the bytes have been handed in.
pub(super) fn advance(this: Protocol<'_>) -> Result<()> {
    match this.phase.get() {
        Phase::Wrapped => read(this),
        Phase::Handshake => this.call(&DO_HANDSHAKE),
        Phase::Flushing => this.call(&DO_FLUSH),
        Phase::Shutdown => this.call(&DO_SHUTDOWN),
        Phase::Other => Ok(()),
    }
}

pub(super) fn do_read(this: Protocol<'_>) -> Result<Ref> {
    if matches!(this.phase.get(), Phase::Wrapped | Phase::Flushing) {
        read(this)?;
    }
    Ok(none())
}

fn read(this: Protocol<'_>) -> Result<()> {
    this.or_fatal(try_read(this))
}

fn try_read(this: Protocol<'_>) -> Result<()> {
    let is_wanted = !this.app_reading_paused.get();
    if is_wanted {
        deliver_unread(this)?;
    }
    if this.discards.get() {
        discard(this)?;
    }
    if is_wanted || this.discards.get() {
        if writing::has_backlog(this)? {
            this.call(&DO_WRITE)?;
        } else {
            writing::send(this)?;
        }
    }
    control_reading(this)
}

fn deliver_unread(this: Protocol<'_>) -> Result<()> {
    if !this.buffered.get() || nested(this).is_some() {
        return read_copied(this);
    }
    // Where the connection ends nobody comes back for the rest, as asyncio does not.
    while read_buffered(this)? && this.phase.get() == Phase::Flushing && !this.app_reading_paused.get() {}
    Ok(())
}

/// What an application that has called `close()` does not take is dropped: the end of the peer may stand behind it.
fn discard(this: Protocol<'_>) -> Result<()> {
    this.hub()?.with_scratch(|buffer| {
        while this.session.is_readable()? {
            if matches!(this.session.read(buffer)?, Read::Nothing | Read::End) {
                break;
            }
        }
        Ok(())
    })
}

/// The protocol of a TLS connection inside this one, which needs no buffer of its own.
fn nested(this: Protocol<'_>) -> Option<Ref> {
    this.app_protocol.get().filter(|protocol| This::<SslProtocol>::of(protocol).is_some())
}

fn ended(this: Protocol<'_>) -> Result<()> {
    this.call(&CALL_EOF_RECEIVED)?;
    this.call(&START_SHUTDOWN)
}

/// What was read, on its way to the application in one piece.
enum Plain {
    Nothing,
    /// It is where it belongs already.
    Fed,
    Object(Ref),
}

/// Bytes that wait for more to come: in the loop's buffer, or beside it if that does not hold them.
#[derive(Default)]
struct Gathered {
    filled: usize,
    spilt: Vec<u8>,
    only: Option<Ref>,
}

impl Gathered {
    fn add_object(&mut self, buffer: &mut [u8], object: Ref) {
        if self.only.is_none() && self.filled == 0 && self.spilt.is_empty() {
            self.only = Some(object);
            return;
        }
        self.give_up_object(buffer);
        self.add(buffer, exact_bytes(&object).unwrap_or_default());
    }

    /// An SSL object of the user's class may give more than it was asked for.
    fn add(&mut self, buffer: &mut [u8], data: &[u8]) {
        if buffer.len() - self.filled < data.len() {
            self.spill(buffer);
        }
        match buffer.get_mut(self.filled..self.filled + data.len()) {
            Some(place) => {
                place.copy_from_slice(data);
                self.filled += data.len();
            }
            None => self.spilt.extend_from_slice(data),
        }
    }

    /// One object is passed on as it is; of several the bytes count.
    fn give_up_object(&mut self, buffer: &mut [u8]) {
        if let Some(first) = self.only.take() {
            self.add(buffer, exact_bytes(&first).unwrap_or_default());
        }
    }

    /// For one record at least.
    fn make_room(&mut self, buffer: &[u8]) {
        if buffer.len() - self.filled < RECORD {
            self.spill(buffer);
        }
    }

    fn spill(&mut self, buffer: &[u8]) {
        self.spilt.extend_from_slice(&buffer[..self.filled]);
        self.filled = 0;
    }

    fn hand_over(mut self, this: Protocol<'_>, buffer: &[u8]) -> Result<Plain> {
        if let Some(object) = self.only {
            let data = exact_bytes(&object).unwrap_or_default();
            return Ok(if feed_native(this, data)? { Plain::Fed } else { Plain::Object(object) });
        }
        let filled = &buffer[..self.filled];
        let all = if self.spilt.is_empty() {
            filled
        } else {
            self.spilt.extend_from_slice(filled);
            &self.spilt
        };
        match all {
            [] => Ok(Plain::Nothing),
            all if feed_native(this, all)? => Ok(Plain::Fed),
            all => recycled::bytes(all).map(Plain::Object),
        }
    }
}

/// Read all there is into the loop's buffer. Whether the peer has ended, too.
fn gather(this: Protocol<'_>, buffer: &mut [u8]) -> Result<(Gathered, bool)> {
    let mut gathered = Gathered::default();
    while this.session.is_readable()? {
        gathered.make_room(buffer);
        match this.session.read(&mut buffer[gathered.filled..])? {
            Read::Bytes(count) => {
                gathered.give_up_object(buffer);
                gathered.filled += count;
            }
            Read::Object(object) => gathered.add_object(buffer, object),
            Read::Nothing => break,
            Read::End => return Ok((gathered, true)),
        }
    }
    Ok((gathered, false))
}

/// For a stream reader straight into its buffer, for a TLS connection inside this one into OpenSSL's.
fn feed_native(this: Protocol<'_>, data: &[u8]) -> Result<bool> {
    if let Some(inner) = nested(this)
        && let Some(inner) = This::<SslProtocol>::of(&inner)
    {
        return inner.feed(data).map(|()| true);
    }
    match this.reader.get().as_deref().and_then(weak::referent) {
        Some(reader) => reader::feed(&reader, data),
        None => Ok(false),
    }
}

fn read_copied(this: Protocol<'_>) -> Result<()> {
    let (plain, has_ended) = this.hub()?.with_scratch(|buffer| {
        let (gathered, has_ended) = gather(this, buffer)?;
        Ok((gathered.hand_over(this, buffer)?, has_ended))
    })?;
    match plain {
        Plain::Nothing => {}
        Plain::Fed => {
            if let Some(inner) = nested(this) {
                This::<SslProtocol>::of(&inner).ok_or(Raised)?.advance()?;
            }
        }
        Plain::Object(data) => {
            deliver(this, &data)?;
            recycled::give_back(data);
        }
    }
    if has_ended { ended(this) } else { Ok(()) }
}

fn deliver(this: Protocol<'_>, data: &Obj) -> Result<()> {
    match this.app_protocol.get() {
        Some(protocol) if !protocol.is_none() => protocol.call_method(DATA_RECEIVED.get()?, [data]).map(drop),
        _ => Ok(()),
    }
}

/// Into the protocol's own buffer; how much, and whether the peer has ended.
fn fill(this: Protocol<'_>, view: &mut View) -> Result<(usize, bool)> {
    let (mut filled, mut has_ended) = (0, false);
    let buffer = view.as_mut_slice();
    while filled < buffer.len() && this.session.is_readable()? {
        match this.session.read(&mut buffer[filled..])? {
            Read::Bytes(count) => filled += count,
            Read::Object(object) => {
                let data = exact_bytes(&object).unwrap_or_default();
                let Some(place) = buffer.get_mut(filled..filled + data.len()) else {
                    return Err(runtime_error("SSLObject.read() returned more than it was asked for"));
                };
                place.copy_from_slice(data);
                filled += data.len();
            }
            Read::Nothing => break,
            Read::End => {
                has_ended = true;
                break;
            }
        }
    }
    Ok((filled, has_ended))
}

/// Fill the protocol's buffer once. Whether more may be there.
fn read_buffered(this: Protocol<'_>) -> Result<bool> {
    if !this.session.is_readable()? {
        return Ok(false);
    }
    let hint = long(index(this.session.unread()?))?;
    let buffer = this.get_buffer.get_or_none().call(&[&*hint])?;
    if buffer.len()? == 0 {
        return Err(runtime_error("get_buffer() returned an empty buffer"));
    }
    let mut view = View::writable(&buffer)?;
    let (filled, has_ended) = fill(this, &mut view)?;
    let has_more = filled == view.as_slice().len() && !has_ended;
    drop(view);
    if has_more && this.phase.get() == Phase::Wrapped {
        // The rest after what else is due, lest one connection starve all others.
        let again = this.object().getattr(DO_READ.get()?)?;
        this.event_loop.get_or_none().call_method(CALL_SOON.get()?, [&*again])?;
    }
    if filled > 0 {
        this.buffer_updated.get_or_none().call(&[&*long(index(filled))?])?;
    }
    if has_ended {
        ended(this)?;
    }
    Ok(has_more)
}

/// Pause the transport below when too much is unread, or let it go on.
fn control_reading(this: Protocol<'_>) -> Result<()> {
    let size = this.session.unread()?;
    let crossed = if this.ssl_reading_paused.get() {
        this.incoming_low.holds(size)
    } else {
        this.incoming_high.reached_by(size)
    };
    if crossed { SUPER_CONTROL.get()?.call(&[this.object()]).map(drop) } else { Ok(()) }
}

pub(super) fn get_read_buffer_size(this: Protocol<'_>) -> Result<Ref> {
    long(index(this.session.unread()?))
}

pub(super) fn control_ssl_reading(this: Protocol<'_>) -> Result<Ref> {
    control_reading(this).map(|()| none())
}
