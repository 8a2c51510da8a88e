//! Who listens to which descriptor: a table of registrations beside the driver.
//!
//! A registration is found by a generational key, so an event that was under way when its descriptor was closed finds
//! nothing, even when the number has been reused. Interest is changed lazily: taking interest away costs no system
//! call until an unwanted event arrives, so a short pause of reading is free. That is allowed only for descriptors
//! that the engine closes itself; whoever lends a descriptor (`add_reader`) may close it the moment after
//! [`Reactor::deregister`], and gets the system call at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;

use crate::census::Member;
use crate::driver::{Driver, Event, Interest, Key, Readiness, Timeout};
use crate::ready::{ReadyQueue, Run, Runnable, Visitor};

/// What is told that its descriptor is ready.
pub trait Source {
    /// Called from the ready queue, with no borrow of the engine held.
    fn ready(self: Rc<Self>, readiness: Readiness);
    /// Show the host objects held; the default holds none.
    fn visit(&self, _visitor: Visitor<'_>) {}
    /// Show the host object that this belongs to, whether or not the loop keeps it alive.
    fn owner(&self, visitor: Visitor<'_>) {
        self.visit(visitor);
    }
    /// The loop is going away: let go of whatever belongs to the face, without calling into it.
    fn abandon(&self) {}
}

/// One descriptor under watch. Dropping it does not deregister: [`Reactor::deregister`] does.
pub struct Registration {
    fd: RawFd,
    /// See [`Slot`].
    generation: u32,
    /// What the source wants to hear of.
    wanted: Cell<Interest>,
    /// What the kernel has been asked for; may be more than wanted (lazy), never less once `set_interest` returned.
    armed: Cell<Interest>,
    /// Of the loop's own: see [`Reactor::mark_internal`].
    internal: Cell<bool>,
    /// The dispatch in which an unwanted event is no news: see [`Reactor::rest`]. Its number's lower half, which names
    /// another after thousands of millions; then an event is told of in the next dispatch.
    resting: Cell<u32>,
    /// Whether who waits to read has been told: see [`Registration::offer_to`].
    offer: Cell<Offer>,
    /// Who is to be told, where the offer is `Welcome`.
    reader: Cell<Option<Waker>>,
    /// None once deregistered: a late event finds nothing.
    source: RefCell<Option<Rc<dyn Source>>>,
    _member: Member,
}

/// What is ready to be read is offered to who waits for it, once; then the source is told as ever.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Offer {
    Unwanted,
    Welcome,
    Made,
    /// It is deregistered: there will be none.
    Over,
}

impl Registration {
    /// The descriptor's number.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// What events name it by.
    fn key(&self) -> Key {
        key_of(self.generation, self.fd)
    }

    /// What the source wants to hear of.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.wanted.get()
    }

    /// What the kernel has been asked for: what is in it is reported sooner or later, wanted or not.
    #[must_use]
    pub fn armed(&self) -> Interest {
        self.armed.get()
    }

    /// The source, until deregistered.
    #[must_use]
    pub fn source(&self) -> Option<Rc<dyn Source>> {
        self.source.borrow().clone()
    }

    /// When there is something to read, wake `waker` in the place of telling the source; once. It takes the source's
    /// place in the ready queue, so a task of the loop's own has its turn there, and not after another round. Gives
    /// back who waited before, whose drop may run foreign code.
    ///
    /// # Errors
    /// `waker` itself, if this is deregistered.
    #[inline]
    pub fn offer_to(&self, waker: Waker) -> Result<Option<Waker>, Waker> {
        if self.offer.get() == Offer::Over {
            return Err(waker);
        }
        self.offer.set(Offer::Welcome);
        Ok(self.reader.replace(Some(waker)))
    }

    /// Who waits for an offer. It is no longer told of one.
    #[must_use]
    pub fn take_reader(&self) -> Option<Waker> {
        self.reader.take()
    }

    /// Whether the offer was made, since [`Self::offer_to`]. Nobody waits any more.
    #[inline]
    pub fn take_offer(&self) -> bool {
        let offer = self.offer.get();
        if offer != Offer::Over {
            self.offer.set(Offer::Unwanted);
        }
        offer == Offer::Made
    }

    /// Offer what can be read to who waits for it. False if nobody does; an offer that was not taken stands no more.
    #[inline]
    fn make_offer(&self, ready: &ReadyQueue) -> bool {
        if self.offer.replace(Offer::Unwanted) != Offer::Welcome {
            return false;
        }
        let Some(reader) = self.reader.take() else { return false };
        self.offer.set(Offer::Made);
        ready.push_waker(reader);
        true
    }

    /// Whether somebody is still to be told of events.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.source.borrow().is_some()
    }
}

