//! A driver with no kernel: the contract again, in the smallest form that a test can steer.
//!
//! It stands here among the drivers, and not in `testing`, because [`Driver`](super::Driver) names it and knowledge
//! flows one way only. Its descriptors are numbers without meaning, any that is not negative. A test holds the
//! [`Script`]: what it feeds becomes readable, what is sent it can look at, and a wait with nothing to report moves
//! the clock instead of sleeping. A wait that could never end is an error, so that a test fails instead of hanging.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use rustix::io::Errno;

use super::{Event, Interest, Key, MOST_EVENTS, Readiness, Timeout};
use crate::clock::ManualClock;
use crate::sys::{Batch, LARGEST, Outgoing, Peer};

#[derive(Debug)]
pub(super) struct Fake(Rc<World>);

/// The test's side of a fake driver.
#[derive(Clone, Debug)]
pub struct Script(Rc<World>);

#[derive(Debug)]
struct World {
    clock: ManualClock,
    ends: RefCell<BTreeMap<RawFd, End>>,
    /// What is to come, with the instant at which it does.
    later: RefCell<Vec<(u64, RawFd, Vec<u8>)>>,
    interrupted: RefCell<bool>,
}

/// What a real descriptor would have behind it.
#[derive(Debug)]
struct End {
    registration: Option<(Key, Interest)>,
    incoming: VecDeque<u8>,
    connections: VecDeque<(OwnedFd, Peer)>,
    datagrams: VecDeque<(Vec<u8>, Peer)>,
    /// How many times somebody tried to receive datagrams.
    receives: usize,
    sent: Vec<u8>,
    sent_datagrams: Vec<(Vec<u8>, Option<Peer>)>,
    sends: usize,
    room: usize,
    finished: bool,
    hung_up: bool,
    /// A registration without interest reports a hang-up once.
    told: bool,
    error: Option<Errno>,
}

impl Default for End {
    fn default() -> Self {
        Self {
            registration: None,
            incoming: VecDeque::new(),
            connections: VecDeque::new(),
            datagrams: VecDeque::new(),
            receives: 0,
            sent: Vec::new(),
            sent_datagrams: Vec::new(),
            sends: 0,
            room: usize::MAX,
            finished: false,
            hung_up: false,
            told: false,
            error: None,
        }
    }
}

impl Script {
    /// What the driver watches `fd` for; `None` if it is not registered.
    pub fn interest(&self, fd: RawFd) -> Option<Interest> {
        self.0.with(fd, |end| end.registration.map(|(_, interest)| interest))
    }

    /// The key under which `fd` is registered.
    pub fn key(&self, fd: RawFd) -> Option<Key> {
        self.0.with(fd, |end| end.registration.map(|(key, _)| key))
    }

    /// The peer sends `bytes`.
    pub fn feed(&self, fd: RawFd, bytes: &[u8]) {
        self.0.with(fd, |end| end.incoming.extend(bytes));
    }

    /// The peer will send `bytes` when the clock shows `at`.
    pub fn feed_at(&self, at: u64, fd: RawFd, bytes: &[u8]) {
        self.0.later.borrow_mut().push((at, fd, bytes.to_vec()));
    }

    /// The peer has finished sending: readable, and after what was fed comes 0.
    pub fn finish(&self, fd: RawFd) {
        self.0.with(fd, |end| end.finished = true);
    }

    /// The peer is gone: readable and writable, the end of the file to read, `EPIPE` to write.
    pub fn hang_up(&self, fd: RawFd) {
        self.0.with(fd, |end| (end.finished, end.hung_up) = (true, true));
    }

    /// The next transfer on `fd` fails with this number. It is readable and writable until then.
    pub fn fail(&self, fd: RawFd, raw_os_error: i32) {
        self.0.with(fd, |end| end.error = Some(Errno::from_raw_os_error(raw_os_error)));
    }

    /// The peer takes `bytes` more and then nothing: not writable. Without this it takes everything.
    pub fn set_room(&self, fd: RawFd, bytes: usize) {
        self.0.with(fd, |end| end.room = bytes);
    }

    /// A datagram arrives.
    pub fn feed_datagram(&self, fd: RawFd, data: &[u8], sender: Peer) {
        self.0.with(fd, |end| end.datagrams.push_back((data.to_vec(), sender)));
    }

    /// How many times somebody tried to receive on `fd` since this was last asked: system calls, were there a kernel.
    pub fn take_receives(&self, fd: RawFd) -> usize {
        self.0.with(fd, |end| std::mem::take(&mut end.receives))
    }

