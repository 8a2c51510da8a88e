//! Who waits for a lock, an item, an event: a line in which the first to come is the first to be served.
//!
//! Every primitive of this folder stands on it, so what must hold of all of them is argued once, here:
//!
//! * **Nothing is lost when somebody gives up.** To be served is a state of the seat, not a message: it stays until the
//!   one who sits there has seen it, and who leaves is told whether it was served, so that it can pass that on.
//! * **Nobody overtakes.** Who is served has got what it waited for, before it runs: whoever comes in between finds it
//!   gone. (asyncio's semaphore is fair in the same way since 3.11.)
//! * **Giving up costs the same as waiting.** Seats are linked in both directions, so one in the middle is given up
//!   without a search, and one that is vacant is used again.
//!
//! Nothing is shared between threads, so there are cells and no atomics. A waker may be anybody's, and waking or
//! dropping it may come straight back here: nothing is borrowed meanwhile.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

/// No seat: the end of a list.
const NONE: u32 = u32::MAX;

/// How many seats keep the waker of who was served there. A waker keeps the memory of its task, so a line that thousands
/// have waited in once must not keep all of theirs.
const KEEPING: u32 = 8;

#[derive(Default)]
pub(crate) struct Line(RefCell<Seats>);

struct Seats {
    seats: Vec<Seat>,
    first: u32,
    last: u32,
    vacant: u32,
}

struct Seat {
    state: State,
    /// In the first few seats it stays when its owner was served and has gone, so that a task that waits here again and
    /// again does not count its waker up and down. Who gives up takes it along.
    waker: Option<Waker>,
    before: u32,
    /// The next in the line, or the next vacant seat.
    after: u32,
    /// How much it waits for: one, but where a semaphore is asked for several permits.
    wanted: u32,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Served,
    /// Sent away with nothing.
    Dismissed,
    Vacant,
}

impl Default for Seats {
    fn default() -> Self {
        Self { seats: Vec::new(), first: NONE, last: NONE, vacant: NONE }
    }
}

/// A future's place in a [`Line`], of which it must take leave when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(u32);

impl Default for Place {
    fn default() -> Self {
        Self(NONE)
    }
}

impl Place {
    /// Whether it has a seat.
    pub(crate) fn is_taken(&self) -> bool {
        self.0 != NONE
    }

    /// Join the line, or look whether it is one's turn. Ready once it is; the seat is given up then.
    pub(crate) fn poll(&mut self, line: &Line, cx: &Context<'_>) -> Poll<()> {
        self.poll_for(1, line, cx)
    }

    /// As [`poll`](Self::poll), for as much as `wanted`, which [`Line::first_wants`] tells.
    pub(crate) fn poll_for(&mut self, wanted: u32, line: &Line, cx: &Context<'_>) -> Poll<()> {
        self.wait(wanted, line, cx).map(drop)
    }

    /// As [`poll`](Self::poll), where there may be [nothing to wait for](Line::dismiss_all) any more: false then.
    pub(crate) fn poll_served(&mut self, line: &Line, cx: &Context<'_>) -> Poll<bool> {
        self.wait(1, line, cx)
    }

    fn wait(&mut self, wanted: u32, line: &Line, cx: &Context<'_>) -> Poll<bool> {
        if !self.is_taken() {
            self.0 = line.join(wanted, cx.waker());
            return Poll::Pending;
        }
        if line.look(self.0, cx.waker()) {
            return Poll::Ready(self.leave(line));
        }
        Poll::Pending
    }

    /// Give the seat up. True if it was one's turn already: then somebody else must have it.
    #[must_use]
    pub(crate) fn give_up(&mut self, line: &Line) -> bool {
        self.is_taken() && self.leave(line)
    }

    /// Give the seat up, with the waker, whether or not it was one's turn.
    pub(crate) fn vacate(&mut self, line: &Line) {
        if self.is_taken() {
            self.leave_with(line, 0);
        }
    }

    fn leave(&mut self, line: &Line) -> bool {
        self.leave_with(line, KEEPING)
    }

    fn leave_with(&mut self, line: &Line, keeping: u32) -> bool {
        let seat = std::mem::replace(&mut self.0, NONE);
        // The waker is dropped after the borrow.
        let (served, _waker) = line.0.borrow_mut().leave(seat, keeping);
        served
    }
}

