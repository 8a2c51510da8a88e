//! The datagram transport against a kernel that does what a test says, and against sockets where only they can tell.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::sys::BATCH;
use crate::testing::world::{FD, Log, World};
use crate::transport::write_queue::Chunk;

const ECONNREFUSED: i32 = 111;
const ENOBUFS: i32 = 105;

/// What a test does about an event of its transport.
type React = Box<dyn Fn(&str, &Rc<Datagram>)>;

/// A protocol that writes down what it is told.
#[derive(Default)]
struct Told {
    log: Log,
    datagram: RefCell<Option<Rc<Datagram>>>,
    react: RefCell<Option<React>>,
    held: Cell<bool>,
    sends: Cell<Option<Sent>>,
}

impl Told {
    fn open(world: &World, descriptor: Descriptor) -> (Rc<Datagram>, Rc<Self>) {
        let (datagram, told) = Self::start(world.hub(), descriptor);
        world.turn();
        assert_eq!(told.log.take(), ["made"]);
        (datagram, told)
    }

    fn start(hub: &Rc<Hub>, descriptor: Descriptor) -> (Rc<Datagram>, Rc<Self>) {
        let told = Rc::new(Self::default());
        let protocol = Rc::clone(&told) as Rc<dyn DatagramProtocol>;
        let datagram = Datagram::new(hub, descriptor, 8, protocol);
        told.datagram.replace(Some(Rc::clone(&datagram)));
        datagram.start().unwrap();
        (datagram, told)
    }

    fn over(world: &World) -> (Rc<Datagram>, Rc<Self>) {
        Self::open(world, Descriptor::Lent(FD))
    }

    fn react(&self, react: impl Fn(&str, &Rc<Datagram>) + 'static) {
        self.react.replace(Some(Box::new(react)));
    }

    fn tell(&self, what: &str) {
        self.log.add(what);
        let datagram = self.datagram.borrow().clone();
        let react = self.react.take();
        if let (Some(react), Some(datagram)) = (&react, &datagram) {
            react(what, datagram);
        }
        let mut place = self.react.borrow_mut();
        *place = place.take().or(react);
    }
}

impl DatagramProtocol for Told {
    fn connection_made(&self) {
        self.tell("made");
    }

    fn datagram_received(&self, data: &[u8], sender: &Peer) {
        self.tell(&format!("{} from {sender:?}", data.escape_ascii()));
    }

    fn error_received(&self, error: io::Error, doing: Doing) {
        self.tell(&format!("{doing:?}: {:?}", error.raw_os_error()));
    }

    fn send(&self, data: &[u8]) -> Sent {
        self.tell(&format!("send {}", data.escape_ascii()));
        self.sends.get().unwrap_or(Sent::Refused)
    }

    fn pause_writing(&self) {
        self.tell("pause");
    }

    fn resume_writing(&self) {
        self.tell("resume");
    }

    fn losing(&self, cause: Cause) {
        self.tell(&format!("losing by {cause:?}"));
    }

    fn connection_lost(&self, error: Option<io::Error>) {
        self.tell(&error.map_or("lost".to_owned(), |error| format!("lost {:?}", error.kind())));
        self.datagram.replace(None);
    }

    fn hold(&self, held: bool) {
        self.held.set(held);
    }

    fn abandon(&self) {
        self.tell("abandoned");
        self.datagram.replace(None);
    }
}

/// Of the internet: others are not received by the batch.
fn peer(name: &str) -> Peer {
    let port = name.bytes().fold(0, |port: u16, byte| port.wrapping_mul(31).wrapping_add(byte.into()));
    Peer::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
}

fn feed(world: &World, all: impl IntoIterator<Item = &'static str>) {
    for data in all {
        world.script.feed_datagram(FD, data.as_bytes(), peer("a"));
    }
}

/// Lets the transport learn that several wait: the third receive asks for them.
fn teach(world: &World, told: &Told) {
    feed(world, ["1", "2", "3"]);
    world.turn();
    world.turn();
    assert_eq!(told.log.take().len(), 3);
    assert_eq!(world.script.take_receives(FD), 2);
}

