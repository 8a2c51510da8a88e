//! The stream transport against a kernel that does what a test says, and against sockets where only they can tell.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::sys;
use crate::testing::world::{FD, Log, Recorder, World, counting_waker, write};
use crate::transport::flow_control::LimitsError;
use crate::transport::write_queue::Chunk;

mod gathering;

/// What a socket refuses with when nobody is at the other end.
const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

fn sent(world: &World) -> String {
    String::from_utf8(world.script.take_sent(FD)).unwrap()
}

#[test]
fn what_arrives_is_told_until_the_peer_ends() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.feed(FD, b"one");
    world.turn();
    world.script.feed(FD, b"two");
    world.turn();
    assert_eq!(told.log.take(), ["data one", "data two"]);
    world.script.finish(FD);
    world.settle();
    assert_eq!(told.log.take(), ["eof", "losing by Transport", "lost"]);
    assert!(stream.is_closed() && world.hub().reactor.is_empty());
}

#[test]
fn what_had_come_may_be_received_until_the_descriptor_is_gone() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.settle();
    let mut buffer = [0; 8];
    assert_eq!(stream.receive(&mut buffer), 0, "nothing came");
    world.script.feed(FD, b"late");
    stream.close();
    assert_eq!((stream.receive(&mut buffer), &buffer[..4]), (4, &b"late"[..]));
    world.script.feed(FD, b"later");
    let mut behind = Vec::with_capacity(16);
    behind.extend(buffer.iter().take(4));
    assert_eq!((stream.receive_append(&mut behind), &*behind), (5, &b"latelater"[..]));
    world.settle();
    world.script.feed(FD, b"a stranger's");
    assert_eq!((stream.receive(&mut buffer), stream.receive_append(&mut behind)), (0, 0));
    assert_eq!(stream.receive_append(&mut Vec::new()), 0, "where there is no room, nothing comes");
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
}

#[test]
fn who_waits_for_an_offer_is_woken_when_there_will_be_none() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.settle();
    let (waker, woken) = counting_waker();
    let waits = || stream.offer_to(waker.clone()).is_ok();
    let was_woken = || woken() > 0;
    assert!(waits());
    stream.set_protocol(told.clone());
    world.settle();
    assert!(was_woken() && waits(), "somebody else is told of what comes");
    stream.close();
    world.settle();
    assert!(was_woken() && !waits());
}

#[test]
fn who_waits_for_an_offer_hears_that_the_loop_is_gone() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    world.settle();
    let (waker, woken) = counting_waker();
    stream.offer_to(waker).unwrap();
    world.engine.close();
    assert!(woken() > 0);
}

#[test]
fn a_receive_tells_the_protocol_of_the_end() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.settle();
    world.script.finish(FD);
    assert_eq!(stream.receive(&mut [0; 8]), 0);
    assert_eq!(told.log.take(), ["eof", "losing by Transport"]);
    world.settle();
    assert_eq!(told.log.take(), ["lost"]);
}

#[test]
fn an_end_whose_telling_left_the_loop_is_told_again() {
    let world = World::new();
    let (_stream, told) = Recorder::over(&world, FD);
    let (hub, first) = (Rc::clone(world.hub()), Cell::new(true));
    told.react(move |what, _| {
        if what == "eof" && first.replace(false) {
            hub.ready.leave();
        }
    });
    world.script.finish(FD);
    world.turn();
    assert_eq!(told.log.take(), ["eof"]);
    world.settle();
    assert_eq!(told.log.take(), ["eof", "losing by Transport", "lost"]);
}

#[test]
fn on_a_closed_loop_it_is_closing_and_keeps_its_descriptor() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 1);
    write(&stream, b"xy");
    world.engine.close();
    stream.strand();
    assert!(stream.is_closing() && !stream.is_lost() && stream.buffered() == 1);
    stream.strand_now();
    assert!(stream.is_lost() && !stream.is_closed() && stream.buffered() == 0);
}

#[test]
fn an_end_of_the_peer_may_leave_the_transport_open_for_writing() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    told.stays_open.set(true);
    world.script.finish(FD);
    world.settle();
    assert_eq!(told.log.take(), ["eof"], "and only once, though it stays readable");
    assert_eq!(world.script.interest(FD), None, "it would be reported for ever");
    write(&stream, b"answer");
    assert_eq!(sent(&world), "answer");
    stream.close();
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
}