impl Run for Registration {
    fn run(self: Rc<Self>, arg: usize) {
        // Interest may have been withdrawn between the event and its turn.
        let readiness = Readiness::from_bits(arg & self.wanted.get().bits());
        if readiness.bits() != 0
            && let Some(source) = self.source()
        {
            source.ready(readiness);
        }
    }

    // No visit here: the table shows each source exactly once, however many events of it are queued. A collector that
    // is shown one reference twice frees an object that is alive.
}

/// What is known of a descriptor's number. Its generation moves on with each registration that ends, so that events
/// still under way miss.
#[derive(Default)]
struct Slot {
    generation: u32,
    registration: Option<Rc<Registration>>,
}

/// Indexed by descriptor: numbers are small and dense, the kernel gives the lowest that is free.
#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    taken: usize,
}

impl Table {
    /// The generation of the next registration of a descriptor. Makes no room yet: the number may be anything, and the
    /// kernel has not said that there is such a descriptor.
    fn generation(&self, fd: usize) -> u32 {
        self.slots.get(fd).map_or(0, |slot| slot.generation)
    }

    fn must_grow_for(&self, fd: usize) -> bool {
        fd >= self.slots.capacity()
    }

    fn insert(&mut self, registration: &Rc<Registration>) {
        let index = registration.fd as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        self.slots[index].registration = Some(Rc::clone(registration));
        self.taken += 1;
    }

    fn find(&self, key: Key) -> Option<&Rc<Registration>> {
        let slot = self.slots.get(index_of(key))?;
        if u64::from(slot.generation) != key.0 >> 32 { None } else { slot.registration.as_ref() }
    }

    fn forget(&mut self, registration: &Registration) {
        let slot = &mut self.slots[registration.fd as usize];
        slot.generation = slot.generation.wrapping_add(1) & GENERATIONS;
        self.taken -= usize::from(slot.registration.take().is_some());
    }
}

/// 31 bits of generation: the `polling` crate keeps the key `usize::MAX` for itself.
const GENERATIONS: u32 = u32::MAX >> 1;

fn key_of(generation: u32, fd: RawFd) -> Key {
    Key(u64::from(generation) << 32 | u64::from(fd.cast_unsigned()))
}

fn index_of(key: Key) -> usize {
    (key.0 & u64::from(u32::MAX)) as usize
}

/// The driver and the table of who listens.
pub struct Reactor {
    driver: Rc<Driver>,
    table: RefCell<Table>,
    events: Cell<Vec<Event>>,
    /// This process is a fork of the one that made the driver: the kernel's set is the parent's, and is left alone.
    disowned: Cell<bool>,
    /// Registrations of the loop's own, which carry nobody's data.
    internal: Cell<usize>,
    /// How many times events were dispatched.
    dispatches: Cell<u64>,
    /// Bells, which have no registration.
    bells: RefCell<Vec<(RawFd, Key)>>,
}

impl Reactor {
    /// A reactor over `driver`, listening to nothing yet.
    #[must_use]
    pub fn new(driver: Driver) -> Self {
        Self {
            driver: Rc::new(driver),
            table: RefCell::default(),
            events: Cell::default(),
            dispatches: Cell::default(),
            bells: RefCell::default(),
            disowned: Cell::new(false),
            internal: Cell::new(0),
        }
    }

    /// Let `fd` end waits, under a key that no registration has; nobody is told.
    ///
    /// # Errors
    /// What the kernel says of the descriptor.
    pub fn add_bell(&self, fd: RawFd, key: Key) -> io::Result<()> {
        self.driver.add(fd, key, Interest::RING)?;
        self.bells.borrow_mut().push((fd, key));
        Ok(())
    }