fn send(datagram: &Rc<Datagram>, data: &[u8]) -> io::Result<()> {
    datagram.send(data, Some(&peer("b")), || Chunk::Owned(data.to_vec()))
}

fn sent(world: &World) -> Vec<String> {
    let all = world.script.take_sent_datagrams(FD);
    all.into_iter().map(|(data, _)| String::from_utf8(data).unwrap()).collect()
}

#[test]
fn a_lone_datagram_is_one_receive() {
    let world = World::new();
    let (_datagram, told) = Told::over(&world);
    for turn in 0..200 {
        feed(&world, ["x"]);
        world.turn();
        assert_eq!((told.log.take().len(), world.script.take_receives(FD)), (1, 1), "{turn}");
    }
    world.turn();
    assert_eq!(world.script.take_receives(FD), 0, "nothing came, nothing is asked");
}

#[test]
fn several_are_received_by_one_call_and_told_in_order() {
    let world = World::new();
    let (_datagram, told) = Told::over(&world);
    teach(&world, &told);
    feed(&world, ["one", "", "two"]);
    world.script.feed_datagram(FD, b"three", peer("b"));
    world.turn();
    let expected = [
        "one from Peer(127.0.0.1:97)",
        " from Peer(127.0.0.1:97)",
        "two from Peer(127.0.0.1:97)",
        "three from Peer(127.0.0.1:98)",
    ];
    assert_eq!((told.log.take(), world.script.take_receives(FD)), (expected.map(String::from).into(), 1));
}

#[test]
fn a_visit_has_an_end() {
    let world = World::new();
    let (_datagram, told) = Told::over(&world);
    teach(&world, &told);
    feed(&world, ["x"; BATCH + 3]);
    world.turn();
    assert_eq!(told.log.take().len(), BATCH);
    world.turn();
    assert_eq!(told.log.take().len(), 3);
}

#[test]
fn nothing_is_told_after_close() {
    for lesson in [false, true] {
        let world = World::new();
        let (datagram, told) = Told::over(&world);
        if lesson {
            teach(&world, &told);
        }
        told.react(|what, datagram| {
            if what.starts_with("stop") {
                datagram.close();
            }
        });
        feed(&world, ["stop", "never", "never"]);
        world.settle();
        assert_eq!(told.log.take(), ["stop from Peer(127.0.0.1:97)", "losing by Caller", "lost"]);
        assert!(datagram.is_closed() && world.hub().reactor.is_empty());
    }
}

#[test]
fn a_pause_in_the_middle_of_a_batch_keeps_the_rest() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    teach(&world, &told);
    told.react(|what, datagram| {
        if what.starts_with("stop") {
            datagram.pause_reading();
        }
    });
    feed(&world, ["stop", "1", "stop", "2"]);
    world.settle();
    assert_eq!(told.log.take().len(), 1);
    feed(&world, ["3"]);
    datagram.resume_reading();
    world.settle();
    assert_eq!(told.log.take(), ["1 from Peer(127.0.0.1:97)", "stop from Peer(127.0.0.1:97)"]);
    datagram.resume_reading();
    datagram.resume_reading();
    world.settle();
    assert_eq!(told.log.take(), ["2 from Peer(127.0.0.1:97)", "3 from Peer(127.0.0.1:97)"]);
}

#[test]
fn who_leaves_the_loop_gets_the_rest_when_it_goes_on() {
    let world = World::new();
    let (_datagram, told) = Told::over(&world);
    teach(&world, &told);
    let hub = Rc::clone(world.hub());
    told.react(move |what, _| {
        if what.starts_with("leave") {
            hub.ready.leave();
        }
    });
    feed(&world, ["leave", "1", "leave", "2"]);
    world.turn();
    assert_eq!(told.log.take().len(), 1);
    world.turn();
    assert_eq!(told.log.take().len(), 2);
    world.turn();
    assert_eq!(told.log.take(), ["2 from Peer(127.0.0.1:97)"]);
}

