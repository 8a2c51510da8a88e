//! Child processes: started by the standard library, watched by the loop, their pipes as streams.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{self, Command, ExitStatus};
use std::rc::Rc;
use std::task::Poll;

use velodrome_engine::driver::{Interest, Readiness};
use velodrome_engine::hub::Hub;
use velodrome_engine::process::{Child, Ending};
use velodrome_engine::reactor::{Registration, Source};

use crate::advice;
use crate::local::{self, Local};
use crate::orphans;
use crate::signals::{SIGKILL, SIGTERM};
use crate::streams::pipes::{open_read_pipe, open_write_pipe};
use crate::streams::reader::StreamReader;
use crate::streams::writer::StreamWriter;
use crate::waiting::Waiters;

/// Start the program that `command` describes: `asyncio.create_subprocess_exec`.
///
/// What is `Stdio::piped()` becomes a stream of the [`Process`]. The loop waits for the program and reaps it, whether or not
/// anybody else does. Starting blocks until the program has been found, as it does in asyncio.
///
/// ```
/// use std::process::{Command, Stdio};
///
/// velodrome::run(async {
///     let mut cat =
///         velodrome::create_subprocess(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
///     let (output, _) = cat.communicate(b"hello").await?;
///     assert_eq!(output, b"hello");
///     assert!(cat.wait().await?.success());
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// If the program cannot be started. `Unsupported` where the kernel has no pidfds (before Linux 5.4). If no loop runs on
/// this thread.
pub fn create_subprocess(command: &mut Command) -> io::Result<Process> {
    let local = local::require("create_subprocess")?;
    orphans::reap();
    let child = command.spawn().map_err(|error| advice::not_started(command, error))?;
    adopt(&local, child)
}

fn adopt(local: &Local, mut child: process::Child) -> io::Result<Process> {
    attend(local, &mut child).inspect_err(|_| {
        // Nobody could wait for it: neither a program that is forgotten nor a zombie is left.
        let _ = child.kill().and_then(|()| child.wait());
    })
}

fn attend(local: &Local, child: &mut process::Child) -> io::Result<Process> {
    // The pipes come first: whom the loop watches, the loop reaps.
    let stdin = child.stdin.take().map(|pipe| open_write_pipe(OwnedFd::from(pipe))).transpose()?;
    let stdout = child.stdout.take().map(|pipe| open_read_pipe(OwnedFd::from(pipe))).transpose()?;
    let stderr = child.stderr.take().map(|pipe| open_read_pipe(OwnedFd::from(pipe))).transpose()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let watch = watch(local, pid).map_err(|error| advice::not_attended(child.id(), error))?;
    Ok(Process { watch, id: child.id(), kill_on_drop: Cell::new(false), stdin, stdout, stderr })
}

/// A program that was [started](create_subprocess): `asyncio.subprocess.Process`.
///
/// Dropping it lets the program go on, unless [`kill_on_drop`](Self::kill_on_drop) says otherwise; the loop reaps it when
/// it ends. One that outlives its loop is reaped when a loop is made or a program started after its end.
///
/// ```
/// use std::process::{Command, Stdio};
///
/// # velodrome::run(async {
/// let mut date = velodrome::create_subprocess(Command::new("date").stdout(Stdio::piped()))?;
/// let mut stdout = date.stdout.take().unwrap();
/// println!("{}", String::from_utf8_lossy(&stdout.readline().await?));
/// assert!(date.wait().await?.success());
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub struct Process {
    /// What the program reads, if it was `Stdio::piped()`. Dropping it, or `write_eof`, is the end of it.
    pub stdin: Option<StreamWriter>,
    /// What the program writes, if it was `Stdio::piped()`. A program whose output nobody reads stands still at 64 KiB.
    pub stdout: Option<StreamReader>,
    /// What the program writes as errors, if it was `Stdio::piped()`.
    pub stderr: Option<StreamReader>,
    watch: Rc<Watch>,
    id: u32,
    kill_on_drop: Cell<bool>,
}

/// Hears of the end.
struct Watch {
    hub: Rc<Hub>,
    child: Child,
    registration: RefCell<Option<Rc<Registration>>>,
    ended: Cell<Option<Ending>>,
    lost: Cell<Option<Lost>>,
    waiters: Waiters,
}

