//! A task in one piece of memory: head, future, and afterwards what became of it.
//!
//! This is the one file of the crate with `unsafe`. Without it a task took three allocations (its future, its waker,
//! the rest), and every wake-up two look-ups in a table. What is safe about a task is in `head.rs`.
//!
//! # Who may touch what
//!
//! * Other threads hold [wakers](std::task::Waker), and touch the head's `vtable`, `door`, `shared` and `travelling`,
//!   which are constant or atomic. Everything else belongs to the thread of the loop; [`TaskRef`] is not `Send`.
//! * `stage` is touched by who made the state `Running` (a turn, or the end of the loop), by nobody else meanwhile; and
//!   when the state is `Finished`, by the one handle, or by the last [`TaskRef`].
//!
//! # How long it lives
//!
//! `local` counts the [`TaskRef`]s. When it comes to zero, nobody can poll, cancel or ask any more: what is thread-bound
//! (future, output, the waker of who waits) is dropped there and then. Until then the wakers are counted in two places:
//! `wakers` those that come and go on the loop's thread, with no atomic, and `shared` those that do on others; a waker may
//! be made here and dropped there, so either number alone means nothing, and `shared` counts from a number so high that it
//! does not come to zero by accident. When `local` is zero, `wakers` is added to `shared` for good, which is exact from
//! then on; whoever brings it to zero, on whatever thread, frees memory in which nothing is left but the loop's door.
//! ("Biased reference counting". Bought: an atomic addition and subtraction for each time that a task waits.)
//!
//! # Why no wake-up from another thread is lost
//!
//! `travelling` is cleared on arrival **before** the task is polled. A wake-up that still found it set came before that
//! in the order of the swaps, which all acquire and release: so what its thread had written is seen by the poll. One
//! that finds it cleared sends again. (`model.rs` tries all interleavings.)
#![allow(unsafe_code, reason = "a task is shared by counts of two kinds, and polled where it lies")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::future::{Future, Pending};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use velodrome_engine::ready::{Runnable, RunnableVTable, SendRunnable, Turns, Words};

use super::error::Ending;
use super::head::{BIAS, Door, Head, State};
use crate::atomics::{Ordering, fence};
use crate::local;

/// What differs between tasks by their futures.
pub(super) struct VTable {
    /// Poll the future, or drop it if `Context` is none. Ready when it is gone; the result is in the stage then.
    step: unsafe fn(NonNull<Head>, Option<&mut Context<'_>>) -> Poll<()>,
    /// Move the result to where the last argument points, an `Option<Result<T, Ending>>`.
    take: unsafe fn(NonNull<Head>, *mut ()),
    /// Move a result back, from where the last argument points: a `Result<T, Ending>` that is forgotten there.
    put: unsafe fn(NonNull<Head>, *const ()),
    /// Drop whatever is in the stage.
    empty: unsafe fn(NonNull<Head>),
    /// Free the memory.
    free: unsafe fn(NonNull<Head>),
}

/// The head is first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct TaskCell<F: Future> {
    head: Head,
    stage: UnsafeCell<Stage<F>>,
}

enum Stage<F: Future> {
    Future(F),
    Ended(Result<F::Output, Ending>),
    Gone,
}

impl<F: Future> TaskCell<F> {
    const VTABLE: VTable =
        VTable { step: Self::step, take: Self::take, put: Self::put, empty: Self::empty, free: Self::free };

    fn allocate(head: Head, stage: Stage<F>) -> NonNull<Head> {
        let cell = Box::new(Self { head, stage: UnsafeCell::new(stage) });
        NonNull::from(Box::leak(cell)).cast()
    }

    unsafe fn stage(head: NonNull<Head>) -> *mut Stage<F> {
        // SAFETY: the caller has a head that `allocate` made for this F, and a count that keeps it.
        unsafe { (*head.cast::<Self>().as_ptr()).stage.get() }
    }

    unsafe fn step(head: NonNull<Head>, cx: Option<&mut Context<'_>>) -> Poll<()> {
        // SAFETY: the caller made the state Running, so nobody else touches the stage until this returns.
        let stage = unsafe { Self::stage(head) };
        let result = match cx {
            None => Err(Ending::Cancelled),
            Some(cx) => match caught(|| Self::poll(stage, cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(result)) => result,
                Err(panic) => Err(panic),
            },
        };
        // SAFETY: as above.
        unsafe { Self::conclude(stage, result) };
        Poll::Ready(())
    }

