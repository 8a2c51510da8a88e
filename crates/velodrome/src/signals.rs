//! Signals, as something to await: `loop.add_signal_handler`, Rust's way. The numbers are constants, as this platform counts.
//!
//! ```
//! use velodrome::signals::{SIGTERM, signal};
//!
//! /// Serves until somebody asks the program to end.
//! async fn serve(server: velodrome::Server) -> std::io::Result<()> {
//!     signal(SIGTERM)?.recv().await?;
//!     server.close();
//!     server.wait_closed().await;
//!     Ok(())
//! }
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

pub use velodrome_engine::sys::signals::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use velodrome_engine::sys::signals::{SIGKILL as KILL, SignalBell};

use crate::advice;
use crate::descriptor::AsyncFd;

/// `SIGKILL`, which can be sent and not be caught.
///
/// ```
/// # use std::process::Command;
/// # velodrome::run(async {
/// let sleep = velodrome::create_subprocess(Command::new("sleep").arg("1000"))?;
/// sleep.send_signal(velodrome::signals::SIGKILL)?;
/// # sleep.wait().await?;
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub const SIGKILL: i32 = KILL;

/// Listens for one signal from now on: what [`signal`] returns. Dropped, the signal does what it did before, unless
/// others listen.
///
/// ```
/// use velodrome::signals::{SIGUSR1, signal};
///
/// # velodrome::run(async {
/// let mut usr1 = signal(SIGUSR1)?;
/// # std::process::Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status()?;
/// usr1.recv().await?;
/// # std::io::Result::Ok(()) })??;
/// # std::io::Result::Ok(())
/// ```
pub struct Signal {
    bell: AsyncFd<Bell>,
    number: i32,
}

/// The engine's bell, as a descriptor.
struct Bell(SignalBell);

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Listen for the signal `number`, which does nothing else meanwhile: `loop.add_signal_handler`.
///
/// Each of several listeners hears of it, in any loop of the process. Signals that come faster than they are awaited are
/// one, as everywhere.
///
/// ```
/// use velodrome::signals::{SIGHUP, signal};
/// # use std::process::Command;
///
/// velodrome::run(async {
///     let mut hangup = signal(SIGHUP)?;
/// #   Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status()?;
///     hangup.recv().await?;
///     println!("reading the configuration again");
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `InvalidInput` for what is no signal or cannot be caught; `StorageFull` if 256 listen in this process already. If no loop runs on this thread.
pub fn signal(number: i32) -> io::Result<Signal> {
    let bell = SignalBell::new(number).map_err(|error| advice::deaf_to(number, error))?;
    Ok(Signal { bell: AsyncFd::new(Bell(bell))?, number })
}

/// Wait until somebody presses Ctrl-C (SIGINT), which ends the program no more while this is awaited.
///
/// **Cancel safety**: may be dropped at any time; the signal does what it did before then.
///
/// ```no_run
/// # async fn echo(_: velodrome::StreamReader, _: velodrome::StreamWriter) {}
/// velodrome::run(async {
///     let server = velodrome::start_server(echo, "127.0.0.1", 8888).await?;
///     velodrome::signals::ctrl_c().await?;
///     server.close();
///     server.wait_closed().await;
///     std::io::Result::Ok(())
/// })??;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// If no loop runs on this thread.
pub async fn ctrl_c() -> io::Result<()> {
    signal(SIGINT)?.recv().await
}

impl Signal {
    /// Wait until the signal comes, or has come since this was last awaited.
    ///
    /// **Cancel safety**: may be dropped at any time; a signal that has come is told by the next.
    ///
    /// ```
    /// use velodrome::signals::{SIGUSR2, signal};
    ///
    /// # velodrome::run(async {
    /// let mut usr2 = signal(SIGUSR2)?;
    /// # std::process::Command::new("kill").args(["-USR2", &std::process::id().to_string()]).status()?;
    /// usr2.recv().await?;
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If the loop has ended.
    pub async fn recv(&mut self) -> io::Result<()> {
        while !self.bell.get_ref().0.silence() {
            self.bell.readable().await?;
        }
        Ok(())
    }

    /// The signal's number.
    ///
    /// ```
    /// use velodrome::signals::{SIGWINCH, signal};
    ///
    /// # velodrome::run(async {
    /// assert_eq!(signal(SIGWINCH)?.number(), SIGWINCH);
    /// # std::io::Result::Ok(()) })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.number).finish()
    }
}
