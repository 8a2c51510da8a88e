//! `_core.Loop`: the native base of `velodrome.EventLoop`. This file holds its state and life cycle; scheduling,
//! running and watching descriptors are methods of the same type in files of their own.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_ulong};
use std::rc::Rc;

use velodrome_engine::event_loop::EventLoop;
use velodrome_engine::timers::TimerKey;

use super::contention::Contention;
use super::contexts::Contexts;
use super::listener::Listeners;
use super::sharing::Sharing;
use super::watches::Watches;
use super::{child, dispatch, folded, listener, running, scheduling, watching};
use crate::kit::gil::thread_ident;
use crate::kit::methods::{GetSet, Method};
use crate::kit::names::Name;
use crate::kit::object::{
    Obj, Ref, Result, Slot, boolean, list, long, none, raise_os_error, runtime_error, text, type_error,
};
use crate::kit::runnables;
use crate::kit::types::{Layout, Native, This, Visit, make_type as make_native};

static TIME: Name = Name::new("time");

pub(crate) fn make_type() -> Result<Ref> {
    make_native::<Loop>(None)
}

/// The state that native code needs at hand. What only cold code needs stays in the instance's `__dict__`, where the
/// standard library's own methods keep it.
pub(crate) struct Loop {
    /// None once closed.
    engine: RefCell<Option<Rc<EventLoop>>>,
    debug: Cell<bool>,
    closed: Cell<bool>,
    /// `threading.get_ident()` of the thread that runs the loop; 0 when it does not run.
    thread: Cell<c_ulong>,
    /// The thread that made the loop, which may schedule before it runs.
    owner: c_ulong,
    /// An instance or a subclass has a `time` of its own.
    own_time: Cell<bool>,
    /// The same of `call_at`.
    own_call_at: Cell<bool>,
    /// The process ends: see `running::park`.
    pub(super) parking: Cell<bool>,
    pub(super) parked: Cell<bool>,
    pub(super) task_factory: Slot,
    /// Handed out for callbacks that no one can cancel.
    pub(super) spent: Slot,
    /// `{"loop": self}`, with which futures are made: a dict per future would cost a quarter of each.
    pub(super) future_keywords: Slot,
    pub(super) watches: Rc<Watches>,
    pub(super) listeners: Listeners,
    pub(super) contention: Contention,
    pub(super) sharing: Sharing,
    pub(super) contexts: Contexts,
    /// See [`super::folded`]: the timer that was made last, and one blank handle of each kind. Those refer to the loop,
    /// so they are only kept while it runs.
    pub(super) last_timer: Cell<Option<TimerKey>>,
    pub(super) blanks: [Slot; runnables::KINDS],
    /// It runs, so it is no garbage, and nor is what it holds.
    pub(super) running: Cell<bool>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        dispatch::count_debug(self.debug.get(), false);
    }
}

impl Loop {
    /// See an object as a loop.
    pub(crate) fn of(object: &Obj) -> Option<This<'_, Self>> {
        This::of(object)
    }

    pub(crate) fn debug(&self) -> bool {
        self.debug.get()
    }

    /// Whether handles need not be shown to the collector while the loop holds them.
    pub(crate) fn holds_untracked(&self) -> bool {
        self.running.get() && !self.debug.get()
    }

    pub(crate) fn own_call_at(&self) -> bool {
        self.own_call_at.get()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.thread.get() != 0
    }

    /// The engine, or RuntimeError once closed.
    pub(crate) fn engine(&self) -> Result<std::cell::Ref<'_, Rc<EventLoop>>> {
        std::cell::Ref::filter_map(self.engine.borrow(), Option::as_ref)
            .map_err(|_| runtime_error("Event loop is closed"))
    }

    /// A count of the engine, to be held across calls into Python.
    pub(crate) fn engine_shared(&self) -> Result<Rc<EventLoop>> {
        Ok(Rc::clone(&*self.engine()?))
    }

    /// Whether this thread may touch the ready queue: the one that runs the loop, or that made it.
    pub(crate) fn on_own_thread(&self) -> bool {
        let this = thread_ident();
        match self.thread.get() {
            0 => this == self.owner,
            running => this == running,
        }
    }

    /// Take a timer back.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> Option<velodrome_engine::ready::Runnable> {
        let engine = self.engine.borrow().clone()?;
        engine.hub().cancel_timer(key)
    }

    fn shut(&self) {
        self.closed.set(true);
        drop(self.future_keywords.take());
        self.contexts.clear();
        self.watches.clear();
        self.listeners.clear();
        let engine = self.engine.take();
        if let Some(engine) = engine {
            engine.close();
        }
    }
}