    fn poll(stage: *mut Stage<F>, cx: &mut Context<'_>) -> Poll<Result<F::Output, Ending>> {
        // SAFETY: `step`, which alone calls this, has the stage to itself; and the future is never moved between here and
        // its drop, in `conclude`.
        match unsafe { &mut *stage } {
            // SAFETY: as above.
            Stage::Future(future) => unsafe { Pin::new_unchecked(future) }.poll(cx).map(Ok),
            _ => Poll::Ready(Err(Ending::Taken)),
        }
    }

    /// Drop the future where it lies, then put the result in its place. A destructor that panics is what became of the
    /// task.
    unsafe fn conclude(stage: *mut Stage<F>, result: Result<F::Output, Ending>) {
        // SAFETY: the caller has the stage to itself.
        let dropped = caught(|| unsafe { Self::clear(stage) });
        let result = match dropped {
            Ok(()) => result,
            Err(panic) => {
                discard(result);
                Err(panic)
            }
        };
        // SAFETY: as above; what is written over has no destructor.
        unsafe { ptr::write(stage, Stage::Ended(result)) };
    }

    /// Drop what is in the stage, where it lies.
    unsafe fn clear(stage: *mut Stage<F>) {
        /// Writes over what was dropped, whether or not its destructor panicked: nobody must look at it again.
        struct Mark<F: Future>(*mut Stage<F>);
        impl<F: Future> Drop for Mark<F> {
            fn drop(&mut self) {
                // SAFETY: the caller of `clear` has the stage to itself, and what is there has been dropped.
                unsafe { ptr::write(self.0, Stage::Gone) };
            }
        }
        let _mark = Mark(stage);
        // SAFETY: the caller has the stage to itself; it is written over before anybody else looks.
        unsafe { ptr::drop_in_place(stage) };
    }

    unsafe fn take(head: NonNull<Head>, into: *mut ()) {
        // SAFETY: the caller, on the loop's thread, has seen the state Finished: only handles touch the stage now, and
        // none of them keeps a reference. `into` is a place for this F's result.
        unsafe {
            let stage = Self::stage(head);
            if let Stage::Ended(result) = ptr::replace(stage, Stage::Gone) {
                *into.cast::<Option<Result<F::Output, Ending>>>() = Some(result);
            }
        }
    }

    unsafe fn put(head: NonNull<Head>, from: *const ()) {
        // SAFETY: as in `take`; what is written over is Gone, and `from` is not used again by who has it.
        unsafe {
            let result = ptr::read(from.cast::<Result<F::Output, Ending>>());
            ptr::write(Self::stage(head), Stage::Ended(result));
        }
    }

    unsafe fn empty(head: NonNull<Head>) {
        // SAFETY: the caller had the last TaskRef, so nobody else can reach the stage.
        let _ = caught(|| unsafe { Self::clear(Self::stage(head)) });
    }

    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: the caller had the last count of all; `allocate` made it of a Box of this type. The stage is Gone.
        drop(unsafe { Box::from_raw(head.cast::<Self>().as_ptr()) });
    }
}

/// One count of a task on its own thread.
pub(crate) struct TaskRef(NonNull<Head>);

impl TaskRef {
    pub(super) fn head(&self) -> &Head {
        // SAFETY: this count keeps it alive, and heads are only ever shared.
        unsafe { self.0.as_ref() }
    }

    /// Take over a count that is held by a pointer.
    unsafe fn from_ptr(ptr: *const ()) -> Self {
        // SAFETY: the caller got the pointer, which is not null, from `into_ptr`.
        Self(unsafe { NonNull::new_unchecked(ptr.cast_mut().cast()) })
    }

    fn into_ptr(self) -> *mut () {
        ManuallyDrop::new(self).0.as_ptr().cast()
    }

    pub(crate) fn name(&self) -> String {
        self.head().name()
    }

    /// Its place in the loop's table.
    pub(crate) fn index(&self) -> u32 {
        self.head().index()
    }

