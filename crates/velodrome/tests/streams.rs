//! Readers and writers, over pairs of sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::{half, kind, pair, quietly, really, scripted, settle};
use velodrome::{NoSeparator, Overrun, ReadError, StreamReader, open_socket, spawn, timeout, yield_now};

/// More than a socket's buffers take, so that some of it stays with the writer.
const MUCH: usize = 4 * 1024 * 1024;

/// Bytes that show where a piece is missing, doubled or misplaced.
fn much() -> Vec<u8> {
    (0..MUCH).map(|n| (n % 251) as u8).collect()
}

/// A reader of what was written by a peer that has left.
async fn reader_of(bytes: &[u8]) -> StreamReader {
    let ((reader, writer), (_, theirs)) = pair();
    theirs.write(bytes);
    drop(theirs);
    // Were it dropped, so would the connection be; a task keeps it until the loop ends.
    drop(spawn(async move {
        let _writer = writer;
        std::future::pending::<()>().await;
    }));
    reader
}

#[test]
fn read_gives_what_there_is() {
    really(async {
        let mut reader = reader_of(b"hello").await;
        assert!(!reader.at_eof());
        assert_eq!(reader.read(0).await.unwrap(), b"");
        assert_eq!(reader.read(2).await.unwrap(), b"he");
        assert_eq!(reader.read(100).await.unwrap(), b"llo");
        assert_eq!(reader.read(100).await.unwrap(), b"");
        assert!(reader.at_eof());
    });
}

#[test]
fn read_waits_only_for_the_first_byte() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        let reading = spawn(async move { reader.read(100).await });
        settle().await;
        assert!(!reading.is_finished());
        writer.write("x");
        assert_eq!(reading.await.unwrap().unwrap(), b"x");
    });
}

#[test]
fn readexactly_is_all_or_an_incomplete_end() {
    really(async {
        let mut reader = reader_of(b"abcdef").await;
        assert_eq!(reader.readexactly(4).await.unwrap(), b"abcd");
        assert_eq!(reader.readexactly(0).await.unwrap(), b"");
        let error = reader.readexactly(4).await.unwrap_err();
        assert_eq!(error.to_string(), "the stream ended after 2 bytes of 4");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let inner = error.into_inner().unwrap().downcast::<ReadError>().unwrap();
        assert!(matches!(*inner, ReadError::Incomplete { partial, expected: Some(4) } if partial == b"ef"));
        assert!(reader.at_eof());
    });
}

#[test]
fn who_wants_nothing_does_not_wait() {
    really(async {
        let ((mut reader, _w), (_r, _writer)) = pair();
        let nothing = async { [reader.read(0).await.unwrap(), reader.readexactly(0).await.unwrap()] };
        assert_eq!(timeout(Duration::from_secs(20), nothing).await.unwrap(), [b"", b""]);
    });
}

#[test]
fn readexactly_may_be_far_above_the_limit() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        reader.set_limit(100);
        writer.write(much());
        assert!(reader.readexactly(MUCH).await.unwrap() == much());
    });
}

#[test]
fn readuntil_leaves_what_is_too_long() {
    really(async {
        let mut reader = reader_of(b"123456\r\n12\r\nrest").await;
        reader.set_limit(5);
        let error = reader.readuntil(b"\r\n").await.unwrap_err();
        let too_long = |error| {
            matches!(error, ReadError::LimitOverrun { consumed: 6, overrun: Overrun::SeparatorFound })
        };
        assert!(too_long(error));
        assert_eq!(reader.readexactly(8).await.unwrap(), b"123456\r\n");
        assert_eq!(reader.readuntil(b"\r\n").await.unwrap(), b"12\r\n");
        let error = reader.readuntil(b"\r\n").await.unwrap_err();
        assert!(matches!(error, ReadError::Incomplete { partial, expected: None } if partial == b"rest"));
    });
}

#[test]
fn readuntil_any_ends_at_what_ends_first() {
    really(async {
        let mut reader = reader_of(b"a--b-!c").await;
        let either: [&[u8]; 2] = [b"-!", b"--"];
        assert_eq!(reader.readuntil_any(&either).await.unwrap(), b"a--");
        assert_eq!(reader.readuntil_any(&either).await.unwrap(), b"b-!");
        let end = reader.readuntil_any(&either).await.unwrap_err();
        assert!(matches!(end, ReadError::Incomplete { partial, .. } if partial == b"c"));
        assert!(matches!(reader.readuntil_any(&[]).await, Err(ReadError::Separator(_))));
        assert!(matches!(reader.readuntil_any(&[b"", b"-"]).await, Err(ReadError::Separator(_))));
    });
}

