//! The loop's scheduling methods: `call_soon` and its relatives, futures and tasks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use velodrome_engine::ready::Runnable;

use super::event_loop::Loop;
use super::folded::{self, Kind};
use super::{handle, thread_safe_handle};
use crate::kit::methods::{Args, Method};
use crate::kit::names::{Imported, Name};
use crate::kit::object::{
    Obj, Ref, Result, dict, dict_set, float, none, runtime_error, same_text, type_error, value_error,
};
use crate::kit::runnables;
use crate::kit::types::This;

static CONTEXT: Name = Name::new("context");
static NAME: Name = Name::new("name");
static EAGER_START: Name = Name::new("eager_start");
static TASK: Imported = Imported::new("asyncio.tasks", "Task");
static FUTURE: Imported = Imported::new("asyncio.futures", "Future");
static CREATE_TASK: Imported = Imported::new("velodrome._support", "create_task");
static CALL_AT: Name = Name::new("call_at");
static CHECK_CALLBACK: Name = Name::new("_check_callback");
static LOOP: Name = Name::new("loop");

const NANOS: f64 = 1e9;

/// Of the monotonic clock, in seconds: what `time.get_clock_info('monotonic')` says on Linux.
const RESOLUTION: f64 = 1e-9;

/// As `time.monotonic()` turns nanoseconds into seconds.
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NANOS
}

/// The last deadline that is due at a time of a clock of one's own: asyncio's `when < time + resolution`.
pub(crate) fn due_until(seconds: f64) -> u64 {
    ((seconds + RESOLUTION) * NANOS).ceil() as u64
}

/// The first nanosecond at which `loop.time()` is not before `when`, so that a timer is never early by its own clock.
fn deadline(when: f64) -> u64 {
    let mut nanoseconds = (when * NANOS).ceil() as u64;
    while seconds(nanoseconds) < when && nanoseconds < u64::MAX {
        // Floats beyond 2^53 ns (104 days of uptime) have steps of more than one.
        nanoseconds = nanoseconds.saturating_add(1 + (nanoseconds >> 53));
    }
    nanoseconds
}

/// What `_asyncio` passes to `call_soon`, learnt from a task at import; 0 when not known, and then every callback gets
/// a handle.
static STEP_TYPE: AtomicUsize = AtomicUsize::new(0);
static WAKEUP_FUNCTION: AtomicUsize = AtomicUsize::new(0);
/// Its keyword `context`, which is not interned, so only its text would tell.
static CONTEXT_NAME: AtomicUsize = AtomicUsize::new(0);

/// Whether `create_task` takes `eager_start`, new in 3.14.
static STARTS_EAGERLY: AtomicBool = AtomicBool::new(false);

/// Learn that `create_task` passes any keyword on.
pub(crate) fn learn_keywords(any: bool) {
    STARTS_EAGERLY.store(any, Ordering::Relaxed);
}

/// Learn how steps and wake-ups of C tasks look. Samples that are not private to `_asyncio` teach nothing.
pub(crate) fn learn(step: &Obj, wakeup: &Obj, context_name: &Obj) {
    if CONTEXT.get().is_ok_and(|name| same_text(context_name, name)) {
        // Kept for ever, so that nothing else comes to be at its address.
        CONTEXT_NAME.store(context_name.to_ref().into_ptr() as usize, Ordering::Relaxed);
    }
    if step.type_name() == "TaskStepMethWrapper" {
        STEP_TYPE.store(step.type_ptr() as usize, Ordering::Relaxed);
    }
    if let Some(function) = runnables::builtin_function(wakeup) {
        WAKEUP_FUNCTION.store(function, Ordering::Relaxed);
    }
}

/// As if nothing had been learnt.
pub(crate) fn unlearn() {
    STEP_TYPE.store(0, Ordering::Relaxed);
    WAKEUP_FUNCTION.store(0, Ordering::Relaxed);
    CONTEXT_NAME.store(0, Ordering::Relaxed);
}

/// The context that `call_soon` was given.
#[inline]
fn context_for_soon(args: Args<'_>) -> Result<Option<&Obj>> {
    match args.sole_keyword(CONTEXT_NAME.load(Ordering::Relaxed)) {
        None => args.only_keyword("call_soon", CONTEXT.get()?, &["callback"]),
        given => Ok(given),
    }
}

/// A queue entry without a handle, if the callback is one that nobody can cancel.
fn shortcut(callback: &Obj, args: Args<'_>, context: &Obj) -> Option<Runnable> {
    if !crate::kit::context::is_context(context) {
        return None;
    }
    match args.get(1) {
        None if callback.type_ptr() as usize == STEP_TYPE.load(Ordering::Relaxed) => {
            Some(runnables::step(callback.to_ref(), context.to_ref()))
        }
        Some(future) if args.len() == 2 => {
            let known = WAKEUP_FUNCTION.load(Ordering::Relaxed);
            (known != 0 && runnables::builtin_function(callback) == Some(known))
                .then(|| runnables::wakeup(callback.to_ref(), future.to_ref(), context.to_ref()))
        }
        _ => None,
    }
}

