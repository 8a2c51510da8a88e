//! Errors that say what they are of, and what to do about it, in one place.
//!
//! The kind is always the kernel's, because that is what programs match on. Its own error, with the number, is the
//! [`source`](std::error::Error::source) of the one that is told: an `io::Error` cannot have both a text and a number.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::process::Command;

/// What the kernel said, in the sentence that a person needs.
struct Told {
    text: String,
    cause: io::Error,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What `main` shows when it returns the error: the sentence, not how it is kept.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::error::Error for Told {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// That `what` did not work, because of `cause`.
pub(crate) fn cannot(what: impl fmt::Display, cause: io::Error) -> io::Error {
    let text = format!("cannot {what}: {cause}");
    io::Error::new(cause.kind(), Told { text, cause })
}

/// That `what` worked for none of several addresses. The last error stands for all: its kind, and itself as the source.
pub(crate) fn cannot_any(what: &str, mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let each = failures.iter().map(|(address, error)| format!("{address} ({error})"));
    let text = format!("cannot {what} {}", each.collect::<Vec<_>>().join(", "));
    match failures.pop() {
        Some((_, cause)) => io::Error::new(cause.kind(), Told { text, cause }),
        None => io::Error::new(io::ErrorKind::NotFound, format!("cannot {what} no address")),
    }
}

/// The same, with what helps.
fn cannot_but(what: impl fmt::Display, cause: io::Error, advice: &str) -> io::Error {
    let text = format!("cannot {what}: {cause}; {advice}");
    io::Error::new(cause.kind(), Told { text, cause })
}

/// Why the loop does not watch a descriptor.
pub(crate) fn unwatched(fd: RawFd, cause: io::Error) -> io::Error {
    let what = format!("watch descriptor {fd}");
    match cause.kind() {
        io::ErrorKind::PermissionDenied => cannot_but(
            what,
            cause,
            "the kernel waits for no regular file or directory, which are always ready: \
             read and write it on a thread, by spawn_blocking",
        ),
        io::ErrorKind::AlreadyExists => cannot_but(
            what,
            cause,
            "this loop watches it already: share that, or watch a duplicate, which try_clone makes",
        ),
        _ => cannot(what, cause),
    }
}

/// Why a name leads to no address; `what` says which.
pub(crate) fn unknown(what: impl fmt::Display, cause: io::Error) -> io::Error {
    match cause.kind() {
        io::ErrorKind::NotFound => cannot_but(
            what,
            cause,
            "is it spelt right? /etc/hosts and the name servers of /etc/resolv.conf are asked",
        ),
        _ => cannot(what, cause),
    }
}

/// Why a socket does not become a pair of streams, or a transport.
pub(crate) fn no_stream(cause: io::Error) -> io::Error {
    cannot_but(
        "open the socket",
        cause,
        "it must be a stream socket that is connected; create_datagram_endpoint_on takes datagram sockets, and \
         ListenOptions those that listen",
    )
}

/// Why a socket does not become a server.
pub(crate) fn no_listener(cause: io::Error) -> io::Error {
    cannot_but(
        "listen on the socket",
        cause,
        "it must be a stream socket that is bound; open_socket and create_connection_on take those that are connected",
    )
}

/// Why a socket does not become an endpoint of datagrams.
pub(crate) fn no_endpoint(cause: io::Error) -> io::Error {
    cannot_but(
        "open the socket",
        cause,
        "it must be a datagram socket, with a protocol for its addresses: PathBuf for a Unix socket, else SocketAddr; \
         open_socket and create_connection_on take stream sockets",
    )
}

/// Why a program was not started.
pub(crate) fn not_started(command: &Command, cause: io::Error) -> io::Error {
    let mut what = format!("start {:?}", command.get_program());
    if let Some(directory) = command.get_current_dir() {
        what.push_str(&format!(" in {}", directory.display()));
    }
    match cause.kind() {
        io::ErrorKind::NotFound if command.get_current_dir().is_some() => cannot_but(
            what,
            cause,
            "one of the two does not exist; a name without a slash is looked for on PATH",
        ),
        io::ErrorKind::NotFound => {
            cannot_but(what, cause, "is it installed? A name without a slash is looked for on PATH")
        }
        io::ErrorKind::PermissionDenied => {
            cannot_but(what, cause, "is it a program that this user may execute (chmod +x)?")
        }
        _ => cannot(what, cause),
    }
}

/// Why a program that was started is not waited for, and was ended again.
pub(crate) fn not_attended(program: u32, cause: io::Error) -> io::Error {
    let what = format!("wait for process {program}");
    match cause.kind() {
        io::ErrorKind::Unsupported => {
            cannot_but(what, cause, "that takes pidfds: Linux 5.4, and a sandbox that allows them")
        }
        _ => cannot(what, cause),
    }
}

/// Why a signal did not reach a program.
pub(crate) fn not_signalled(number: i32, program: u32, ended: bool, cause: io::Error) -> io::Error {
    let what = format!("send signal {number} to process {program}");
    match cause.kind() {
        io::ErrorKind::InvalidInput => cannot_but(what, cause, "the numbers are those of velodrome::signals"),
        _ if ended => cannot_but(what, cause, "it has ended: try_wait tells before"),
        _ => cannot(what, cause),
    }
}

/// Why a signal is not listened for.
pub(crate) fn deaf_to(number: i32, cause: io::Error) -> io::Error {
    let what = format!("listen for signal {number}");
    match cause.kind() {
        io::ErrorKind::InvalidInput => cannot_but(
            what,
            cause,
            "there is no such signal, or none that can be caught: KILL and STOP are the kernel's, \
             SEGV, FPE, ILL and BUS what the program did itself",
        ),
        io::ErrorKind::StorageFull => cannot_but(
            what,
            cause,
            "this process listens as often as it can: keep one `Signal` for each, and drop those not needed",
        ),
        _ => cannot(what, cause),
    }
}

/// Something is asked of a connection that is over.
pub(crate) fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the connection is closed, and its socket with it: ask while it is open, which is_closing tells",
    )
}

/// Somebody waits for a connection that is over, or writes to it.
pub(crate) fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection is closed")
}

/// What should not come to pass, whatever a program, a peer or the kernel does.
pub(crate) fn unforeseen(kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("{what}, which is a mistake of velodrome's: please report it"))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// ENOSYS as Linux counts; its kind is the same everywhere.
    fn unsupported() -> io::Error {
        io::ErrorKind::Unsupported.into()
    }

    #[test]
    fn what_the_kernel_said_is_kept() {
        let error = cannot("do it", io::Error::from_raw_os_error(1));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(1));
        assert!(format!("{error:?}").contains("\"cannot do it: "), "{error:?}");
    }

    #[test]
    fn a_kernel_without_pidfds_is_named() {
        let error = not_attended(7, unsupported());
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("Linux 5.4"), "{error}");
    }
}
