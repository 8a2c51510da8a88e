//! When a write leaves: at once, at the end of the turn, or in between.

use std::io::IoSlice;

use super::*;

/// Lets the transport learn that it writes twice in a turn, so that it gathers in the next.
fn teach(world: &World, stream: &Rc<Stream>) {
    twice(world, stream);
    world.turn();
    world.script.take_sends(FD);
    world.script.take_sent(FD);
}

/// Queues a callback that writes twice.
fn twice(world: &World, stream: &Rc<Stream>) {
    let stream = Rc::clone(stream);
    world.soon(move || {
        write(&stream, b"head ");
        write(&stream, b"body ");
    });
}

#[test]
fn a_lone_write_leaves_at_once() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    for _ in 0..3 {
        let (stream, log, script) = (Rc::clone(&stream), told.log.clone(), world.script.clone());
        world.soon(move || {
            write(&stream, b"x");
            log.add(format!("{:?}", script.take_sent(FD)));
        });
        world.turn();
    }
    assert_eq!(told.log.take(), ["[120]"; 3]);
    assert_eq!(world.script.take_sends(FD), 3);
}

#[test]
fn who_writes_twice_in_a_turn_is_gathered_from_the_next_turn_on() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    twice(&world, &stream);
    world.turn();
    assert_eq!((world.script.take_sends(FD), sent(&world)), (2, "head body ".into()));
    for _ in 0..3 {
        twice(&world, &stream);
        world.turn();
        assert_eq!((world.script.take_sends(FD), sent(&world)), (1, "head body ".into()));
        assert_eq!(stream.buffered(), 0);
    }
    assert!(told.log.take().is_empty(), "gathering is nobody's business");
}

#[test]
fn writes_of_several_chunks_are_gathered_as_others() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    for expected in [2, 1, 1] {
        let stream = Rc::clone(&stream);
        world.soon(move || {
            stream.write_all([Chunk::Owned(b"he".to_vec()), Chunk::Owned(b"ad ".to_vec())]).unwrap();
            write(&stream, b"body ");
        });
        world.turn();
        assert_eq!((world.script.take_sends(FD), sent(&world)), (expected, "head body ".into()));
    }
}

fn slices(stream: &Rc<Stream>, pieces: &[&str]) {
    let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece.as_bytes())).collect();
    stream.write_vectored(&slices).unwrap();
}

/// As they are, and more than are joined to one.
const SCALES: [usize; 2] = [1, 2000];

#[test]
fn slices_leave_by_one_call() {
    for (head, body) in SCALES.map(|scale| ("head ".repeat(scale), "body ".repeat(scale))) {
        let world = World::new();
        let (stream, _told) = Recorder::over(&world, FD);
        slices(&stream, &[&head, "", &body]);
        assert_eq!((world.script.take_sends(FD), sent(&world)), (1, head + &body));
        slices(&stream, &["", ""]);
        assert_eq!(world.script.take_sends(FD), 0);
        stream.abort(None);
        assert_eq!(stream.write_vectored(&[IoSlice::new(body.as_bytes())]), Err(Refused::Lost(1)));
    }
}

#[test]
fn what_is_not_taken_of_slices_is_kept() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    for scale in SCALES {
        let (head, body) = ("head ".repeat(scale), "body ".repeat(scale));
        for room in (0..=10).map(|tenths| tenths * scale) {
            world.script.set_room(FD, room);
            slices(&stream, &[&head, &body]);
            assert_eq!(stream.buffered(), 10 * scale - room);
            slices(&stream, &["more", &body]);
            world.script.set_room(FD, usize::MAX);
            world.settle();
            assert_eq!(sent(&world), format!("{head}{body}more{body}"), "with room for {room}");
        }
    }
}

#[test]
fn slices_of_a_socket_that_failed_lose_it() {
    for scale in SCALES {
        let world = World::new();
        let (stream, told) = Recorder::over(&world, FD);
        world.script.fail(FD, 32);
        slices(&stream, &[&"head ".repeat(scale), "body"]);
        world.settle();
        assert!(stream.is_closed() && told.log.take().iter().any(|line| line.starts_with("lost")));
    }
}