impl This<'_, Loop> {
    /// The loop's time in seconds: the engine's clock, or an overridden `time()`.
    pub(crate) fn now(self) -> Result<f64> {
        if self.own_time.get() {
            return self.object().call_method(TIME.get()?, [])?.as_double();
        }
        Ok(scheduling::seconds(self.engine_now()))
    }

    /// The time in nanoseconds, for the turn. A clock of one's own counts in floats, whose sums miss their mark by a
    /// last bit; asyncio forgives the resolution of the clock, a nanosecond, and so is it here.
    pub(crate) fn now_ns(self) -> Result<u64> {
        if self.own_time.get() {
            return Ok(scheduling::due_until(self.now()?));
        }
        Ok(self.engine_now())
    }

    /// The engine, if not closed, with a handle for each callback that waits.
    fn engine_unfolded(self) -> Result<Option<Rc<EventLoop>>> {
        let engine = self.value().engine.borrow().clone();
        if let Some(engine) = &engine {
            folded::unfold_all(self, engine)?;
        }
        Ok(engine)
    }

    pub(crate) fn engine_now(self) -> u64 {
        match &*self.value().engine.borrow() {
            Some(engine) => engine.hub().clock.now(),
            None => velodrome_engine::clock::Clock::monotonic().now(),
        }
    }
}

fn is_closed(this: This<'_, Loop>) -> Result<Ref> {
    Ok(boolean(this.closed.get()))
}

fn set_closed(this: This<'_, Loop>, value: &Obj) -> Result<()> {
    this.closed.set(value.is_true()?);
    Ok(())
}

fn check_closed(this: This<'_, Loop>) -> Result<Ref> {
    if this.closed.get() { Err(runtime_error("Event loop is closed")) } else { Ok(none()) }
}

fn shut(this: This<'_, Loop>) -> Result<Ref> {
    if this.is_running() {
        return Err(runtime_error("Cannot close a running event loop"));
    }
    this.shut();
    Ok(none())
}

fn get_debug(this: This<'_, Loop>) -> Result<Ref> {
    Ok(boolean(this.debug.get()))
}

fn set_debug(this: This<'_, Loop>, value: &Obj) -> Result<()> {
    let debug = value.is_true()?;
    dispatch::count_debug(this.debug.replace(debug), debug);
    dispatch::debug_changed(this.object(), this.debug.get());
    Ok(())
}

fn is_running(this: This<'_, Loop>) -> Result<Ref> {
    Ok(boolean(this.is_running()))
}

fn get_thread(this: This<'_, Loop>) -> Result<Ref> {
    match this.thread.get() {
        0 => Ok(none()),
        thread => long(i64::try_from(thread).unwrap_or(i64::MAX)),
    }
}

fn set_thread(this: This<'_, Loop>, value: &Obj) -> Result<()> {
    this.thread.set(if value.is_none() {
        0
    } else {
        c_ulong::try_from(value.as_long()?).unwrap_or(c_ulong::MAX)
    });
    Ok(())
}

fn get_stopping(this: This<'_, Loop>) -> Result<Ref> {
    Ok(boolean(this.engine.borrow().as_ref().is_some_and(|engine| engine.is_stopping())))
}

fn set_stopping(this: This<'_, Loop>, value: &Obj) -> Result<()> {
    let stopping = value.is_true()?;
    if let Some(engine) = &*this.engine.borrow() {
        engine.set_stopping(stopping);
    }
    Ok(())
}

fn stop(this: This<'_, Loop>) -> Result<Ref> {
    if let Some(engine) = &*this.engine.borrow() {
        engine.set_stopping(true);
    }
    Ok(none())
}

fn get_task_factory(this: This<'_, Loop>) -> Result<Ref> {
    Ok(this.task_factory.get_or_none())
}

fn set_task_factory(this: This<'_, Loop>, value: &Obj) -> Result<()> {
    drop(this.task_factory.replace((!value.is_none()).then(|| value.to_ref())));
    Ok(())
}

/// `_ready`: the handles that wait, for tools that look; a copy.
fn get_ready(this: This<'_, Loop>) -> Result<Ref> {
    let mut handles = Vec::new();
    if let Some(engine) = this.engine_unfolded()? {
        let spent = this.spent.get_or_none();
        engine.hub().ready.for_each(|runnable| {
            handles.push(runnables::handle_of(runnable).unwrap_or_else(|| spent.clone()));
        });
    }
    list(&handles)
}

/// `_scheduled`: the timer handles that wait, in no order; a copy.
fn get_scheduled(this: This<'_, Loop>) -> Result<Ref> {
    let mut handles = Vec::new();
    if let Some(engine) = this.engine_unfolded()? {
        engine.hub().for_each_timer(|_, runnable| handles.extend(runnables::handle_of(runnable)));
    }
    list(&handles)
}

/// asyncio's constructor assigns these; here they are views.
fn ignore(_this: This<'_, Loop>, _value: &Obj) -> Result<()> {
    Ok(())
}