    /// A callback that gives the task its turn.
    pub(crate) fn into_runnable(self) -> Runnable {
        // SAFETY: the words are what TURN expects, and a Runnable stays on its thread.
        unsafe { Runnable::from_raw(&TURN, [self.into_ptr(), ptr::null_mut(), ptr::null_mut()]) }
    }

    /// Its turn has come. The future is polled, or dropped if the task was cancelled.
    #[inline]
    pub(crate) fn run(self) {
        let head = self.head();
        if !head.begin_turn() {
            return;
        }
        // SAFETY: the data is what the vtable expects. It has no count of its own: it is never dropped, and this
        // TaskRef lives longer.
        let waker = ManuallyDrop::new(unsafe { Waker::new(self.0.as_ptr().cast(), &WAKER) });
        let mut cx = Context::from_waker(&waker);
        let cx = (!head.is_cancelled()).then_some(&mut cx);
        // SAFETY: the state is Running, by `begin_turn`.
        if unsafe { (head.vtable.step)(self.0, cx) }.is_ready() {
            self.finish();
        } else if head.end_turn() {
            self.queue();
        }
    }

    // Out of line, and `queue` too: a turn that ends in waiting, as nearly all do, need then keep nothing for them.
    #[inline(never)]
    fn finish(self) {
        self.head().finish();
        local::forget(&self);
    }

    #[inline(never)]
    fn queue(self) {
        local::queue(self);
    }

    /// Cancel it now: the loop ends.
    pub(super) fn abort(&self) {
        let head = self.head();
        if !head.begin_end() {
            return;
        }
        // SAFETY: the state is Running, by `begin_end`.
        let _ = unsafe { (head.vtable.step)(self.0, None) };
        head.finish();
    }

    /// Let its next turn be its last, and make it come. False if it is over.
    pub(crate) fn cancel(&self) -> bool {
        let early = self.head().mark_cancelled();
        if early {
            // SAFETY: this count keeps the task alive.
            unsafe { wake_by_ref(self.0.as_ptr().cast_const().cast()) };
        }
        early
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        let local = &self.head().local;
        // Four thousand million handles do not fit into memory.
        local.set(local.get() + 1);
        Self(self.0)
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        let local = &self.head().local;
        local.set(local.get() - 1);
        if local.get() == 0 {
            // SAFETY: this was the last TaskRef.
            unsafe { let_go(self.0) };
        }
    }
}

/// Nobody holds the task on its own thread any more.
#[inline(never)]
unsafe fn let_go(task: NonNull<Head>) {
    // SAFETY: the caller had the last TaskRef, and `shared` keeps the memory until the sum below says that it may go.
    let head = unsafe { task.as_ref() };
    // Late wakers find nothing to do.
    head.state.set(State::Finished);
    // SAFETY: without a TaskRef nobody else touches the stage.
    unsafe { (head.vtable.empty)(task) };
    let _ = caught(|| head.empty());
    let merger = head.merger();
    let wakers = head.shared.fetch_add(merger, Ordering::AcqRel).wrapping_add(merger);
    if wakers == 0 {
        // SAFETY: nobody has a count any more, here or elsewhere.
        unsafe { (head.vtable.free)(task) };
    }
}

/// Keeps the memory of a task, and nothing in it: a waker's count, on the task's own thread.
#[derive(Clone)]
pub(super) struct WeakRef {
    waker: Waker,
    /// Heads are asked on their own thread only, and a waker could leave it.
    thread: PhantomData<*const ()>,
}

impl TaskRef {
    pub(super) fn downgrade(&self) -> WeakRef {
        // SAFETY: this count keeps the task alive meanwhile, and the waker takes over the one that is made.
        let waker = unsafe { Waker::from_raw(clone_waker(self.0.as_ptr().cast_const().cast())) };
        WeakRef { waker, thread: PhantomData }
    }
}

impl WeakRef {
    pub(super) fn head(&self) -> &Head {
        // SAFETY: the waker was made by `downgrade`, so its data is a head that its count keeps. This is the task's
        // thread, by `thread`, and heads are only ever shared.
        unsafe { &*self.waker.data().cast() }
    }

    /// As [`TaskRef::cancel`]. A task that is not over has its table's count.
    pub(super) fn cancel(&self) -> bool {
        let early = self.head().mark_cancelled();
        if early {
            self.waker.wake_by_ref();
        }
        early
    }
}