#[test]
fn slices_are_gathered_as_other_writes() {
    for scale in SCALES {
        let (head, world) = ("head ".repeat(scale), World::new());
        let (stream, _told) = Recorder::over(&world, FD);
        for expected in [2, 1, 1] {
            let (stream, begin) = (Rc::clone(&stream), head.clone());
            world.soon(move || {
                slices(&stream, &["the ", &begin]);
                write(&stream, b"body ");
            });
            world.turn();
            assert_eq!((world.script.take_sends(FD), sent(&world)), (expected, format!("the {head}body ")));
        }
    }
}

#[test]
fn who_stops_writing_twice_is_sent_at_once_again() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    for expected in ["", "x"] {
        let (stream, log, script) = (Rc::clone(&stream), told.log.clone(), world.script.clone());
        world.soon(move || {
            write(&stream, b"x");
            log.add(String::from_utf8(script.take_sent(FD)).unwrap());
        });
        world.turn();
        assert_eq!(told.log.take(), [expected]);
        world.script.take_sent(FD);
    }
}

#[test]
fn outside_a_turn_nothing_is_put_off() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    world.turn();
    write(&stream, b"after");
    assert_eq!(sent(&world), "head body after");
}

#[test]
fn a_gathered_write_that_grows_large_leaves_before_the_turn_ends() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    let (writer, log, script) = (Rc::clone(&stream), told.log.clone(), world.script.clone());
    world.soon(move || {
        for _ in 0..3 {
            write(&writer, &[b'x'; 30_000]);
            log.add(script.take_sent(FD).len());
        }
    });
    world.turn();
    assert_eq!(told.log.take(), ["0", "0", "90000"]);
    assert_eq!(world.script.take_sends(FD), 1);
}

#[test]
fn gathered_writes_do_not_wait_for_a_loop_that_stops() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    let hub = Rc::clone(world.hub());
    world.soon(move || hub.ready.leave());
    world.soon(|| panic!("left behind"));
    world.turn();
    assert_eq!(sent(&world), "head body ");
    drop(world.hub().ready.take());
}

#[test]
fn close_sends_what_was_gathered() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    let closing = Rc::clone(&stream);
    world.soon(move || closing.close());
    world.settle();
    assert_eq!((sent(&world), told.log.take().pop()), ("head body ".into(), Some("lost".into())));
}

/// asyncio would have sent it before it was told to abort.
#[test]
fn abort_offers_the_kernel_what_was_gathered_and_drops_the_rest() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    world.script.set_room(FD, 7);
    let aborting = Rc::clone(&stream);
    world.soon(move || aborting.abort(None));
    world.settle();
    assert_eq!((sent(&world), told.log.take().pop()), ("head bo".into(), Some("lost".into())));
    assert!(stream.is_closed());
}

#[test]
fn what_was_gathered_leaves_even_when_nobody_has_the_transport_any_more() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    world.soon(move || stream.discard());
    world.settle();
    assert_eq!((sent(&world), told.log.take()), ("head body ".into(), vec![]));
}

/// Queues a callback that writes `data`.
fn writes(world: &World, stream: &Rc<Stream>, data: &'static [u8]) {
    let stream = Rc::clone(stream);
    world.soon(move || write(&stream, data));
}

/// Lets the loop see a turn in which many callbacks write.
fn many_write(world: &World) {
    let (stream, _told) = Recorder::over(world, FD + 200);
    (0..5).for_each(|_| writes(world, &stream, b"x"));
    world.turn();
    stream.discard();
}

/// A loop that gathers, and has reason to.
fn busy(world: &World) {
    world.hub().gather_writes();
    many_write(world);
}

/// Queues a callback that notes what has been sent.
fn looks(world: &World, log: &Log) {
    let (script, log) = (world.script.clone(), log.clone());
    world.soon(move || log.add(String::from_utf8(script.take_sent(FD)).unwrap()));
}

#[test]
fn a_write_waits_for_the_callbacks_that_are_due_if_the_face_says_so_and_many_write() {
    for (gathers, many, expected) in [(false, true, "x"), (true, false, "x"), (true, true, "")] {
        let (world, log) = (World::new(), Log::default());
        let (stream, told) = Recorder::over(&world, FD);
        if gathers {
            world.hub().gather_writes();
        }
        if many {
            many_write(&world);
        }
        writes(&world, &stream, b"x");
        looks(&world, &log);
        world.turn();
        let left = if expected.is_empty() { "x" } else { "" };
        assert_eq!((log.take(), sent(&world)), (vec![expected.into()], left.into()));
        assert_eq!((stream.buffered(), told.log.take()), (0, vec![]));
    }
}

