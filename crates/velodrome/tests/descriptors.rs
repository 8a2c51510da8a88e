//! Descriptors of any kind, awaited; and files that go by a socket without coming by here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{kind, pair, really, settle};
use velodrome::sync::Queue;
use velodrome::{
    AsyncFd, Protocol, StreamReader, StreamWriter, Transport, create_connection, open_read_pipe,
    open_write_pipe, spawn, start_server, timeout,
};

fn ends() -> (AsyncFd<UnixStream>, UnixStream) {
    let (left, right) = UnixStream::pair().unwrap();
    left.set_nonblocking(true).unwrap();
    (AsyncFd::new(left).unwrap(), right)
}

const SOON: Duration = Duration::from_millis(20);

#[test]
fn what_is_there_is_told_until_it_is_read() {
    really(async {
        let (ours, mut theirs) = ends();
        assert!(timeout(SOON, ours.readable()).await.is_err());
        theirs.write_all(b"ab").unwrap();
        for _ in 0..3 {
            ours.readable().await.unwrap();
        }
        for expected in [b'a', b'b'] {
            let mut byte = [0];
            let ready = ours.readable().await.unwrap();
            assert_eq!(ready.try_io(|mut ours| ours.read(&mut byte)).unwrap().unwrap(), 1);
            assert_eq!(byte[0], expected);
        }
        assert!(timeout(SOON, ours.readable()).await.is_err());
    });
}

#[test]
fn a_ready_that_was_none_waits_again() {
    really(async {
        let (ours, mut theirs) = ends();
        theirs.write_all(b"x").unwrap();
        let ready = ours.readable().await.unwrap();
        assert_eq!(ours.get_ref().read(&mut [0; 8]).unwrap(), 1);
        assert!(ready.try_io(|mut ours| ours.read(&mut [0; 8])).is_none());
        let mut buffer = [0; 8];
        let reading = ours.read_with(|mut ours| ours.read(&mut buffer));
        theirs.write_all(b"more").unwrap();
        assert_eq!(reading.await.unwrap(), 4);
    });
}

#[test]
fn room_to_write_is_waited_for() {
    really(async {
        let (ours, mut theirs) = ends();
        let ours = Rc::new(ours);
        while ours.get_ref().write(&[0; 4096]).is_ok() {}
        let (writing, done) = (Rc::clone(&ours), Rc::new(Cell::new(false)));
        let said = Rc::clone(&done);
        let task = spawn(async move {
            writing.write_with(|mut ours| ours.write(b"x")).await.unwrap();
            said.set(true);
        });
        settle().await;
        assert!(!done.get());
        let mut rest = vec![0; 1 << 20];
        let _ = theirs.read(&mut rest).unwrap();
        task.await.unwrap();
    });
}

#[test]
fn both_directions_at_a_time() {
    really(async {
        let (ours, mut theirs) = ends();
        let ours = Rc::new(ours);
        while ours.get_ref().write(&[0; 4096]).is_ok() {}
        let (one, other) = (Rc::clone(&ours), Rc::clone(&ours));
        let reads = spawn(async move { one.readable().await.map(drop) });
        let writes = spawn(async move { other.writable().await.map(drop) });
        settle().await;
        assert!(!reads.is_finished() && !writes.is_finished());
        theirs.write_all(b"x").unwrap();
        reads.await.unwrap().unwrap();
        assert!(!writes.is_finished());
        drop(theirs);
        writes.await.unwrap().unwrap();
    });
}

#[test]
fn a_descriptor_is_watched_once_and_comes_back_whole() {
    really(async {
        let (ours, mut theirs) = ends();
        assert_eq!(kind(AsyncFd::new(ours.get_ref())), Some(io::ErrorKind::AlreadyExists));
        let mut plain = ours.into_inner();
        theirs.write_all(b"x").unwrap();
        assert_eq!(plain.read(&mut [0; 8]).unwrap(), 1);
        let again = AsyncFd::new(plain).unwrap();
        drop(theirs);
        assert_eq!(again.read_with(|mut ours| ours.read(&mut [0; 8])).await.unwrap(), 0);
    });
}

