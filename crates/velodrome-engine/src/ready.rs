//! The queue of what is due now, and the rule "only what was there when the turn began".
//!
//! Everything that waits for its turn is a [`Runnable`]: one vtable pointer and three words, 32 bytes, moved by value.
//! A Python callback with its argument and its context fits without an allocation, a Rust task is one word, so handles
//! of Python and tasks of Rust share one FIFO in the order in which they were scheduled. This file and `sys/` are the
//! only places of the engine where `unsafe` is allowed: the words are untyped, and the vtable knows what they are.
#![allow(unsafe_code, reason = "a Runnable's words are untyped; its vtable is what knows their types")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{RawWakerVTable, Waker};

/// What a [`Runnable`] carries: three machine words whose meaning only its vtable knows.
pub type Words = [*mut (); 3];

/// Shown every object that a face lent to the engine, so that a host with a tracing collector can find cycles.
pub type Visitor<'a> = &'a mut dyn FnMut(*mut ());

/// How a batch of callbacks ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// All that was due has run.
    Continue,
    /// A callback asked to leave at once; what is still queued stays queued.
    Leave,
}

/// How a kind of [`Runnable`] runs, is dropped unrun, and is shown to a collector.
pub struct RunnableVTable {
    /// Run it; takes over what the words own.
    pub run: unsafe fn(Words),
    /// Drop what the words own, without running.
    pub drop: unsafe fn(Words),
    /// Show the host objects that the words own.
    pub visit: unsafe fn(Words, Visitor<'_>),
}

/// One callback that waits for its turn.
#[repr(C)]
pub struct Runnable {
    vtable: &'static RunnableVTable,
    words: Words,
}

/// Something reference-counted that can be run, with one word of argument: an I/O registration, a Rust task.
pub trait Run: 'static {
    /// Do what was due. `arg` is the word given to [`Runnable::from_rc`].
    fn run(self: Rc<Self>, arg: usize);
    /// Show the host objects held; the default holds none.
    fn visit(&self, _visitor: Visitor<'_>) {}
}

struct RcVTable<T>(std::marker::PhantomData<T>);

impl<T: Run> RcVTable<T> {
    const VTABLE: RunnableVTable = RunnableVTable { run: Self::run, drop: Self::drop, visit: Self::visit };

    unsafe fn run(words: Words) {
        // SAFETY: from_rc made word 0 from an Rc<T> and gave its count away to these words.
        let rc = unsafe { Rc::from_raw(words[0].cast::<T>().cast_const()) };
        rc.run(words[1] as usize);
    }

    unsafe fn drop(words: Words) {
        // SAFETY: as in run; the words are not used after this.
        drop(unsafe { Rc::from_raw(words[0].cast::<T>().cast_const()) });
    }

    unsafe fn visit(words: Words, visitor: Visitor<'_>) {
        // SAFETY: the words still own a count of the Rc, so the object is alive.
        unsafe { &*words[0].cast::<T>() }.visit(visitor);
    }
}

impl Runnable {
    /// A callback that owns one count of `rc`. Neither allocates nor frees.
    pub fn from_rc<T: Run>(rc: Rc<T>, arg: usize) -> Self {
        let ptr = Rc::into_raw(rc).cast_mut().cast::<()>();
        Self { vtable: &RcVTable::<T>::VTABLE, words: [ptr, arg as *mut (), std::ptr::null_mut()] }
    }

    /// A callback made of words that only its vtable understands.
    ///
    /// # Safety
    /// The words must be what the three functions of `vtable` expect, and own what they refer to; whoever makes the
    /// runnable promises that it will be run and dropped on the thread where that is allowed.
    pub const unsafe fn from_raw(vtable: &'static RunnableVTable, words: Words) -> Self {
        Self { vtable, words }
    }

    /// A callback that wakes `waker`. Neither allocates nor counts.
    pub fn from_waker(waker: Waker) -> Self {
        let waker = ManuallyDrop::new(waker);
        let words =
            [waker.data().cast_mut(), ptr::from_ref(waker.vtable()).cast_mut().cast(), ptr::null_mut()];
        Self { vtable: &WAKING, words }
    }

