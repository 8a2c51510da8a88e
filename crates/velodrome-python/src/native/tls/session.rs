//! The `ssl.SSLObject` of a connection and its two BIOs: ciphertext in, plaintext out, and the other way round.
//!
//! It is Python's object in any case. Driven straight through OpenSSL where that is known to be the same
//! ([`crate::kit::openssl`]), otherwise by the methods of `_ssl`'s object, or of whoever overrode them. A call that
//! ends in anything but data is always asked again of Python's object, which knows what to raise.

use std::cell::{Cell, OnceCell};

use super::records::Records;
use crate::kit::buffer::exact_bytes;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, bytes, clear_raised, index, long, raised_matches, runtime_error,
    tuple_item, type_error,
};
use crate::kit::openssl::{Connection, Done, Parts};
use crate::kit::types::Visit;

static PARTS: Imported = Imported::new("velodrome._tls", "parts");
static AGAIN: Imported = Imported::new("asyncio.sslproto", "SSLAgainErrors");
static READ: Name = Name::new("read");
static WRITE: Name = Name::new("write");
static PENDING: Name = Name::new("pending");

/// The most that one record carries (RFC 8446, 5.1).
pub(super) const RECORD: usize = 1 << 14;

/// What came of reading.
pub(super) enum Read {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// The bytes, as Python's object gave them.
    Object(Ref),
    /// Nothing yet.
    Nothing,
    /// The peer will send no more.
    End,
}

#[derive(Default)]
pub(super) struct Session {
    pub(super) sslobj: Slot,
    pub(super) incoming: Slot,
    pub(super) outgoing: Slot,
    /// Whose `read` and `write` are called.
    target: Slot,
    connection: OnceCell<Connection>,
    records: Cell<Records>,
    /// The last read filled its buffer: there may be a rest of the record.
    left_over: Cell<bool>,
}

fn count(value: &Obj) -> Result<usize> {
    Ok(usize::try_from(value.as_long()?).unwrap_or(0))
}

impl Session {
    pub(super) fn visit(&self, visit: &mut Visit) {
        for slot in [&self.sslobj, &self.incoming, &self.outgoing, &self.target] {
            visit.slot(slot);
        }
        if let Some(connection) = self.connection.get() {
            visit.slot(connection.owner());
        }
    }

    pub(super) fn clear(&self) {
        for slot in [&self.sslobj, &self.target] {
            drop(slot.take());
        }
        if let Some(connection) = self.connection.get() {
            drop(connection.owner().take());
        }
    }

    /// `_sslobj = …`: whatever `wrap_bio` made, or a test put there.
    pub(super) fn set_sslobj(&self, sslobj: &Obj) -> Result<()> {
        let found = PARTS.get()?.call(&[sslobj])?;
        let (Some(target), Some(context)) = (tuple_item(&found, 0), tuple_item(&found, 1)) else {
            return Err(type_error("parts() returns two"));
        };
        if let Some(connection) = self.connection.get() {
            drop(connection.owner().take());
        } else if !context.is_none()
            && let (Some(incoming), Some(outgoing)) = (self.incoming.get(), self.outgoing.get())
            && let Some(parts) = native_parts(&target, &context, &incoming, &outgoing)?
            && let Some(connection) = Connection::of(parts)
        {
            let _ = self.connection.set(connection);
        }
        self.target.set(target);
        self.sslobj.set(sslobj.to_ref());
        Ok(())
    }

    fn connection(&self) -> Option<&Connection> {
        self.connection.get().filter(|connection| connection.is_alive())
    }

    /// Whether OpenSSL is driven directly.
    pub(super) fn is_direct(&self) -> bool {
        self.connection().is_some()
    }

    fn target(&self) -> Result<Ref> {
        self.target.get().ok_or_else(|| runtime_error("the connection has no SSL object"))
    }

    fn pending_of(&self, slot: &Slot) -> Result<usize> {
        let Some(bio) = slot.get() else { return Ok(0) };
        count(&*bio.getattr(PENDING.get()?)?)
    }

    /// Ciphertext that was received and not yet read.
    pub(super) fn received(&self) -> Result<usize> {
        match self.connection() {
            Some(connection) => Ok(connection.incoming()),
            None => self.pending_of(&self.incoming),
        }
    }

    /// What of it the application could have read. A record that is still coming is nobody's debt: the transport
    /// below must go on, or it would never be complete.
    pub(super) fn unread(&self) -> Result<usize> {
        Ok(self.records.get().whole_among(self.received()?))
    }

    /// Ciphertext that is to be sent.
    pub(super) fn to_send(&self) -> Result<usize> {
        match self.connection() {
            Some(connection) => Ok(connection.outgoing()),
            None => self.pending_of(&self.outgoing),
        }
    }

    /// Take ciphertext in.
    pub(super) fn feed(&self, data: &[u8]) -> Result<()> {
        let mut records = self.records.get();
        records.feed(data);
        self.records.set(records);
        if let Some(connection) = self.connection() {
            return connection
                .feed(data)
                .then_some(())
                .ok_or_else(|| runtime_error("OpenSSL is out of memory"));
        }
        let Some(incoming) = self.incoming.get() else { return Ok(()) };
        incoming.call_method(WRITE.get()?, [&*bytes(data)?]).map(drop)
    }