#[test]
fn readuntil_finds_a_separator_that_comes_in_pieces() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        let reading = spawn(async move { reader.readuntil(b"--end--").await });
        for piece in ["body-", "-en", "d-", "-more"] {
            writer.write(piece);
            settle().await;
        }
        assert_eq!(reading.await.unwrap().unwrap(), b"body--end--");
    });
}

#[test]
fn a_separator_has_bytes() {
    really(async {
        let error = reader_of(b"").await.readuntil(b"").await.unwrap_err();
        assert!(matches!(error, ReadError::Separator(NoSeparator::Empty)));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn readline_drops_what_is_too_long_and_gives_the_rest_at_the_end() {
    really(async {
        let mut reader = reader_of(b"much too long\nshort\nlast").await;
        reader.set_limit(5);
        let error = io::Error::from(reader.readline().await.unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(reader.readline().await.unwrap(), b"short\n");
        assert_eq!(reader.readline().await.unwrap(), b"last");
        assert_eq!(reader.readline().await.unwrap(), b"");
    });
}

#[test]
fn readline_into_appends_whole_lines_and_nothing_else() {
    really(async {
        let mut reader = reader_of(b"much too long\nshort\nlast").await;
        reader.set_limit(5);
        let mut buffer = b"- ".to_vec();
        let error = reader.readline_into(&mut buffer).await.unwrap_err();
        assert!(matches!(error, ReadError::LimitOverrun { .. }));
        assert_eq!(buffer, b"- ");
        assert_eq!(reader.readline_into(&mut buffer).await.unwrap(), 6);
        assert_eq!(reader.readline_into(&mut buffer).await.unwrap(), 4);
        assert_eq!(reader.readline_into(&mut buffer).await.unwrap(), 0);
        assert_eq!(buffer, b"- short\nlast");
    });
}

/// The lines come while somebody waits, so the first is copied on its way, and the others are kept.
#[test]
fn lines_that_come_together_are_appended_one_by_one() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        let reading = spawn(async move {
            let (mut buffer, mut counts) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                counts.push(reader.readline_into(&mut buffer).await.unwrap());
            }
            (buffer, counts)
        });
        settle().await;
        writer.write("one\nthree\nfo");
        settle().await;
        writer.write("ur\n");
        assert_eq!(reading.await.unwrap(), (b"one\nthree\nfour\n".to_vec(), vec![4, 6, 5]));
    });
}

/// What lines come in, by which a reader reads them into one vector: `(bytes, lines in them)`, each when the ones before
/// were read. Gives how many receives that took.
fn receives(room: usize, arrivals: &[(&[u8], usize)]) -> Vec<usize> {
    let (runtime, hand, script) = scripted();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let fd = ours.as_raw_fd();
    let reading = async {
        let (mut reader, _writer) = open_socket(ours).unwrap();
        let (mut line, mut receives) = (Vec::with_capacity(room), Vec::new());
        for (bytes, lines) in arrivals {
            let mut came: Vec<u8> = Vec::new();
            // The reader waits when they come.
            script.feed_at(hand.now() + 1000, fd, bytes);
            for _ in 0..*lines {
                line.clear();
                reader.readline_into(&mut line).await.unwrap();
                came.extend(&line);
            }
            assert!(came == *bytes);
            receives.push(script.take_receives(fd));
        }
        receives
    };
    runtime.block_on(reading).unwrap()
}

#[test]
fn lines_that_come_together_are_received_together() {
    let (one, many) = (&b"line\n"[..], b"line\n".repeat(100));
    assert_eq!(receives(64, &[(one, 1), (one, 1), (one, 1)]), [1, 1, 1]);
    // After a line alone, room for one is filled first; then all come by one, and all that come afterwards do.
    assert_eq!(receives(64, &[(one, 1), (one, 1), (&many, 100), (&many, 100), (one, 1)]), [1, 1, 2, 1, 1]);
    // A vector that a line fills has lines behind it.
    assert_eq!(receives(5, &[(one, 1), (&many, 100), (&many, 100)]), [1, 2, 1]);
}

#[test]
fn a_line_for_which_there_was_no_room_comes_whole() {
    let (short, long) = (&b"line\n"[..], [vec![b'x'; 1000], vec![b'\n']].concat());
    assert_eq!(receives(16, &[(short, 1), (short, 1), (&long, 1), (&long, 1), (short, 1)]), [1, 1, 2, 1, 1]);
}