#[test]
fn what_the_kernel_does_not_take_is_sent_when_it_has_room() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 4);
    write(&stream, b"abcdef");
    write(&stream, b"ghi");
    assert_eq!((sent(&world).as_str(), stream.buffered()), ("abcd", 5));
    assert!(stream.polls_write());
    world.settle();
    assert_eq!(sent(&world), "");
    world.script.set_room(FD, 3);
    world.turn();
    assert_eq!((sent(&world).as_str(), stream.buffered()), ("efg", 2));
    world.script.set_room(FD, usize::MAX);
    world.settle();
    assert_eq!((sent(&world).as_str(), stream.buffered()), ("hi", 0));
    assert_eq!(told.log.take(), ["drained"]);
    assert_eq!(world.script.interest(FD), Some(Interest::READ), "room to write is nearly always there");
}

#[test]
fn many_pieces_leave_in_one_call_and_in_order() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    let pieces = ["one ", "", "two ", "three"].map(|piece| Chunk::Owned(piece.into()));
    stream.write_all(pieces).unwrap();
    assert_eq!((world.script.take_sends(FD), sent(&world)), (1, "one two three".into()));
    world.script.set_room(FD, 0);
    write(&stream, b"four ");
    stream.write_all([Chunk::Owned(b"five".to_vec())]).unwrap();
    world.script.set_room(FD, usize::MAX);
    world.settle();
    assert_eq!(sent(&world), "four five");
}

#[test]
fn writing_is_paused_above_the_mark_and_resumed_below_the_other() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    stream.set_write_limits(Some(10), Some(4)).unwrap();
    assert_eq!(stream.set_write_limits(Some(1), Some(2)), Err(LimitsError { high: 1, low: 2 }));
    world.script.set_room(FD, 0);
    write(&stream, b"0123456789");
    assert!(told.log.take().is_empty());
    write(&stream, b"a");
    write(&stream, b"b");
    assert_eq!(told.log.take(), ["pause"]);
    assert!(stream.writing_paused());
    world.script.set_room(FD, 7);
    world.settle();
    assert!(told.log.take().is_empty(), "five are left");
    world.script.set_room(FD, 1);
    world.settle();
    assert_eq!(told.log.take(), ["resume"]);
    world.script.set_room(FD, 100);
    world.settle();
    assert_eq!((told.log.take(), sent(&world)), (vec!["drained".into()], "0123456789ab".into()));
}

#[test]
fn marks_set_below_what_is_buffered_pause_at_once() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 0);
    write(&stream, b"0123456789");
    stream.set_write_limits(Some(0), None).unwrap();
    assert_eq!(told.log.take(), ["pause"]);
}

#[test]
fn close_sends_what_is_queued_first() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 0);
    write(&stream, b"last");
    stream.close();
    stream.close();
    world.script.feed(FD, b"ignored");
    world.settle();
    assert!(stream.is_closing() && !stream.is_closed());
    assert!(told.log.take().is_empty());
    world.script.set_room(FD, 100);
    world.settle();
    assert_eq!((told.log.take(), sent(&world)), (vec!["drained".into(), "lost".into()], "last".into()));
    assert!(stream.is_closed() && world.hub().reactor.is_empty());
}

#[test]
fn close_with_nothing_queued_is_told_from_the_loop() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    stream.close();
    assert_eq!(told.log.take(), ["losing by Caller"]);
    assert_eq!(world.script.interest(FD), None);
    world.settle();
    assert_eq!(told.log.take(), ["lost"]);
}

#[test]
fn abort_drops_what_is_queued() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 0);
    write(&stream, b"dropped");
    stream.abort(None);
    stream.abort(Some(io::ErrorKind::Other.into()));
    world.script.set_room(FD, 100);
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
    assert_eq!((sent(&world), stream.buffered()), (String::new(), 0));
}

#[test]
fn abort_in_the_middle_of_a_close_ends_it() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 0);
    write(&stream, b"dropped");
    stream.close();
    stream.abort(Some(io::ErrorKind::TimedOut.into()));
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost TimedOut"]);
}

