//! The tasks of a loop, so that they can be cancelled when it ends, and their numbers.

use std::cell::{Cell, RefCell};

use super::cell::{TaskRef, discard};

#[derive(Default)]
pub(crate) struct Table {
    places: RefCell<Vec<Option<TaskRef>>>,
    vacant: RefCell<Vec<u32>>,
    /// The loop ends: no task is started any more.
    closed: Cell<bool>,
    started: Cell<u64>,
}

impl Table {
    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        self.places.borrow().len() - self.vacant.borrow().len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// What the next task is called by, unless it gets a name. The first one is 1, as asyncio's.
    pub(super) fn next_number(&self) -> u64 {
        self.started.set(self.started.get() + 1);
        self.started.get()
    }

    /// A place for a task that [`occupy`](Self::occupy) will bring.
    pub(super) fn reserve(&self) -> u32 {
        self.vacant.borrow_mut().pop().unwrap_or_else(|| {
            let mut places = self.places.borrow_mut();
            places.push(None);
            // Four thousand million tasks do not fit into memory.
            (places.len() - 1) as u32
        })
    }

    pub(super) fn occupy(&self, index: u32, task: TaskRef) {
        self.places.borrow_mut()[index as usize] = Some(task);
    }

    /// The task at `index` is over. Gives back our count of it, to be dropped when nothing is borrowed.
    pub(crate) fn forget(&self, index: u32) -> Option<TaskRef> {
        let task = self.places.borrow_mut().get_mut(index as usize)?.take();
        if task.is_some() {
            self.vacant.borrow_mut().push(index);
        }
        task
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

    fn take_from(&self, index: &mut usize) -> Option<TaskRef> {
        let mut places = self.places.borrow_mut();
        let task = places.iter_mut().skip(*index).find_map(|place| {
            *index += 1;
            place.take()
        });
        task.inspect(|_| self.vacant.borrow_mut().push((*index - 1) as u32))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Runtime, local, spawn};

    #[test]
    fn places_are_used_again() {
        let places = Runtime::new().unwrap().block_on(async {
            for _ in 0..100 {
                spawn(async {}).await.unwrap();
            }
            local::current().unwrap().tasks.places.borrow().len()
        });
        assert_eq!(places.unwrap(), 1);
    }
}