#[test]
fn a_regular_file_cannot_be_waited_for() {
    really(async {
        let file = AsyncFd::new(File::open("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(kind(file.readable().await), Some(io::ErrorKind::PermissionDenied));
    });
}

#[test]
fn who_waits_when_the_loop_ends_is_told() {
    let fd = really(async { ends().0 });
    let outside = velodrome::run(async move { kind(fd.readable().await) }).unwrap();
    assert_eq!(outside, Some(io::ErrorKind::Other));
    assert_eq!(kind(AsyncFd::new(io::stdin())), Some(io::ErrorKind::Other), "and without one there is none");
}

/// A terminal, and the end that a person sits at.
fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let not_ours = OpenptFlags::NOCTTY.bits().cast_signed();
    let mut options = File::options();
    let terminal = options.read(true).write(true).custom_flags(not_ours).open(name.to_str().unwrap());
    (terminal.unwrap(), person.into())
}

/// What has appeared on the screen, up to `last`.
fn seen(mut person: &File, last: &str) -> String {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.ends_with(last.as_bytes()) {
        let count = person.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn a_terminal_is_written_while_somebody_types() {
    really(async {
        let (terminal, mut person) = terminal();
        let mut reader = open_read_pipe(terminal.try_clone().unwrap()).unwrap();
        let writer = open_write_pipe(terminal).unwrap();
        settle().await;
        person.write_all(b"typed\n").unwrap();
        assert_eq!(reader.readline().await.unwrap(), b"typed\n");
        person.write_all(b"ahead\n").unwrap();
        settle().await;
        assert!(!writer.is_closing());
        writer.write("answer\n");
        writer.drain().await.unwrap();
        assert!(seen(&person, "answer\r\n").starts_with("typed\r\n"));
        assert_eq!(reader.readline().await.unwrap(), b"ahead\n");
    });
}

#[test]
fn more_than_a_terminal_takes_at_once_is_written_as_it_is_read() {
    really(async {
        let (terminal, person) = terminal();
        let writer = open_write_pipe(terminal).unwrap();
        writer.write("x".repeat(200_000));
        assert!(writer.buffered() > 0);
        let reading = velodrome::spawn_blocking(move || seen(&person, "xend\r\n").len());
        writer.write("end\n");
        writer.flush().await.unwrap();
        assert_eq!(reading.await.unwrap(), 200_005);
    });
}

#[test]
fn a_device_that_takes_everything_need_not_be_waited_for() {
    really(async {
        let writer = open_write_pipe(File::options().write(true).open("/dev/null").unwrap()).unwrap();
        writer.write("nothing");
        writer.close();
        writer.wait_closed().await.unwrap();
    });
}

/// A file of that content, which has no name any more.
fn file(name: &str, content: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("velodrome-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

#[test]
fn a_file_follows_what_was_written_before() {
    really(async {
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        let file = file("sendfile", b"0123456789");
        writer.write("head ");
        assert_eq!(writer.sendfile(&file, 0, None).await.unwrap(), 10);
        assert_eq!(writer.sendfile(&file, 4, Some(2)).await.unwrap(), 2);
        assert_eq!(writer.sendfile(&file, 8, Some(9)).await.unwrap(), 2);
        assert_eq!(writer.sendfile(&file, 99, None).await.unwrap(), 0);
        writer.write(" tail");
        writer.close();
        assert_eq!(their_reader.read_to_end().await.unwrap(), b"head 01234567894589 tail");
    });
}

#[test]
fn a_file_larger_than_any_socket_buffer_waits_for_the_peer() {
    really(async {
        let content: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        let file = file("large", &content);
        let sending = spawn(async move { writer.sendfile(&file, 0, None).await });
        settle().await;
        assert!(!sending.is_finished());
        assert!(their_reader.read_to_end().await.unwrap() == content);
        assert_eq!(sending.await.unwrap().unwrap(), 8_000_000);
    });
}

#[test]
fn a_file_to_nobody_is_an_error() {
    really(async {
        let ((_reader, writer), theirs) = pair();
        drop(theirs);
        settle().await;
        let file = file("nobody", &[0; 100_000]);
        assert!(writer.sendfile(&file, 0, None).await.is_err());
    });
}

/// Keeps what arrives.
#[derive(Default)]
struct Collect(Rc<RefCell<Vec<u8>>>);

impl Protocol for Collect {
    fn data_received(&mut self, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

/// A transport, and the reader at its other end with its writer. The kernel keeps little for that: of itself it takes up
/// to 32 MB, when it finds that somebody reads fast.
async fn transport() -> (Transport, (StreamReader, StreamWriter)) {
    let accepted = Rc::new(Queue::new(0));
    let keep = Rc::clone(&accepted);
    let accept = move |reader, writer| {
        keep.put_nowait((reader, writer)).unwrap();
        async {}
    };
    let server = start_server(accept, "127.0.0.1", 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let (transport, _) = create_connection(Collect::default, "127.0.0.1", port).await.unwrap();
    let (reader, writer): (_, StreamWriter) = accepted.get().await.unwrap();
    set_socket_recv_buffer_size(writer.duplicate_fd().unwrap(), 1 << 18).unwrap();
    (transport, (reader, writer))
}

#[test]
fn a_file_goes_by_a_transport_as_by_a_writer() {
    really(async {
        let (transport, (mut reader, _writer)) = transport().await;
        let content: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
        let file = file("transport", &content);
        // More than leaves at once, so that the file has to wait for it.
        transport.write(&content);
        assert!(transport.write_buffer_size() > 0);
        let sends = transport.clone();
        let sending = spawn(async move {
            let all = sends.sendfile(&file, 0, None).await?;
            Ok::<_, io::Error>((all, sends.sendfile(&file, 4, Some(2)).await?))
        });
        assert!(reader.readexactly(content.len()).await.unwrap() == content);
        settle().await;
        assert!(!sending.is_finished(), "nobody has read it");
        assert!(reader.readexactly(content.len()).await.unwrap() == content);
        assert_eq!(reader.readexactly(2).await.unwrap(), content[4..6]);
        assert_eq!(sending.await.unwrap().unwrap(), (8_000_000, 2));
        transport.write("tail");
        assert_eq!(reader.readexactly(4).await.unwrap(), b"tail");
    });
}

#[test]
fn a_file_by_a_transport_that_is_over_is_an_error() {
    really(async {
        let (transport, _theirs) = transport().await;
        let file = file("over", b"nothing");
        transport.write(vec![0; 10_000_000]);
        let sends = transport.clone();
        let sending = spawn(async move { (sends.sendfile(&file, 0, None).await, file) });
        settle().await;
        transport.abort();
        let (sent, file) = sending.await.unwrap();
        assert_eq!(kind(sent), Some(io::ErrorKind::ConnectionReset), "it waited for what was written");
        assert_eq!(kind(transport.sendfile(&file, 0, None).await), Some(io::ErrorKind::ConnectionReset));
    });
}

/// More than any socket's buffer, and far more than is sent when the peer does not read.
const LARGE: usize = 8_000_000;

#[test]
fn a_file_ends_with_its_connection_also_when_the_peer_stalls() {
    really(async {
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        let (writer, file) = (Rc::new(writer), file("stalled", &vec![0; LARGE]));
        let sends = Rc::clone(&writer);
        let sending = spawn(async move { sends.sendfile(&file, 0, None).await });
        settle().await;
        writer.abort();
        let sent = timeout(Duration::from_secs(5), sending).await.expect("the task stays").unwrap();
        assert_eq!(kind(sent), Some(io::ErrorKind::ConnectionReset));
        let got = their_reader.read_to_end().await.unwrap();
        assert!(got.len() < LARGE, "and the socket is closed, with no more of the file sent");
    });
}

#[test]
fn several_files_end_with_their_connection() {
    really(async {
        let ((_reader, writer), _peer) = pair();
        let writer = Rc::new(writer);
        let sending = [0, 1, 2].map(|n| {
            let (sends, file) = (Rc::clone(&writer), file(&format!("several-{n}"), &vec![0; LARGE]));
            spawn(async move { sends.sendfile(&file, 0, None).await })
        });
        settle().await;
        writer.abort();
        for task in sending {
            let sent = timeout(Duration::from_secs(5), task).await.expect("each is told").unwrap();
            assert_eq!(kind(sent), Some(io::ErrorKind::ConnectionReset));
        }
    });
}

#[test]
fn a_file_ends_with_its_connection_also_when_the_peer_reads() {
    really(async {
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        let (writer, file) = (Rc::new(writer), file("closed", &vec![0; LARGE]));
        let sends = Rc::clone(&writer);
        let sending = spawn(async move { sends.sendfile(&file, 0, None).await });
        settle().await;
        writer.close();
        let got = their_reader.read_to_end().await.unwrap();
        assert!(got.len() < LARGE, "{} bytes", got.len());
        assert_eq!(kind(sending.await.unwrap()), Some(io::ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_file_by_a_transport_ends_with_its_connection() {
    really(async {
        let (transport, (mut reader, _writer)) = transport().await;
        let file = file("hung", &vec![0; LARGE]);
        let sends = transport.clone();
        let sending = spawn(async move { sends.sendfile(&file, 0, None).await });
        settle().await;
        transport.abort();
        let sent = timeout(Duration::from_secs(5), sending).await.expect("the task stays").unwrap();
        assert_eq!(kind(sent), Some(io::ErrorKind::ConnectionReset));
        assert!(reader.read_to_end().await.unwrap().len() < LARGE);
    });
}

#[test]
fn readiness_is_polled_for() {
    use std::future::poll_fn;
    really(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = AsyncFd::new(ours).unwrap();
        assert!(ours.get_mut().write(b"room").is_ok());
        poll_fn(|cx| ours.poll_write_ready(cx).map_ok(drop)).await.unwrap();
        let mut polls = 0;
        let (mut theirs, mut sent) = (&theirs, false);
        let count = poll_fn(|cx| {
            polls += 1;
            let Poll::Ready(ready) = ours.poll_read_ready(cx) else {
                if !std::mem::replace(&mut sent, true) {
                    theirs.write_all(b"hello").unwrap();
                }
                return Poll::Pending;
            };
            Poll::Ready(ready.unwrap().try_io(|mut ours| ours.read(&mut [0; 16])).unwrap())
        });
        assert_eq!((count.await.unwrap(), polls), (5, 2));
        // What has come is not told of again, though it was ready once.
        assert!(poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_pending())).await);
        settle().await;
        assert!(poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_pending())).await);
        theirs.write_all(b"more").unwrap();
        settle().await;
        assert!(poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_ready())).await);
    });
}
