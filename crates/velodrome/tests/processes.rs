//! Programs that are started, and signals that are sent and heard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use support::{kind, really, settle};
use velodrome::signals::{SIGKILL, SIGTERM, SIGUSR1, SIGUSR2, signal};
use velodrome::{create_subprocess, open_read_pipe, open_write_pipe, sleep, spawn, timeout};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

#[test]
fn how_a_program_ended_is_told() {
    really(async {
        let ended = create_subprocess(&mut shell("exit 7")).unwrap();
        assert_eq!(ended.wait().await.unwrap().code(), Some(7));
        assert_eq!(ended.wait().await.unwrap().code(), Some(7), "and told again");
        assert_eq!(ended.try_wait().unwrap().and_then(|status| status.code()), Some(7));
        let killed = create_subprocess(&mut shell("kill -9 $$")).unwrap();
        assert_eq!(killed.wait().await.unwrap().signal(), Some(SIGKILL));
        assert!(killed.terminate().is_err(), "it is nobody any more");
        assert_eq!(kind(create_subprocess(&mut Command::new("/nowhere"))), Some(io::ErrorKind::NotFound));
    });
}

#[test]
fn a_program_is_talked_to_by_streams() {
    really(async {
        let mut cat = create_subprocess(piped(&mut Command::new("cat"))).unwrap();
        let (stdin, stdout) = (cat.stdin.as_ref().unwrap(), cat.stdout.as_mut().unwrap());
        for line in ["one\n", "two\n"] {
            stdin.write(line);
            assert_eq!(stdout.readline().await.unwrap(), line.as_bytes());
        }
        assert_eq!(cat.try_wait().unwrap(), None);
        cat.stdin = None;
        assert_eq!(cat.stdout.as_mut().unwrap().readline().await.unwrap(), b"");
        assert!(cat.wait().await.unwrap().success());
    });
}

#[test]
fn communicating_with_more_than_any_pipe_holds() {
    really(async {
        let much: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut both = create_subprocess(piped(&mut shell("echo problem >&2; cat"))).unwrap();
        let (output, errors) = both.communicate(&much).await.unwrap();
        assert!(output == much);
        assert_eq!(errors, b"problem\n");
        let mut silent = create_subprocess(piped(&mut Command::new("true"))).unwrap();
        assert_eq!(silent.communicate(&much).await.unwrap(), (vec![], vec![]));
    });
}

#[test]
fn many_programs_at_once() {
    really(async {
        let running: Vec<_> = (0..20)
            .map(|n| {
                spawn(async move {
                    let program = create_subprocess(&mut shell(&format!("exit {n}"))).unwrap();
                    program.wait().await.unwrap().code().unwrap()
                })
            })
            .collect();
        for (n, program) in (0..).zip(running) {
            assert_eq!(program.await.unwrap(), n);
        }
    });
}