#[test]
fn the_end_is_told_once_even_if_resume_writing_closes() {
    for room in [11, 8] {
        let world = World::new();
        let (stream, told) = Recorder::over(&world, FD);
        stream.set_write_limits(Some(10), Some(4)).unwrap();
        world.script.set_room(FD, 0);
        write(&stream, b"0123456789a");
        told.react(|event, stream| {
            if event == "resume" {
                stream.close();
            }
        });
        world.script.set_room(FD, room);
        world.settle();
        world.script.set_room(FD, 100);
        world.settle();
        let log = told.log.take();
        assert_eq!(log.iter().filter(|event| *event == "lost").count(), 1, "{log:?}");
        assert_eq!(sent(&world), "0123456789a");
    }
}

#[test]
fn a_protocol_may_do_anything_in_any_callback() {
    let events = ["data x", "eof", "pause", "resume", "drained", "losing by Caller", "lost"];
    for event in events {
        for abort in [false, true] {
            let world = World::new();
            let (stream, told) = Recorder::over(&world, FD);
            told.stays_open.set(true);
            stream.set_write_limits(Some(10), Some(4)).unwrap();
            let hub = Rc::clone(world.hub());
            told.react(move |told, stream| {
                if told == event {
                    let _ = stream.write(b"more", || Chunk::Owned(b"more".to_vec()));
                    stream.pause_reading();
                    if abort {
                        stream.abort(None)
                    } else {
                        stream.close()
                    }
                    stream.write_eof();
                    stream.resume_reading();
                    hub.ready.leave();
                }
            });
            world.script.feed(FD, b"x");
            world.script.finish(FD);
            world.settle();
            world.script.set_room(FD, 0);
            let _ = stream.write(&[b'y'; 20], || Chunk::Owned(vec![b'y'; 20]));
            world.script.set_room(FD, usize::MAX);
            world.settle();
            stream.close();
            world.settle();
            let log = told.log.take();
            assert_eq!(log.iter().filter(|event| *event == "lost").count(), 1, "{event}: {log:?}");
            assert_eq!(log.last().unwrap(), "lost", "{event}");
            assert!(world.hub().reactor.is_empty() && stream.is_closed());
        }
    }
}

#[test]
fn what_is_written_when_the_queue_has_emptied_is_sent_before_the_close() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 0);
    write(&stream, b"one ");
    stream.close();
    let (script, first) = (world.script.clone(), Cell::new(true));
    told.react(move |event, stream| {
        if event == "drained" && first.replace(false) {
            script.set_room(FD, 0);
            write(stream, b"two");
        }
    });
    world.script.set_room(FD, 4);
    world.settle();
    world.script.set_room(FD, 100);
    world.settle();
    assert_eq!(sent(&world), "one two");
    assert_eq!(told.log.take().last().unwrap(), "lost");
}

#[test]
fn a_failed_write_is_told_with_its_error() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.fail(FD, EPIPE);
    write(&stream, b"into the void");
    assert_eq!(stream.write(b"x", || Chunk::Owned(Vec::new())), Err(Refused::Lost(1)));
    assert_eq!(stream.write(b"x", || Chunk::Owned(Vec::new())), Err(Refused::Lost(2)));
    world.settle();
    assert_eq!(told.log.take(), ["failed BrokenPipe", "losing by Transport", "lost BrokenPipe"]);
}

#[test]
fn a_failed_write_of_what_was_queued_drops_the_rest() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.set_room(FD, 2);
    write(&stream, b"abcdef");
    stream.close();
    world.script.fail(FD, ECONNRESET);
    world.settle();
    let expected = ["failed ConnectionReset", "losing by Transport", "lost ConnectionReset"];
    assert_eq!((told.log.take(), stream.buffered()), (expected.map(String::from).to_vec(), 0));
}

#[test]
fn a_failed_read_is_told_with_its_error() {
    let world = World::new();
    let (_stream, told) = Recorder::over(&world, FD);
    world.script.fail(FD, ECONNRESET);
    world.settle();
    assert_eq!(told.log.take(), ["failed ConnectionReset", "losing by Transport", "lost ConnectionReset"]);
}

#[test]
fn a_pause_of_reading_costs_nothing_unless_something_arrives() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    let armed = world.script.interest(FD);
    stream.pause_reading();
    assert_eq!((world.script.interest(FD), stream.is_reading()), (armed, false));
    stream.resume_reading();
    world.script.feed(FD, b"1");
    world.settle();
    stream.pause_reading();
    world.script.feed(FD, b"2");
    world.settle();
    assert_eq!(told.log.take(), ["data 1"]);
    assert_eq!(world.script.interest(FD), None, "or it would be reported for ever");
    stream.resume_reading();
    world.settle();
    assert_eq!(told.log.take(), ["data 2"]);
}

