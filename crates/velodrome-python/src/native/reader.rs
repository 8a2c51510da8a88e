//! What native code does to a stream reader, whose state stays in asyncio's own attributes: feeding it, and taking
//! from it. `_core.StreamReader` is asyncio's class with other methods; an exact `asyncio.StreamReader` becomes one
//! when a transport of ours begins to feed it, and an ordinary one again when somebody overrides a method on it.

use std::ffi::CStr;

use super::reading::{self, Wanted};
use super::watches::wake;
use crate::kit::attributes::{Attribute, Attributes};
use crate::kit::buffer::exact_bytes;
use crate::kit::bytearrays::ByteArray;
use crate::kit::methods::{Args, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Ref, Result, boolean, clear_raised, index, none, raised_not_implemented, same_text,
};
use crate::kit::types::{Layout, Native, This, Visit, make_overlay};

static ASYNCIO_READER: Imported = Imported::new("asyncio.streams", "StreamReader");
static CLASS: Name = Name::new("__class__");
static BUFFER: Attribute = Attribute::new(&ASYNCIO_READER, "_buffer");
static EOF: Attribute = Attribute::new(&ASYNCIO_READER, "_eof");
static EXCEPTION: Attribute = Attribute::new(&ASYNCIO_READER, "_exception");
static LIMIT: Attribute = Attribute::new(&ASYNCIO_READER, "_limit");
static LOOP: Attribute = Attribute::new(&ASYNCIO_READER, "_loop");
static PAUSED: Attribute = Attribute::new(&ASYNCIO_READER, "_paused");
static TRANSPORT: Attribute = Attribute::new(&ASYNCIO_READER, "_transport");
static WAITER: Attribute = Attribute::new(&ASYNCIO_READER, "_waiter");
static PAUSE_READING: Name = Name::new("pause_reading");
static RESUME_READING: Name = Name::new("resume_reading");

/// asyncio's class with native methods; it adds no storage.
pub(crate) struct StreamReader;

pub(crate) fn make_type() -> Result<Ref> {
    make_overlay::<StreamReader>(ASYNCIO_READER.get()?)
}

/// A reader's attributes, as asyncio names them; a message looks at some ten of them.
pub(super) struct State<'a>(Attributes<'a>);

impl<'a> State<'a> {
    pub(super) fn of(reader: &'a Obj) -> Result<Self> {
        Attributes::of(reader).map(Self)
    }

    pub(super) fn reader(&self) -> &'a Obj {
        self.0.object()
    }

    pub(super) fn buffer(&self) -> Result<Ref> {
        self.0.get(&BUFFER)
    }

    pub(super) fn eof(&self) -> Result<bool> {
        self.0.is_true(&EOF)
    }

    pub(super) fn exception(&self) -> Result<Option<Ref>> {
        self.0.get_unless_none(&EXCEPTION)
    }

    pub(super) fn limit(&self) -> Result<usize> {
        self.limit_times(1)
    }

    /// The limit, so many times: as the whole number that a count of bytes exceeds when it exceeds this.
    fn limit_times(&self, times: usize) -> Result<usize> {
        let limit = self.0.get(&LIMIT)?;
        if limit.is_int() {
            return Ok(saturated(&limit).saturating_mul(times));
        }
        // Any number will do, as for asyncio; no count is more than what is not a number.
        let limit = limit.as_double()?;
        Ok(if limit.is_nan() { usize::MAX } else { (limit * times as f64) as usize })
    }

    pub(super) fn event_loop(&self) -> Result<Ref> {
        self.0.get(&LOOP)
    }

    pub(super) fn waiter(&self) -> Result<Option<Ref>> {
        self.0.get_unless_none(&WAITER)
    }

    pub(super) fn set_waiter(&self, waiter: &Obj) -> Result<()> {
        self.0.set(&WAITER, waiter)
    }

    fn is_paused(&self) -> Result<bool> {
        self.0.is_true(&PAUSED)
    }

    /// `if self._paused: …resume_reading()`
    pub(super) fn resume(&self) -> Result<()> {
        if self.is_paused()? {
            self.0.set(&PAUSED, &boolean(false))?;
            self.0.get(&TRANSPORT)?.call_method(RESUME_READING.get()?, [])?;
        }
        Ok(())
    }

    /// asyncio's `_maybe_resume_transport`.
    pub(super) fn resume_if_short(&self, buffered: usize) -> Result<()> {
        if self.is_paused()? && buffered <= self.limit()? {
            return self.resume();
        }
        Ok(())
    }

    /// Pause the transport for a buffer that is too long, as `feed_data` does.
    fn pause(&self) -> Result<()> {
        let transport = self.0.get(&TRANSPORT)?;
        if transport.is_none() || self.is_paused()? {
            return Ok(());
        }
        match transport.call_method(PAUSE_READING.get()?, []) {
            Ok(_) => self.0.set(&PAUSED, &boolean(true)),
            Err(_) if raised_not_implemented() => {
                // It will have to be buffered, all of it.
                clear_raised();
                self.0.set(&TRANSPORT, &none())
            }
            Err(raised) => Err(raised),
        }
    }
}