#[test]
fn a_loop_that_is_busy_turn_after_turn_gathers_in_each() {
    let world = World::new();
    busy(&world);
    let streams: Vec<_> = (FD..FD + 5).map(|fd| Recorder::over(&world, fd)).collect();
    for _ in 0..3 {
        streams.iter().for_each(|(stream, _)| writes(&world, stream, b"x"));
        let (script, log) = (world.script.clone(), Log::default());
        let seen = log.clone();
        world.soon(move || seen.add((FD..FD + 5).map(|fd| script.take_sends(fd)).sum::<usize>()));
        world.turn();
        assert_eq!(log.take(), ["0"]);
        assert_eq!((FD..FD + 5).map(|fd| world.script.take_sends(fd)).sum::<usize>(), 5);
    }
}

#[test]
fn a_write_that_nobody_follows_leaves_at_once() {
    let (world, log) = (World::new(), Log::default());
    busy(&world);
    let (stream, _told) = Recorder::over(&world, FD);
    world.soon(|| ());
    let (script, told) = (world.script.clone(), log.clone());
    world.soon(move || {
        write(&stream, b"x");
        told.add(script.take_sends(FD));
    });
    world.turn();
    assert_eq!(log.take(), ["1"]);
}

/// Or the last of a turn would overtake all others.
#[test]
fn who_writes_last_joins_those_who_wait() {
    let (world, log) = (World::new(), Log::default());
    busy(&world);
    let ((first, _), (last, _)) = (Recorder::over(&world, FD), Recorder::over(&world, FD + 1));
    writes(&world, &first, b"x");
    let (script, seen) = (world.script.clone(), log.clone());
    world.soon(move || {
        write(&last, b"x");
        seen.add(script.take_sends(FD + 1));
    });
    world.turn();
    assert_eq!((log.take(), sent(&world)), (vec!["0".into()], "x".into()));
    assert_eq!(world.script.take_sends(FD + 1), 1);
}

#[test]
fn the_answer_to_what_arrived_leaves_at_once() {
    let (world, log) = (World::new(), Log::default());
    busy(&world);
    let (_first, told) = Recorder::over(&world, FD);
    told.react(|event, stream| {
        if event == "data question" {
            write(stream, b"answer")
        }
    });
    let (_second, next) = Recorder::over(&world, FD + 1);
    let (script, seen) = (world.script.clone(), log.clone());
    next.react(move |event, _| {
        if event == "data last" {
            seen.add(script.take_sends(FD))
        }
    });
    world.script.feed(FD, b"question");
    world.script.feed(FD + 1, b"last");
    world.turn();
    assert_eq!(log.take(), ["1"]);
}

#[test]
fn no_more_than_sixty_four_wait() {
    let (world, log) = (World::new(), Log::default());
    busy(&world);
    let streams: Vec<_> = (FD..FD + 70).map(|fd| Recorder::over(&world, fd)).collect();
    for (stream, _) in &streams {
        writes(&world, stream, b"x");
        let (script, log) = (world.script.clone(), log.clone());
        world.soon(move || log.add((FD..FD + 70).map(|fd| script.take_sends(fd)).sum::<usize>()));
    }
    world.turn();
    let mut expected = ["0"; 70];
    expected[63] = "64";
    assert_eq!(log.take(), expected);
}

#[test]
fn nobody_waits_again_for_callbacks_that_block() {
    let (world, log) = (World::new(), Log::default());
    let (stream, _told) = Recorder::over(&world, FD);
    for expected in [["0", ""], ["1", "xx"]] {
        busy(&world);
        let (writer, script, seen) = (Rc::clone(&stream), world.script.clone(), log.clone());
        world.soon(move || {
            write(&writer, b"x");
            seen.add(script.take_sends(FD));
        });
        let hand = world.hand.clone();
        world.soon(move || hand.advance(5_000_000));
        looks(&world, &log);
        world.turn();
        assert_eq!(log.take(), expected);
        world.script.take_sends(FD);
    }
}