    /// Whether this callback was made of a waker that wakes the same as `waker`.
    #[must_use]
    pub fn will_wake(&self, waker: &Waker) -> bool {
        let [data, vtable, _] = self.words;
        ptr::eq(self.vtable, &WAKING)
            && ptr::eq(data, waker.data())
            && ptr::eq(vtable.cast(), ptr::from_ref(waker.vtable()))
    }

    /// Run it.
    #[inline]
    pub fn run(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: who made this runnable matched words and vtable; ManuallyDrop gives the words away exactly once.
        unsafe { (this.vtable.run)(this.words) }
    }

    /// Show the host objects that this callback keeps alive.
    pub fn visit(&self, visitor: Visitor<'_>) {
        // SAFETY: the words are still owned by self.
        unsafe { (self.vtable.visit)(self.words, visitor) }
    }

    /// The words, if this runnable is of the kind that `vtable` describes: how a face recognises its own.
    #[must_use]
    pub fn words_of(&self, vtable: &'static RunnableVTable) -> Option<Words> {
        std::ptr::eq(self.vtable, vtable).then_some(self.words)
    }

    /// The words with what they own, neither run nor dropped.
    #[must_use]
    pub fn into_words(self) -> Words {
        ManuallyDrop::new(self).words
    }
}

/// The words are a waker's.
static WAKING: RunnableVTable = RunnableVTable {
    run: |words| waker_of(words).wake(),
    drop: |words| drop(waker_of(words)),
    visit: |_, _| {},
};

fn waker_of([data, vtable, _]: Words) -> Waker {
    // SAFETY: from_waker took the words out of a waker, which it forgot, so they own its count.
    unsafe { Waker::new(data, &*vtable.cast::<RawWakerVTable>()) }
}

impl Drop for Runnable {
    fn drop(&mut self) {
        // SAFETY: run() never lets a runnable reach drop, so the words are still owned here, for the last time.
        unsafe { (self.vtable.drop)(self.words) }
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runnable").field("words", &self.words).finish_non_exhaustive()
    }
}

/// A [`Runnable`] that may be made on one thread and run on another.
#[derive(Debug)]
pub struct SendRunnable(Runnable);

// SAFETY: from_arc takes only what is Send and Sync; who calls from_raw promises the same.
unsafe impl Send for SendRunnable {}

/// Something shared between threads that can be run on the loop's: a task that another thread wakes.
pub trait RunShared: Send + Sync + 'static {
    /// Do what was due, on the loop's thread.
    fn run(self: Arc<Self>);
}

impl SendRunnable {
    /// A callback that owns one count of `arc`.
    pub fn from_arc<T: RunShared>(arc: Arc<T>) -> Self {
        let ptr = Arc::into_raw(arc).cast_mut().cast::<()>();
        let words = [ptr, std::ptr::null_mut(), std::ptr::null_mut()];
        Self(Runnable { vtable: &ArcVTable::<T>::VTABLE, words })
    }

    /// A callback made of words that only its vtable understands.
    ///
    /// # Safety
    /// As [`Runnable::from_raw`], and besides: the words may be sent to another thread, run on the loop's, and dropped
    /// on any.
    pub const unsafe fn from_raw(vtable: &'static RunnableVTable, words: Words) -> Self {
        Self(Runnable { vtable, words })
    }

    /// Back to a plain runnable, on the thread of the loop.
    #[must_use]
    pub fn into_inner(self) -> Runnable {
        self.0
    }
}

struct ArcVTable<T>(std::marker::PhantomData<T>);

impl<T: RunShared> ArcVTable<T> {
    const VTABLE: RunnableVTable = RunnableVTable { run: Self::run, drop: Self::drop, visit: |_, _| {} };

    unsafe fn run(words: Words) {
        // SAFETY: from_arc made word 0 from an Arc<T> and gave its count away to these words.
        unsafe { Arc::from_raw(words[0].cast::<T>().cast_const()) }.run();
    }

    unsafe fn drop(words: Words) {
        // SAFETY: as in run; the words are not used after this.
        drop(unsafe { Arc::from_raw(words[0].cast::<T>().cast_const()) });
    }
}

/// What a face's own wakers become when they stand in the queue themselves: the turn they would ask for.
#[derive(Copy, Clone)]
pub struct Turns {
    wakers: &'static RawWakerVTable,
    turn: &'static RunnableVTable,
}