impl Native for Loop {
    const NAME: &'static CStr = c"velodrome._core.Loop";
    const DOC: &'static CStr = c"The native part of velodrome.EventLoop.";
    const OPEN: bool = true;
    const WATCHES_ATTRIBUTES: bool = true;

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn create() -> Result<Self> {
        let engine = EventLoop::new().map_err(|error| raise_os_error(&error))?;
        engine.hub().gather_writes();
        Ok(Self {
            engine: RefCell::new(Some(Rc::new(engine))),
            debug: Cell::default(),
            closed: Cell::default(),
            thread: Cell::default(),
            owner: thread_ident(),
            own_time: Cell::default(),
            own_call_at: Cell::default(),
            parking: Cell::default(),
            parked: Cell::default(),
            task_factory: Slot::default(),
            spent: Slot::new(super::handle::spent()?),
            future_keywords: Slot::default(),
            watches: Rc::default(),
            listeners: Listeners::default(),
            contention: Contention::default(),
            sharing: Sharing::default(),
            contexts: Contexts::default(),
            last_timer: Cell::default(),
            blanks: Default::default(),
            running: Cell::default(),
        })
    }

    fn methods() -> Vec<Method> {
        let mut all = vec![
            Method::noargs::<Self, _>(c"is_closed", is_closed, c"Whether close() was called."),
            Method::noargs::<Self, _>(c"is_running", is_running, c"Whether the loop runs."),
            Method::noargs::<Self, _>(c"get_debug", get_debug, c"Whether debug mode is on."),
            Method::noargs::<Self, _>(c"stop", stop, c"End run_forever() after the callbacks that are due."),
            Method::noargs::<Self, _>(c"_check_closed", check_closed, c"Raise RuntimeError if closed."),
            Method::noargs::<Self, _>(c"_shut", shut, c"Drop all that waits, and the driver."),
            Method::one::<Self, _>(c"_open_child", child::open, c"Take charge of a child process."),
            Method::one::<Self, _>(c"_use_own", use_own, c"A subclass overrides this method."),
            Method::noargs::<Self, _>(
                c"_disown",
                disown,
                c"After a fork: leave the parent's descriptors alone.",
            ),
            Method::noargs::<Self, _>(c"_driver", driver, c"The name of the driver."),
        ];
        all.extend(scheduling::methods());
        all.extend(running::methods());
        all.extend(watching::methods());
        all.extend(super::sockets::methods());
        all.extend(listener::methods());
        all
    }

    fn getset() -> Vec<GetSet> {
        vec![
            GetSet::both::<Self, _, _>(c"_closed", is_closed, set_closed),
            GetSet::both::<Self, _, _>(c"_debug", get_debug, set_debug),
            GetSet::both::<Self, _, _>(c"_thread_id", get_thread, set_thread),
            GetSet::both::<Self, _, _>(c"_stopping", get_stopping, set_stopping),
            GetSet::both::<Self, _, _>(c"_task_factory", get_task_factory, set_task_factory),
            GetSet::both::<Self, _, _>(c"_ready", get_ready, ignore),
            GetSet::both::<Self, _, _>(c"_scheduled", get_scheduled, ignore),
        ]
    }

    fn traverse(&self, visit: &mut Visit) {
        visit.slot(&self.task_factory);
        visit.slot(&self.spent);
        visit.slot(&self.future_keywords);
        self.contexts.traverse(visit);
        if let Ok(engine) = self.engine.try_borrow()
            && let Some(engine) = &*engine
        {
            engine.visit(&mut |object| visit.pointer(object));
        }
    }

    fn clear(&self) {
        drop(self.task_factory.take());
        drop(self.spent.take());
        self.shut();
    }

    fn attribute_changed(this: This<'_, Self>, name: &Obj) {
        note_own(this, name);
    }
}

/// `velodrome.EventLoop` is nearly every loop's class.
pub(crate) fn learn_class(class: &Obj) -> Result<()> {
    let is_ours = class.is_subclass_of(Loop::layout().type_ptr());
    if is_ours {
        Loop::layout().set_usual_subclass(class);
    }
    is_ours.then_some(()).ok_or_else(|| type_error("not a subclass of Loop"))
}

/// A method that native code shortens was replaced, on an instance or in a subclass: from now on it is asked.
fn note_own(this: This<'_, Loop>, name: &Obj) {
    match text(name) {
        Some("time") => this.own_time.set(true),
        Some("call_at") => this.own_call_at.set(true),
        _ => {}
    }
}

fn use_own(this: This<'_, Loop>, name: &Obj) -> Result<Ref> {
    note_own(this, name);
    Ok(none())
}

/// The process is a fork: see `Reactor::disown`.
fn disown(this: This<'_, Loop>) -> Result<Ref> {
    if let Some(engine) = &*this.engine.borrow() {
        engine.hub().reactor.disown();
        // The parent sends it.
        engine.hub().forget_put_off();
    }
    Ok(none())
}

fn driver(this: This<'_, Loop>) -> Result<Ref> {
    let engine = this.engine_shared()?;
    let driver = engine.hub().reactor.driver();
    crate::kit::object::tuple(&[
        crate::kit::object::string(driver.name())?.as_ptr(),
        crate::kit::object::string(driver.reason())?.as_ptr(),
    ])
}
