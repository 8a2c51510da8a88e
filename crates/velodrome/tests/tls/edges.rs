//! Where an encrypted connection pauses, closes, fails or is left alone: as a plain one does.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use velodrome::tls::{Tls, create_tls_connection, create_tls_server, open_tls_connection, start_tls_server};
use velodrome::{
    BufferedProtocol, Builder, Clock, Protocol, StreamReader, StreamWriter, Transport, sleep, timeout,
};

use super::configs::{HOST, client_config, server_config};
use super::support::{Log, half, kind, really, settle};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Says nothing, and hears nothing.
struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &[u8]) {}
}

/// Wants no more after each piece that it gets.
#[derive(Clone, Default)]
struct Moderate {
    got: Rc<RefCell<Vec<u8>>>,
    pieces: Rc<Cell<usize>>,
    transport: Rc<RefCell<Option<Transport>>>,
    log: Log,
}

impl Moderate {
    fn go_on(&self) {
        self.transport.borrow().as_ref().unwrap().resume_reading();
    }
}

impl Protocol for Moderate {
    fn connection_made(&mut self, transport: Transport) {
        transport.pause_reading();
        self.transport.replace(Some(transport));
    }

    fn data_received(&mut self, data: &[u8]) {
        self.got.borrow_mut().extend_from_slice(data);
        self.pieces.set(self.pieces.get() + 1);
        self.transport.borrow().as_ref().unwrap().pause_reading();
    }

    fn eof_received(&mut self) -> bool {
        self.log.add("eof");
        false
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.log.add(error.map_or("lost".into(), |error| format!("lost: {error}")));
    }
}

/// Bytes of which no two pieces are alike.
fn varied(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8 ^ (n >> 8) as u8).collect()
}