/// What is received straight into the vector, by way of the loop's buffer, or was kept, makes the same lines.
#[test]
fn lines_of_any_length_in_pieces_of_any_length_are_what_was_sent() {
    let (runtime, _, script) = scripted();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let fd = ours.as_raw_fd();
    let mut state = 1_u32;
    // The multiplier and the sum of Numerical Recipes.
    let mut below = |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) % most) as usize
    };
    let lines: Vec<Vec<u8>> =
        (0..2000).map(|n| [vec![n as u8 | 16; below(60)], vec![b'\n']].concat()).collect();
    // Most lines are a piece, some are cut in two, some come together with the next.
    let (mut piece, mut at) = (Vec::new(), 0);
    for line in &lines {
        let (head, tail) = line.split_at(if below(4) == 0 { below(line.len() as u32) } else { 0 });
        for (part, ends) in [(head, true), (tail, below(4) > 0)] {
            piece.extend(part);
            if ends {
                at += 1000;
                script.feed_at(at, fd, &std::mem::take(&mut piece));
            }
        }
    }
    at += 1000;
    script.feed_at(at, fd, &piece);
    let reading = async {
        let (mut reader, _writer) = open_socket(ours).unwrap();
        let mut all = Vec::new();
        for (n, line) in lines.iter().enumerate() {
            let begin = all.len();
            assert_eq!(reader.readline_into(&mut all).await.unwrap(), line.len());
            assert!(all[begin..] == *line);
            // Sometimes used again, sometimes appended to, sometimes without room.
            match n % 7 {
                0 => all.shrink_to_fit(),
                1..5 => all.clear(),
                _ => {}
            }
        }
    };
    runtime.block_on(reading).unwrap();
}

#[test]
fn readuntil_into_leaves_the_buffer_alone_where_the_stream_ends_too_early() {
    really(async {
        let mut reader = reader_of(b"a--b--rest").await;
        let mut buffer = Vec::new();
        assert_eq!(reader.readuntil_into(b"--", &mut buffer).await.unwrap(), 3);
        assert_eq!(reader.readuntil_into(b"--", &mut buffer).await.unwrap(), 3);
        let error = reader.readuntil_into(b"--", &mut buffer).await.unwrap_err();
        assert!(matches!(error, ReadError::Incomplete { partial, expected: None } if partial == b"rest"));
        assert_eq!(buffer, b"a--b--");
        assert!(reader.readuntil_into(b"", &mut buffer).await.is_err());
    });
}

#[test]
fn a_read_that_is_given_up_has_taken_nothing() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        writer.write("half ");
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(1), reader.readline()).await.is_err());
        }
        writer.write("and half\n");
        assert_eq!(reader.readline().await.unwrap(), b"half and half\n");
    });
}

#[test]
fn a_reader_that_does_not_read_stops_its_peer_and_loses_nothing() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        writer.write(much());
        settle().await;
        let stuck = writer.buffered();
        // What the kernel holds and the reader's two limits is far less than all.
        assert!(stuck > MUCH / 2, "{stuck}");
        settle().await;
        assert_eq!(writer.buffered(), stuck, "the reader has paused");
        let mut received = Vec::new();
        while received.len() < MUCH {
            received.extend(reader.read(10_000).await.unwrap());
        }
        assert!(received == much());
        assert_eq!(writer.buffered(), 0);
    });
}

#[test]
fn drain_waits_for_room_in_every_task_that_asks() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        writer.drain().await.unwrap();
        writer.write(much());
        let writer = std::rc::Rc::new(writer);
        let drains: Vec<_> = (0..2)
            .map(|_| {
                let writer = std::rc::Rc::clone(&writer);
                spawn(async move { writer.drain().await })
            })
            .collect();
        settle().await;
        assert!(drains.iter().all(|drain| !drain.is_finished()));
        reader.readexactly(MUCH).await.unwrap();
        for drain in drains {
            drain.await.unwrap().unwrap();
        }
    });
}