/// A [`TaskRef`] that knows what its task gives.
pub(super) struct Typed<T> {
    task: TaskRef,
    output: PhantomData<T>,
}

impl<T> Typed<T> {
    /// A task that is held three times: by what this returns, its table and the ready queue.
    pub(super) fn start<F>(future: F, door: Door, index: u32, number: u64) -> (Self, TaskRef, TaskRef)
    where
        F: Future<Output = T> + 'static,
    {
        let head = Head::new(&TaskCell::<F>::VTABLE, Some(door), index, number, 3);
        let head = TaskCell::allocate(head, Stage::Future(future));
        (Self { task: TaskRef(head), output: PhantomData }, TaskRef(head), TaskRef(head))
    }

    /// A task that never was.
    pub(super) fn ended(ending: Ending) -> Self {
        let head = Head::new(&TaskCell::<Pending<T>>::VTABLE, None, 0, 0, 1);
        head.finish();
        let head = TaskCell::<Pending<T>>::allocate(head, Stage::Ended(Err(ending)));
        Self { task: TaskRef(head), output: PhantomData }
    }

    pub(super) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// What became of the task; once. None while it is not finished, and when it was taken.
    pub(super) fn take(&self) -> Option<Result<T, Ending>> {
        let (head, mut result) = (self.task.head(), None::<Result<T, Ending>>);
        if head.is_finished() {
            // SAFETY: it is finished, and T is the output of its future: by `start` and `ended`.
            unsafe { (head.vtable.take)(self.task.0, ptr::from_mut(&mut result).cast()) };
        }
        result
    }
}

impl<T> Typed<T> {
    /// Look at what became of the task, and leave it there. False while nothing has.
    pub(super) fn look(&self, look: impl FnOnce(&Result<T, Ending>) -> bool) -> bool {
        self.take().is_some_and(|result| {
            let seen = look(&result);
            // SAFETY: it was taken from there a moment ago, so the place is Gone, and T is its output.
            unsafe {
                (self.task.head().vtable.put)(self.task.0, ptr::from_ref(&ManuallyDrop::new(result)).cast())
            };
            seen
        })
    }
}

/// A task's turn in the ready queue, which has a count of it.
static TURN: RunnableVTable = RunnableVTable {
    // SAFETY: `into_runnable` gave its count to the words.
    run: |words: Words| unsafe { TaskRef::from_ptr(words[0]) }.run(),
    // SAFETY: as above.
    drop: |words: Words| drop(unsafe { TaskRef::from_ptr(words[0]) }),
    visit: |_, _| {},
};

/// A wake-up that comes from another thread, with the count of a waker.
static ARRIVAL: RunnableVTable = RunnableVTable {
    // SAFETY: `send` gave a waker's count to the words; these run on the loop's thread.
    run: |words: Words| unsafe { arrive(words[0]) },
    // SAFETY: as above, but for the thread, which may be any.
    drop: |words: Words| unsafe { drop_waker(words[0]) },
    visit: |_, _| {},
};

/// A wake-up in the queue of the task's own loop, with the count of a waker: the turn that it would ask for.
static WOKEN: RunnableVTable = RunnableVTable {
    // SAFETY: the engine gave a waker's count to the words, by `TURNS`.
    run: |words: Words| unsafe { take_turn(words[0]) },
    // SAFETY: as above.
    drop: |words: Words| unsafe { drop_waker(words[0]) },
    visit: |_, _| {},
};

// SAFETY: WOKEN takes over the count of a waker whose data is its first word, and wakes the task if it cannot run it.
pub(crate) static TURNS: Turns = unsafe { Turns::new(&WAKER, &WOKEN) };

static WAKER: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

