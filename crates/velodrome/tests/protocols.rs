//! Protocols: the order of their callbacks, what they may do within them, and what becomes of their panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::io;

use support::{Flag, Log, OnDrop, deserted_port, kind, panics_on_drop, quietly, really, recording, settle};
use velodrome::{
    BufferedProtocol, Builder, Protocol, ProtocolRef, Server, StreamReader, StreamWriter, Transport,
    create_connection, create_server, create_unix_connection, create_unix_server, open_connection, spawn,
    start_server,
};

const HOST: &str = "127.0.0.1";

/// Writes down what it is told, and says back what it hears unless it hears a command.
struct Tells {
    log: Log,
    transport: Option<Transport>,
    keep_open: bool,
}

impl Tells {
    fn new(log: &Log) -> Self {
        Self { log: log.clone(), transport: None, keep_open: false }
    }
}

impl Protocol for Tells {
    fn connection_made(&mut self, transport: Transport) {
        self.log.add("made");
        self.transport = Some(transport);
    }

    fn data_received(&mut self, data: &[u8]) {
        self.log.add(String::from_utf8_lossy(data));
        let transport = self.transport.as_ref().unwrap();
        match data {
            b"panic" => panic!("on purpose"),
            b"keep" => self.keep_open = true,
            b"flood" => {
                transport.set_write_buffer_limits(Some(10), None).unwrap();
                while !transport.is_writing_paused() {
                    transport.write([0; 4096]);
                }
                self.log.add("paused already");
            }
            data => transport.write(data),
        }
    }

    fn eof_received(&mut self) -> bool {
        self.log.add("eof");
        self.keep_open
    }

    fn pause_writing(&mut self) {
        self.log.add("pause");
    }

    fn resume_writing(&mut self) {
        self.log.add("resume");
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.log.add(error.map_or("lost".into(), |error| format!("lost: {error}")));
    }
}

