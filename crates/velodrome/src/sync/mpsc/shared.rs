//! What the two ends of a channel share, under one lock. Wakers are woken and dropped with the lock open, for they may be
//! anybody's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::bounded::TrySendError;
use super::room::{Room, Ticket};
use crate::atomics::{Mutex, MutexGuard, PoisonError};

pub(super) struct Shared<T>(Mutex<State<T>>);

pub(super) struct State<T> {
    pub(super) items: VecDeque<T>,
    /// Who waits for an item.
    pub(super) waiting: Option<Waker>,
    pub(super) senders: usize,
    /// Whether there is somebody at the other end.
    pub(super) received: bool,
    pub(super) room: Room,
}

impl<T> State<T> {
    /// Whether one who has not waited may put an item in.
    fn has_room(&self) -> bool {
        self.room.is_free(self.items.len())
    }

    /// What room there may be is promised to whoever is first. That is to be woken.
    fn promise_room(&mut self) -> Option<Waker> {
        self.room.promise(self.items.len())
    }
}

impl<T> Shared<T> {
    pub(super) fn new(limit: usize) -> Self {
        let room = Room::new(limit);
        Self(Mutex::new(State { items: VecDeque::new(), waiting: None, senders: 1, received: true, room }))
    }

    /// A thread that died while it held the lock was moving an item; nothing is broken by that.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, mut state: MutexGuard<'_, State<T>>) -> Option<T> {
        let item = state.items.pop_front()?;
        let sender = state.promise_room();
        drop(state);
        wake(sender);
        Some(item)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// One of those who send, whether they have to wait for room or not.
pub(super) struct End<T>(Arc<Shared<T>>);

impl<T> End<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self(shared)
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.0.lock().received
    }

    pub(super) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let state = self.0.lock();
        if !state.received {
            return Err(TrySendError::Closed(item));
        }
        if !state.has_room() {
            return Err(TrySendError::Full(item));
        }
        put(state, item);
        Ok(())
    }
}

/// Wakes the receiver, once for however many items it has not seen.
fn put<T>(mut state: MutexGuard<'_, State<T>>, item: T) {
    state.items.push_back(item);
    let waker = state.waiting.take();
    drop(state);
    wake(waker);
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        let waker = last.then(|| state.waiting.take()).flatten();
        drop(state);
        wake(waker);
    }
}

/// One item on its way in.
pub(super) struct Entry<'a, T> {
    end: &'a End<T>,
    ticket: Option<Ticket>,
}

impl<'a, T> Entry<'a, T> {
    pub(super) fn new(end: &'a End<T>) -> Self {
        Self { end, ticket: None }
    }

    /// Put in what is in `item`, as soon as there is room; given back if nobody will ever receive it. To be polled no more
    /// once it is ready.
    pub(super) fn poll(&mut self, item: &mut Option<T>, cx: &Context<'_>) -> Poll<Result<(), T>> {
        let mut state = self.end.0.lock();
        let free = match self.ticket {
            None => state.has_room(),
            Some(ticket) => state.room.is_promised(ticket),
        };
        if state.received && !free {
            let _last = state.room.wait(&mut self.ticket, cx.waker().clone());
            drop(state);
            return Poll::Pending;
        }
        let Some(item) = item.take() else { return Poll::Pending };
        if !state.received {
            return Poll::Ready(Err(item));
        }
        if self.ticket.take().is_some() {
            state.room.settle();
        }
        put(state, item);
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Entry<'_, T> {
    /// What was promised to one who gives up goes to the next.
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.end.0.lock();
        let (left, mut next) = (state.room.leave(ticket), None);
        if left.is_none() && state.received {
            state.room.settle();
            next = state.promise_room();
        }
        drop(state);
        drop(left);
        wake(next);
    }
}