    /// The driver, through which transports read and write.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Listen to `fd` for `source`.
    ///
    /// # Errors
    /// What the kernel says of the descriptor (EPERM for a regular file, EBADF), or EEXIST if it is already watched.
    pub fn register(
        &self,
        fd: RawFd,
        source: Rc<dyn Source>,
        interest: Interest,
    ) -> io::Result<Rc<Registration>> {
        if self.registration_of(fd).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let index = usize::try_from(fd).map_err(|_| io::Error::from_raw_os_error(EBADF))?;
        let generation = self.table.borrow().generation(index);
        if !interest.is_none() {
            self.driver.add(fd, key_of(generation, fd), interest)?;
        } else if self.table.borrow().must_grow_for(index) {
            // Nobody has asked the kernel yet, and the number may be anything.
            self.driver.check(fd)?;
        }
        let registration = Rc::new(Registration {
            fd,
            generation,
            wanted: Cell::new(interest),
            armed: Cell::new(interest),
            internal: Cell::new(false),
            resting: Cell::new(0),
            offer: Cell::new(Offer::Unwanted),
            reader: Cell::new(None),
            source: RefCell::new(Some(source)),
            _member: Member::of("registration"),
        });
        self.table.borrow_mut().insert(&registration);
        Ok(registration)
    }

    /// Who listens to `fd`.
    #[must_use]
    pub fn registration_of(&self, fd: RawFd) -> Option<Rc<Registration>> {
        self.table.borrow().slots.get(usize::try_from(fd).ok()?)?.registration.clone()
    }

    /// Change what a source wants to hear. Widening takes effect at once; narrowing is lazy.
    ///
    /// # Errors
    /// What the kernel says; the interest is then as before.
    pub fn set_interest(&self, registration: &Registration, interest: Interest) -> io::Result<()> {
        if !registration.armed.get().contains(interest) {
            self.arm(registration, interest)?;
        }
        registration.wanted.set(interest);
        Ok(())
    }

    /// As [`Self::set_interest`] for a descriptor that its lender may have closed and reused since: asks the kernel
    /// even when the table believes it knows.
    ///
    /// # Errors
    /// What the kernel says; the interest is then as before.
    pub fn set_interest_now(&self, registration: &Registration, interest: Interest) -> io::Result<()> {
        self.arm(registration, interest)?;
        registration.wanted.set(interest);
        Ok(())
    }

    /// The source was told and acts in the next turn; until then it wants `interest`. The level it was told of still
    /// stands when the kernel is asked in between, which shall cost neither a second telling nor a system call.
    pub fn rest(&self, registration: &Registration, interest: Interest) {
        registration.wanted.set(interest);
        registration.resting.set((self.dispatches.get() + 1) as u32);
    }

    /// The number of the last dispatch: its lower half, as [`Self::rest`] compares.
    #[must_use]
    pub fn last_dispatch(&self) -> u32 {
        self.dispatches.get() as u32
    }

    fn arm(&self, registration: &Registration, interest: Interest) -> io::Result<()> {
        let (fd, key) = (registration.fd, registration.key());
        if interest.is_none() && registration.armed.get().is_none() {
            return Ok(());
        }
        if interest.is_none() {
            // Epoll reports errors and hang-ups even when asked for nothing: only removal silences it.
            let _ = self.delete(fd);
        } else if registration.armed.get().is_none() {
            self.driver.add(fd, key, interest).or_else(|error| match error.raw_os_error() {
                Some(EEXIST) => self.driver.modify(fd, key, interest),
                _ => Err(error),
            })?;
        } else {
            self.driver.modify(fd, key, interest).or_else(|error| match error.raw_os_error() {
                // The lender closed the descriptor and its number now names another file.
                Some(ENOENT) => self.driver.add(fd, key, interest),
                _ => Err(error),
            })?;
        }
        registration.armed.set(interest);
        Ok(())
    }

    /// Stop listening; must be called before the descriptor is closed. The source is dropped by the caller, who gets
    /// it back: its drop may run foreign code.
    pub fn deregister(&self, registration: &Registration) -> Option<Rc<dyn Source>> {
        let source = registration.source.borrow_mut().take()?;
        registration.offer.set(Offer::Over);
        self.table.borrow_mut().forget(registration);
        if registration.internal.replace(false) {
            self.internal.set(self.internal.get() - 1);
        }
        registration.wanted.set(Interest::NONE);
        if !registration.armed.replace(Interest::NONE).is_none() {
            // A descriptor that was closed behind our back is already gone from the kernel's set.
            let _ = self.delete(registration.fd);
        }
        Some(source)
    }