fn call_soon(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let callback = args.required(0, "call_soon", "callback")?;
    let context = context_for_soon(args)?;
    if this.debug() {
        this.engine()?;
        check_thread(this)?;
        check_callback(this, callback, "call_soon")?;
    } else if let Some(context) = context
        && let Some(runnable) = shortcut(callback, args, context)
    {
        this.engine()?.hub().ready.push(runnable);
        return Ok(this.spent.get_or_none());
    }
    let blank = folded::blank_for_queue(this, &*this.engine()?, Kind::Soon);
    let handle = handle::new_ready(this, blank, callback, args, context)?;
    this.engine()?.hub().ready.push(runnables::handle(handle.clone()));
    Ok(handle)
}

fn call_soon_threadsafe(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let callback = args.required(0, "call_soon_threadsafe", "callback")?;
    let context = args.only_keyword("call_soon_threadsafe", CONTEXT.get()?, &["callback"])?;
    this.engine()?;
    if this.debug() {
        check_callback(this, callback, "call_soon_threadsafe")?;
    }
    if thread_safe_handle::is_known()? {
        let blank = folded::blank_for_queue(this, &*this.engine()?, Kind::ThreadSafe);
        let handle = thread_safe_handle::new_ready(this, blank, callback, args, context)?;
        push_from_anywhere(this, runnables::thread_safe(handle.clone()))?;
        return Ok(handle);
    }
    let blank = folded::blank_for_queue(this, &*this.engine()?, Kind::Soon);
    let handle = handle::new_ready(this, blank, callback, args, context)?;
    push_from_anywhere(this, runnables::handle(handle.clone()))?;
    Ok(handle)
}

/// Into the ready queue, whichever thread this is: the interpreter's lock, held here and let go by the loop only while it
/// waits, makes that safe, and keeps asyncio's order (what a thread scheduled before the loop's own thread did comes
/// first). Other threads wake the loop up besides.
pub(crate) fn push_from_anywhere(this: This<'_, Loop>, runnable: Runnable) -> Result<()> {
    let engine = this.engine()?;
    engine.hub().ready.push(runnable);
    // Held too by the loop when it answers the bell, the lock orders that as well: in a burst only the first one rings,
    // and the others need not even find out which thread they are on.
    if !engine.inbox().has_rung() && !this.on_own_thread() {
        engine.inbox().wake();
        this.sharing.expect();
    }
    Ok(())
}

fn call_later(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let delay = args.required(0, "call_later", "delay")?;
    if delay.is_none() {
        return Err(type_error("delay must not be None"));
    }
    let now = this.now()?;
    let when = match delay.plain_double() {
        Some(delay) => now + delay?,
        None => float(now)?.add(delay)?.as_double()?,
    };
    if this.own_call_at() {
        return call_own_call_at(this, when, args);
    }
    schedule(this, when, args, ("call_later", "delay"))
}

fn call_at(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    let when = args.required(0, "call_at", "when")?;
    if when.is_none() {
        return Err(type_error("when cannot be None"));
    }
    let handle = schedule(this, when.as_double()?, args, ("call_at", "when"))?;
    if !when.is_exact_float() {
        handle::set_given(&handle, when)?;
    }
    Ok(handle)
}

/// asyncio's `call_later` goes through `call_at`, which an instance or a subclass may have of its own.
fn call_own_call_at(this: This<'_, Loop>, when: f64, args: Args<'_>) -> Result<Ref> {
    let own = this.object().getattr(CALL_AT.get()?)?;
    args.tail(1).forward(&own, &*float(when)?)
}

fn schedule(
    this: This<'_, Loop>,
    when: f64,
    args: Args<'_>,
    (method, time_name): (&str, &str),
) -> Result<Ref> {
    let callback = args.required(1, method, "callback")?;
    let context = args.only_keyword(method, CONTEXT.get()?, &[time_name, "callback"])?;
    let engine = this.engine_shared()?;
    if this.debug() {
        check_thread(this)?;
        // asyncio's call_later() calls call_at(), which is who complains.
        check_callback(this, callback, "call_at")?;
    }
    if when.is_nan() {
        return Err(value_error("Invalid time: NaN (not a number)"));
    }
    let blank = folded::blank_for_timers(this, &engine);
    let handle = handle::new_timer(this, blank, callback, args.raw_from(2), context)?;
    let key = engine.hub().call_at(deadline(when), runnables::timer(handle.clone()));
    handle::set_timer(&handle, when, key)?;
    this.last_timer.set(Some(key));
    Ok(handle)
}

