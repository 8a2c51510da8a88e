//! The driver's contract as tests: one suite for all drivers, so that "works with epoll" never means "works".
//!
//! A driver's own tests call [`driver_suite`]. Each rule is a function named after it, and builds what it needs from
//! real descriptors; [`registration_suite`] is the part that needs none, [`signal_suite`] the part that needs a process.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::clock::Clock;
use crate::driver::{Driver, Event, Interest, Key, MOST_EVENTS, Readiness, Timeout};
use crate::sys;

const MILLI: u64 = 1_000_000;

/// Long enough that a machine under load gets there, short enough that a failure is no coffee break.
const AT_LAST: Timeout = Timeout::After(5_000 * MILLI);

/// Everything the contract promises. `make` gives a new driver each time.
pub fn driver_suite(make: impl Fn() -> Driver) {
    registration_suite(&make);
    for rule in [
        reports_what_is_asked_for,
        modify_changes_interest_and_key,
        delete_silences,
        is_level_triggered,
        reports_a_hang_up_as_both,
        reports_a_hang_up_beside_data,
        rests_without_interest,
        names_what_is_closed,
        refuses_regular_files,
        is_never_early,
        does_not_block_for_zero,
        zero_finds_what_is_ready,
        clears_old_events,
        survives_the_longest_wait,
        keeps_keys_apart_after_reuse,
        a_late_event_bears_the_old_key,
        a_deleted_descriptor_is_silent_though_duplicated,
        reports_many_at_once,
        has_the_rest_in_the_next_wait,
        wakes_from_another_thread,
        tells_each_ring,
        reports_a_refused_connection,
        gives_back_what_it_has_when_closed,
    ] {
        rule(&make());
    }
}

fn gives_back_what_it_has_when_closed(driver: &Driver) {
    let (left, _right) = sys::socketpair().unwrap();
    let fd = left.as_raw_fd();
    driver.add(fd, Key(1), Interest::WRITE).unwrap();
    driver.close();
    let mut events = Vec::new();
    for refused in [
        driver.add(fd, Key(2), Interest::READ),
        driver.modify(fd, Key(1), Interest::READ),
        driver.delete(fd),
        driver.wait(&mut events, Timeout::Zero),
        driver.wait(&mut events, Timeout::Never),
    ] {
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::BADF.raw_os_error()));
    }
    let _ = driver.renew(&[(fd, Key(1), Interest::READ)]);
    driver.close();
    assert!(events.is_empty());
}

/// The rules of registration alone, which a driver with no kernel keeps as well.
pub fn registration_suite(make: impl Fn() -> Driver) {
    let driver = make();
    assert!(!driver.name().is_empty() && !driver.reason().is_empty());
    let (left, _right) = sys::socketpair().unwrap();
    let fd = left.as_raw_fd();

    is_errno(driver.modify(fd, Key(1), Interest::READ), Errno::NOENT);
    is_errno(driver.delete(fd), Errno::NOENT);
    driver.add(fd, Key(1), Interest::READ).unwrap();
    is_errno(driver.add(fd, Key(2), Interest::READ), Errno::EXIST);
    driver.modify(fd, Key(1), Interest::NONE).unwrap();
    driver.delete(fd).unwrap();
    is_errno(driver.delete(fd), Errno::NOENT);
    driver.add(fd, Key(3), Interest::NONE).unwrap();

    for negative in [-1, RawFd::MIN] {
        is_errno(driver.add(negative, Key(1), Interest::READ), Errno::BADF);
        is_errno(driver.modify(negative, Key(1), Interest::READ), Errno::BADF);
        is_errno(driver.delete(negative), Errno::BADF);
    }
    let reserved = driver.add(fd, Key::RESERVED, Interest::READ).unwrap_err();
    assert_eq!(reserved.kind(), io::ErrorKind::InvalidInput);
    let mut events = vec![Event { key: Key(9), readiness: Readiness::READ }];
    driver.wait(&mut events, Timeout::Zero).unwrap();
    assert_eq!(events, [], "zero does not block, and old events are cleared");
}