/// Whether there is a process of that number, zombies included.
fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_program_that_is_forgotten_is_reaped() {
    really(async {
        let (mut goes_on, killed) = (
            create_subprocess(piped(&mut Command::new("cat"))).unwrap(),
            create_subprocess(Command::new("sleep").arg("1000")).unwrap(),
        );
        let (stdin, pids) = (goes_on.stdin.take().unwrap(), [goes_on.id(), killed.id()]);
        killed.kill_on_drop(true);
        drop((goes_on, killed));
        while exists(pids[1]) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(exists(pids[0]));
        drop(stdin);
        while exists(pids[0]) {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn giving_up_waiting_ends_nothing() {
    really(async {
        let long = create_subprocess(Command::new("sleep").arg("1000")).unwrap();
        assert!(timeout(Duration::from_millis(10), long.wait()).await.is_err());
        long.send_signal(SIGTERM).unwrap();
        assert_eq!(long.wait().await.unwrap().signal(), Some(SIGTERM));
    });
}

#[test]
fn a_pipe_of_nobody_is_told_to_its_writer() {
    really(async {
        let (theirs, ours) = io::pipe().unwrap();
        let writer = open_write_pipe(ours).unwrap();
        settle().await;
        drop(theirs);
        writer.wait_closed().await.unwrap();
        let (ours, theirs) = io::pipe().unwrap();
        let mut reader = open_read_pipe(ours).unwrap();
        drop(theirs);
        assert_eq!(reader.read(1).await.unwrap(), b"");
        let (ours, theirs) = io::pipe().unwrap();
        drop(open_read_pipe(ours).unwrap());
        settle().await;
        assert_eq!(kind(io::Write::write(&mut &theirs, b"x")), Some(io::ErrorKind::BrokenPipe));
    });
}

fn raise(number: i32) {
    let pid = std::process::id().to_string();
    assert!(Command::new("kill").args([&format!("-{number}"), &pid]).status().unwrap().success());
}

#[test]
fn a_signal_is_heard_by_all_who_listen() {
    really(async {
        let (mut one, mut other) = (signal(SIGUSR1).unwrap(), signal(SIGUSR1).unwrap());
        assert_eq!(one.number(), SIGUSR1);
        assert!(timeout(Duration::from_millis(10), one.recv()).await.is_err());
        for _ in 0..3 {
            raise(SIGUSR1);
            one.recv().await.unwrap();
            other.recv().await.unwrap();
        }
        assert!(timeout(Duration::from_millis(10), one.recv()).await.is_err());
    });
}

#[test]
fn a_signal_reaches_every_loop() {
    let loops: Vec<_> = (0..3)
        .map(|_| {
            let (ready, is_ready) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                really(async move {
                    let mut listening = signal(SIGUSR2).unwrap();
                    ready.send(()).unwrap();
                    listening.recv().await.unwrap();
                });
            });
            is_ready.recv().unwrap();
            thread
        })
        .collect();
    raise(SIGUSR2);
    for thread in loops {
        thread.join().unwrap();
    }
}

#[test]
fn what_cannot_be_caught_is_refused() {
    really(async {
        assert_eq!(kind(signal(SIGKILL)), Some(io::ErrorKind::InvalidInput));
        assert_eq!(kind(signal(0)), Some(io::ErrorKind::InvalidInput));
    });
    assert_eq!(kind(signal(SIGUSR1)), Some(io::ErrorKind::Other), "without a loop");
}

#[test]
fn what_was_said_is_kept_though_somebody_else_reaps_the_program() {
    really(async {
        let mut program = create_subprocess(piped(&mut shell("echo this; echo that >&2"))).unwrap();
        let pid = Pid::from_raw(program.id().cast_signed());
        // The loop has no turn before this.
        waitpid(pid, WaitOptions::empty()).unwrap();
        let (output, errors) = program.communicate(b"").await.unwrap();
        assert_eq!((output, errors), (b"this\n".to_vec(), b"that\n".to_vec()));
        for unknown in [program.wait().await, program.try_wait().map(Option::unwrap)] {
            let unknown = unknown.unwrap_err();
            assert!(unknown.to_string().contains("somebody else"), "{unknown}");
        }
    });
}

#[test]
fn a_program_that_outlives_its_loop_is_reaped_by_a_later_one() {
    let outlives = |killed: bool| {
        really(async move {
            let program = create_subprocess(Command::new("sleep").arg("1000")).unwrap();
            program.kill_on_drop(true);
            if killed {
                program.kill().unwrap();
            }
            program.id()
        })
    };
    let pids = [outlives(false), outlives(true)];
    let reaped = (0..5000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        really(async {});
        !pids.iter().any(|&pid| exists(pid))
    });
    assert!(reaped, "they are zombies");
}

#[test]
fn a_program_that_ended_unheard_before_its_loop_is_known_to_have() {
    let program = really(async {
        let program = create_subprocess(&mut shell("exit 3")).unwrap();
        let stat = format!("/proc/{}/stat", program.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        program
    });
    assert_eq!(program.try_wait().unwrap().unwrap().code(), Some(3));
    assert!(!exists(program.id()));
}