    /// Ask the kernel what is ready, and remember it for [`Self::dispatch`]. Touches nothing but the list of events,
    /// so a face may let other threads run meanwhile.
    ///
    /// # Errors
    /// What the driver's wait says; an interrupted wait is no error.
    pub fn wait(&self, timeout: Timeout) -> io::Result<()> {
        let mut events = self.events.take();
        let waited = self.driver.wait(&mut events, timeout);
        self.events.set(events);
        waited
    }

    /// Whether waiting has found something that is not dispatched yet.
    #[must_use]
    pub fn has_events(&self) -> bool {
        let events = self.events.take();
        let any = !events.is_empty();
        self.events.set(events);
        any
    }

    /// Queue a callback for each source that the last wait found ready.
    ///
    /// `border` is queued before the first of them, if there is one.
    pub fn dispatch(&self, ready: &ReadyQueue, mut border: Option<Runnable>) {
        self.dispatches.set(self.dispatches.get() + 1);
        let mut events = self.events.take();
        let (mut orphans, table) = (false, self.table.borrow());
        for event in &events {
            // The table is borrowed meanwhile: what is put into the queue, a waker too, runs no foreign code by that.
            orphans |= !self.queue(&table, event, ready, &mut border);
        }
        drop(table);
        events.clear();
        self.events.set(events);
        if orphans {
            self.renew();
        }
    }

    /// False if the event is one that nobody can silence.
    #[inline]
    fn queue(&self, table: &Table, event: &Event, ready: &ReadyQueue, border: &mut Option<Runnable>) -> bool {
        let Some(registration) = table.find(event.key) else {
            return self.bells.borrow().iter().any(|(_, key)| *key == event.key);
        };
        let heard = event.readiness.wanted_by(registration.wanted.get());
        if heard.is_none() {
            return registration.resting.get() == self.dispatches.get() as u32 || self.silence(registration);
        }
        if let Some(border) = border.take() {
            ready.push(border);
        }
        let left = if heard.contains(Readiness::READ) && registration.make_offer(ready) {
            heard.bits() & Readiness::WRITE.bits()
        } else {
            event.readiness.bits()
        };
        if left != 0 {
            ready.push(Runnable::from_rc(Rc::clone(registration), left));
        }
        true
    }

    /// Narrowed lazily, and now it would fire for ever. False if the kernel does not know of it by its number.
    fn silence(&self, registration: &Registration) -> bool {
        let wanted = registration.wanted.get();
        if !wanted.is_none() {
            return self.arm(registration, wanted).is_ok();
        }
        registration.armed.set(Interest::NONE);
        self.delete(registration.fd).is_ok()
    }

    /// A descriptor was closed without telling us while a duplicate keeps its file open: the kernel goes on reporting
    /// it and cannot be told to stop, see `driver/epoll.rs`. So all is registered anew with a driver that has never
    /// heard of it. What cannot be registered is closed itself.
    fn renew(&self) {
        let mut all: Vec<_> =
            self.bells.borrow().iter().map(|(fd, key)| (*fd, *key, Interest::RING)).collect();
        for registration in self.registrations() {
            let armed = registration.armed.get();
            if !armed.is_none() {
                all.push((registration.fd, registration.key(), armed));
            }
        }
        // Without descriptors for a new driver the old one must do; the next event is the next attempt.
        let _ = self.driver.renew(&all);
    }