    /// The datagrams sent on `fd` since this was last asked. Each takes one of the room.
    pub fn take_sent_datagrams(&self, fd: RawFd) -> Vec<(Vec<u8>, Option<Peer>)> {
        self.0.with(fd, |end| std::mem::take(&mut end.sent_datagrams))
    }

    /// Somebody connects to the listener `fd`.
    pub fn arrive(&self, fd: RawFd, connection: OwnedFd, peer: Peer) {
        self.0.with(fd, |end| end.connections.push_back((connection, peer)));
    }

    /// What was sent on `fd` since this was last asked.
    pub fn take_sent(&self, fd: RawFd) -> Vec<u8> {
        self.0.with(fd, |end| std::mem::take(&mut end.sent))
    }

    /// How many times somebody tried to send on `fd` since this was last asked: system calls, were there a kernel.
    pub fn take_sends(&self, fd: RawFd) -> usize {
        self.0.with(fd, |end| std::mem::take(&mut end.sends))
    }

    /// A signal interrupts the next wait.
    pub fn interrupt(&self) {
        self.0.interrupted.replace(true);
    }
}

impl Fake {
    pub(super) fn new(clock: ManualClock) -> (Self, Script) {
        let world = Rc::new(World {
            clock,
            ends: RefCell::default(),
            later: RefCell::default(),
            interrupted: RefCell::default(),
        });
        (Self(world.clone()), Script(world))
    }

    pub(super) fn name(&self) -> &'static str {
        "fake"
    }

    pub(super) fn add(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        self.0.at(fd, |end| match end.registration {
            Some(_) => Err(Errno::EXIST.into()),
            None => end.register(key, interest),
        })
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as the kernel is asked")]
    pub(super) fn check(&self, _fd: RawFd) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn modify(&self, fd: RawFd, key: Key, interest: Interest) -> io::Result<()> {
        self.0.at(fd, |end| match end.registration {
            Some(_) => end.register(key, interest),
            None => Err(Errno::NOENT.into()),
        })
    }

    pub(super) fn delete(&self, fd: RawFd) -> io::Result<()> {
        self.0.at(fd, |end| end.registration.take().map(drop).ok_or_else(|| Errno::NOENT.into()))
    }

    /// It has nothing of the kernel's.
    pub(super) fn close(&self) {}

    /// Registrations are by number here: nothing can be left over.
    pub(super) fn renew(&self, _watched: &[(RawFd, Key, Interest)]) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout: Timeout) -> io::Result<()> {
        if self.0.interrupted.replace(false) {
            return Ok(());
        }
        self.0.collect(events);
        if !events.is_empty() || timeout == Timeout::Zero {
            return Ok(());
        }
        self.0.pass_time(timeout)?;
        self.0.collect(events);
        Ok(())
    }

    pub(super) fn recv(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        self.0.at(fd, |end| end.take(buf))
    }

    pub(super) fn recv_append(&self, fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut bytes = vec![0; buffer.capacity() - buffer.len()];
        let count = self.recv(fd, &mut bytes)?;
        buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(super) fn send(&self, fd: RawFd, buf: &[u8]) -> io::Result<usize> {
        self.0.at(fd, |end| end.put(buf))
    }

    pub(super) fn send_vectored(&self, fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let together: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.send(fd, &together)
    }

    pub(super) fn recv_from(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<(usize, Peer)> {
        self.0.at(fd, |end| {
            end.receives += 1;
            let (data, sender) = end.take_datagram()?;
            let fits = data.len().min(buf.len());
            buf[..fits].copy_from_slice(&data[..fits]);
            Ok((data.len(), sender))
        })
    }

    pub(super) fn recv_batch(&self, fd: RawFd, batch: &mut Batch) -> io::Result<()> {
        batch.clear();
        self.0.at(fd, |end| {
            end.receives += 1;
            let mut next = end.take_datagram();
            while let Ok((data, sender)) = &next {
                if !batch.push(&data[..data.len().min(LARGEST)], sender.clone()) {
                    end.datagrams.extend(next.ok());
                    end.datagrams.rotate_right(1);
                    return Ok(());
                }
                next = end.take_datagram();
            }
            if batch.is_empty() { next.map(drop) } else { Ok(()) }
        })
    }

    pub(super) fn send_to(&self, fd: RawFd, buf: &[u8], peer: Option<&Peer>) -> io::Result<usize> {
        self.send_batch(fd, &[(buf, peer)]).map(|_| buf.len())
    }

    pub(super) fn send_batch(&self, fd: RawFd, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        self.0.at(fd, |end| {
            end.sends += 1;
            end.fail()?;
            let count = datagrams.len().min(end.room);
            if count == 0 {
                return Err(Errno::WOULDBLOCK.into());
            }
            let sent = datagrams.iter().take(count).map(|(data, to)| (data.to_vec(), to.cloned()));
            end.sent_datagrams.extend(sent);
            end.use_room(count);
            Ok(count)
        })
    }

    pub(super) fn accept(&self, fd: RawFd) -> io::Result<(OwnedFd, Peer)> {
        self.0.at(fd, |end| {
            end.fail()?;
            end.connections.pop_front().ok_or_else(|| Errno::WOULDBLOCK.into())
        })
    }

    pub(super) fn read(&self, fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
        self.recv(fd, buf)
    }

    pub(super) fn read_append(&self, fd: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.recv_append(fd, buffer)
    }

    pub(super) fn write(&self, fd: RawFd, buf: &[u8]) -> io::Result<usize> {
        self.send(fd, buf)
    }

    pub(super) fn write_vectored(&self, fd: RawFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(fd, bufs)
    }
}

impl World {
    fn with<T>(&self, fd: RawFd, look: impl FnOnce(&mut End) -> T) -> T {
        look(self.ends.borrow_mut().entry(fd).or_default())
    }

    fn at<T>(&self, fd: RawFd, act: impl FnOnce(&mut End) -> io::Result<T>) -> io::Result<T> {
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        self.with(fd, act)
    }

    fn collect(&self, events: &mut Vec<Event>) {
        self.deliver();
        events.extend(self.ends.borrow_mut().values_mut().filter_map(End::report).take(MOST_EVENTS));
    }

    fn deliver(&self) {
        let now = self.clock.now();
        let due: Vec<_> = self.later.borrow_mut().extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, fd, bytes) in due {
            self.with(fd, |end| end.incoming.extend(bytes));
        }
    }

    /// Moves the clock to the end of the wait, or to what happens before.
    fn pass_time(&self, timeout: Timeout) -> io::Result<()> {
        let end = match timeout {
            Timeout::After(nanos) => Some(self.clock.now().saturating_add(nanos)),
            Timeout::Zero => Some(self.clock.now()),
            Timeout::Never => None,
        };
        let next = self.later.borrow().iter().map(|(at, ..)| *at).min();
        let instant = end.into_iter().chain(next).min();
        let forever =
            || io::Error::other("the fake driver was to wait for ever, and its script has nothing to come");
        self.clock.set(instant.ok_or_else(forever)?);
        Ok(())
    }
}