/// The rule that signals are no errors, for a test of its own, whose `name` is `module_path!()` and its function's.
///
/// A signal without a handler does not interrupt, and a handler is unsafe code. To be stopped and continued does
/// interrupt `epoll_wait` (signal(7)), but every thread's at once, so the test is run again in a process of its own.
pub fn signal_suite(name: &str, make: impl Fn() -> Driver) {
    const ALONE: &str = "VELODROME_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return survives_signals(&make());
    }
    let (_, name) = name.split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--exact", name]).env(ALONE, "1").stdout(Stdio::piped()).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        for signal in [Signal::STOP, Signal::CONT] {
            kill_process(Pid::from_child(&child), signal).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
    };
    let said = io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(status.success() && said.contains("1 passed"), "{said}");
}

fn survives_signals(driver: &Driver) {
    let clock = Clock::monotonic();
    let begun = clock.now();
    while clock.now() - begun < 100 * MILLI {
        assert_eq!(wait(driver, Timeout::After(100 * MILLI)), []);
    }
}

#[track_caller]
fn is_errno<T: std::fmt::Debug>(result: io::Result<T>, expected: Errno) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(expected.raw_os_error()));
}

/// One wait; two events of one key, which the contract allows, are put together.
#[track_caller]
fn wait(driver: &Driver, timeout: Timeout) -> Vec<(u64, Readiness)> {
    let mut events = Vec::new();
    driver.wait(&mut events, timeout).unwrap();
    let mut found: Vec<(u64, Readiness)> = Vec::new();
    for event in events {
        match found.iter_mut().find(|(key, _)| *key == event.key.0) {
            Some((_, readiness)) => *readiness = readiness.union(event.readiness),
            None => found.push((event.key.0, event.readiness)),
        }
    }
    found
}

#[track_caller]
fn is_ready(driver: &Driver, expected: &[(u64, Readiness)]) {
    assert_eq!(wait(driver, AT_LAST), expected);
}

/// Ten milliseconds of nothing: what is wrongly reported is reported at once.
#[track_caller]
fn is_silent(driver: &Driver) {
    assert_eq!(wait(driver, Timeout::After(10 * MILLI)), []);
}

fn pair() -> (OwnedFd, OwnedFd) {
    sys::socketpair().unwrap()
}