    /// Whether it can be of use to read.
    pub(super) fn is_readable(&self) -> Result<bool> {
        if self.records.get().is_one_among(self.received()?) {
            return Ok(true);
        }
        Ok(self.left_over.get() && self.rest()? > 0)
    }

    fn rest(&self) -> Result<usize> {
        match self.connection() {
            Some(connection) => Ok(connection.pending()),
            None => count(&*self.target()?.call_method(PENDING.get()?, [])?),
        }
    }

    /// Read what one record brings, or the rest of one.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Read> {
        let read = match self.connection().map(|connection| connection.read(buffer)) {
            Some(Done::Bytes(count)) => Read::Bytes(count),
            Some(Done::Again) => Read::Nothing,
            Some(Done::Other) | None => return self.ask_to_read(buffer.len().min(self.largest_answer()?)),
        };
        self.left_over.set(matches!(read, Read::Bytes(count) if count == buffer.len()));
        Ok(read)
    }

    /// How much to ask Python's object for: it makes a bytes object of that size, and cuts it to what came.
    fn largest_answer(&self) -> Result<usize> {
        Ok(match self.received()? {
            0 => RECORD,
            received => received.min(RECORD),
        })
    }

    fn ask_to_read(&self, most: usize) -> Result<Read> {
        self.left_over.set(false);
        let again = AGAIN.get()?;
        let data = match self.target()?.call_method(READ.get()?, [&*long(index(most))?]) {
            Ok(data) => data,
            Err(Raised) if raised_matches(again) => {
                clear_raised();
                return Ok(Read::Nothing);
            }
            Err(raised) => return Err(raised),
        };
        if exact_bytes(&data).is_none() {
            return Err(type_error("SSLObject.read() must return bytes"));
        }
        let length = data.len()?;
        self.left_over.set(length == most);
        Ok(if length == 0 { Read::End } else { Read::Object(data) })
    }

    /// Encrypt some or all of `data`; how much, or None if the peer must be heard first.
    pub(super) fn write(&self, data: &[u8]) -> Result<Option<usize>> {
        match self.connection().map(|connection| connection.write(data)) {
            Some(Done::Bytes(count)) => Ok(Some(count)),
            Some(Done::Again) => Ok(None),
            Some(Done::Other) | None => self.ask_to_write(&*bytes(data)?),
        }
    }

    /// The same of an object, which need not be copied.
    pub(super) fn write_object(&self, object: &Obj, data: &[u8]) -> Result<Option<usize>> {
        if self.is_direct() { self.write(data) } else { self.ask_to_write(object) }
    }

    fn ask_to_write(&self, data: &Obj) -> Result<Option<usize>> {
        let again = AGAIN.get()?;
        match self.target()?.call_method(WRITE.get()?, [data]) {
            Ok(taken) => count(&taken).map(Some),
            Err(Raised) if raised_matches(again) => {
                clear_raised();
                Ok(None)
            }
            Err(raised) => Err(raised),
        }
    }

    /// Fetch what is to be sent into `buffer`; None where it has to be asked for as an object.
    pub(super) fn fetch(&self, buffer: &mut [u8]) -> Option<usize> {
        self.connection().map(|connection| connection.fetch(buffer))
    }

    pub(super) fn fetch_object(&self) -> Result<Option<Ref>> {
        let Some(outgoing) = self.outgoing.get() else { return Ok(None) };
        outgoing.call_method(READ.get()?, []).map(Some)
    }
}

/// The parts of a connection, if they are `_ssl`'s own.
fn native_parts<'a>(
    socket: &'a Obj,
    context: &'a Obj,
    incoming: &'a Obj,
    outgoing: &'a Obj,
) -> Result<Option<Parts<'a>>> {
    static SOCKET: Imported = Imported::new("_ssl", "_SSLSocket");
    static CONTEXT: Imported = Imported::new("_ssl", "_SSLContext");
    static BIO: Imported = Imported::new("_ssl", "MemoryBIO");
    let genuine = is_of(socket, SOCKET.get()?)
        && context.is_subtype_of(CONTEXT.get()?.as_ptr().cast())
        && is_of(incoming, BIO.get()?)
        && is_of(outgoing, BIO.get()?);
    Ok(genuine.then_some(Parts { socket, context, incoming, outgoing }))
}

fn is_of(object: &Obj, class: &Obj) -> bool {
    object.type_ptr().cast() == class.as_ptr()
}

/// Learn from a sample whether OpenSSL can be driven directly; see [`crate::kit::openssl::learn`].
pub(crate) fn learn(
    path: &std::ffi::CStr,
    version: std::ffi::c_ulong,
    sample: [&Obj; 4],
    name: &std::ffi::CStr,
) -> Result<bool> {
    let [socket, context, incoming, outgoing] = sample;
    let parts = native_parts(socket, context, incoming, outgoing)?;
    Ok(parts.is_some_and(|parts| crate::kit::openssl::learn(path, version, parts, name)))
}