#[test]
fn reader_and_writer_live_in_different_tasks() {
    really(async {
        let ((mut reader, writer), (mut their_reader, their_writer)) = pair();
        let echo = spawn(async move {
            while let data @ [_, ..] = &*their_reader.read(1000).await? {
                their_writer.write(data);
                their_writer.drain().await?;
            }
            io::Result::Ok(())
        });
        let writing = spawn(async move {
            for piece in much().chunks(100_000) {
                writer.write(piece);
                writer.drain().await?;
            }
            writer.write_eof();
            writer.wait_closed().await
        });
        assert!(reader.readexactly(MUCH).await.unwrap() == much());
        echo.await.unwrap().unwrap();
        assert_eq!(reader.read(1).await.unwrap(), b"");
        assert!(!writing.is_finished(), "the end of one direction closes nothing");
        writing.cancel();
        assert!(writing.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn many_pieces_leave_in_order() {
    really(async {
        let ((mut reader, _w), (_r, writer)) = pair();
        writer.writelines(["one ", "two ", ""]);
        writer.writelines(vec![[b'x'; 10_000]; 100]);
        writer.write("end");
        drop(writer);
        let all = reader.read_to_end().await.unwrap();
        assert!(all.starts_with(b"one two xxx") && all.ends_with(b"xend"));
        assert_eq!(all.len(), 8 + 1_000_000 + 3);
    });
}

#[test]
fn dropping_the_writer_closes_when_everything_has_left() {
    really(async {
        let ((mut reader, _w), (mut their_reader, writer)) = pair();
        writer.write(much());
        drop(writer);
        assert!(reader.read_to_end().await.unwrap() == much());
        assert_eq!(their_reader.read(1).await.unwrap(), b"", "closed for both handles");
    });
}

#[test]
fn a_half_closed_connection_still_reads() {
    really(async {
        let ((mut reader, writer), (mut their_reader, their_writer)) = pair();
        writer.write("question");
        writer.write_eof();
        assert_eq!(their_reader.read_to_end().await.unwrap(), b"question");
        their_writer.write("answer");
        their_writer.close();
        assert_eq!(reader.read_to_end().await.unwrap(), b"answer");
    });
}

#[test]
fn what_is_written_after_the_end_is_told_by_drain() {
    really(async {
        let ((_r, writer), _theirs) = pair();
        writer.write_eof();
        writer.drain().await.unwrap();
        writer.write("late");
        assert_eq!(kind(writer.drain().await), Some(io::ErrorKind::BrokenPipe));
    });
}

#[test]
fn close_and_wait_closed() {
    really(async {
        let ((mut reader, writer), theirs) = pair();
        assert!(!writer.is_closing());
        writer.close();
        writer.close();
        assert!(writer.is_closing());
        writer.wait_closed().await.unwrap();
        writer.wait_closed().await.unwrap();
        writer.write("dropped");
        assert_eq!(kind(writer.drain().await), Some(io::ErrorKind::ConnectionReset));
        assert_eq!((reader.read(1).await.unwrap(), writer.buffered()), (vec![], 0));
        drop(theirs);
    });
}

#[test]
fn abort_drops_what_was_not_sent() {
    really(async {
        let (_reader, writer, mut peer) = half();
        writer.write(much());
        assert!(writer.buffered() > 0);
        writer.abort();
        writer.wait_closed().await.unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received.len() < MUCH && much().starts_with(&received));
    });
}

#[test]
fn a_reset_is_told_after_what_was_received_before_it() {
    really(async {
        let (mut reader, writer, mut peer) = half();
        writer.write("unread");
        peer.write_all(b"last words").unwrap();
        // To close with something unread is a reset.
        drop(peer);
        settle().await;
        assert!(writer.is_closing(), "the loop knows of it");
        assert_eq!(reader.read(4).await.unwrap(), b"last");
        assert_eq!(reader.read(100).await.unwrap(), b" words");
        assert_eq!(kind(reader.read(1).await), Some(io::ErrorKind::ConnectionReset));
        let again = reader.readexactly(1).await.unwrap_err();
        assert_eq!(io::Error::from(again).kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(kind(writer.wait_closed().await), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(kind(writer.drain().await), Some(io::ErrorKind::ConnectionReset));
    });
}

#[test]
fn writing_to_who_has_left_ends_the_connection() {
    really(async {
        let (mut reader, writer, peer) = half();
        drop(peer);
        assert_eq!(reader.read(1).await.unwrap(), b"");
        writer.write("into the void");
        assert_eq!(kind(writer.wait_closed().await), Some(io::ErrorKind::BrokenPipe));
        assert_eq!(reader.read(1).await.unwrap(), b"", "that the peer has ended stays true");
    });
}

#[test]
fn a_waiting_reader_hears_of_its_own_writers_close() {
    really(async {
        let ((mut reader, writer), _theirs) = pair();
        let reading = spawn(async move { reader.read(1).await });
        yield_now().await;
        writer.close();
        assert_eq!(reading.await.unwrap().unwrap(), b"");
    });
}

#[test]
fn streams_that_outlive_their_loop_say_so_and_close() {
    let ((mut reader, writer), mut peer) = really(async {
        let (reader, writer, peer) = half();
        settle().await;
        ((reader, writer), peer)
    });
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    really(async {
        let error = reader.read(1).await.unwrap_err();
        assert_eq!(error.to_string(), "the event loop of this connection has ended");
        writer.write("nothing");
        assert!(writer.drain().await.is_err() && writer.is_closing());
    });
}

#[test]
fn streams_left_in_tasks_close_with_the_loop() {
    let mut peer = really(async {
        let (mut reader, writer, peer) = half();
        drop(spawn(async move {
            let _writer = writer;
            reader.read(1).await
        }));
        settle().await;
        peer
    });
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_a_task_wrote_last_leaves_before_the_loop_ends() {
    let mut peer = really(async {
        let (_reader, writer, peer) = half();
        let task = spawn(async move {
            // Twice in a turn, so that the transport learns to gather; then the turn in which it would.
            for _ in 0..2 {
                writer.write("head ");
                writer.write("body ");
                yield_now().await;
            }
        });
        task.await.unwrap();
        peer
    });
    let mut received = String::new();
    peer.read_to_string(&mut received).unwrap();
    assert_eq!(received, "head body head body ");
}

#[test]
fn what_a_unix_socket_does_not_have() {
    really(async {
        let (_reader, writer, peer) = half();
        assert_eq!(kind(writer.peer_addr()), Some(io::ErrorKind::Unsupported));
        assert_eq!(kind(writer.local_addr()), Some(io::ErrorKind::Unsupported));
        peer.shutdown(Shutdown::Both).unwrap();
        writer.abort();
        writer.wait_closed().await.unwrap();
        assert_eq!(kind(writer.local_addr()), Some(io::ErrorKind::NotConnected));
    });
}

#[test]
fn open_socket_refuses_what_is_no_connection() {
    let (left, _right) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(open_socket(left).unwrap_err().to_string().starts_with("open_socket needs a running event loop"));
    really(async {
        assert!(open_socket(std::fs::File::open("/dev/null").unwrap()).is_err());
    });
}

#[test]
fn a_panic_in_a_task_closes_its_streams() {
    quietly(|| {
        really(async {
            let (mut reader, writer, mut peer) = half();
            let task = spawn(async move {
                let _writer = writer;
                reader.read(1).await.unwrap();
                panic!("on purpose");
            });
            peer.write_all(b"x").unwrap();
            assert!(task.await.unwrap_err().is_panic());
            settle().await;
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        });
    });
}

#[test]
fn the_marks_decide_when_draining_waits() {
    really(async {
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        assert_eq!(writer.write_buffer_limits(), (16 * 1024, 64 * 1024));
        let refused = writer.set_write_buffer_limits(Some(1), Some(2));
        assert_eq!(kind(refused), Some(io::ErrorKind::InvalidInput));
        writer.set_write_buffer_limits(Some(2 * MUCH), None).unwrap();
        assert_eq!(writer.write_buffer_limits(), (MUCH / 2, 2 * MUCH));
        writer.write(much());
        writer.drain().await.unwrap();
        assert!(writer.buffered() > 64 * 1024, "below the mark nothing waits");

        writer.set_write_buffer_limits(Some(0), None).unwrap();
        let reading = spawn(async move { their_reader.readexactly(MUCH).await });
        writer.drain().await.unwrap();
        assert_eq!(writer.buffered(), 0, "with a mark of nothing everything has left");
        assert!(reading.await.unwrap().unwrap() == much());

        writer.abort();
        writer.wait_closed().await.unwrap();
        assert_eq!(writer.write_buffer_limits(), (0, 0), "known when it is over, too");
    });
}

#[test]
fn a_duplicate_is_of_the_same_socket_and_keeps_it_open() {
    really(async {
        let ((_reader, writer), (mut their_reader, _their_writer)) = pair();
        let mut socket = std::os::unix::net::UnixStream::from(writer.duplicate_fd().unwrap());
        socket.write_all(b"by the duplicate").unwrap();
        writer.close();
        writer.wait_closed().await.unwrap();
        assert_eq!(their_reader.read(100).await.unwrap(), b"by the duplicate");
        assert!(timeout(Duration::from_millis(20), their_reader.read(100)).await.is_err(), "it is open yet");
        drop(socket);
        assert_eq!(their_reader.read(100).await.unwrap(), b"");
        assert_eq!(kind(writer.duplicate_fd()), Some(io::ErrorKind::NotConnected));
    });
}