/// Why it will not be known how a process ended.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Lost {
    /// It has, and somebody else was told.
    Reaped,
    /// It may run, and its loop has ended.
    Abandoned,
}

fn watch(local: &Local, pid: i32) -> io::Result<Rc<Watch>> {
    let watch = Rc::new(Watch {
        hub: Rc::clone(local.hub()),
        child: Child::open(pid)?,
        registration: RefCell::default(),
        ended: Cell::new(None),
        lost: Cell::new(None),
        waiters: Waiters::default(),
    });
    let source = Rc::clone(&watch) as Rc<dyn Source>;
    let registration = local.hub().reactor.register(watch.child.fd(), source, Interest::READ)?;
    watch.registration.replace(Some(registration));
    Ok(watch)
}

impl Watch {
    fn end(&self) {
        if let Some(registration) = self.registration.take() {
            drop(self.hub.reactor.deregister(&registration));
        }
        self.waiters.wake();
    }

    /// Ask the kernel, and remember how it ended if it has.
    fn runs(&self) -> bool {
        match self.child.reap() {
            Ok(None) => return true,
            Ok(ending) => self.ended.set(ending),
            Err(_) => self.lost.set(Some(Lost::Reaped)),
        }
        false
    }

    fn has_ended(&self) -> bool {
        self.ended.get().is_some() || self.lost.get() == Some(Lost::Reaped)
    }

    fn poll(&self) -> Poll<io::Result<ExitStatus>> {
        if let Some(ending) = self.ended.get() {
            return Poll::Ready(Ok(status(ending)));
        }
        if let Some(lost) = self.lost.get() {
            return Poll::Ready(Err(lost.told()));
        }
        Poll::Pending
    }
}

impl Source for Watch {
    fn ready(self: Rc<Self>, _: Readiness) {
        if !self.runs() {
            self.end();
        }
    }

    /// It may have ended without the loop having had a turn to hear of it.
    fn abandon(&self) {
        self.registration.replace(None);
        if self.runs() {
            self.lost.set(Some(Lost::Abandoned));
            orphans::leave(&self.child);
        }
        self.waiters.wake();
    }
}

impl Lost {
    fn told(self) -> io::Error {
        io::Error::other(match self {
            Self::Reaped => "how the process ended is not known: somebody else has waited for it",
            Self::Abandoned => "how the process ends will not be known: its loop has ended",
        })
    }
}

/// As wait(2) puts it: the exit status in the second byte, or a signal in the first.
fn status(ending: Ending) -> ExitStatus {
    ExitStatus::from_raw(match ending {
        Ending::Code(code) => (code & 0xff) << 8,
        Ending::Signal(number) => number,
    })
}

impl Process {
    /// The process's number.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let program = velodrome::create_subprocess(&mut Command::new("true"))?;
    /// println!("started as {}", program.id());
    /// # program.wait().await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, or none if it runs as far as the loop has heard: [`wait`](Self::wait), without waiting.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let program = velodrome::create_subprocess(&mut Command::new("true"))?;
    /// assert_eq!(program.try_wait()?, None, "the loop has had no turn to hear of it");
    /// program.wait().await?;
    /// assert!(program.try_wait()?.unwrap().success());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        match self.watch.poll() {
            Poll::Ready(ended) => ended.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Wait until the program has ended. A program that waits for its input ends only when [`stdin`](Self::stdin)
    /// has.
    ///
    /// **Cancel safety**: may be dropped at any time, and asked for again.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let program = velodrome::create_subprocess(&mut Command::new("false"))?;
    /// assert_eq!(program.wait().await?.code(), Some(1));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If somebody else has reaped it, or its loop has ended.
    pub async fn wait(&self) -> io::Result<ExitStatus> {
        self.watch.waiters.until(|| self.watch.poll()).await
    }