#[test]
fn a_loop_within_a_callback_goes_on_where_it_stands() {
    let world = Rc::new(World::new());
    let (_datagram, told) = Told::over(&world);
    teach(&world, &told);
    let (inner, log) = (Rc::clone(&world), told.log.clone());
    told.react(move |what, _| {
        if what.starts_with("nest") {
            feed(&inner, ["3"]);
            inner.turn();
            log.add("back");
        }
    });
    feed(&world, ["nest", "1", "2"]);
    world.turn();
    let expected =
        ["nest from Peer(127.0.0.1:97)", "1 from Peer(127.0.0.1:97)", "2 from Peer(127.0.0.1:97)", "back"];
    assert_eq!(told.log.take(), expected);
    world.turn();
    assert_eq!(told.log.take(), ["3 from Peer(127.0.0.1:97)"]);
    told.react(|_, _| {});
}

#[test]
fn an_error_is_told_and_ends_nothing() {
    for lesson in [false, true] {
        let world = World::new();
        let (datagram, told) = Told::over(&world);
        if lesson {
            teach(&world, &told);
        }
        world.script.fail(FD, ECONNREFUSED);
        world.turn();
        assert_eq!(told.log.take(), ["Receiving: Some(111)"]);
        feed(&world, ["x"]);
        world.turn();
        assert_eq!(told.log.take().len(), 1);
        world.script.fail(FD, ENOBUFS);
        assert_eq!(send(&datagram, b"x").unwrap_err().raw_os_error(), Some(ENOBUFS), "the sender's to tell");
        assert_eq!(datagram.buffered(), 0, "and as in asyncio it is not kept");
    }
}

#[test]
fn a_datagram_leaves_at_once() {
    let world = World::new();
    let (datagram, _told) = Told::over(&world);
    send(&datagram, b"one").unwrap();
    datagram.send(b"", None, || Chunk::Owned(Vec::new())).unwrap();
    let expected = [(b"one".to_vec(), Some(peer("b"))), (Vec::new(), None)];
    assert_eq!(world.script.take_sent_datagrams(FD), expected);
    assert_eq!((world.script.take_sends(FD), datagram.buffered()), (2, 0));
}

#[test]
fn what_waits_leaves_by_one_call_and_in_order() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.script.set_room(FD, 0);
    for data in [&b"one"[..], b"", b"three"] {
        send(&datagram, data).unwrap();
    }
    assert_eq!((datagram.buffered(), datagram.polls_write()), (8 + 3 * 8, true));
    assert_eq!(world.script.take_sends(FD), 1, "only the first was tried");
    world.script.set_room(FD, 2);
    world.turn();
    assert_eq!((sent(&world), datagram.buffered()), (vec!["one".to_owned(), String::new()], 5 + 8));
    world.script.set_room(FD, 9);
    world.turn();
    assert_eq!((sent(&world), datagram.buffered()), (vec!["three".to_owned()], 0));
    assert_eq!(world.script.take_sends(FD), 2);
    assert_eq!(world.script.interest(FD), Some(Interest::READ), "room is no news any more");
    assert!(told.log.take().is_empty());
}

#[test]
fn flow_control_counts_headers() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    datagram.set_write_limits(Some(30), Some(10)).unwrap();
    assert_eq!(datagram.write_limits(), (10, 30));
    world.script.set_room(FD, 0);
    for _ in 0..3 {
        send(&datagram, b"").unwrap();
    }
    assert!(told.log.take().is_empty());
    send(&datagram, b"").unwrap();
    assert_eq!(told.log.take(), ["pause"]);
    assert!(datagram.writing_paused());
    world.script.set_room(FD, 2);
    world.turn();
    assert!(told.log.take().is_empty());
    world.script.set_room(FD, 1);
    world.turn();
    assert_eq!(told.log.take(), ["resume"]);
}

