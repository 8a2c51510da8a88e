//! Descriptors, children, signals: what they have to tell is told to who asks again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use velodrome::signals::{SIGINT, SIGUSR1, ctrl_c, signal};
use velodrome::{AsyncFd, create_subprocess, sleep, spawn};

use crate::chance::give_up;

const SHORT: Duration = Duration::from_millis(1);

fn watched() -> (AsyncFd<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (AsyncFd::new(ours).unwrap(), theirs)
}

/// Does `act` after a while.
fn soon(act: impl FnOnce() + 'static) {
    spawn(async {
        sleep(SHORT).await;
        act();
    })
    .detach();
}

fn kill(signal: &str) {
    let me = std::process::id().to_string();
    assert!(Command::new("kill").args([signal, &me]).status().unwrap().success());
}

/// As much as it takes.
fn fill(socket: &AsyncFd<UnixStream>) -> usize {
    let piece = [7; 4096];
    std::iter::from_fn(|| socket.get_ref().write(&piece).ok()).sum()
}

/// `AsyncFd::readable`
#[test]
fn bytes_are_there_for_who_asks_again() {
    give_up(async |chance| {
        let (ours, mut theirs) = watched();
        soon(move || theirs.write_all(b"hello").unwrap());
        chance.take(ours.readable()).await;
        let mut buffer = [0; 16];
        assert_eq!(ours.read_with(|mut ours| ours.read(&mut buffer)).await.unwrap(), 5);
    });
}

/// `AsyncFd::writable`
#[test]
fn room_is_there_for_who_asks_again() {
    give_up(async |chance| {
        let (ours, mut theirs) = watched();
        let filled = fill(&ours);
        soon(move || theirs.read_exact(&mut vec![0; filled]).unwrap());
        chance.take(ours.writable()).await;
        assert!(ours.writable().await.is_ok());
    });
}

/// `AsyncFd::read_with`
#[test]
fn what_reads_has_read_nothing() {
    give_up(async |chance| {
        let (ours, mut theirs) = watched();
        soon(move || theirs.write_all(b"hello").unwrap());
        let (mut first, mut second) = ([0; 2], [0; 16]);
        let read = chance.take(ours.read_with(|mut ours| ours.read(&mut first))).await;
        let read = read.map_or(0, Result::unwrap);
        assert_eq!(read + ours.read_with(|mut ours| ours.read(&mut second)).await.unwrap(), 5);
    });
}

/// `AsyncFd::write_with`
#[test]
fn what_writes_has_written_nothing() {
    give_up(async |chance| {
        let (ours, mut theirs) = watched();
        let filled = fill(&ours);
        let reader = spawn(async move {
            sleep(SHORT).await;
            theirs.read_exact(&mut vec![0; filled]).unwrap();
            theirs
        });
        let written = chance.take(ours.write_with(|mut ours| ours.write(b"hello"))).await;
        let written = written.map_or(0, Result::unwrap);
        let (mut theirs, mut rest) = (reader.await.unwrap(), Vec::new());
        drop(ours);
        theirs.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), written);
    });
}

/// `Process::wait`
#[test]
fn the_end_of_a_program_is_told_again() {
    give_up(async |chance| {
        let program = create_subprocess(&mut Command::new("false")).unwrap();
        chance.take(program.wait()).await;
        assert_eq!(program.wait().await.unwrap().code(), Some(1));
    });
}

/// `Process::communicate`
#[test]
fn a_program_that_nobody_talks_to_any_more_ends() {
    give_up(async |chance| {
        let mut cat = Command::new("cat");
        let mut cat = create_subprocess(cat.stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
        let talked = chance.take(cat.communicate(b"hello")).await;
        if let Some(talked) = talked {
            assert_eq!(talked.unwrap().0, b"hello");
        }
        // Its pipes went with the future, unless that had not begun: then they are here.
        drop((cat.stdin.take(), cat.stdout.take()));
        cat.wait().await.unwrap();
    });
}

/// `Signal::recv`
#[test]
fn a_signal_is_heard_by_who_asks_again() {
    give_up(async |chance| {
        let mut heard = signal(SIGUSR1).unwrap();
        soon(|| kill("-USR1"));
        if chance.take(heard.recv()).await.is_none() {
            heard.recv().await.unwrap();
        }
    });
}

/// `ctrl_c`
#[test]
fn ctrl_c_is_listened_to_while_it_is_awaited() {
    give_up(async |chance| {
        // Else the signal would end this program once the other listens no more.
        let mut also = signal(SIGINT).unwrap();
        soon(|| kill("-INT"));
        chance.take(ctrl_c()).await;
        also.recv().await.unwrap();
    });
}
