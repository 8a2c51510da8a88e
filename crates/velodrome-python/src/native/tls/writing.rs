//! From the application to ciphertext: asyncio's `_write_appdata` and `_process_outgoing`, natively.

use super::protocol::Protocol;
use super::session::RECORD;
use super::state::Phase;
use crate::kit::buffer::{View, exact_bytes, is_data};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Ref, Result, bytes, index, iterate, none, tuple};
use crate::kit::types::This;
use crate::native::transport::{self, Transport};

static WRITE_APPDATA: Imported = Imported::new("velodrome._tls", "write_appdata");
static SUPER_CONTROL: Imported = Imported::new("velodrome._tls", "control_app_writing");
static APPEND: Name = Name::new("append");
static DO_WRITE: Name = Name::new("_do_write");
static WRITE: Name = Name::new("write");

pub(super) fn has_backlog(this: Protocol<'_>) -> Result<bool> {
    match this.backlog.get() {
        Some(backlog) => Ok(backlog.len()? > 0),
        None => Ok(false),
    }
}

/// Whether data can be encrypted right now, in its order.
fn is_open(this: Protocol<'_>) -> Result<bool> {
    Ok(this.phase.get() == Phase::Wrapped && !this.writing.get() && !has_backlog(this)?)
}

/// Write one object; not empty.
pub(super) fn write(this: Protocol<'_>, data: &Obj) -> Result<()> {
    if !is_open(this)? {
        return write_later(this, &[owned(data)?]);
    }
    match exact_bytes(data) {
        Some(slice) => encrypt(this, || put(this, slice, Some(data))),
        None => {
            let view = View::readable(data)?;
            // Let go of before anybody is called, who may want to resize the buffer.
            encrypt(this, move || put(this, view.as_slice(), None))
        }
    }
}

/// Write many objects, small ones together in a record.
pub(super) fn write_lines(this: Protocol<'_>, lines: &Obj) -> Result<()> {
    let (mut all, mut proper) = (Vec::new(), true);
    iterate(lines, |line| {
        proper &= is_data(line);
        all.push(if is_data(line) { owned(line)? } else { line.to_ref() });
        Ok(())
    })?;
    if !proper || !is_open(this)? {
        return write_later(this, &all);
    }
    encrypt(this, || {
        let mut joined = Vec::new();
        for line in &all {
            let line = exact_bytes(line).unwrap_or_default();
            if !joined.is_empty() && joined.len() + line.len() > RECORD {
                put(this, &std::mem::take(&mut joined), None)?;
            }
            joined.extend_from_slice(line);
        }
        put(this, &joined, None)
    })
}

/// What waits must not change: whoever owns a buffer may go on using it.
fn owned(data: &Obj) -> Result<Ref> {
    match exact_bytes(data) {
        Some(_) => Ok(data.to_ref()),
        None => bytes(View::readable(data)?.as_slice()),
    }
}

/// asyncio's own way: before the handshake is done, while others wait, and when it is too late.
fn write_later(this: Protocol<'_>, all: &[Ref]) -> Result<()> {
    let pointers: Vec<_> = all.iter().map(|one| one.as_ptr()).collect();
    WRITE_APPDATA.get()?.call(&[this.object(), &*tuple(&pointers)?]).map(drop)
}

fn encrypt(this: Protocol<'_>, put: impl FnOnce() -> Result<()>) -> Result<()> {
    this.writing.set(true);
    let done = put();
    this.writing.set(false);
    this.or_fatal(done.and_then(|()| {
        // Python code ran if OpenSSL reports to it, and that may have written.
        if has_backlog(this)? { this.call(&DO_WRITE) } else { send(this) }
    }))
}

fn put(this: Protocol<'_>, mut data: &[u8], object: Option<&Obj>) -> Result<()> {
    if let Some(object) = object.filter(|_| !this.session.is_direct()) {
        match this.session.write_object(object, data)? {
            Some(count) => data = &data[count.min(data.len())..],
            None => return keep(this, data),
        }
    }
    while !data.is_empty() {
        match this.session.write(data)? {
            Some(count) => data = &data[count.min(data.len())..],
            None => return keep(this, data),
        }
    }
    Ok(())
}

/// The peer must be heard before more can be encrypted.
fn keep(this: Protocol<'_>, data: &[u8]) -> Result<()> {
    this.backlog.get_or_none().call_method(APPEND.get()?, [&*bytes(data)?])?;
    this.backlog_size.set(this.backlog_size.get() + index(data.len()));
    Ok(())
}

/// Send the ciphertext that there is, unless the transport below has enough; then see to flow control.
pub(super) fn send(this: Protocol<'_>) -> Result<()> {
    if !this.ssl_writing_paused.get() {
        flush(this)?;
    }
    control(this)
}

pub(super) fn process_outgoing(this: Protocol<'_>) -> Result<Ref> {
    send(this).map(|()| none())
}

fn flush(this: Protocol<'_>) -> Result<()> {
    if this.session.to_send()? == 0 {
        return Ok(());
    }
    let Some(transport) = this.transport.get() else { return Ok(()) };
    match This::<Transport>::of(&transport) {
        Some(native) if this.session.is_direct() => flush_direct(this, native),
        _ => match this.session.fetch_object()? {
            Some(data) => transport.call_method(WRITE.get()?, [&*data]).map(drop),
            None => Ok(()),
        },
    }
}

/// Through the loop's buffer into the socket; what that does not take is copied once.
fn flush_direct(this: Protocol<'_>, native: This<'_, Transport>) -> Result<()> {
    this.hub()?.with_scratch(|buffer| {
        while !this.ssl_writing_paused.get() {
            match this.session.fetch(buffer) {
                None | Some(0) => break,
                Some(count) => transport::write_slice(native, &buffer[..count])?,
            }
        }
        Ok(())
    })
}

/// `_flush()`: for what must leave before the transport is aborted, an alert above all.
pub(super) fn flush_now(this: Protocol<'_>) -> Result<Ref> {
    flush(this)?;
    let transport = this.transport.get();
    if let Some(native) = transport.as_deref().and_then(This::<Transport>::of) {
        native.stream()?.flush_gathered();
    }
    Ok(none())
}

/// Tell who writes to pause or to go on, if the marks say so.
fn control(this: Protocol<'_>) -> Result<()> {
    let size = this.session.to_send()?.saturating_add(usize::try_from(this.backlog_size.get()).unwrap_or(0));
    let crossed = if this.app_writing_paused.get() {
        this.outgoing_low.holds(size)
    } else {
        this.outgoing_high.reached_by(size)
    };
    if crossed { SUPER_CONTROL.get()?.call(&[this.object()]).map(drop) } else { Ok(()) }
}

pub(super) fn control_app_writing(this: Protocol<'_>) -> Result<Ref> {
    control(this).map(|()| none())
}