async fn telling_server(log: &Log) -> (Server, u16) {
    let log = log.clone();
    let server = create_server(move || Tells::new(&log), HOST, 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[test]
fn callbacks_come_in_order() {
    let log = Log::default();
    really(async {
        let (_server, port) = telling_server(&log).await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("hello");
        assert_eq!(reader.read(100).await.unwrap(), b"hello");
        writer.write_eof();
        assert_eq!(reader.read(100).await.unwrap(), b"");
    });
    assert_eq!(log.take(), ["made", "hello", "eof", "lost"]);
}

#[test]
fn a_protocol_may_keep_its_half_open() {
    let log = Log::default();
    really(async {
        let (server, port) = telling_server(&log).await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("keep");
        settle().await;
        writer.write_eof();
        settle().await;
        assert_eq!(log.take(), ["made", "keep", "eof"]);
        server.close_clients();
        assert_eq!(reader.read(1).await.unwrap(), b"");
        settle().await;
    });
    assert_eq!(log.take(), ["lost"]);
}

#[test]
fn writing_within_a_callback_pauses_after_it() {
    let log = Log::default();
    really(async {
        let (_server, port) = telling_server(&log).await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("flood");
        while log.take().last().is_none_or(|last| last != "pause") {
            settle().await;
        }
        drop(writer);
        assert_eq!(log.take(), [""; 0]);
        while !reader.read(1 << 20).await.unwrap().is_empty() {}
    });
}

#[test]
fn a_pause_is_told_once_and_ends_when_the_peer_has_read() {
    let log = Log::default();
    really(async {
        let (_server, port) = telling_server(&log).await;
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("flood");
        let mut all = Vec::new();
        while all.last().is_none_or(|last| last != "resume") {
            reader.read(1 << 20).await.unwrap();
            all.extend(log.take());
        }
        assert_eq!(all, ["made", "flood", "paused already", "pause", "resume"]);
    });
}

#[test]
fn a_client_is_made_when_it_is_returned() {
    let log = Log::default();
    really(async {
        let echo = |mut reader: StreamReader, writer: StreamWriter| async move {
            writer.write(reader.read(100).await?);
            io::Result::Ok(())
        };
        let server = start_server(echo, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (transport, tells) = create_connection(|| Tells::new(&log), HOST, port).await.unwrap();
        assert_eq!(log.take(), ["made"]);
        assert_eq!(transport.peer_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(transport.local_addr().unwrap().ip().to_string(), HOST);
        transport.set_nodelay(false).unwrap();
        transport.set_keepalive(true).unwrap();
        tells.with(|tells| tells.keep_open = true).unwrap();
        transport.writelines(["o", "n", "e"]);
        settle().await;
        transport.close();
        settle().await;
        assert_eq!(kind(transport.local_addr()), Some(io::ErrorKind::NotConnected));
    });
    // One read or more, as the kernel likes; then what the peer's end means to this protocol is that it may go on.
    let told = log.take();
    assert_eq!(
        (told.first().map(String::as_str), told.last().map(String::as_str)),
        (Some("one"), Some("lost"))
    );
}

#[test]
fn who_gives_up_leaves_no_connection() {
    let log = Log::default();
    really(async {
        let (server, port) = telling_server(&log).await;
        let task =
            spawn(
                async move { create_connection(|| Tells::new(&Log::default()), HOST, port).await.map(drop) },
            );
        while server.client_count() == 0 && !task.is_finished() {
            velodrome::yield_now().await;
        }
        task.cancel();
        drop(task);
        settle().await;
        settle().await;
        // A transport that was handed out and dropped would live on.
        let refused = create_connection(|| Tells::new(&log), HOST, deserted_port()).await;
        assert_eq!(kind(refused), Some(io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn a_panic_costs_its_connection_and_nothing_else() {
    let log = Log::default();
    let (runtime, seen) = recording();
    quietly(|| {
        runtime.block_on(async {
            let (server, port) = telling_server(&log).await;
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("panic");
            assert_eq!(reader.read(1).await.unwrap(), b"");
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("fine");
            assert_eq!(reader.read(100).await.unwrap(), b"fine");
            assert_eq!(server.client_count(), 1);
        })
    })
    .unwrap();
    assert_eq!(log.take()[..4], ["made", "panic", "lost: data_received panicked", "made"]);
    assert_eq!(*seen.borrow(), ["a protocol's connection is aborted: data_received panicked"]);
}

/// Does something when it is dropped, and takes no notice of what it hears.
struct Deaf<F: FnMut()>(OnDrop<F>);

impl<F: FnMut() + 'static> Protocol for Deaf<F> {
    fn data_received(&mut self, _data: &[u8]) {}
}

#[test]
fn a_protocol_whose_destructor_panics_does_not_end_the_loop() {
    let (runtime, seen) = recording();
    quietly(|| {
        runtime.block_on(async {
            let server = create_server(|| Deaf(panics_on_drop()), HOST, 0).await.unwrap();
            let port = server.local_addr().unwrap().port();
            for _ in 0..2 {
                drop(open_connection(HOST, port).await.unwrap());
                while server.client_count() > 0 {
                    settle().await;
                }
            }
            let (transport, deaf) = create_connection(|| Deaf(panics_on_drop()), HOST, port).await.unwrap();
            transport.abort();
            settle().await;
            drop((transport, deaf));
        })
    })
    .unwrap();
    assert_eq!(*seen.borrow(), ["a protocol was dropped: its destructor panicked"; 4]);
}

#[test]
fn who_is_told_of_errors_may_panic() {
    let told = Log::default();
    let log = told.clone();
    let tell = move |error: &velodrome::Unhandled| {
        log.add(error);
        panic!("on purpose")
    };
    quietly(|| {
        Builder::new().on_error(tell).build().unwrap().block_on(async {
            let (_server, port) = telling_server(&Log::default()).await;
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("panic");
            assert_eq!(reader.read(1).await.unwrap(), b"");
        })
    })
    .unwrap();
    assert_eq!(told.take(), ["a protocol's connection is aborted: data_received panicked"]);
}

#[test]
fn a_factory_that_panics_does_not_end_the_server() {
    let (runtime, seen) = recording();
    quietly(|| {
        runtime.block_on(async {
            let first = RefCell::new(true);
            let factory = move || {
                assert!(!first.replace(false), "on purpose");
                Tells::new(&Log::default())
            };
            let server = create_server(factory, HOST, 0).await.unwrap();
            let port = server.local_addr().unwrap().port();
            let (mut reader, _writer) = open_connection(HOST, port).await.unwrap();
            assert!(reader.read(1).await.is_ok_and(|data| data.is_empty()));
            let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
            writer.write("fine");
            assert_eq!(reader.read(100).await.unwrap(), b"fine");
        })
    })
    .unwrap();
    assert_eq!(*seen.borrow(), ["a connection was accepted and then lost: the protocol factory panicked"]);
}

#[test]
fn writing_after_the_end_is_told() {
    let (runtime, seen) = recording();
    let log = Log::default();
    runtime
        .block_on(async {
            let (_server, port) = telling_server(&log).await;
            let (transport, _tells) = create_connection(|| Tells::new(&log), HOST, port).await.unwrap();
            transport.write_eof();
            transport.write("late");
            transport.close();
            transport.write("too late to matter");
        })
        .unwrap();
    assert_eq!(seen.borrow()[0], "a write was dropped: it came after write_eof");
}

#[test]
fn reading_may_be_paused() {
    let log = Log::default();
    really(async {
        let say = |_reader, writer: StreamWriter| async move {
            writer.write("hello");
            writer.wait_closed().await
        };
        let server = start_server(say, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (transport, _tells) = create_connection(|| Tells::new(&log), HOST, port).await.unwrap();
        transport.pause_reading();
        assert!(!transport.is_reading());
        settle().await;
        assert_eq!(log.take(), ["made"]);
        transport.resume_reading();
        settle().await;
        assert_eq!(log.take(), ["hello"]);
    });
}

#[test]
fn marks_have_an_order() {
    really(async {
        let (_server, port) = telling_server(&Log::default()).await;
        let log = Log::default();
        let (transport, _tells) = create_connection(|| Tells::new(&log), HOST, port).await.unwrap();
        assert_eq!(transport.write_buffer_limits(), (16 * 1024, 64 * 1024));
        transport.set_write_buffer_limits(Some(100), None).unwrap();
        assert_eq!(transport.write_buffer_limits(), (25, 100));
        let wrong = transport.set_write_buffer_limits(Some(1), Some(2));
        assert_eq!(kind(wrong), Some(io::ErrorKind::InvalidInput));
    });
}

/// Fills four bytes, says them back, and wants none at all after `STOP`.
#[derive(Default)]
struct Frames {
    frame: [u8; 4],
    filled: usize,
    stop: bool,
    transport: Option<Transport>,
    log: Log,
}

impl BufferedProtocol for Frames {
    fn connection_made(&mut self, transport: Transport) {
        self.transport = Some(transport);
    }

    fn get_buffer(&mut self, size_hint: usize) -> &mut [u8] {
        assert!(size_hint > 0);
        let from = if self.stop { self.frame.len() } else { self.filled };
        &mut self.frame[from..]
    }

    fn buffer_updated(&mut self, count: usize) {
        self.filled += count;
        if self.filled == self.frame.len() {
            self.filled = 0;
            self.stop = &self.frame == b"STOP";
            self.transport.as_ref().unwrap().write(self.frame);
        }
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.log.add(error.map_or("lost".into(), |error| error.to_string()));
    }
}

#[test]
fn a_buffered_protocol_gets_its_bytes_where_it_wants_them() {
    let log = Log::default();
    really(async {
        let of_server = log.clone();
        let factory = move || Frames { log: of_server.clone(), ..Frames::default() };
        let server = create_server(factory, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_connection(HOST, port).await.unwrap();
        writer.write("abcdefSTOP!!");
        assert_eq!(reader.readexactly(8).await.unwrap(), b"abcdefST");
        writer.write("STOP");
        assert_eq!(reader.readexactly(4).await.unwrap(), b"OP!!");
        assert_eq!(reader.readexactly(4).await.unwrap(), b"STOP");
        writer.write("more");
        // Reset, and not ended: nobody has read it.
        assert_eq!(kind(reader.read(1).await), Some(io::ErrorKind::ConnectionReset));
        settle().await;
    });
    assert_eq!(log.take(), ["get_buffer returned an empty buffer"]);
}

/// Tries to look at itself.
#[derive(Default)]
struct Curious {
    myself: Option<ProtocolRef<Curious>>,
    seen: Option<bool>,
}

impl Protocol for Curious {
    fn data_received(&mut self, _: &[u8]) {
        self.seen = self.myself.as_ref().map(|myself| myself.with(|_| ()).is_some());
    }
}

#[test]
fn a_protocol_is_never_called_twice_at_a_time() {
    really(async {
        let say = |_reader, writer: StreamWriter| async move { writer.write("hello") };
        let server = start_server(say, HOST, 0).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (_transport, curious) = create_connection(Curious::default, HOST, port).await.unwrap();
        let myself = curious.clone();
        curious.with(|curious| curious.myself = Some(myself)).unwrap();
        settle().await;
        assert_eq!(curious.with(|curious| curious.seen), Some(Some(false)));
        curious.with(|curious| curious.myself = None).unwrap();
    });
}

/// Holds a guard, so that it shows when it is dropped.
struct Held<G>(#[allow(dead_code, reason = "held for its drop")] G, Option<Transport>);

impl<G: 'static> Protocol for Held<G> {
    fn connection_made(&mut self, transport: Transport) {
        self.1 = Some(transport);
    }

    fn data_received(&mut self, _: &[u8]) {}
}

#[test]
fn a_protocol_that_keeps_its_transport_ends_with_its_connection_or_its_loop() {
    let (closed, left) = (Flag::default(), Flag::default());
    really(async {
        let (_server, port) = telling_server(&Log::default()).await;
        let (transport, _) = create_connection(|| Held(closed.on_drop(), None), HOST, port).await.unwrap();
        transport.close();
        settle().await;
        drop(transport);
        let (_transport, _) = create_connection(|| Held(left.on_drop(), None), HOST, port).await.unwrap();
        settle().await;
        assert!(!left.is_set());
    });
    assert!(left.is_set(), "the loop that ends lets go");
}

#[test]
fn protocols_over_unix_sockets() {
    let path = std::env::temp_dir().join(format!("velodrome-{}-protocols", std::process::id()));
    let (here, there) = (Log::default(), Log::default());
    really(async {
        let log = there.clone();
        let server = create_unix_server(move || Tells::new(&log), &path).await.unwrap();
        let (transport, _tells) = create_unix_connection(|| Tells::new(&here), &path).await.unwrap();
        assert_eq!(transport.peer_unix_path(), Some(path.clone()));
        assert_eq!(kind(transport.peer_addr()), Some(io::ErrorKind::Unsupported));
        transport.write("keep");
        settle().await;
        server.abort_clients();
        settle().await;
    });
    assert_eq!(
        (here.take(), there.take()),
        (vec!["made".into(), "eof".into(), "lost".into()], vec!["made".into(), "keep".into(), "lost".into()])
    );
}