impl End {
    fn register(&mut self, key: Key, interest: Interest) -> io::Result<()> {
        self.registration = Some((key, interest));
        self.told = false;
        Ok(())
    }

    fn report(&mut self) -> Option<Event> {
        let (key, interest) = self.registration?;
        let readiness = if self.hung_up || self.error.is_some() {
            if interest.is_none() && std::mem::replace(&mut self.told, true) {
                return None;
            } else {
                Readiness::BOTH
            }
        } else {
            self.readiness().wanted_by(interest)
        };
        (!readiness.is_none()).then_some(Event { key, readiness })
    }

    fn readiness(&self) -> Readiness {
        let waiting = !self.incoming.is_empty() || !self.connections.is_empty() || !self.datagrams.is_empty();
        let readable = waiting || self.finished;
        let read = if readable { Readiness::READ } else { Readiness::NONE };
        let write = if self.room > 0 { Readiness::WRITE } else { Readiness::NONE };
        read.union(write)
    }

    fn fail(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), |error| Err(error.into()))
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.receives += 1;
        self.fail()?;
        if self.incoming.is_empty() && !self.finished {
            return Err(Errno::WOULDBLOCK.into());
        }
        io::Read::read(&mut self.incoming, buf)
    }

    fn put(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sends += 1;
        self.fail()?;
        if self.hung_up {
            return Err(Errno::PIPE.into());
        }
        let count = buf.len().min(self.room);
        if count == 0 && !buf.is_empty() {
            return Err(Errno::WOULDBLOCK.into());
        }
        self.sent.extend_from_slice(&buf[..count]);
        self.use_room(count);
        Ok(count)
    }

    fn take_datagram(&mut self) -> io::Result<(Vec<u8>, Peer)> {
        self.fail()?;
        self.datagrams.pop_front().ok_or_else(|| Errno::WOULDBLOCK.into())
    }

    fn use_room(&mut self, count: usize) {
        // Room without limit stays without limit.
        self.room = if self.room == usize::MAX { usize::MAX } else { self.room - count };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::driver::Driver;
    use crate::sys;
    use crate::testing::suite::registration_suite;

    fn fake() -> (Driver, Script, Clock) {
        let (clock, hand) = Clock::manual();
        let (driver, script) = Driver::fake(hand);
        (driver, script, clock)
    }

    fn wait(driver: &Driver, timeout: Timeout) -> Vec<Event> {
        let mut events = Vec::new();
        driver.wait(&mut events, timeout).unwrap();
        events
    }

    #[test]
    fn conforms_as_far_as_it_goes() {
        registration_suite(|| fake().0);
    }

    #[test]
    fn what_is_fed_is_readable_until_it_is_read() {
        let (driver, script, _) = fake();
        driver.add(5, Key(1), Interest::READ).unwrap();
        assert_eq!(wait(&driver, Timeout::Zero), []);
        script.feed(5, b"abc");
        let readable = [Event { key: Key(1), readiness: Readiness::READ }];
        assert_eq!(wait(&driver, Timeout::Never), readable);
        assert_eq!(wait(&driver, Timeout::Never), readable);
        assert_eq!(driver.recv(5, &mut [0; 8]).unwrap(), 3);
        assert_eq!(driver.recv(5, &mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(wait(&driver, Timeout::Zero), []);
        script.finish(5);
        assert_eq!(
            (wait(&driver, Timeout::Never), driver.recv(5, &mut [0; 8]).unwrap()),
            (readable.into(), 0)
        );
    }

    #[test]
    fn a_wait_moves_the_clock_and_no_further_than_needed() {
        let (driver, script, clock) = fake();
        driver.add(5, Key(1), Interest::READ).unwrap();
        wait(&driver, Timeout::After(70));
        assert_eq!(clock.now(), 70);
        script.feed_at(100, 5, b"x");
        assert_eq!(wait(&driver, Timeout::After(1_000)).len(), 1);
        assert_eq!(clock.now(), 100);
        driver.recv(5, &mut [0; 8]).unwrap();
        assert!(driver.wait(&mut Vec::new(), Timeout::Never).is_err(), "a test must not hang");
    }

    #[test]
    fn room_runs_out() {
        let (driver, script, _) = fake();
        driver.add(5, Key(1), Interest::WRITE).unwrap();
        script.set_room(5, 3);
        assert_eq!(driver.send_vectored(5, &[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).unwrap(), 3);
        assert_eq!(driver.send(5, b"d").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((wait(&driver, Timeout::Zero), script.take_sent(5)), (vec![], b"abc".to_vec()));
        assert_eq!((script.take_sends(5), script.take_sends(5)), (2, 0));
        script.set_room(5, 1);
        assert_eq!(wait(&driver, Timeout::Zero).len(), 1);
    }

    #[test]
    fn hang_ups_and_failures() {
        let (driver, script, _) = fake();
        driver.add(5, Key(1), Interest::READ).unwrap();
        script.fail(5, Errno::CONNRESET.raw_os_error());
        assert_eq!(wait(&driver, Timeout::Zero)[0].readiness, Readiness::BOTH);
        assert_eq!(driver.recv(5, &mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(wait(&driver, Timeout::Zero), []);
        script.hang_up(5);
        assert_eq!(driver.send(5, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        driver.modify(5, Key(1), Interest::NONE).unwrap();
        assert_eq!((wait(&driver, Timeout::Zero).len(), wait(&driver, Timeout::Zero).len()), (1, 0));
    }

    #[test]
    fn the_script_sees_what_is_registered() {
        let (driver, script, _) = fake();
        driver.add(5, Key(7), Interest::BOTH).unwrap();
        assert_eq!((script.key(5), script.interest(5)), (Some(Key(7)), Some(Interest::BOTH)));
        script.interrupt();
        assert_eq!(wait(&driver, Timeout::Never), [], "interrupted");
        driver.delete(5).unwrap();
        assert_eq!(script.interest(5), None);
    }

    #[test]
    fn connections_arrive() {
        let (driver, script, _) = fake();
        driver.add(5, Key(1), Interest::READ).unwrap();
        script.arrive(5, sys::pipe().unwrap().0, Peer::unix(b"somebody").unwrap());
        assert_eq!(wait(&driver, Timeout::Never).len(), 1);
        assert_eq!(driver.accept(5).unwrap().1.unix_path().unwrap(), b"somebody");
        assert_eq!(driver.accept(5).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