#[test]
fn an_error_of_what_waited_is_told_and_the_rest_leaves() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.script.set_room(FD, 0);
    for data in [&b"bad"[..], b"good"] {
        send(&datagram, data).unwrap();
    }
    world.script.set_room(FD, 9);
    world.script.fail(FD, ECONNREFUSED);
    // The first to ask is told: the receiver, whom the kernel woke as well.
    world.turn();
    assert_eq!(told.log.take(), ["Receiving: Some(111)"]);
    assert_eq!(sent(&world), ["bad", "good"]);
    world.script.set_room(FD, 0);
    send(&datagram, b"bad").unwrap();
    send(&datagram, b"good").unwrap();
    datagram.pause_reading();
    world.script.set_room(FD, 9);
    world.script.fail(FD, ECONNREFUSED);
    world.turn();
    assert_eq!((told.log.take(), sent(&world)), (vec!["Sending: Some(111)".to_owned()], vec![]));
    world.turn();
    assert_eq!((sent(&world), datagram.buffered()), (vec!["good".to_owned()], 0));
}

#[test]
fn the_face_sends_in_its_turn_what_it_alone_understands() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.script.set_room(FD, 0);
    send(&datagram, b"one").unwrap();
    assert!(datagram.send_later(Chunk::Owned(b"name".into())));
    send(&datagram, b"two").unwrap();
    told.sends.set(Some(Sent::NotYet));
    world.script.set_room(FD, 9);
    world.turn();
    assert_eq!((sent(&world), told.log.take()), (vec!["one".to_owned()], vec![]));
    world.turn();
    assert_eq!((told.log.take(), datagram.buffered()), (vec!["send name".to_owned()], 8 + 4 + 8 + 3));
    told.sends.set(Some(Sent::Yes));
    world.turn();
    assert_eq!((told.log.take(), datagram.buffered()), (vec!["send name".to_owned()], 8 + 3));
    world.turn();
    assert_eq!((sent(&world), datagram.polls_write()), (vec!["two".to_owned()], false));
}

#[test]
fn what_the_face_cannot_send_stops_nothing() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    told.sends.set(Some(Sent::Refused));
    world.script.set_room(FD, 0);
    assert!(datagram.send_later(Chunk::Owned(b"name".into())));
    send(&datagram, b"two").unwrap();
    world.script.set_room(FD, 9);
    world.turn();
    assert_eq!((told.log.take(), sent(&world)), (vec!["send name".to_owned()], vec![]));
    world.turn();
    assert_eq!((sent(&world), datagram.polls_write()), (vec!["two".to_owned()], false));
    told.react(|what, datagram| {
        if what.starts_with("send") {
            datagram.abort(None);
        }
    });
    told.sends.set(Some(Sent::NotYet));
    assert!(datagram.send_later(Chunk::Owned(b"name".into())));
    world.settle();
    assert_eq!(told.log.take(), ["send name", "losing by Caller", "lost"]);
    assert!(datagram.buffered() == 0 && !datagram.send_later(Chunk::Owned(b"late".into())));
}

#[test]
fn close_sends_what_waits_and_abort_drops_it() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.script.set_room(FD, 0);
    send(&datagram, b"last").unwrap();
    datagram.close();
    feed(&world, ["never"]);
    world.settle();
    assert!(told.log.take().is_empty());
    world.script.set_room(FD, 1);
    world.settle();
    assert_eq!((told.log.take(), sent(&world)), (vec!["lost".to_owned()], vec!["last".to_owned()]));
    send(&datagram, b"never").unwrap();
    assert!(sent(&world).is_empty() && world.hub().reactor.is_empty());

    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.script.set_room(FD, 0);
    send(&datagram, b"never").unwrap();
    datagram.abort(Some(io::ErrorKind::TimedOut.into()));
    datagram.abort(None);
    datagram.close();
    world.script.set_room(FD, 9);
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost TimedOut"]);
    assert!(sent(&world).is_empty());
}

#[test]
fn between_close_and_the_end_a_datagram_leaves_or_is_dropped() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    datagram.close();
    send(&datagram, b"leaves").unwrap();
    world.script.set_room(FD, 0);
    send(&datagram, b"dropped").unwrap();
    assert_eq!((sent(&world), datagram.buffered()), (vec!["leaves".to_owned()], 0));
    world.settle();
    assert_eq!(told.log.take(), ["losing by Caller", "lost"]);
}