/// asyncio's `_check_thread`: only in debug mode, and only while the loop runs.
fn check_thread(this: This<'_, Loop>) -> Result<()> {
    if !this.is_running() || this.on_own_thread() {
        return Ok(());
    }
    Err(runtime_error("Non-thread-safe operation invoked on an event loop other than the current one"))
}

fn check_callback(this: This<'_, Loop>, callback: &Obj, method: &str) -> Result<()> {
    let method = crate::kit::object::string(method)?;
    this.object().call_method(CHECK_CALLBACK.get()?, [callback, &method]).map(drop)
}

fn time(this: This<'_, Loop>) -> Result<Ref> {
    float(seconds(this.engine_now()))
}

fn create_future(this: This<'_, Loop>) -> Result<Ref> {
    new_future(this)
}

/// A future of the loop.
pub(super) fn new_future(this: This<'_, Loop>) -> Result<Ref> {
    FUTURE.get()?.call_keywords(&[], &*its_keywords(this)?)
}

/// `loop=this`, made once: to make futures and tasks of it.
fn its_keywords(this: This<'_, Loop>) -> Result<Ref> {
    if let Some(keywords) = this.future_keywords.get() {
        return Ok(keywords);
    }
    let made = dict()?;
    dict_set(&made, LOOP.get()?, this.object())?;
    this.future_keywords.set(made.clone());
    Ok(made)
}

/// The plain case natively; a factory, debug mode or a keyword that is not known goes through this Python's own method.
fn create_task(this: This<'_, Loop>, args: Args<'_>) -> Result<Ref> {
    if args.len() == 1
        && this.task_factory.is_empty()
        && !this.debug()
        && let Some(keywords) = task_keywords(this, args)?
    {
        this.engine()?;
        let coroutine = args.required(0, "create_task", "coro")?;
        return TASK.get()?.call_keywords(&[coroutine.as_ptr()], &keywords);
    }
    args.forward(CREATE_TASK.get()?, this.object())
}

/// What asyncio's `create_task` would call `Task` with, if it merely passes these keywords on.
fn task_keywords(this: This<'_, Loop>, args: Args<'_>) -> Result<Option<Ref>> {
    if !args.has_keywords() {
        return its_keywords(this).map(Some);
    }
    let known = [NAME.get()?, CONTEXT.get()?, EAGER_START.get()?];
    let known = if STARTS_EAGERLY.load(Ordering::Relaxed) { &known } else { &known[..2] };
    let keywords = dict()?;
    dict_set(&keywords, LOOP.get()?, this.object())?;
    for (given, value) in args.keywords() {
        // The compiler of CPython interns the names of keywords.
        let same = known.iter().find(|name| given.is(name));
        let same = same.or_else(|| known.iter().find(|name| same_text(given, name)));
        let Some(name) = same else { return Ok(None) };
        dict_set(&keywords, name, value)?;
    }
    Ok(Some(keywords))
}

/// A handle made elsewhere becomes due: the standard library's, for a signal.
fn add_callback(this: This<'_, Loop>, handle: &Obj) -> Result<Ref> {
    push_from_anywhere(this, runnables::foreign(handle.to_ref()))?;
    Ok(none())
}

fn expect_thread(this: This<'_, Loop>) -> Result<Ref> {
    this.sharing.expect();
    Ok(none())
}

fn wake(this: This<'_, Loop>) -> Result<Ref> {
    this.engine_shared()?.inbox().wake();
    Ok(none())
}

pub(crate) fn methods() -> Vec<Method> {
    vec![
        Method::fast::<Loop, _>(c"call_soon", call_soon, c"Schedule callback(*args) for the next turn."),
        Method::fast::<Loop, _>(c"call_later", call_later, c"Schedule callback(*args) in delay seconds."),
        Method::fast::<Loop, _>(c"call_at", call_at, c"Schedule callback(*args) at a time of loop.time()."),
        Method::fast::<Loop, _>(
            c"call_soon_threadsafe",
            call_soon_threadsafe,
            c"Like call_soon(), from any thread.",
        ),
        Method::noargs::<Loop, _>(c"time", time, c"The loop's clock, as time.monotonic() counts."),
        Method::noargs::<Loop, _>(c"create_future", create_future, c"A Future of this loop."),
        Method::fast::<Loop, _>(c"create_task", create_task, c"Schedule a coroutine as a Task."),
        Method::one::<Loop, _>(c"_add_callback", add_callback, c"Schedule a handle that exists."),
        Method::noargs::<Loop, _>(c"_expect_thread", expect_thread, c"A thread will want the lock."),
        Method::noargs::<Loop, _>(c"_write_to_self", wake, c"Wake the loop up."),
    ]
}