impl Line {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().first == NONE
    }

    /// How much the first in the line waits for; none if nobody waits.
    pub(crate) fn first_wants(&self) -> Option<u32> {
        let seats = self.0.borrow();
        seats.seat(seats.first).map(|seat| seat.wanted)
    }

    /// It is the turn of the first in the line. False if nobody waits.
    pub(crate) fn serve_first(&self) -> bool {
        self.call_first(State::Served)
    }

    /// It is the turn of all who wait now. How many they were.
    pub(crate) fn serve_all(&self) -> usize {
        self.call_all(State::Served)
    }

    /// Send all away who wait now: there is nothing for them, so whoever of them gives up has nothing to pass on.
    pub(crate) fn dismiss_all(&self) {
        self.call_all(State::Dismissed);
    }

    fn call_first(&self, to: State) -> bool {
        let called = self.0.borrow_mut().call_first(to);
        let Some((seat, waker)) = called else { return false };
        if let Some(waker) = waker {
            waker.wake_by_ref();
            // What is in the way is dropped here, after the borrow.
            let _surplus = self.0.borrow_mut().keep(seat, waker);
        }
        true
    }

    fn call_all(&self, to: State) -> usize {
        // Whoever is woken may wait again at once; that is not for this time.
        let waiting = self.0.borrow().count();
        (0..waiting).take_while(|_| self.call_first(to)).count()
    }

    fn join(&self, wanted: u32, waker: &Waker) -> u32 {
        let mut seats = self.0.borrow_mut();
        let seat = seats.sit_down(wanted);
        let _old = seats.replace_waker(seat, waker);
        drop(seats);
        seat
    }

    /// Whether who sits on `seat` waits no more; if it does, `waker` is the one to wake.
    fn look(&self, seat: u32, waker: &Waker) -> bool {
        let mut seats = self.0.borrow_mut();
        if seats.seats[seat as usize].state != State::Waiting {
            return true;
        }
        let _old = seats.replace_waker(seat, waker);
        drop(seats);
        false
    }
}

impl Seats {
    fn count(&self) -> usize {
        std::iter::successors(self.seat(self.first), |seat| self.seat(seat.after)).count()
    }

    fn seat(&self, index: u32) -> Option<&Seat> {
        self.seats.get(index as usize)
    }

    /// Take a seat at the end of the line.
    fn sit_down(&mut self, wanted: u32) -> u32 {
        let seat = self.find_vacant();
        let last = std::mem::replace(&mut self.last, seat);
        match self.seats.get_mut(last as usize) {
            Some(last) => last.after = seat,
            None => self.first = seat,
        }
        let taken = &mut self.seats[seat as usize];
        (taken.state, taken.before, taken.after, taken.wanted) = (State::Waiting, last, NONE, wanted);
        seat
    }

    fn find_vacant(&mut self) -> u32 {
        if let Some(seat) = self.seats.get(self.vacant as usize) {
            return std::mem::replace(&mut self.vacant, seat.after);
        }
        self.seats.push(Seat { state: State::Vacant, waker: None, before: NONE, after: NONE, wanted: 1 });
        (self.seats.len() - 1) as u32
    }

    /// Gives back the one that was there, unless it is the same.
    fn replace_waker(&mut self, seat: u32, waker: &Waker) -> Option<Waker> {
        let place = &mut self.seats[seat as usize].waker;
        if place.as_ref().is_some_and(|there| there.will_wake(waker)) {
            return None;
        }
        place.replace(waker.clone())
    }

    fn call_first(&mut self, to: State) -> Option<(u32, Option<Waker>)> {
        let seat = self.first;
        self.seat(seat)?;
        self.unlink(seat);
        let called = &mut self.seats[seat as usize];
        called.state = to;
        Some((seat, called.waker.take()))
    }

    /// Put a waker back that woke the owner of `seat`; gives it back if that has left meanwhile, or another has come.
    fn keep(&mut self, seat: u32, waker: Waker) -> Option<Waker> {
        match &mut self.seats[seat as usize] {
            Seat { state: State::Served, waker: place @ None, .. } => place.replace(waker),
            _ => Some(waker),
        }
    }

    /// True if it was the turn of `seat`; and the waker, unless it is kept, as in the first `keeping` seats.
    fn leave(&mut self, seat: u32, keeping: u32) -> (bool, Option<Waker>) {
        let state = self.seats[seat as usize].state;
        let served = state == State::Served;
        if state == State::Waiting {
            self.unlink(seat);
        }
        let left = &mut self.seats[seat as usize];
        (left.state, left.after) = (State::Vacant, self.vacant);
        self.vacant = seat;
        let waker = if served && seat < keeping { None } else { left.waker.take() };
        (served, waker)
    }