impl Turns {
    /// Wakers with the vtable `wakers` have their turn by `turn`.
    ///
    /// # Safety
    /// `turn` must take a waker's data as its first word and take over its count, on the thread of a loop that the face
    /// gives this to; and running it must do what waking does.
    #[must_use]
    pub const unsafe fn new(wakers: &'static RawWakerVTable, turn: &'static RunnableVTable) -> Self {
        Self { wakers, turn }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

/// A FIFO of [`Runnable`]s. No borrow of it is held while one of them runs.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    queue: RefCell<VecDeque<Runnable>>,
    /// How many of the batch that is running are still to run.
    left: Cell<usize>,
    interruption: Cell<Interruption>,
    turns: Cell<Option<Turns>>,
}

/// What the callback that runs asked for, to be done when it returns.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Interruption {
    #[default]
    None,
    Pause,
    Leave,
}

/// Room kept by an empty queue after a burst: 4,096 runnables are 128 KiB.
const KEEP: usize = 4096;

impl ReadyQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Put a callback at the end.
    #[inline]
    pub fn push(&self, runnable: Runnable) {
        self.queue.borrow_mut().push_back(runnable);
    }

    /// Put a callback at the end that wakes `waker`; or, if it is one of the face's own, the turn it would ask for, which
    /// saves a second place in the queue. Once for each event: a call would save and restore six registers.
    #[inline(always)]
    pub fn push_waker(&self, waker: Waker) {
        self.push(match self.turns.get() {
            Some(turns) if ptr::eq(waker.vtable(), turns.wakers) => {
                let waker = ManuallyDrop::new(waker);
                let words = [waker.data().cast_mut(), ptr::null_mut(), ptr::null_mut()];
                Runnable { vtable: turns.turn, words }
            }
            _ => Runnable::from_waker(waker),
        });
    }

    /// Let the face's own wakers have their turns in the place where they would only ask for them.
    pub fn set_turns(&self, turns: Turns) {
        self.turns.set(Some(turns));
    }

    /// Take the callback at the front.
    #[inline]
    pub fn pop(&self) -> Option<Runnable> {
        self.queue.borrow_mut().pop_front()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Run what waits now, and nothing that is added meanwhile: asyncio's rule, which lets I/O and timers in between
    /// two rounds of callbacks that schedule themselves. `pause` is called where a callback asked for it.
    pub fn run_batch(&self, pause: impl Fn()) -> Flow {
        self.run_batch_each(|| (), pause)
    }

    /// The same, calling `before` ahead of each: a face says there whose callback comes, where three words have no room
    /// for it.
    #[inline]
    pub fn run_batch_each(&self, before: impl Fn(), pause: impl Fn()) -> Flow {
        let outer = self.left.replace(self.len());
        let flow = self.run_left(before, pause);
        self.left.set(outer);
        flow
    }

    #[inline]
    fn run_left(&self, before: impl Fn(), pause: impl Fn()) -> Flow {
        while self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            let Some(runnable) = self.pop() else { break };
            before();
            runnable.run();
            if self.interruption.get() != Interruption::None {
                if self.answer(Interruption::Pause) {
                    pause();
                }
                if self.take_leave() {
                    return Flow::Leave;
                }
            }
        }
        Flow::Continue
    }

    /// Whether the batch that is running has more to run than the present callback.
    #[must_use]
    pub fn has_more(&self) -> bool {
        // A batch within the batch may have run what was left of it.
        self.left.get() > 0 && !self.is_empty()
    }

    /// Called from within a callback: leave the batch as soon as that callback returns. The face knows why (a
    /// KeyboardInterrupt, say).
    pub fn leave(&self) {
        self.interruption.set(Interruption::Leave);
    }

    /// Whether somebody asked to leave: it may be after the last callback of a batch has returned. Now it is answered.
    pub(crate) fn take_leave(&self) -> bool {
        self.answer(Interruption::Leave)
    }

    fn answer(&self, asked: Interruption) -> bool {
        let is_asked = self.interruption.get() == asked;
        if is_asked {
            self.interruption.set(Interruption::None);
        }
        is_asked
    }

    /// Called from within a callback: let the batch pause as soon as that callback returns.
    pub fn pause(&self) {
        if !self.is_leaving() {
            self.interruption.set(Interruption::Pause);
        }
    }

    /// Whether the batch is being left: a callback that would make several calls into the face makes no more.
    pub fn is_leaving(&self) -> bool {
        self.interruption.get() == Interruption::Leave
    }

    /// Give back the memory of a burst; the loop does when it is about to sleep.
    pub(crate) fn shrink(&self) {
        let mut queue = self.queue.borrow_mut();
        if queue.capacity() > KEEP && queue.len() < KEEP / 4 {
            queue.shrink_to(KEEP);
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.queue.borrow().capacity()
    }

    /// Take everything out, for the caller to drop: dropping runs foreign code, which must find no borrow.
    #[must_use]
    pub fn take(&self) -> VecDeque<Runnable> {
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// Look at each waiting callback, first to last.
    pub fn for_each(&self, mut look: impl FnMut(&Runnable)) {
        self.queue.borrow().iter().for_each(&mut look);
    }

    /// Let each waiting callback be exchanged, first to last. Neither this nor [`Self::with_last`] may run foreign code.
    pub fn for_each_mut(&self, mut change: impl FnMut(&mut Runnable)) {
        self.queue.borrow_mut().iter_mut().for_each(&mut change);
    }

    /// Let the callback that was put in last be exchanged.
    #[inline]
    pub fn with_last<R>(&self, change: impl FnOnce(&mut Runnable) -> R) -> Option<R> {
        self.queue.borrow_mut().back_mut().map(change)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{RawWaker, Wake};

    use super::*;
    use crate::testing::world::{Log, once};

    struct Note {
        log: Rc<RefCell<Vec<usize>>>,
    }

    impl Run for Note {
        fn run(self: Rc<Self>, arg: usize) {
            self.log.borrow_mut().push(arg);
        }
    }

    static TURNS_HAD: AtomicUsize = AtomicUsize::new(0);

    static COUNTS: RunnableVTable = RunnableVTable {
        run: |_| {
            TURNS_HAD.fetch_add(1, Ordering::Relaxed);
        },
        drop: |_| {},
        visit: |_, _| {},
    };

    static OWN: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &OWN), |_| {}, |_| {}, |_| {});

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_of_the_faces_own_has_its_turn_where_another_is_woken() {
        let (queue, other) = (ReadyQueue::new(), Arc::new(Woken::default()));
        let had = || TURNS_HAD.load(Ordering::Relaxed);
        // SAFETY: these wakers have no data and no count.
        let own = || unsafe { Waker::new(ptr::null(), &OWN) };
        queue.push_waker(own());
        let _ = queue.run_batch(|| ());
        assert_eq!(had(), 0, "no face has said anything yet");
        // SAFETY: there is no count to take over.
        queue.set_turns(unsafe { Turns::new(&OWN, &COUNTS) });
        queue.push_waker(own());
        queue.push_waker(Waker::from(Arc::clone(&other)));
        let _ = queue.run_batch(|| ());
        assert_eq!((had(), other.0.load(Ordering::Relaxed), Arc::strong_count(&other)), (1, 1, 1));
    }

    fn note(log: &Rc<RefCell<Vec<usize>>>, arg: usize) -> Runnable {
        Runnable::from_rc(Rc::new(Note { log: Rc::clone(log) }), arg)
    }

    struct Leaver(Rc<ReadyQueue>);

    impl Run for Leaver {
        fn run(self: Rc<Self>, _: usize) {
            self.0.leave();
        }
    }

    #[test]
    fn a_runnable_is_four_words() {
        assert_eq!(size_of::<Runnable>(), 4 * size_of::<usize>());
    }

    #[test]
    fn runs_in_order_and_stops_where_told() {
        let (log, queue) = (Rc::default(), Rc::new(ReadyQueue::new()));
        queue.push(note(&log, 1));
        queue.push(Runnable::from_rc(Rc::new(Leaver(Rc::clone(&queue))), 0));
        queue.push(note(&log, 3));
        assert_eq!(queue.run_batch(|| ()), Flow::Leave);
        assert_eq!((log.borrow().clone(), queue.len()), (vec![1], 1));
        assert_eq!(queue.run_batch(|| ()), Flow::Continue);
        assert_eq!(*log.borrow(), [1, 3]);
    }

    #[test]
    fn a_batch_pauses_between_callbacks_and_a_leave_outweighs_a_pause() {
        let (log, queue) = (Log::default(), Rc::new(ReadyQueue::new()));
        let (first, second, told) = (Rc::clone(&queue), Rc::clone(&queue), log.clone());
        queue.push(once(move || {
            first.pause();
            told.add(format!("more {}", first.has_more()));
        }));
        queue.push(once(move || {
            second.leave();
            second.pause();
        }));
        queue.push(once(|| panic!("left behind")));
        let flow = queue.run_batch(|| log.add("pause"));
        assert_eq!(
            (flow, log.take(), queue.has_more()),
            (Flow::Leave, ["more true", "pause"].map(String::from).into(), false)
        );
        drop(queue.take());
    }

    #[test]
    fn nothing_more_is_to_run_when_a_batch_within_has_run_it() {
        let (log, queue) = (Log::default(), Rc::new(ReadyQueue::new()));
        let (inner, told) = (Rc::clone(&queue), log.clone());
        queue.push(once(move || {
            told.add(inner.has_more());
            let _ = inner.run_batch(|| ());
            told.add(inner.has_more());
        }));
        queue.push(once(|| ()));
        let _ = queue.run_batch(|| ());
        assert_eq!(log.take(), ["true", "false"]);
    }

    struct Again {
        queue: Rc<ReadyQueue>,
        runs: Cell<usize>,
    }

    impl Run for Again {
        fn run(self: Rc<Self>, _: usize) {
            self.runs.set(self.runs.get() + 1);
            self.queue.push(Runnable::from_rc(Rc::clone(&self), 0));
        }
    }

    #[test]
    fn what_is_added_during_a_batch_waits_for_the_next() {
        let queue = Rc::new(ReadyQueue::new());
        let again = Rc::new(Again { queue: Rc::clone(&queue), runs: Cell::new(0) });
        queue.push(Runnable::from_rc(Rc::clone(&again), 0));
        let _ = queue.run_batch(|| ());
        assert_eq!((again.runs.get(), queue.len()), (1, 1));
        drop(queue.take());
    }

    #[test]
    fn a_waker_is_woken_once_or_dropped() {
        let count = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&count));
        let (run, drop_it) = (Runnable::from_waker(waker.clone()), Runnable::from_waker(waker.clone()));
        assert!(run.will_wake(&waker) && !run.will_wake(Waker::noop()));
        assert!(!note(&Rc::default(), 1).will_wake(&waker));
        run.run();
        drop(drop_it);
        drop(waker);
        assert_eq!((count.0.load(Ordering::Relaxed), Arc::strong_count(&count)), (1, 1));
    }

    #[test]
    fn what_waits_may_be_exchanged() {
        let (log, queue) = (Rc::default(), ReadyQueue::new());
        assert!(queue.with_last(|_| ()).is_none());
        (1..4).for_each(|arg| queue.push(note(&log, arg)));
        let last = queue.with_last(|last| std::mem::replace(last, note(&log, 30))).unwrap();
        let [word, arg, _] = last.into_words();
        assert_eq!((arg as usize, Rc::strong_count(&log)), (3, 5), "neither run nor dropped");
        drop(Runnable { vtable: &RcVTable::<Note>::VTABLE, words: [word, arg, ptr::null_mut()] });
        let mut next = 10;
        queue.for_each_mut(|runnable| {
            *runnable = note(&log, next);
            next += 10;
        });
        assert_eq!((queue.run_batch(|| ()), log.borrow().clone()), (Flow::Continue, vec![10, 20, 30]));
    }

    #[test]
    fn each_callback_is_announced() {
        let (log, queue) = (Rc::default(), ReadyQueue::new());
        (1..3).for_each(|arg| queue.push(note(&log, arg)));
        assert_eq!(queue.run_batch_each(|| log.borrow_mut().push(0), || ()), Flow::Continue);
        assert_eq!(*log.borrow(), [0, 1, 0, 2]);
    }

    #[test]
    fn dropping_unrun_gives_the_count_back() {
        let log = Rc::default();
        drop(note(&log, 1));
        assert_eq!(Rc::strong_count(&log), 1);
        assert!(log.borrow().is_empty());
    }
}
