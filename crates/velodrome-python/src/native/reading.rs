//! The coroutines of a native stream reader: `read`, `readexactly`, `readuntil`, `readline`. What is buffered already
//! is returned without suspending anybody; otherwise they wait as asyncio's do, on `_waiter`.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use velodrome_engine::streams::{Found, Overrun, ReadUntil, line_overrun};

use super::event_loop::Loop;
use super::reader::{self, State};
use super::{dispatch, fairness};
use crate::kit::bytearrays::ByteArray;
use crate::kit::coroutines::{self, Coroutine, Life, Step, advance, iterator, make_coroutine_type};
use crate::kit::freeing::Spare;
use crate::kit::methods::{Args, GetSet, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Raised, Ref, Result, Slot, bytes, clear_raised, none, raise_exception, runtime_error, string,
    type_error, with_raised_aside,
};
use crate::kit::types::{Layout, Native, This, Visit, new_kept};

static CREATE_FUTURE: Name = Name::new("create_future");
static INCOMPLETE: Imported = Imported::new("asyncio.exceptions", "IncompleteReadError");
static OVERRUN: Imported = Imported::new("asyncio.exceptions", "LimitOverrunError");
static LINE_TOO_LONG: Imported = Imported::new("velodrome._streams", "line_too_long");

/// What a reader is asked for.
pub(super) enum Wanted {
    /// Something, but no more than this.
    Some(usize),
    /// Everything until the end.
    All,
    Exactly(usize),
    Until(ReadUntil),
    Line(ReadUntil),
}

impl Wanted {
    pub(super) fn line() -> Self {
        Self::Line(ReadUntil::line())
    }

    /// None for an empty separator.
    pub(super) fn until(separator: &[u8]) -> Option<Self> {
        let search = match separator {
            &[byte] => Ok(ReadUntil::byte(byte)),
            _ => ReadUntil::new([separator]),
        };
        search.ok().map(Self::Until)
    }

    fn function(&self) -> &'static str {
        match self {
            Self::Some(_) | Self::All => "StreamReader.read",
            Self::Exactly(_) => "StreamReader.readexactly",
            Self::Until(_) => "StreamReader.readuntil",
            Self::Line(_) => "StreamReader.readline",
        }
    }

    /// Who waits, in the words of an error.
    fn waiting(&self) -> &'static str {
        match self {
            Self::Some(_) | Self::All => "read",
            Self::Exactly(_) => "readexactly",
            Self::Until(_) | Self::Line(_) => "readuntil",
        }
    }
}

/// A reader's `_waiter`, in its place until this is dropped.
struct Wait {
    reader: Ref,
    future: Ref,
    iterator: Ref,
}

impl Wait {
    /// asyncio's `_wait_for_data`, up to its suspension.
    fn begin(state: &State<'_>, who: &str) -> Result<Self> {
        if state.waiter()?.is_some() {
            let text = format!("{who}() called while another coroutine is already waiting for incoming data");
            return Err(runtime_error(&text));
        }
        state.resume()?;
        let event_loop = state.event_loop()?;
        let future = match Loop::of(&event_loop) {
            Some(event_loop) => super::scheduling::new_future(event_loop)?,
            None => event_loop.call_method(CREATE_FUTURE.get()?, [])?,
        };
        state.set_waiter(&future)?;
        let iterator = iterator(&future)?;
        Ok(Self { reader: state.reader().to_ref(), future, iterator })
    }

    fn leave(&self) -> Result<()> {
        let state = State::of(&self.reader)?;
        if state.waiter()?.is_some_and(|waiter| waiter.is(&self.future)) {
            state.set_waiter(&none())?;
        }
        Ok(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        with_raised_aside(|| {
            if self.leave().is_err() {
                clear_raised();
            }
        });
    }
}

/// One call of `read` or a relative.
pub(crate) struct Reading {
    life: Life,
    reader: Slot,
    wanted: RefCell<Wanted>,
    /// The reader's limit matters.
    limited: bool,
    wait: Cell<Option<Wait>>,
    /// Blocks of a read to the end.
    blocks: RefCell<Vec<u8>>,
    begun: Cell<bool>,
    checked: Cell<bool>,
}

pub(crate) fn make_type() -> Result<Ref> {
    make_coroutine_type::<Reading>()
}

/// Make the coroutine; None is wanted where only asyncio's own coroutine knows what to do.
pub(super) fn begin(
    reader: &Obj,
    args: Args<'_>,
    wanted: Option<Wanted>,
    inherited: &Imported,
) -> Result<Ref> {
    match wanted {
        Some(wanted) if !args.has_keywords() && !dispatch::debugging() => new_kept(Reading {
            life: Life::default(),
            reader: Slot::new(reader.to_ref()),
            limited: !matches!(wanted, Wanted::Some(_) | Wanted::Exactly(_)),
            wanted: RefCell::new(wanted),
            wait: Cell::default(),
            blocks: RefCell::default(),
            begun: Cell::default(),
            checked: Cell::default(),
        }),
        _ => args.forward(inherited.get()?, reader),
    }
}

impl Coroutine for Reading {
    fn function(&self) -> &'static str {
        self.wanted.borrow().function()
    }

    fn life(&self) -> &Life {
        &self.life
    }

    fn step(this: This<'_, Self>) -> Result<Step> {
        if let Some(wait) = this.wait.take() {
            if let Step::Yield(future) = advance(&wait.iterator)? {
                this.wait.set(Some(wait));
                return Ok(Step::Yield(future));
            }
        } else if !this.begun.replace(true) && fairness::must_give_way() {
            return Ok(Step::Yield(none()));
        }
        let reader = this.reader.get().ok_or(Raised)?;
        go_on(this, &State::of(&reader)?)
    }