#[test]
fn the_loop_holds_what_it_listens_to() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    assert!(told.held.get());
    datagram.pause_reading();
    assert!(!told.held.get(), "nothing can happen to it");
    world.script.set_room(FD, 0);
    send(&datagram, b"x").unwrap();
    assert!(told.held.get(), "it is to be sent");
    world.script.set_room(FD, 1);
    world.turn();
    assert!(!told.held.get());
    world.script.set_room(FD, 0);
    send(&datagram, b"x").unwrap();
    let watch = Rc::clone(&told);
    told.react(move |what, _| assert!(what != "lost" || watch.held.get(), "until it has been told"));
    datagram.close();
    world.script.set_room(FD, 1);
    world.settle();
    assert_eq!((told.log.take(), told.held.get()), (vec!["lost".to_owned()], false));
    told.react(|_, _| {});
}

#[test]
fn a_descriptor_has_one_transport() {
    let world = World::new();
    let (_datagram, told) = Told::over(&world);
    let protocol = Rc::clone(&told) as Rc<dyn DatagramProtocol>;
    let second = Datagram::new(world.hub(), Descriptor::Lent(FD), 0, protocol);
    assert_eq!(second.start().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    second.discard();
    assert!(second.is_closed() && second.is_lost() && second.fd() == FD);
}

#[test]
fn a_loop_that_goes_lets_go_of_it() {
    let world = World::new();
    let (datagram, told) = Told::over(&world);
    world.hub().clear();
    assert_eq!(told.log.take(), ["abandoned"]);
    datagram.close();
    assert!(datagram.is_closed(), "nobody would run the report");
}

#[test]
fn on_a_closed_loop_it_is_closing_and_keeps_its_descriptor() {
    let world = World::new();
    let (datagram, _told) = Told::over(&world);
    world.hub().clear();
    datagram.strand();
    datagram.strand_now();
    assert!(datagram.is_closing() && datagram.is_lost() && !datagram.is_closed());
}

/// UDP counts in 16 bits, and a batch has room for as much. Between processes of one machine datagrams may be larger.
#[test]
fn datagrams_of_unix_sockets_may_be_larger_than_those_of_the_internet() {
    let world = crate::event_loop::EventLoop::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (_datagram, told) = Told::start(world.hub(), Descriptor::Owned(ours.into()));
    let turn = || {
        world.wait(crate::driver::Timeout::Zero).unwrap();
        world.dispatch();
        let _ = world.run_ready();
        told.log.take()
    };
    turn();
    let large = "x".repeat(100_000);
    for _ in 0..6 {
        theirs.send(large.as_bytes()).unwrap();
        assert_eq!(turn()[0].strip_prefix(&large), Some(" from Peer(family 0)"));
    }
}

#[test]
fn on_real_sockets() {
    let world = crate::event_loop::EventLoop::new().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let (datagram, told) = Told::start(world.hub(), Descriptor::Owned(socket.into()));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..40u8 {
        client.send_to(&[n], address).unwrap();
    }
    let answers = Peer::from(client.local_addr().unwrap());
    let mut events = Vec::new();
    while events.len() < 41 {
        world.wait(crate::driver::Timeout::Zero).unwrap();
        world.dispatch();
        let _ = world.run_ready();
        events.extend(told.log.take());
    }
    let received = |n: u8| format!("{} from {answers:?}", [n].escape_ascii());
    let expected: Vec<String> = std::iter::once("made".into()).chain((0..40).map(received)).collect();
    assert_eq!(events, expected);
    datagram.send(b"answer", Some(&answers), || Chunk::Owned(Vec::new())).unwrap();
    let mut buffer = [0; 9];
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    let number = datagram.fd();
    datagram.close();
    let _ = world.run_ready();
    assert!(datagram.is_closed());
    assert!(crate::sys::getsockname(number).is_err() || client.as_raw_fd() == number);
}
