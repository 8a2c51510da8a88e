//! Bytes: what was not returned stays in the stream, what was written leaves.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use velodrome::{ReadError, StreamReader, StreamWriter, open_socket, sleep, spawn};

use crate::chance::{Chance, give_up};

const SHORT: Duration = Duration::from_millis(1);

/// More than a socket takes at once.
const MUCH: usize = 1 << 20;

/// A stream to which a peer writes `pieces`, with pauses, and then closes.
fn fed(pieces: &'static [&'static str]) -> (StreamReader, StreamWriter) {
    let (left, mut right) = UnixStream::pair().unwrap();
    spawn(async move {
        for piece in pieces {
            sleep(SHORT).await;
            right.write_all(piece.as_bytes()).unwrap();
        }
        sleep(SHORT).await;
    })
    .detach();
    open_socket(left).unwrap()
}

/// A reading is given up or not: what it returned and what is left make the whole.
async fn whole(chance: &Chance, reading: impl AsyncFnOnce(&mut StreamReader) -> Vec<u8>) {
    let (mut reader, _writer) = fed(&["on", "e\ntw", "o\n", "three"]);
    let mut all = chance.take(reading(&mut reader)).await.unwrap_or_default();
    all.extend(reader.read_to_end().await.unwrap());
    assert_eq!(all, b"one\ntwo\nthree");
}

/// `StreamReader::read`
#[test]
fn a_read_leaves_what_it_did_not_return() {
    give_up(async |chance| whole(chance, async |reader| reader.read(3).await.unwrap()).await);
}

/// `StreamReader::read_into`
#[test]
fn a_read_into_a_buffer_leaves_what_it_did_not_tell() {
    let read = async |reader: &mut StreamReader| {
        let mut buffer = [0; 16];
        let count = reader.read_into(&mut buffer).await.unwrap();
        buffer[..count].to_vec()
    };
    give_up(async |chance| whole(chance, read).await);
}

/// `StreamReader::readline`
#[test]
fn a_line_stays_until_it_is_whole() {
    give_up(async |chance| whole(chance, async |reader| reader.readline().await.unwrap()).await);
}

/// A reading that appends to a buffer, which is either as it was or has what the stream has not.
async fn whole_in_buffer(
    chance: &Chance,
    reading: impl AsyncFnOnce(&mut StreamReader, &mut Vec<u8>) -> Result<usize, ReadError>,
) {
    let (mut reader, _writer) = fed(&["on", "e\ntw", "o\n", "three"]);
    let mut all = Vec::new();
    let count = chance.take(reading(&mut reader, &mut all)).await.unwrap_or(Ok(0)).unwrap();
    assert_eq!(all.len(), count);
    all.extend(reader.read_to_end().await.unwrap());
    assert_eq!(all, b"one\ntwo\nthree");
}

/// `StreamReader::readline_into`
#[test]
fn a_line_is_appended_when_it_is_whole() {
    give_up(async |chance| {
        whole_in_buffer(chance, async |reader, buffer| reader.readline_into(buffer).await).await;
    });
}

/// `StreamReader::readuntil_into`
#[test]
fn what_is_read_until_a_mark_is_appended_with_it() {
    give_up(async |chance| {
        whole_in_buffer(chance, async |reader, buffer| reader.readuntil_into(b"o\nt", buffer).await).await;
    });
}

/// `StreamReader::readexactly`
#[test]
fn so_many_bytes_stay_until_there_are_so_many() {
    give_up(async |chance| whole(chance, async |reader| reader.readexactly(7).await.unwrap()).await);
}

/// `StreamReader::readuntil_any`
#[test]
fn what_ends_in_one_of_several_ways() {
    give_up(async |chance| {
        whole(chance, async |reader| reader.readuntil_any(&[b"never", b"o\nt"]).await.unwrap()).await;
    });
}

/// `StreamReader::readuntil`
#[test]
fn what_is_read_until_a_mark_stays() {
    give_up(async |chance| whole(chance, async |reader| reader.readuntil(b"o\nt").await.unwrap()).await);
}

/// `StreamReader::read_to_end`
#[test]
fn what_is_read_to_the_end_stays() {
    give_up(async |chance| whole(chance, async |reader| reader.read_to_end().await.unwrap()).await);
}

/// A pair of which one end has much to write, and a task that reads it slowly at the other end.
fn slowly_read() -> (StreamReader, StreamWriter, velodrome::Task<usize>) {
    let (left, mut right) = UnixStream::pair().unwrap();
    let task = spawn(async move {
        let (mut buffer, mut count) = (vec![0; 100_000], 0);
        loop {
            right.set_nonblocking(true).unwrap();
            match right.read(&mut buffer) {
                Ok(0) => return count,
                Ok(some) => count += some,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            sleep(SHORT).await;
        }
    });
    let (reader, writer) = open_socket(left).unwrap();
    (reader, writer, task)
}

/// `StreamWriter::drain`
#[test]
fn what_was_written_leaves_though_nobody_waits_for_the_drain() {
    give_up(async |chance| {
        let (_reader, writer, read) = slowly_read();
        writer.write(vec![7; MUCH]);
        chance.take(writer.drain()).await;
        drop(writer);
        assert_eq!(read.await.unwrap(), MUCH);
    });
}

/// `StreamWriter::flush`
#[test]
fn what_was_written_leaves_though_nobody_waits_for_the_flush() {
    give_up(async |chance| {
        let (_reader, writer, read) = slowly_read();
        writer.write(vec![7; MUCH]);
        chance.take(writer.flush()).await;
        drop(writer);
        assert_eq!(read.await.unwrap(), MUCH);
    });
}

/// `StreamWriter::wait_closed`
#[test]
fn what_was_written_leaves_though_nobody_waits_for_the_close() {
    give_up(async |chance| {
        let (_reader, writer, read) = slowly_read();
        writer.write(vec![7; MUCH]);
        writer.close();
        chance.take(writer.wait_closed()).await;
        assert_eq!(read.await.unwrap(), MUCH);
        writer.wait_closed().await.unwrap();
    });
}

/// `StreamWriter::sendfile`
#[test]
fn a_file_that_is_no_longer_sent_leaves_a_connection_that_works() {
    give_up(async |chance| {
        let path = std::env::temp_dir().join(format!("velodrome-giving-up-{}", std::process::id()));
        std::fs::write(&path, vec![7; MUCH]).unwrap();
        let (_reader, writer, read) = slowly_read();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let sent = chance.take(writer.sendfile(&file, 0, None)).await;
        writer.write("and more");
        drop((writer, file));
        let read = read.await.unwrap();
        match sent {
            Some(sent) => assert_eq!((sent.unwrap(), read), (MUCH as u64, MUCH + 8)),
            None => assert!((8..=MUCH + 8).contains(&read)),
        }
    });
}