    fn unlink(&mut self, seat: u32) {
        let (before, after) = (self.seats[seat as usize].before, self.seats[seat as usize].after);
        match self.seats.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => self.first = after,
        }
        match self.seats.get_mut(after as usize) {
            Some(after) => after.before = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    fn wait(line: &Line, place: &mut Place) -> bool {
        place.poll(line, &Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_first_to_come_is_the_first_served() {
        let (line, mut places) = (Line::default(), [(); 3].map(|()| Place::default()));
        assert!(line.is_empty() && !line.serve_first());
        places.iter_mut().for_each(|place| assert!(!wait(&line, place)));
        assert!(line.serve_first() && wait(&line, &mut places[0]) && !wait(&line, &mut places[1]));
        assert_eq!(line.serve_all(), 2);
        assert!(line.is_empty() && places[1].give_up(&line) && wait(&line, &mut places[2]));
    }

    #[test]
    fn a_vacant_seat_is_used_again() {
        let line = Line::default();
        for _ in 0..100 {
            let mut place = Place::default();
            assert!(!wait(&line, &mut place) && !place.give_up(&line) && !place.is_taken());
        }
        assert_eq!(line.0.borrow().seats.len(), 1);
    }

    /// How many counts of a waker are left when `count` have waited, `served` of them with success, and all have gone.
    fn wakers_left(count: usize, served: usize) -> usize {
        let (line, kept) = (Line::default(), Arc::new(Unmoved));
        let waker = Waker::from(Arc::clone(&kept));
        let mut places: Vec<_> = std::iter::repeat_with(Place::default).take(count).collect();
        for place in &mut places {
            assert!(place.poll(&line, &Context::from_waker(&waker)).is_pending());
        }
        (0..served).for_each(|_| assert!(line.serve_first()));
        places.iter_mut().enumerate().for_each(|(at, place)| assert_eq!(place.give_up(&line), at < served));
        Arc::strong_count(&kept) - 2
    }

    struct Unmoved;

    impl Wake for Unmoved {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn who_gives_up_takes_its_waker_along_and_few_are_kept() {
        assert_eq!(wakers_left(1000, 0), 0);
        assert_eq!(wakers_left(1000, 1000), KEEPING as usize);
    }

    #[derive(Clone, Debug)]
    enum Action {
        DismissAll,
        Join,
        Poll(prop::sample::Index),
        GiveUp(prop::sample::Index),
        Serve,
        ServeAll,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => Just(Action::Join),
            2 => any::<prop::sample::Index>().prop_map(Action::Poll),
            3 => any::<prop::sample::Index>().prop_map(Action::GiveUp),
            2 => Just(Action::Serve),
            1 => Just(Action::ServeAll),
            1 => Just(Action::DismissAll),
        ]
    }

    /// What it must be like: a list of who waits, and for each of who does not whether it was served.
    #[derive(Default)]
    struct Model {
        line: Line,
        waiting: VecDeque<usize>,
        served: Vec<Option<bool>>,
        places: Vec<(usize, Place)>,
    }

    impl Model {
        fn act(&mut self, action: &Action) {
            match action {
                Action::Join => self.join(),
                Action::Poll(index) if !self.places.is_empty() => self.poll(index.index(self.places.len())),
                Action::GiveUp(index) if !self.places.is_empty() => {
                    self.give_up(index.index(self.places.len()));
                }
                Action::Serve => {
                    let first = self.waiting.pop_front();
                    first.iter().for_each(|&who| self.served[who] = Some(true));
                    assert_eq!(self.line.serve_first(), first.is_some());
                }
                Action::ServeAll => {
                    assert_eq!(self.line.serve_all(), self.waiting.len());
                    self.waiting.drain(..).for_each(|who| self.served[who] = Some(true));
                }
                Action::DismissAll => {
                    self.line.dismiss_all();
                    self.waiting.drain(..).for_each(|who| self.served[who] = Some(false));
                }
                _ => {}
            }
            assert_eq!(self.line.is_empty(), self.waiting.is_empty());
        }

        fn join(&mut self) {
            let mut place = Place::default();
            assert!(!wait(&self.line, &mut place));
            self.waiting.push_back(self.served.len());
            self.places.push((self.served.len(), place));
            self.served.push(None);
        }

        fn poll(&mut self, index: usize) {
            let (who, place) = &mut self.places[index];
            let served = self.served[*who];
            let poll = place.poll_served(&self.line, &Context::from_waker(Waker::noop()));
            assert_eq!(poll, served.map_or(Poll::Pending, Poll::Ready));
            if served.is_some() {
                self.places.swap_remove(index);
            }
        }

        fn give_up(&mut self, index: usize) {
            let (who, mut place) = self.places.swap_remove(index);
            assert_eq!(place.give_up(&self.line), self.served[who] == Some(true));
            self.waiting.retain(|&waits| waits != who);
        }
    }

    proptest! {
        #[test]
        fn any_program_is_served_as_the_model_is(actions in prop::collection::vec(action(), 0..200)) {
            let mut model = Model::default();
            actions.iter().for_each(|action| model.act(action));
        }
    }
}
