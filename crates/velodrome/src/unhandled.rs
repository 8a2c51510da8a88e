//! Errors that nobody awaits: where they go, so that they are never lost without a word.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

/// An error that has no caller to be returned to, as that of a server's connection; see
/// [`Builder::on_error`](crate::Builder::on_error).
///
/// ```
/// use std::{cell::RefCell, io, rc::Rc};
///
/// let seen = Rc::new(RefCell::new(Vec::new()));
/// let log = Rc::clone(&seen);
/// let runtime = velodrome::Builder::new().on_error(move |error| log.borrow_mut().push(error.to_string())).build()?;
///
/// runtime.block_on(async {
///     let fails = |_, _| async { Err::<(), _>("no thanks") };
///     let server = velodrome::start_server(fails, "127.0.0.1", 0).await?;
///     let (mut reader, _writer) = velodrome::open_connection("127.0.0.1", server.local_addr()?.port()).await?;
///     assert_eq!(reader.read(1).await?, b"");
///     io::Result::Ok(())
/// })??;
/// assert!(seen.borrow()[0].ends_with(": no thanks"));
/// # io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Unhandled {
    doing: String,
    error: Box<dyn Error>,
}

impl Unhandled {
    pub(crate) fn new(doing: impl Into<String>, error: impl Into<Box<dyn Error>>) -> Self {
        Self { doing: doing.into(), error: error.into() }
    }

    /// What was being done.
    ///
    /// ```
    /// let runtime = velodrome::Builder::new().on_error(|error| println!("{}", error.doing())).build()?;
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// What befell it, to be looked into.
    ///
    /// ```
    /// use std::io;
    /// use velodrome::Builder;
    ///
    /// // Clients that vanish are no news.
    /// let vanished = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    /// let builder = Builder::new().on_error(move |unhandled| {
    ///     if !unhandled.error().downcast_ref().is_some_and(vanished) {
    ///         eprintln!("{unhandled}");
    ///     }
    /// });
    /// # builder.build()?;
    /// # io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn error(&self) -> &(dyn Error + 'static) {
        &*self.error
    }
}

impl fmt::Display for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.error)
    }
}

impl Error for Unhandled {
    /// What is behind the [error](Self::error), whose own text this one's has told.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Who is told.
pub(crate) type OnError = Rc<dyn Fn(&Unhandled)>;

/// What asyncio does where nobody asked for something else: a line on the standard error stream.
pub(crate) fn to_stderr() -> OnError {
    // Not `eprintln!`, which panics where nobody can be told: a full disk, or a reader that has gone.
    Rc::new(|error| drop(writeln!(io::stderr(), "velodrome: {error}")))
}