fn reports_what_is_asked_for(driver: &Driver) {
    let (left, right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    is_silent(driver);
    sys::send(right.as_raw_fd(), b"x").unwrap();
    is_ready(driver, &[(1, Readiness::READ)]);
    driver.modify(left.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    is_ready(driver, &[(1, Readiness::WRITE)]);
    driver.modify(left.as_raw_fd(), Key(1), Interest::BOTH).unwrap();
    is_ready(driver, &[(1, Readiness::BOTH)]);
    driver.modify(left.as_raw_fd(), Key(1), Interest::NONE).unwrap();
    is_silent(driver);
}

fn modify_changes_interest_and_key(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::NONE).unwrap();
    driver.modify(left.as_raw_fd(), Key(1 << 40), Interest::WRITE).unwrap();
    is_ready(driver, &[(1 << 40, Readiness::WRITE)]);
    driver.modify(left.as_raw_fd(), Key(u64::MAX - 1), Interest::WRITE).unwrap();
    is_ready(driver, &[(u64::MAX - 1, Readiness::WRITE)]);
}

fn delete_silences(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    is_ready(driver, &[(1, Readiness::WRITE)]);
    driver.delete(left.as_raw_fd()).unwrap();
    is_silent(driver);
    driver.add(left.as_raw_fd(), Key(2), Interest::WRITE).unwrap();
    is_ready(driver, &[(2, Readiness::WRITE)]);
}

fn is_level_triggered(driver: &Driver) {
    let (left, right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    sys::send(right.as_raw_fd(), b"ab").unwrap();
    for _ in 0..3 {
        is_ready(driver, &[(1, Readiness::READ)]);
    }
    sys::recv(left.as_raw_fd(), &mut [0; 1]).unwrap();
    is_ready(driver, &[(1, Readiness::READ)]);
    sys::recv(left.as_raw_fd(), &mut [0; 1]).unwrap();
    is_silent(driver);
}

fn reports_a_hang_up_as_both(driver: &Driver) {
    let (reader, writer) = sys::pipe().unwrap();
    driver.add(writer.as_raw_fd(), Key(1), Interest::READ).unwrap();
    is_silent(driver);
    drop(reader);
    is_ready(driver, &[(1, Readiness::BOTH)]);
    is_ready(driver, &[(1, Readiness::BOTH)]);
    driver.delete(writer.as_raw_fd()).unwrap();

    let (left, right) = pair();
    driver.add(left.as_raw_fd(), Key(2), Interest::READ).unwrap();
    drop(right);
    is_ready(driver, &[(2, Readiness::BOTH)]);
}

fn reports_a_hang_up_beside_data(driver: &Driver) {
    let (reader, writer) = sys::pipe().unwrap();
    driver.add(reader.as_raw_fd(), Key(1), Interest::READ).unwrap();
    sys::write(writer.as_raw_fd(), b"last words").unwrap();
    drop(writer);
    assert!(wait(driver, AT_LAST)[0].1.contains(Readiness::READ));
    assert_eq!(sys::read(reader.as_raw_fd(), &mut [0; 64]).unwrap(), 10);
    assert!(wait(driver, AT_LAST)[0].1.contains(Readiness::READ));
    assert_eq!(sys::read(reader.as_raw_fd(), &mut [0; 64]).unwrap(), 0);
}

fn rests_without_interest(driver: &Driver) {
    let (left, right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::NONE).unwrap();
    sys::send(right.as_raw_fd(), b"x").unwrap();
    is_silent(driver);
    drop(right);
    assert!(wait(driver, Timeout::Zero).len() <= 1);
    is_silent(driver);
    driver.modify(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    is_ready(driver, &[(1, Readiness::BOTH)]);
    is_ready(driver, &[(1, Readiness::BOTH)]);
}

fn names_what_is_closed(driver: &Driver) {
    // The highest numbers are the ones that no other test's thread opens meanwhile.
    let closed = RawFd::MAX;
    is_errno(driver.add(closed, Key(1), Interest::READ), Errno::BADF);
    is_errno(driver.modify(closed, Key(1), Interest::READ), Errno::BADF);
    is_errno(driver.delete(closed), Errno::BADF);
}

fn refuses_regular_files(driver: &Driver) {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    is_errno(driver.add(file.as_raw_fd(), Key(1), Interest::READ), Errno::PERM);
    is_errno(driver.modify(file.as_raw_fd(), Key(1), Interest::READ), Errno::PERM);
}

fn is_never_early(driver: &Driver) {
    let clock = Clock::monotonic();
    for nanos in [1, 999, 20_000, MILLI - 1, MILLI, MILLI + 1, 3 * MILLI + 700_000] {
        for _ in 0..10 {
            let begun = clock.now();
            assert_eq!(wait(driver, Timeout::After(nanos)), []);
            let waited = clock.now() - begun;
            assert!(waited >= nanos, "{} came back after {waited} of {nanos} ns", driver.name());
        }
    }
}

fn does_not_block_for_zero(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    let clock = Clock::monotonic();
    let begun = clock.now();
    for _ in 0..200 {
        assert_eq!(wait(driver, Timeout::Zero), []);
        assert_eq!(wait(driver, Timeout::After(0)), []);
    }
    assert!(
        clock.now() - begun < 200 * MILLI,
        "400 waits for nothing took longer than half a millisecond each"
    );
}

fn zero_finds_what_is_ready(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    assert_eq!(wait(driver, Timeout::Zero), [(1, Readiness::WRITE)]);
}

fn clears_old_events(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    let mut events = Vec::new();
    for _ in 0..3 {
        driver.wait(&mut events, AT_LAST).unwrap();
        assert_eq!(events.len(), 1);
    }
}

fn survives_the_longest_wait(driver: &Driver) {
    let (left, _right) = pair();
    driver.add(left.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    for timeout in [Timeout::After(u64::MAX), Timeout::After(i64::MAX as u64), Timeout::Never] {
        assert_eq!(wait(driver, timeout), [(1, Readiness::WRITE)]);
    }
}

fn keeps_keys_apart_after_reuse(driver: &Driver) {
    let ((mut left, right), (again, other)) = (pair(), pair());
    let number = left.as_raw_fd();
    driver.add(number, Key(1), Interest::READ).unwrap();
    sys::send(right.as_raw_fd(), b"for the old one").unwrap();
    driver.delete(number).unwrap();
    // Closes the old socket and gives its number to another, with no moment between for another test's thread.
    rustix::io::dup2(&again, &mut left).unwrap();
    driver.add(number, Key(2), Interest::READ).unwrap();
    is_silent(driver);
    sys::send(other.as_raw_fd(), b"x").unwrap();
    is_ready(driver, &[(2, Readiness::READ)]);
}

/// Against the contract: closed and reused without `delete`, and a duplicate keeps the old file open.
fn a_late_event_bears_the_old_key(driver: &Driver) {
    let ((mut left, right), (again, other)) = (pair(), pair());
    let _twin = sys::dup(left.as_raw_fd()).unwrap();
    driver.add(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    rustix::io::dup2(&again, &mut left).unwrap();
    driver.add(left.as_raw_fd(), Key(2), Interest::READ).unwrap();
    sys::send(right.as_raw_fd(), b"for the old one").unwrap();
    assert!(wait(driver, Timeout::After(10 * MILLI)).iter().all(|(key, _)| *key == 1));
    sys::send(other.as_raw_fd(), b"for the new one").unwrap();
    assert!(wait(driver, AT_LAST).contains(&(2, Readiness::READ)));
}

fn a_deleted_descriptor_is_silent_though_duplicated(driver: &Driver) {
    let (left, right) = pair();
    let _twin = sys::dup(left.as_raw_fd()).unwrap();
    driver.add(left.as_raw_fd(), Key(1), Interest::READ).unwrap();
    driver.delete(left.as_raw_fd()).unwrap();
    drop(left);
    sys::send(right.as_raw_fd(), b"x").unwrap();
    is_silent(driver);
}

fn reports_many_at_once(driver: &Driver) {
    let pairs: Vec<_> = (0..100).map(|_| pair()).collect();
    for (key, (left, right)) in (0..).zip(&pairs) {
        driver.add(left.as_raw_fd(), Key(key), Interest::READ).unwrap();
        sys::send(right.as_raw_fd(), b"x").unwrap();
    }
    let mut keys: Vec<u64> = wait(driver, AT_LAST).into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..100));
}

fn has_the_rest_in_the_next_wait(driver: &Driver) {
    if !may_open(8 * MOST_EVENTS as u64) {
        return;
    }
    // Duplicates of one socket are cheap, and each is a registration of its own.
    let (left, _right) = pair();
    let total = MOST_EVENTS as u64 + 50;
    let twins: Vec<_> = (0..total).map(|_| sys::dup(left.as_raw_fd()).unwrap()).collect();
    for (key, twin) in (0..).zip(&twins) {
        driver.add(twin.as_raw_fd(), Key(key), Interest::WRITE).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let found = wait(driver, AT_LAST);
        assert!(found.len() <= MOST_EVENTS);
        seen.extend(found.into_iter().map(|(key, _)| key));
    }
    assert_eq!(seen.len() as u64, total);
}

/// Raises this process's limit of open files as far as it may. Other tests run beside this one and need some too.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files)
}

fn wakes_from_another_thread(driver: &Driver) {
    let bell = sys::Bell::new().unwrap();
    driver.add(bell.fd(), Key(1), Interest::READ).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            bell.ring();
        });
        is_ready(driver, &[(1, Readiness::READ)]);
    });
    assert!(bell.silence());
    is_silent(driver);
}

fn tells_each_ring(driver: &Driver) {
    let bell = sys::Bell::new().unwrap();
    driver.add(bell.fd(), Key(1), Interest::RING).unwrap();
    for _ in 0..3 {
        bell.ring();
        is_ready(driver, &[(1, Readiness::READ)]);
        if driver.tells_rings_once() {
            is_silent(driver);
        }
    }
    bell.silence();
    is_silent(driver);
}

fn reports_a_refused_connection(driver: &Driver) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let probe = TcpStream::connect(address).unwrap();
    drop((listener, probe));
    let socket = sys::socket(sys::AddressFamily::INET, sys::SocketType::STREAM).unwrap();
    sys::connect(socket.as_raw_fd(), &address.into()).unwrap_err();
    driver.add(socket.as_raw_fd(), Key(1), Interest::WRITE).unwrap();
    assert!(wait(driver, AT_LAST)[0].1.contains(Readiness::WRITE));
    is_errno(sys::take_error(socket.as_raw_fd()), Errno::CONNREFUSED);
}