unsafe fn clone_waker(data: *const ()) -> RawWaker {
    // SAFETY: who calls this has a waker, and that has a count.
    let head = unsafe { &*data.cast::<Head>() };
    if head.counts_here() {
        head.wakers.set(head.wakers.get() + 1);
    } else if head.shared.fetch_add(1, Ordering::Relaxed) > 2 * BIAS {
        // Wakers that are forgotten by the thousand million: what Arc does then.
        std::process::abort();
    }
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: this waker's count is ours; it is given away or given back.
    unsafe {
        if (*data.cast::<Head>()).is_here() {
            wake_here(data);
            drop_waker(data);
        } else {
            send(data);
        }
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: who calls this keeps a count. What is sent gets one of its own.
    unsafe {
        if (*data.cast::<Head>()).is_here() {
            wake_here(data);
        } else {
            clone_waker(data);
            send(data);
        }
    }
}

/// Queue the task, unless it is queued already.
unsafe fn wake_here(data: *const ()) {
    // SAFETY: the caller has a count, and is on the loop's thread. A task that was idle is not finished.
    unsafe {
        if (*data.cast::<Head>()).mark_woken() {
            local::queue(local_ref(data));
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: this count is ours, and not used again.
    unsafe {
        let head = &*data.cast::<Head>();
        if head.counts_here() {
            head.wakers.set(head.wakers.get() - 1);
        } else {
            release(NonNull::new_unchecked(data.cast_mut().cast()));
        }
    }
}

/// Another count for this thread, which is the loop's; the task is not finished, so it has one already.
unsafe fn local_ref(data: *const ()) -> TaskRef {
    // SAFETY: a task that is not finished has a TaskRef on this thread: the one that is cloned here without being held.
    let other = ManuallyDrop::new(unsafe { TaskRef::from_ptr(data) });
    TaskRef::clone(&other)
}

/// Send the wake-up with the count that comes along.
unsafe fn send(data: *const ()) {
    // SAFETY: the count is ours until it is given to the words, or given back.
    unsafe {
        let head = &*data.cast::<Head>();
        match &head.door {
            Some(door) if head.begin_travel() => {
                let words = [data.cast_mut(), ptr::null_mut(), ptr::null_mut()];
                // Kept for the length of the call: the loop may run the wake-up, and free the task, meanwhile.
                let door = Door::clone(door);
                drop(door.push(SendRunnable::from_raw(&ARRIVAL, words)));
            }
            _ => drop_waker(data),
        }
    }
}

unsafe fn take_turn(data: *mut ()) {
    // SAFETY: the count came with the words. On the loop's thread, while somebody holds the task there, it becomes a
    // TaskRef's; elsewhere, and afterwards, it is an ordinary wake-up.
    unsafe {
        let head = &*data.cast::<Head>();
        if !head.counts_here() {
            return wake(data);
        }
        head.wakers.set(head.wakers.get() - 1);
        let task = local_ref(data);
        if head.mark_woken() {
            task.run();
        }
    }
}

unsafe fn arrive(data: *const ()) {
    // SAFETY: the count came with the words, and keeps the task until the end of this function.
    unsafe {
        let head = &*data.cast::<Head>();
        head.end_travel();
        if head.mark_woken() {
            // Its turn is the one that the wake-up took in the queue.
            local_ref(data).run();
        }
        drop_waker(data);
    }
}

/// Give back one count of `shared`, on whatever thread.
unsafe fn release(head: NonNull<Head>) {
    // SAFETY: the caller's count is the last use of the memory, unless it is the last of all: then what other threads
    // did before they gave theirs back comes before it is freed.
    unsafe {
        if head.as_ref().shared.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            (head.as_ref().vtable.free)(head);
        }
    }
}

/// Drop what belongs to the user, whose destructor may panic; the panic hook has told of it then.
pub(crate) fn discard<T>(value: T) {
    let _ = caught(|| drop(value));
}

/// Poll `future`, and drop it as soon as it is done. A panic is what became of it then, even if only its destructor does.
pub(crate) fn poll_caught<F: Future>(
    mut future: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Ending>> {
    let polled = caught(|| match future.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx).map(Ok),
        None => Poll::Ready(Err(Ending::Taken)),
    });
    let result = match polled {
        Ok(Poll::Pending) => return Poll::Pending,
        Ok(Poll::Ready(result)) => result,
        Err(panic) => Err(panic),
    };
    Poll::Ready(match caught(|| future.set(None)) {
        Ok(()) => result,
        Err(panic) => {
            discard(result);
            Err(panic)
        }
    })
}

pub(crate) fn caught<R>(act: impl FnOnce() -> R) -> Result<R, Ending> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload: Box<dyn Any + Send>| Ending::Panicked(payload))
}

#[cfg(test)]
#[cfg(loom)]
#[path = "model.rs"]
mod model;