    /// Write `input` and close, read all that comes, and wait for the end of it: asyncio's `communicate`. What was not piped
    /// is empty. A program that ends without having read everything is no error, nor is one that somebody else has reaped:
    /// only [`wait`](Self::wait) has nothing to tell then.
    ///
    /// **Cancel safety**: dropping it closes the pipes, and loses what was read. The program goes on.
    ///
    /// ```
    /// # use std::process::{Command, Stdio};
    /// # velodrome::run(async {
    /// let mut sort = velodrome::create_subprocess(Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    /// let (output, _) = sort.communicate(b"b\na\n").await?;
    /// assert_eq!(output, b"a\nb\n");
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// What befell a pipe; if its loop has ended.
    pub async fn communicate(&mut self, input: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (stdin, stdout, stderr) = (self.stdin.take(), self.stdout.take(), self.stderr.take());
        let outputs = both(collect(stdout), collect(stderr));
        let ((), (output, errors)) = both(feed(stdin, input), outputs).await;
        match self.wait().await {
            Err(error) if self.watch.lost.get() != Some(Lost::Reaped) => Err(error),
            _ => Ok((output?, errors?)),
        }
    }

    /// Send the signal `number`. It reaches this process or nobody, also when its number is another's by now.
    ///
    /// ```
    /// # use std::process::Command;
    /// # use std::os::unix::process::ExitStatusExt;
    /// # velodrome::run(async {
    /// let sleep = velodrome::create_subprocess(Command::new("sleep").arg("1000"))?;
    /// sleep.terminate()?;
    /// assert_eq!(sleep.wait().await?.signal(), Some(velodrome::signals::SIGTERM));
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for what is no signal; if the process has ended.
    pub fn send_signal(&self, number: i32) -> io::Result<()> {
        let sent = self.watch.child.send_signal(number);
        sent.map_err(|error| advice::not_signalled(number, self.id, self.watch.has_ended(), error))
    }

    /// Ask the program to end: `SIGTERM`.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let sleep = velodrome::create_subprocess(Command::new("sleep").arg("1000"))?;
    /// sleep.terminate()?;
    /// assert!(!sleep.wait().await?.success());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the process has ended.
    pub fn terminate(&self) -> io::Result<()> {
        self.send_signal(SIGTERM)
    }

    /// End the program: `SIGKILL`.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let sleep = velodrome::create_subprocess(Command::new("sleep").arg("1000"))?;
    /// sleep.kill()?;
    /// assert!(!sleep.wait().await?.success());
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the process has ended.
    pub fn kill(&self) -> io::Result<()> {
        self.send_signal(SIGKILL)
    }

    /// Whether the program is killed when this is dropped.
    ///
    /// ```
    /// # use std::process::Command;
    /// # velodrome::run(async {
    /// let sleep = velodrome::create_subprocess(Command::new("sleep").arg("1000"))?;
    /// sleep.kill_on_drop(true);
    /// drop(sleep);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kill_on_drop(&self, on: bool) {
        self.kill_on_drop.set(on);
    }
}

async fn feed(stdin: Option<StreamWriter>, input: &[u8]) {
    if let Some(stdin) = stdin {
        stdin.write(input);
        // One that reads no more does not care to be told the rest.
        let _ = stdin.flush().await;
    }
}

async fn collect(stream: Option<StreamReader>) -> io::Result<Vec<u8>> {
    match stream {
        Some(mut stream) => stream.read_to_end().await,
        None => Ok(Vec::new()),
    }
}

async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(cx)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop.get() && !self.watch.has_ended() {
            let _ = self.kill();
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id)
            .field("ended", &self.watch.ended.get().map(status))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::process::Stdio;

    use super::*;

    struct Deaf;

    impl Source for Deaf {
        fn ready(self: Rc<Self>, _: Readiness) {}

        fn abandon(&self) {}
    }

    #[test]
    fn a_program_whose_pipe_cannot_be_watched_is_left_to_nobody() {
        let test = async {
            let local = local::require("the test").unwrap();
            let mut command = Command::new("sleep");
            let child = command.arg("1000").stdout(Stdio::piped()).spawn().unwrap();
            let (pipe, pid) = (child.stdout.as_ref().unwrap().as_raw_fd(), child.id());
            let first = local.hub().reactor.register(pipe, Rc::new(Deaf), Interest::READ).unwrap();
            assert_eq!(adopt(&local, child).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
            drop(local.hub().reactor.deregister(&first));
        };
        crate::run(test).unwrap();
    }
}