    /// How many descriptors are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.borrow().taken
    }

    /// Count the registration of `fd` as the loop's own: a signal's pipe. It stays one until it is deregistered.
    pub fn mark_internal(&self, fd: RawFd) {
        if let Some(registration) = self.registration_of(fd)
            && !registration.internal.replace(true)
        {
            self.internal.set(self.internal.get() + 1);
        }
    }

    /// Whether some descriptor of somebody's is watched, so that the kernel may have news.
    #[must_use]
    pub fn has_outside(&self) -> bool {
        self.len() > self.internal.get()
    }

    /// Called in the child after a fork: epoll is shared with the parent, whose registrations must not be taken out.
    pub fn disown(&self) {
        if !self.disowned.replace(true) {
            // Nor may the driver be dropped: `polling` takes its own timer out of the set when it goes.
            std::mem::forget(Rc::clone(&self.driver));
        }
    }

    /// Give back what the driver has of the kernel: the loop is closed. The parent's is left alone after a fork.
    pub fn close(&self) {
        if !self.disowned.get() {
            self.driver.close();
        }
    }

    fn delete(&self, fd: RawFd) -> io::Result<()> {
        if self.disowned.get() { Ok(()) } else { self.driver.delete(fd) }
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every registration there is now.
    #[must_use]
    pub fn registrations(&self) -> Vec<Rc<Registration>> {
        self.table.borrow().slots.iter().filter_map(|slot| slot.registration.clone()).collect()
    }

    /// Show the host objects that the sources hold.
    pub fn visit(&self, visitor: Visitor<'_>) {
        for slot in &self.table.borrow().slots {
            if let Some(registration) = &slot.registration
                && let Some(source) = &*registration.source.borrow()
            {
                source.visit(&mut *visitor);
            }
        }
    }
}