#[test]
fn who_pauses_within_a_turn_hears_no_more_in_it() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    world.script.feed(FD, b"late");
    world.soon(move || stream.pause_reading());
    world.settle();
    assert!(told.log.take().is_empty());
}

/// The shutdown itself is a call on the descriptor, so here it is a socket.
#[test]
fn write_eof_reaches_the_peer_after_what_was_written() {
    let world = World::new();
    let (ours, theirs) = sys::socketpair().unwrap();
    let fd = ours.as_raw_fd();
    let (stream, told) = Recorder::open(&world, Descriptor::Owned(ours));
    world.script.set_room(fd, 0);
    write(&stream, b"last");
    stream.write_eof();
    stream.write_eof();
    assert!(stream.eof_written());
    assert_eq!(stream.write(b"x", || Chunk::Owned(Vec::new())), Err(Refused::AfterEof));
    world.settle();
    let open = sys::recv(theirs.as_raw_fd(), &mut [0; 1]);
    assert_eq!(open.unwrap_err().kind(), io::ErrorKind::WouldBlock, "not before the queue is empty");
    world.script.set_room(fd, 100);
    world.settle();
    assert_eq!(sys::recv(theirs.as_raw_fd(), &mut [0; 1]).unwrap(), 0);
    assert_eq!((world.script.take_sent(fd), told.log.take()), (b"last".to_vec(), vec!["drained".into()]));
    stream.close();
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
}