#[test]
fn a_protocol_that_pauses_gets_no_more_until_it_resumes() {
    really(async {
        let (moderate, said) = (Moderate::default(), varied(60_000));
        let theirs = moderate.clone();
        let server = create_tls_server(move || theirs.clone(), HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (_reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        writer.write(&said);
        writer.close();
        settle().await;
        assert_eq!(moderate.pieces.get(), 0, "it paused as soon as it knew of the connection");
        let mut pieces = 0;
        while moderate.log.len() < 2 {
            moderate.go_on();
            settle().await;
            assert!(moderate.pieces.get() <= pieces + 1, "it had paused again");
            pieces = moderate.pieces.get();
        }
        assert!(pieces > 2, "there was something to wait for: {pieces}");
        assert!(*moderate.got.borrow() == said);
        assert_eq!(moderate.log.take(), ["eof", "lost"]);
    });
}

#[test]
fn what_a_reader_does_not_want_yet_is_not_heaped_up() {
    really(async {
        let said = varied(8 << 20);
        let all = said.clone();
        let tell = move |_reader: StreamReader, writer: StreamWriter| {
            let all = all.clone();
            async move {
                writer.write(&all);
                writer.flush().await
            }
        };
        let server = start_tls_server(tell, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, _writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        reader.set_limit(1000);
        settle().await;
        // A record is 16 KiB: what it brings is kept, and no other is deciphered.
        let kept = reader.read(usize::MAX).await.unwrap();
        assert!(kept.len() <= 2000 + (16 << 10), "{} kept", kept.len());
        let rest = reader.read_to_end().await.unwrap();
        assert!([kept, rest].concat() == said);
    });
}

/// Answers the first words with many, and hangs up.
struct Lecture(Option<Transport>, Log);

const LECTURE: usize = 4 << 20;

impl Protocol for Lecture {
    fn connection_made(&mut self, transport: Transport) {
        self.0 = Some(transport);
    }

    fn data_received(&mut self, _: &[u8]) {
        let transport = self.0.as_ref().unwrap();
        transport.write(varied(LECTURE));
        transport.close();
        transport.write("dropped");
    }

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.1.add(error.map_or("lost".into(), |error| format!("lost: {error}")));
    }
}

#[test]
fn what_was_written_before_closing_is_sent_whatever_else_arrives() {
    let (log, told) = (Log::default(), Log::default());
    let tell = told.clone();
    let runtime = Builder::new().on_error(move |error| tell.add(error)).build().unwrap();
    let heard = log.clone();
    let answer = runtime.block_on(async move {
        let factory = move || Lecture(None, heard.clone());
        let server = create_tls_server(factory, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        // More than rustls keeps deciphered, in one receive.
        writer.write(varied(65_000));
        let answer = reader.read_to_end().await;
        writer.close();
        settle().await;
        answer
    });
    assert!(answer.unwrap().unwrap() == varied(LECTURE));
    assert_eq!((log.take(), told.take()), (vec!["lost".to_owned()], vec![]));
}

#[test]
fn a_write_after_closing_is_no_write_after_the_end() {
    really(async {
        let (_server, port) = super::echo_server().await;
        let (mut reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        writer.write("hello");
        reader.readexactly(5).await.unwrap();
        writer.close();
        writer.write("late");
        assert_eq!(kind(writer.wait_closed().await), None);
    });
}

#[test]
fn a_protocol_that_ends_with_its_peer_says_so() {
    really(async {
        let server = create_tls_server(|| Silent, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        writer.write_eof();
        // An end that TLS knows nothing of would be an error.
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
    });
}

/// Has no room for anything.
struct Full(Log);

impl BufferedProtocol for Full {
    fn get_buffer(&mut self, _: usize) -> &mut [u8] {
        &mut []
    }

    fn buffer_updated(&mut self, _: usize) {}

    fn connection_lost(&mut self, error: Option<io::Error>) {
        self.0.add(error.unwrap());
    }
}

#[test]
fn an_empty_buffer_ends_the_connection() {
    let log = Log::default();
    really(async {
        let theirs = log.clone();
        let server = create_tls_server(move || Full(theirs.clone()), HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        writer.write("hello");
        let read = timeout(Duration::from_secs(10), reader.read(1)).await.unwrap();
        assert!(kind(read).is_some());
    });
    assert_eq!(log.take(), ["get_buffer returned an empty buffer"]);
}

#[test]
fn a_peer_that_takes_nothing_does_not_keep_a_closed_connection() {
    let (clock, hand) = Clock::manual();
    let runtime = Builder::new().clock(clock).build().unwrap();
    runtime
        .block_on(async {
            let deaf =
                |_reader: StreamReader, writer: StreamWriter| async move { writer.wait_closed().await };
            let server = start_tls_server(deaf, HOST, 0, server_config()).await.unwrap();
            let port = server.local_addr().unwrap().port();
            let connecting = create_tls_connection(|| Silent, HOST, port, client_config(true));
            let (transport, _silent) = connecting.await.unwrap();
            // Two loops' worth of socket buffers, and the other side's reader has a limit.
            transport.write(vec![7; 32 << 20]);
            transport.close();
            hand.advance(29 * SECOND);
            settle_by_clock().await;
            assert!(transport.write_buffer_size() > 0, "it is still on its way");
            hand.advance(2 * SECOND);
            settle_by_clock().await;
            assert_eq!(transport.write_buffer_size(), 0, "it is given up");
        })
        .unwrap();
}

async fn settle_by_clock() {
    for _ in 0..200 {
        velodrome::yield_now().await;
    }
}

/// A peer that takes some of it in each half minute gets all.
#[test]
fn a_slow_peer_is_waited_for() {
    let (clock, hand) = Clock::manual();
    let runtime = Builder::new().clock(clock).build().unwrap();
    let answer = runtime.block_on(async {
        let much = |_reader: StreamReader, writer: StreamWriter| async move {
            // More than two sockets' buffers.
            writer.write(vec![7; 32 << 20]);
            writer.close();
            writer.wait_closed().await
        };
        let server = start_tls_server(much, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, _writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        for _ in 0..16 {
            reader.readexactly(2 << 20).await?;
            hand.advance(20 * SECOND);
            settle_by_clock().await;
        }
        Ok::<_, velodrome::ReadError>(reader.read(1).await?)
    });
    assert_eq!(answer.unwrap().unwrap(), b"");
}

#[test]
fn who_closes_in_time_is_not_cut_off_later() {
    let (clock, hand) = Clock::manual();
    let runtime = Builder::new().clock(clock).build().unwrap();
    let answer = runtime.block_on(async {
        let log = Log::default();
        let factory = move || Lecture(None, log.clone());
        let server = create_tls_server(factory, HOST, 0, server_config()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut reader, writer) = open_tls_connection(HOST, port, client_config(true)).await.unwrap();
        writer.write("hello");
        let answer = reader.readexactly(LECTURE).await;
        hand.advance(31 * SECOND);
        (answer.map(|answer| answer.len()), reader.read(1).await)
    });
    let (answer, end) = answer.unwrap();
    assert_eq!((answer.unwrap(), end.unwrap()), (LECTURE, vec![]));
}

#[test]
fn nobody_shakes_hands_with_who_has_said_goodbye() {
    really(async {
        let (mut reader, writer, theirs) = half();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.read(1).await.unwrap(), b"");
        let shaking = writer.start_tls(Tls::server(server_config()));
        let shaken = timeout(Duration::from_secs(10), shaking).await.expect("it is told at once");
        assert_eq!(kind(shaken), Some(io::ErrorKind::UnexpectedEof));
        sleep(Duration::ZERO).await;
    });
}