#[test]
fn who_writes_twice_waits_for_itself_even_where_callbacks_block() {
    let (world, log) = (World::new(), Log::default());
    let (stream, _told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    for expected in ["", "head body "] {
        twice(&world, &stream);
        let hand = world.hand.clone();
        world.soon(move || hand.advance(5_000_000));
        looks(&world, &log);
        world.turn();
        assert_eq!((log.take(), world.script.take_sends(FD)), (vec![expected.into()], 1));
        world.script.take_sent(FD);
    }
}

#[test]
fn what_waits_is_told_to_pause_and_may_write_again_meanwhile() {
    let (world, log) = (World::new(), Log::default());
    busy(&world);
    let (stream, told) = Recorder::over(&world, FD);
    stream.set_write_limits(Some(4), Some(1)).unwrap();
    told.react(|event, stream| {
        if event == "pause" {
            write(stream, b" more")
        }
    });
    world.script.set_room(FD, 0);
    writes(&world, &stream, b"abc");
    writes(&world, &stream, b"def");
    looks(&world, &log);
    world.turn();
    assert_eq!((log.take(), told.log.take(), stream.buffered()), (vec!["".into()], vec!["pause".into()], 11));
    world.script.set_room(FD, usize::MAX);
    world.settle();
    assert_eq!(sent(&world), "abcdef more");
}

#[test]
fn a_failed_write_that_waited_is_reported_once() {
    let world = World::new();
    busy(&world);
    let (stream, told) = Recorder::over(&world, FD);
    stream.pause_reading();
    world.script.fail(FD, EPIPE);
    writes(&world, &stream, b"x");
    world.soon(|| ());
    world.settle();
    assert_eq!(told.log.take(), ["failed BrokenPipe", "losing by Transport", "lost BrokenPipe"]);
    assert!(stream.is_closed());
}

#[test]
fn who_is_paused_by_new_marks_for_what_only_waits_is_told_to_go_on() {
    let world = World::new();
    let (stream, told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    let limited = Rc::clone(&stream);
    world.soon(move || limited.set_write_limits(Some(0), Some(0)).unwrap());
    world.settle();
    assert_eq!(
        (sent(&world), told.log.take()),
        ("head body ".into(), ["pause", "resume"].map(String::from).into())
    );
}

#[test]
fn a_turn_within_a_turn_does_not_sleep_on_what_was_put_off() {
    let world = Rc::new(World::new());
    let (stream, _told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    let (inner, log) = (Rc::clone(&world), Log::default());
    let seen = log.clone();
    world.soon(move || {
        let _ = inner.engine.timeout(0);
        seen.add(inner.script.take_sends(FD));
    });
    world.turn();
    assert_eq!(log.take(), ["1"]);
}

#[test]
fn a_turn_within_what_was_put_off_does_not_sleep_on_the_rest_of_it() {
    let (world, log) = (Rc::new(World::new()), Log::default());
    busy(&world);
    let ((first, told), (second, _told)) = (Recorder::over(&world, FD), Recorder::over(&world, FD + 1));
    // The world has who is told, and would have itself.
    let (inner, seen) = (Rc::downgrade(&world), log.clone());
    told.react(move |event, _| {
        if let Some(inner) = inner.upgrade()
            && event.starts_with("failed")
        {
            let _ = inner.engine.timeout(0);
            seen.add(inner.script.take_sends(FD + 1));
        }
    });
    first.pause_reading();
    world.script.fail(FD, EPIPE);
    writes(&world, &first, b"x");
    writes(&world, &second, b"x");
    world.soon(|| ());
    world.turn();
    assert_eq!(log.take(), ["1"]);
}

#[test]
fn what_is_forgotten_is_never_sent() {
    let world = World::new();
    let (stream, _told) = Recorder::over(&world, FD);
    teach(&world, &stream);
    twice(&world, &stream);
    let (hub, forgetting) = (Rc::clone(world.hub()), Rc::clone(&stream));
    world.soon(move || {
        hub.forget_put_off();
        write(&forgetting, b"after ");
        forgetting.flush_gathered();
    });
    world.turn();
    twice(&world, &stream);
    world.turn();
    assert_eq!((sent(&world), stream.buffered()), ("after head body ".into(), 0));
}