#[test]
fn write_eof_with_an_empty_queue_reaches_the_peer_at_once() {
    let world = World::new();
    let (ours, theirs) = sys::socketpair().unwrap();
    let (stream, _told) = Recorder::open(&world, Descriptor::Owned(ours));
    stream.write_eof();
    assert_eq!(sys::recv(theirs.as_raw_fd(), &mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_descriptor_is_one_transports() {
    let world = World::new();
    let (_stream, told) = Recorder::over(&world, FD);
    let second = Stream::new(world.hub(), Descriptor::Lent(FD), told);
    assert_eq!(second.start().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn an_owned_descriptor_is_closed_after_the_report() {
    let world = World::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (stream, told) = Recorder::open(&world, Descriptor::Owned(ours.into()));
    let (log, peer) = (Log::default(), theirs.try_clone().unwrap());
    let heard = log.clone();
    told.react(move |event, _| {
        if event == "lost" {
            heard.add(sys::recv(peer.as_raw_fd(), &mut [0; 1]).is_err());
        }
    });
    stream.close();
    world.settle();
    assert_eq!(log.take(), ["true"], "still open while it is reported");
    assert_eq!(sys::recv(theirs.as_raw_fd(), &mut [0; 1]).unwrap(), 0);
    assert_eq!(Rc::strong_count(&stream), 1, "nobody holds it any more");
}

#[test]
fn a_forgotten_descriptor_is_left_to_its_new_owner() {
    let world = World::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = ours.as_raw_fd();
    let (stream, told) = Recorder::open(&world, Descriptor::Owned(ours.into()));
    // As if it were forgotten before it was open.
    world.hub().ready.push(Runnable::from_rc(Rc::clone(&stream), OPEN));
    stream.pending.set(1);
    stream.forget_descriptor();
    world.settle();
    assert_eq!(told.log.take(), ["made"]);
    world.script.feed(fd, b"a stranger's");
    assert_eq!(stream.receive(&mut [0; 8]), 0);
    assert!(world.hub().reactor.is_empty());
    stream.abort(None);
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
    assert_eq!(sys::send(fd, b"still open").unwrap(), 10);
    // That it stays open is what is promised, so this process has one descriptor more from here on.
    drop(theirs);
}

#[test]
fn discarding_tells_nobody_and_closes() {
    let world = World::new();
    let (ours, theirs) = sys::socketpair().unwrap();
    let fd = ours.as_raw_fd();
    let (stream, told) = Recorder::open(&world, Descriptor::Owned(ours));
    world.script.set_room(fd, 0);
    write(&stream, b"dropped");
    stream.discard();
    world.settle();
    assert!(told.log.take().is_empty() && stream.is_closed());
    assert_eq!(sys::recv(theirs.as_raw_fd(), &mut [0; 1]).unwrap(), 0);
    assert!(world.hub().reactor.is_empty());
}

#[test]
fn a_loop_that_goes_abandons_its_transports() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    let (closing, heard) = Recorder::over(&world, FD + 1);
    closing.close();
    world.script.feed(FD, b"never read");
    world.engine.close();
    world.settle();
    assert_eq!(told.log.take(), ["abandoned"]);
    assert_eq!(heard.log.take(), ["losing by Caller", "abandoned"]);
    assert_eq!((Rc::strong_count(&stream), Rc::strong_count(&closing)), (1, 1));
}

/// Writes down what a pipe's transport tells, and would keep it open.
struct Notes(Rc<Hub>, Log);

impl Protocol for Notes {
    fn connection_made(&self) {}

    fn data_ready(&self, recv: crate::transport::Recv<'_>) -> Received {
        let count = self.0.with_scratch(|scratch| {
            let count = recv(scratch)?;
            if count > 0 {
                self.1.add(String::from_utf8_lossy(&scratch[..count]));
            }
            Ok(count)
        });
        Received::from_io(count)
    }

    fn eof_received(&self) -> bool {
        self.1.add("eof");
        true
    }

    fn pause_writing(&self) {}

    fn resume_writing(&self) {}

    fn connection_lost(&self, error: Option<io::Error>) {
        self.1.add(format!("lost {:?}", error.map(|error| error.kind())));
    }
}

/// A pipe with our end in a transport, on a real kernel.
fn piped(kind: Kind) -> (crate::event_loop::EventLoop, Rc<Stream>, Log, OwnedFd) {
    let driver = crate::driver::Driver::new().unwrap();
    let engine = crate::event_loop::EventLoop::with(driver, crate::clock::Clock::monotonic()).unwrap();
    let (reader, writer) = sys::pipe().unwrap();
    let (ours, theirs) = if kind == Kind::Reader { (reader, writer) } else { (writer, reader) };
    let log = Log::default();
    let notes = Rc::new(Notes(Rc::clone(engine.hub()), log.clone()));
    let stream = Stream::with_kind(engine.hub(), Descriptor::Owned(ours), kind, notes);
    stream.start().unwrap();
    turns(&engine);
    (engine, stream, log, theirs)
}

/// Turns enough for anything that has happened already.
fn turns(engine: &crate::event_loop::EventLoop) {
    for _ in 0..4 {
        engine.wait(crate::driver::Timeout::Zero).unwrap();
        engine.dispatch();
        let _ = engine.run_ready();
    }
}

#[test]
fn a_pipe_that_is_read_closes_at_its_end() {
    let (engine, stream, log, theirs) = piped(Kind::Reader);
    sys::write(theirs.as_raw_fd(), b"one").unwrap();
    turns(&engine);
    drop(theirs);
    turns(&engine);
    assert_eq!(log.take(), ["one", "eof", "lost None"]);
    assert!(stream.is_closed());
}

#[test]
fn a_pipe_that_is_written_ends_by_closing() {
    let (engine, stream, log, theirs) = piped(Kind::Writer);
    write(&stream, b"one");
    stream.write_eof();
    turns(&engine);
    let mut buffer = [0; 8];
    assert_eq!(sys::read(theirs.as_raw_fd(), &mut buffer).unwrap(), 3);
    assert_eq!(sys::read(theirs.as_raw_fd(), &mut buffer).unwrap(), 0);
    assert_eq!(log.take(), ["lost None"]);
}

#[test]
fn a_pipe_without_a_reader_is_lost() {
    let (engine, _stream, log, theirs) = piped(Kind::Writer);
    drop(theirs);
    turns(&engine);
    assert_eq!(log.take(), ["lost None"]);

    let (engine, stream, log, theirs) = piped(Kind::Writer);
    write(&stream, &[0; 1 << 20]);
    drop(theirs);
    turns(&engine);
    assert_eq!(log.take(), ["lost Some(BrokenPipe)"]);
}

/// With the two counts of an `Rc` it is 120 bytes, the most that fits into one of malloc's chunks of 128.
#[test]
fn a_stream_is_small() {
    let counted = size_of::<Member>();
    assert!(size_of::<Stream>() <= 104 + counted, "{}", size_of::<Stream>());
}