/// An int as a count of bytes; no count is more than one that does not fit.
fn saturated(limit: &Obj) -> usize {
    match limit.as_long() {
        Ok(limit) => usize::try_from(limit).unwrap_or(0),
        Err(_) => {
            clear_raised();
            usize::MAX
        }
    }
}

/// `reader.feed_data(data)`. False if that is not for native code to do.
pub(super) fn feed(reader: &Obj, data: &[u8]) -> Result<bool> {
    if !is_native(reader) {
        return Ok(false);
    }
    let state = State::of(reader)?;
    let buffer = state.buffer()?;
    let Some(buffer) = ByteArray::exact(&buffer) else { return Ok(false) };
    if state.eof()? {
        return Ok(false);
    }
    buffer.append(data)?;
    if let Some(waiter) = state.waiter()? {
        state.set_waiter(&none())?;
        wake(&waiter)?;
    }
    if buffer.len() > state.limit_times(2)? {
        state.pause()?;
    }
    Ok(true)
}

/// Whether a reader has the native methods.
pub(super) fn is_native(reader: &Obj) -> bool {
    reader.type_ptr() == StreamReader::layout().type_ptr()
}

impl Native for StreamReader {
    const NAME: &'static CStr = c"velodrome._core.StreamReader";
    const DOC: &'static CStr = c"asyncio.StreamReader with native methods.";
    const WATCHES_ATTRIBUTES: bool = true;

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        vec![
            Method::named::<Self, _, _>(
                c"feed_data",
                feed_data,
                |args| args.sole("feed_data", "data"),
                c"feed_data($self, data)\n--\n\nTake data in, and wake who waits for it.",
            ),
            Method::fast::<Self, _>(c"read", read, c"Read up to n bytes; all of them if n is negative."),
            Method::fast::<Self, _>(c"readline", readline, c"Read up to the end of the line."),
            Method::fast::<Self, _>(c"readuntil", readuntil, c"Read up to a separator."),
            Method::fast::<Self, _>(c"readexactly", readexactly, c"Read n bytes."),
        ]
    }

    fn traverse(&self, _visit: &mut Visit) {}

    fn clear(&self) {}

    /// Whoever overrides a method on the object gets the object that asyncio made.
    fn attribute_changed(this: This<'_, Self>, name: &Obj) {
        let overrides = || -> Result<bool> {
            let class = ASYNCIO_READER.get()?;
            Ok(!same_text(name, CLASS.get()?) && class.has_attribute(name))
        };
        if overrides().unwrap_or(false)
            && let (Ok(name), Ok(class)) = (CLASS.get(), ASYNCIO_READER.get())
            && this.object().set_plainly(name, class).is_err()
        {
            clear_raised();
        }
    }
}

type Reader<'a> = This<'a, StreamReader>;

/// For transports that are not ours, or call in Python: TLS.
fn feed_data(this: Reader<'_>, data: &Obj) -> Result<Ref> {
    static INHERITED: Imported = Imported::new("velodrome._streams", "feed_data");
    match exact_bytes(data) {
        Some(bytes) if !bytes.is_empty() && feed(this.object(), bytes)? => Ok(none()),
        _ => INHERITED.get()?.call(&[this.object(), data]),
    }
}

/// An argument that is an int and fits.
fn number(args: Args<'_>) -> Option<i64> {
    let number = args.get(0).filter(|number| number.is_int())?.as_long();
    if number.is_err() {
        clear_raised();
    }
    number.ok()
}

fn read(this: Reader<'_>, args: Args<'_>) -> Result<Ref> {
    static INHERITED: Imported = Imported::new("velodrome._streams", "read");
    let wanted = match (args.len(), number(args)) {
        (0, _) => Some(Wanted::All),
        (1, Some(n)) => Some(usize::try_from(n).map_or(Wanted::All, Wanted::Some)),
        _ => None,
    };
    reading::begin(this.object(), args, wanted, &INHERITED)
}

fn readexactly(this: Reader<'_>, args: Args<'_>) -> Result<Ref> {
    static INHERITED: Imported = Imported::new("velodrome._streams", "readexactly");
    let wanted = number(args).filter(|_| args.len() == 1).and_then(|n| usize::try_from(n).ok());
    reading::begin(this.object(), args, wanted.map(Wanted::Exactly), &INHERITED)
}

fn readline(this: Reader<'_>, args: Args<'_>) -> Result<Ref> {
    static INHERITED: Imported = Imported::new("velodrome._streams", "readline");
    let wanted = (args.len() == 0).then(Wanted::line);
    reading::begin(this.object(), args, wanted, &INHERITED)
}

fn readuntil(this: Reader<'_>, args: Args<'_>) -> Result<Ref> {
    static INHERITED: Imported = Imported::new("velodrome._streams", "readuntil");
    let wanted = match args.len() {
        0 => Wanted::until(b"\n"),
        1 => args.get(0).and_then(exact_bytes).and_then(Wanted::until),
        _ => None,
    };
    reading::begin(this.object(), args, wanted, &INHERITED)
}

/// How long a buffer is, as an exception says it.
pub(super) fn length(count: usize) -> Result<Ref> {
    crate::kit::object::long(index(count))
}
