//! The tasks of a loop by number, and which of them is to run.
//!
//! The number is all that stands in the ready queue for a task, and all that its waker knows. A task is queued at most
//! once, and a number is given to another task only when it is not queued any more; so what comes out of the queue
//! needs no check of whether it is still the same. What comes from a waker does: it may be older than the task that now
//! has its number, so it must be the very waker that this task was given.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::core::{Step, discard};
use super::waker::TaskWaker;
use crate::local::Local;

#[derive(Default)]
pub(crate) struct Table {
    slots: RefCell<Vec<Slot>>,
    vacant: RefCell<Vec<usize>>,
    /// The loop ends: no task is started any more.
    closed: Cell<bool>,
    started: Cell<u64>,
}

/// The place of one task. It keeps its waker when the task is over, for the next one, unless somebody else still holds
/// it.
struct Slot {
    waker: Arc<TaskWaker>,
    /// The same as what a [`Context`] is made of. Taken out while the task runs, so that nothing is borrowed and no
    /// count goes up and down for it.
    for_context: Option<Waker>,
    task: Option<Rc<dyn Step>>,
    state: State,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    /// Waits for its waker; or is no task.
    Idle,
    /// Stands in the ready queue.
    Queued,
    /// Is being polled.
    Running,
    /// Is being polled, and was woken meanwhile.
    Woken,
}

impl Slot {
    fn new(waker: Arc<TaskWaker>) -> Self {
        Self { for_context: Some(Waker::from(Arc::clone(&waker))), waker, task: None, state: State::Idle }
    }

    /// Whether nobody but this slot has its waker: once here, once in `for_context`.
    fn has_all_wakers(&self) -> bool {
        Arc::strong_count(&self.waker) == 2
    }

    /// True if the task must now be put into the queue.
    fn wake(&mut self) -> bool {
        let queue = self.state == State::Idle && self.task.is_some();
        self.state = match self.state {
            State::Idle if queue => State::Queued,
            State::Running => State::Woken,
            state => state,
        };
        queue
    }
}

impl Table {
    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len() - self.vacant.borrow().len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// What the next task is called by, unless it gets a name. The first one is 1, as asyncio's.
    pub(super) fn next_number(&self) -> u64 {
        self.started.set(self.started.get() + 1);
        self.started.get()
    }

    /// A number for a task that [`occupy`](Self::occupy) will bring.
    pub(super) fn reserve(&self, local: &Local) -> usize {
        let mut slots = self.slots.borrow_mut();
        let Some(index) = self.vacant.borrow_mut().pop() else {
            let index = slots.len();
            slots.push(Slot::new(local.new_waker(index)));
            return index;
        };
        if !slots[index].has_all_wakers() {
            // Late wakers of the last task must not wake the next.
            slots[index] = Slot::new(local.new_waker(index));
        }
        index
    }

    /// Here is the task; the caller queues it.
    pub(super) fn occupy(&self, index: usize, task: Rc<dyn Step>) {
        let slot = &mut self.slots.borrow_mut()[index];
        slot.task = Some(task);
        slot.state = State::Queued;
    }

    /// Wake the task at `index`, which is the caller's.
    pub(super) fn wake_index(&self, local: &Rc<Local>, index: usize) {
        let queue = self.slots.borrow_mut().get_mut(index).is_some_and(Slot::wake);
        if queue {
            local.queue(index);
        }
    }

    /// Note that `waker` wakes the task at `index`, if it is that task's. True if it must now be queued.
    pub(crate) fn mark_woken(&self, index: usize, waker: &Arc<TaskWaker>) -> bool {
        let mut slots = self.slots.borrow_mut();
        slots.get_mut(index).filter(|slot| Arc::ptr_eq(&slot.waker, waker)).is_some_and(Slot::wake)
    }

    /// Run the task at `index` now, since it is its turn in the queue that `waker` took.
    pub(crate) fn run_woken(&self, local: &Rc<Local>, index: usize, waker: &Arc<TaskWaker>) {
        if self.mark_woken(index, waker) {
            self.run(local, index);
        }
    }

    /// The turn of the task at `index` has come.
    pub(crate) fn run(&self, local: &Rc<Local>, index: usize) {
        let Some((task, waker)) = self.begin(index) else { return };
        if task.step(&mut Context::from_waker(&waker)).is_ready() {
            let ours = self.vacate(index, waker);
            discard((ours, task));
        } else if self.rest(index, waker) {
            local.queue(index);
        }
    }

    fn begin(&self, index: usize) -> Option<(Rc<dyn Step>, Waker)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(index).filter(|slot| slot.state == State::Queued)?;
        // Both are there: only `run` takes the waker, and it does not run twice at a time.
        let begun = (slot.task.clone()?, slot.for_context.take()?);
        slot.state = State::Running;
        Some(begun)
    }

    /// The task waits. True if it has been woken already, and must be queued again.
    fn rest(&self, index: usize, waker: Waker) -> bool {
        let slot = &mut self.slots.borrow_mut()[index];
        slot.for_context = Some(waker);
        let again = slot.state == State::Woken && slot.task.is_some();
        slot.state = if again { State::Queued } else { State::Idle };
        again
    }

    /// The task is over. Gives back our count of it, to be dropped when nothing is borrowed.
    fn vacate(&self, index: usize, waker: Waker) -> Option<Rc<dyn Step>> {
        let slot = &mut self.slots.borrow_mut()[index];
        slot.for_context = Some(waker);
        slot.state = State::Idle;
        self.vacant.borrow_mut().push(index);
        slot.task.take()
    }

    /// Cancel every task and start no other. One may end by dropping the handle of the next, or by trying to spawn.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        let mut index = 0;
        while let Some(task) = self.take_from(&mut index) {
            task.abort();
            discard(task);
        }
    }

    fn take_from(&self, index: &mut usize) -> Option<Rc<dyn Step>> {
        let mut slots = self.slots.borrow_mut();
        let task = slots.iter_mut().skip(*index).find_map(|slot| {
            *index += 1;
            slot.state = State::Idle;
            slot.task.take()
        });
        task.inspect(|_| self.vacant.borrow_mut().push(*index - 1))
    }
}