    fn let_go(&self) {
        drop(self.wait.take());
        drop(self.reader.take());
    }
}

fn go_on(this: This<'_, Reading>, state: &State<'_>) -> Result<Step> {
    if !this.checked.replace(true) {
        check(state)?;
    }
    loop {
        let buffer = state.buffer()?;
        let Some(buffer) = ByteArray::exact(&buffer) else {
            return Err(type_error("the buffer of a stream reader must be a bytearray"));
        };
        if let Some(value) = take(this, state, buffer)? {
            return Ok(Step::Return(value));
        }
        let who = this.wanted.borrow().waiting();
        let wait = Wait::begin(state, who)?;
        if let Step::Yield(future) = advance(&wait.iterator)? {
            this.wait.set(Some(wait));
            return Ok(Step::Yield(future));
        }
    }
}

/// What went wrong with the connection is raised by the next call.
fn check(state: &State<'_>) -> Result<()> {
    match state.exception()? {
        Some(exception) => Err(raise_exception(&exception)),
        None => Ok(()),
    }
}

/// What to do about a buffer, decided without calling anybody.
enum Next {
    /// Take so many bytes.
    Take(usize),
    /// Take so many bytes as a part of what was asked for.
    Block(usize),
    Wait,
    TooLong(usize, Overrun),
}

fn decide(wanted: &mut Wanted, buffer: ByteArray<'_>, limit: usize) -> Next {
    let buffered = buffer.len();
    match wanted {
        Wanted::Some(0) | Wanted::Exactly(0) => Next::Take(0),
        Wanted::Some(_) | Wanted::All if buffered == 0 => Next::Wait,
        Wanted::Some(most) => Next::Take(buffered.min(*most)),
        Wanted::All => Next::Block(buffered.min(limit.max(1))),
        Wanted::Exactly(count) if buffered < *count => Next::Wait,
        Wanted::Exactly(count) => Next::Take(*count),
        Wanted::Until(search) | Wanted::Line(search) => {
            match buffer.with(|content| search.search(content, limit)) {
                Found::At(end) => Next::Take(end),
                Found::NeedMore => Next::Wait,
                Found::TooLong { consumed, overrun } => Next::TooLong(consumed, overrun),
            }
        }
    }
}

/// The answer, if the buffer has it.
fn take(this: This<'_, Reading>, state: &State<'_>, buffer: ByteArray<'_>) -> Result<Option<Ref>> {
    loop {
        let limit = if this.limited { state.limit()? } else { 0 };
        let next = decide(&mut this.wanted.borrow_mut(), buffer, limit);
        match next {
            Next::Take(0) => return bytes(&[]).map(Some),
            Next::Take(count) => {
                let taken = buffer.take(count)?;
                state.resume_if_short(buffer.len())?;
                return Ok(Some(taken));
            }
            Next::Block(count) => {
                buffer.with(|content| this.blocks.borrow_mut().extend_from_slice(&content[..count]));
                buffer.remove(count)?;
                state.resume_if_short(buffer.len())?;
                check(state)?;
            }
            Next::TooLong(consumed, overrun) => return Err(too_long(this, state, buffer, consumed, overrun)),
            Next::Wait if !state.eof()? => return Ok(None),
            Next::Wait => return ended(this, state, buffer).map(Some),
        }
    }
}

/// The end has come, and what was asked for is not there: the rest is the answer, or part of the complaint.
fn ended(this: This<'_, Reading>, state: &State<'_>, buffer: ByteArray<'_>) -> Result<Ref> {
    let expected = match &*this.wanted.borrow() {
        Wanted::All => return bytes(&this.blocks.take()),
        Wanted::Some(_) | Wanted::Line(_) => Expected::Whatever,
        Wanted::Until(_) => Expected::Unknown,
        Wanted::Exactly(count) => Expected::Bytes(*count),
    };
    let rest = buffer.take(buffer.len())?;
    let expected = match expected {
        Expected::Whatever => {
            state.resume_if_short(0)?;
            return Ok(rest);
        }
        Expected::Unknown => none(),
        Expected::Bytes(count) => reader::length(count)?,
    };
    Err(raise_exception(&*INCOMPLETE.get()?.call(&[&*rest, &*expected])?))
}

enum Expected {
    Whatever,
    Unknown,
    Bytes(usize),
}

/// The separator is too far away. `readline` drops the line; `readuntil` leaves everything as it is.
fn too_long(
    this: This<'_, Reading>,
    state: &State<'_>,
    buffer: ByteArray<'_>,
    consumed: usize,
    overrun: Overrun,
) -> Raised {
    let is_line = matches!(&*this.wanted.borrow(), Wanted::Line(_));
    let raise = || -> Result<Ref> {
        let (message, place) = (string(overrun.message())?, reader::length(consumed)?);
        if !is_line {
            return Err(raise_exception(&*OVERRUN.get()?.call(&[&*message, &*place])?));
        }
        buffer.remove(buffer.with(|content| line_overrun(content, consumed)))?;
        state.resume_if_short(buffer.len())?;
        LINE_TOO_LONG.get()?.call(&[&*message, &*place])
    };
    match raise() {
        Ok(_) => runtime_error("the line was too long"),
        Err(raised) => raised,
    }
}

impl Native for Reading {
    const NAME: &'static CStr = c"velodrome._core.Reading";
    const DOC: &'static CStr = c"What a stream reader's methods return; to be awaited.";

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
        visit.slot(&self.reader);
        let wait = self.wait.take();
        if let Some(wait) = &wait {
            for object in [&wait.reader, &wait.future, &wait.iterator] {
                visit.pointer(object.as_ptr().cast());
            }
        }
        self.wait.set(wait);
    }

    fn clear(&self) {
        self.let_go();
    }
}