const EBADF: i32 = 9;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::testing::world::{FD, Listens, Log, World, counting_waker};

    fn register(world: &World, fd: RawFd, interest: Interest) -> (Rc<Registration>, Log) {
        let listens = Rc::new(Listens::default());
        let log = listens.0.clone();
        (world.hub().reactor.register(fd, listens, interest).unwrap(), log)
    }

    #[test]
    fn a_source_hears_what_it_wants_to_hear() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        world.turn();
        assert!(log.take().is_empty(), "room to write was not asked for");
        world.script.feed(FD, b"x");
        world.turn();
        world.turn();
        assert_eq!(log.take(), ["read", "read"], "as long as it is ready");
        world.hub().reactor.set_interest(&registration, Interest::BOTH).unwrap();
        world.turn();
        assert_eq!(log.take(), ["both"]);
        assert_eq!((registration.fd(), registration.interest()), (FD, Interest::BOTH));
    }

    #[test]
    fn what_can_be_read_is_offered_to_who_waits_once_and_then_told() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        let (waker, offered) = counting_waker();
        assert!(registration.offer_to(waker.clone()).is_ok_and(|before| before.is_none()));
        assert!(registration.offer_to(waker.clone()).is_ok_and(|before| before.is_some()));
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!((offered(), log.take()), (1, vec![]));
        assert!(registration.take_offer() && !registration.take_offer());
        world.turn();
        assert_eq!((offered(), log.take()), (0, vec!["read".into()]));
        registration.offer_to(waker).unwrap();
        world.turn();
        world.turn();
        assert_eq!((offered(), log.take()), (1, vec!["read".into()]), "who does not come is not waited for");
        assert!(!registration.take_offer(), "the source has heard of it");
    }

    #[test]
    fn an_offer_takes_nothing_from_who_waits_to_write() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::BOTH);
        let (waker, offered) = counting_waker();
        registration.offer_to(waker).unwrap();
        world.turn();
        assert_eq!((offered(), log.take()), (0, vec!["write".into()]), "there is only room");
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!((offered(), log.take()), (1, vec!["write".into()]));
    }

    #[test]
    fn who_waits_for_an_offer_can_be_taken_back() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        let (waker, offered) = counting_waker();
        registration.offer_to(waker.clone()).unwrap();
        assert!(registration.take_reader().is_some() && registration.take_reader().is_none());
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!((offered(), log.take()), (0, vec!["read".into()]));
        registration.offer_to(waker.clone()).unwrap();
        drop(world.hub().reactor.deregister(&registration));
        assert!(registration.take_reader().is_some());
        assert!(!registration.take_offer() && registration.offer_to(waker).is_err(), "there will be none");
    }

    #[test]
    fn a_hang_up_is_told_as_what_was_asked_for() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        world.script.hang_up(FD);
        world.turn();
        world.hub().reactor.set_interest_now(&registration, Interest::WRITE).unwrap();
        world.turn();
        assert_eq!(log.take(), ["read", "write"]);
    }

    #[test]
    fn narrowing_asks_the_kernel_only_when_an_unwanted_event_comes() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::BOTH);
        world.script.set_room(FD, 0);
        world.hub().reactor.set_interest(&registration, Interest::WRITE).unwrap();
        world.turn();
        assert_eq!(world.script.interest(FD), Some(Interest::BOTH), "nothing has come");
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!(world.script.interest(FD), Some(Interest::WRITE));
        world.hub().reactor.set_interest(&registration, Interest::NONE).unwrap();
        world.script.set_room(FD, 1);
        world.turn();
        assert_eq!(world.script.interest(FD), None);
        assert!(log.take().is_empty());
        world.hub().reactor.set_interest(&registration, Interest::READ).unwrap();
        world.turn();
        assert_eq!(log.take(), ["read"]);
    }

    #[test]
    fn who_rests_is_neither_told_again_nor_silenced() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!(log.take(), ["read"]);
        world.hub().reactor.rest(&registration, Interest::NONE);
        world.turn();
        assert!(log.take().is_empty());
        assert_eq!((world.script.interest(FD), registration.armed()), (Some(Interest::READ), Interest::READ));
        // It rested for longer than it said: now the level would keep the loop busy.
        world.turn();
        assert_eq!((world.script.interest(FD), registration.armed()), (None, Interest::NONE));
        world.hub().reactor.set_interest(&registration, Interest::READ).unwrap();
        world.turn();
        assert_eq!(log.take(), ["read"]);
    }

    #[test]
    fn one_side_may_rest_while_the_other_is_told() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::BOTH);
        world.script.feed(FD, b"x");
        world.hub().reactor.rest(&registration, Interest::WRITE);
        world.turn();
        assert_eq!(log.take(), ["write"]);
    }

    /// Epoll itself: the fake has no open files apart from their numbers.
    #[test]
    fn a_file_that_lives_on_without_our_descriptor_is_silenced() {
        let engine = crate::event_loop::EventLoop::new().unwrap();
        if engine.hub().reactor.driver().name() != "epoll" {
            return;
        }
        let (ours, theirs) = crate::sys::socketpair().unwrap();
        let (other, peer) = crate::sys::socketpair().unwrap();
        let reactor = &engine.hub().reactor;
        let (forgotten, other_log) = (Rc::new(Listens::default()), Log::default());
        let lease = reactor.register(ours.as_raw_fd(), forgotten, Interest::READ).unwrap();
        reactor.register(other.as_raw_fd(), Rc::new(Listens(other_log.clone())), Interest::READ).unwrap();
        reactor.set_interest(&lease, Interest::NONE).unwrap();
        let _duplicate = crate::sys::dup(ours.as_raw_fd()).unwrap();
        drop(ours);
        crate::sys::send(theirs.as_raw_fd(), b"x").unwrap();
        let events = || {
            engine.wait(Timeout::Zero).unwrap();
            let events = reactor.events.take();
            let count = events.len();
            reactor.events.set(events);
            engine.dispatch();
            count
        };
        assert_eq!((events(), events()), (1, 0), "reported once, and never again");
        crate::sys::send(peer.as_raw_fd(), b"x").unwrap();
        assert_eq!(events(), 1, "others are watched as before");
        let _ = engine.run_ready();
        assert_eq!(other_log.take(), ["read"]);
        engine.inbox().wake();
        assert_eq!(events(), 2, "the bell rings as before");
    }

    #[test]
    fn widening_back_to_what_the_kernel_still_has_costs_nothing() {
        let world = World::new();
        let (registration, _log) = register(&world, FD, Interest::READ);
        let reactor = &world.hub().reactor;
        reactor.set_interest(&registration, Interest::NONE).unwrap();
        // Were the kernel asked, this would be found.
        reactor.driver().delete(FD).unwrap();
        reactor.set_interest(&registration, Interest::READ).unwrap();
        assert_eq!(world.script.interest(FD), None);
        reactor.set_interest_now(&registration, Interest::READ).unwrap();
        assert_eq!(world.script.interest(FD), Some(Interest::READ), "this asks, and repairs");
    }

    #[test]
    fn an_event_and_a_change_of_mind_in_one_turn() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::BOTH);
        world.script.feed(FD, b"x");
        let (hub, changed) = (Rc::clone(world.hub()), Rc::clone(&registration));
        world.soon(move || hub.reactor.set_interest(&changed, Interest::WRITE).unwrap());
        world.turn();
        assert_eq!(log.take(), ["write"]);
        let (hub, changed) = (Rc::clone(world.hub()), Rc::clone(&registration));
        world.soon(move || hub.reactor.set_interest(&changed, Interest::NONE).unwrap());
        world.turn();
        assert!(log.take().is_empty());
    }

    #[test]
    fn a_late_event_finds_nothing_even_when_the_number_is_used_again() {
        let world = World::new();
        let (old, heard) = register(&world, FD, Interest::READ);
        world.script.feed(FD, b"x");
        world.engine.wait(Timeout::Zero).unwrap();
        drop(world.hub().reactor.deregister(&old));
        let (new, log) = register(&world, FD, Interest::READ);
        world.engine.dispatch();
        let _ = world.engine.run_ready();
        assert!(heard.take().is_empty() && log.take().is_empty());
        assert_ne!(old.key(), new.key());
        world.turn();
        assert_eq!((heard.take().len(), log.take().len()), (0, 1));
    }

    #[test]
    fn an_event_that_is_queued_already_finds_nothing_either() {
        let world = World::new();
        let (registration, log) = register(&world, FD, Interest::READ);
        world.script.feed(FD, b"x");
        world.engine.wait(Timeout::Zero).unwrap();
        world.engine.dispatch();
        assert!(world.hub().reactor.deregister(&registration).is_some());
        assert!(world.hub().reactor.deregister(&registration).is_none());
        let _ = world.engine.run_ready();
        assert!(log.take().is_empty() && registration.source().is_none());
    }

    #[test]
    fn one_descriptor_one_source() {
        let world = World::new();
        let (first, log) = register(&world, FD, Interest::READ);
        let again = world.hub().reactor.register(FD, Rc::new(Listens::default()), Interest::READ);
        assert_eq!(again.err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
        assert!(Rc::ptr_eq(&world.hub().reactor.registration_of(FD).unwrap(), &first));
        assert!(world.hub().reactor.registration_of(FD + 1).is_none());
        assert!(world.hub().reactor.registration_of(-1).is_none());
        world.script.feed(FD, b"x");
        world.turn();
        assert_eq!(log.take(), ["read"]);
    }

    #[test]
    fn what_the_kernel_refuses_leaves_nothing_behind() {
        let world = World::new();
        let reactor = &world.hub().reactor;
        let refused = |fd, interest| reactor.register(fd, Rc::new(Listens::default()), interest).is_err();
        assert!(refused(-1, Interest::READ) && refused(-1, Interest::NONE));
        reactor.driver().add(FD, Key(1), Interest::READ).unwrap();
        assert!(refused(FD, Interest::READ), "the fake watches it already, as a kernel would say");
        assert!(reactor.is_empty() && reactor.registration_of(FD).is_none());
        reactor.driver().delete(FD).unwrap();
        let _registered = register(&world, FD, Interest::READ);
        assert_eq!((reactor.len(), reactor.registrations().len()), (1, 1));
    }

    /// A table up to such a number would take 48 GiB.
    #[test]
    fn no_room_is_made_for_a_number_that_the_kernel_does_not_know() {
        let reactor = Reactor::new(Driver::new().unwrap());
        for interest in [Interest::READ, Interest::NONE] {
            let refused = reactor.register(RawFd::MAX, Rc::new(Listens::default()), interest).err();
            assert_eq!(refused.and_then(|error| error.raw_os_error()), Some(EBADF));
        }
        assert_eq!(reactor.table.borrow().slots.len(), 0);
    }

    /// With the two counts of an `Rc` it is 72 bytes, the most that fits into one of malloc's chunks of 80.
    #[test]
    fn a_registration_is_small() {
        assert!(size_of::<Registration>() <= 56 + size_of::<Member>(), "{}", size_of::<Registration>());
    }

    #[test]
    fn a_registration_at_rest_costs_the_kernel_nothing() {
        let world = World::new();
        let (registration, _log) = register(&world, FD, Interest::NONE);
        assert_eq!(world.script.interest(FD), None);
        world.hub().reactor.set_interest(&registration, Interest::WRITE).unwrap();
        assert_eq!(world.script.interest(FD), Some(Interest::WRITE));
        drop(world.hub().reactor.deregister(&registration));
        assert_eq!(world.script.interest(FD), None);
    }
}
