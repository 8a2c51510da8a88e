//! A chat server: whoever connects says a name, and what each one says goes to all others.
//!
//!     cargo run -p velodrome --example chat_server [PORT]
//!     nc localhost 8888
//!
//! Its twin in Python is chat_server.py, beside which the guide shows it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use velodrome::{StreamReader, StreamWriter, run, start_server};

/// Who is there, by name. One thread, so a cell is all the lock there is.
#[derive(Clone, Default)]
struct Room(Rc<RefCell<HashMap<String, StreamWriter>>>);

/// What is kept for somebody who does not read; with more, they are not worth waiting for.
const PATIENCE: usize = 1024 * 1024;

impl Room {
    fn say(&self, sender: &str, what: &str) {
        for (_, writer) in self.0.borrow().iter().filter(|(name, _)| *name != sender) {
            writer.write(what);
            if writer.buffered() > PATIENCE {
                writer.abort();
            }
        }
    }
}

/// A place in the room. It is left when this is dropped, whichever way the handler ends: Python's `finally`.
struct Seat {
    room: Room,
    name: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.0.borrow_mut().remove(&self.name);
        self.room.say(&self.name, &format!("* {} has left\n", self.name));
    }
}

async fn talk(room: Room, mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write("What is your name? ");
    let name = text(&reader.readline().await?);
    if name.is_empty() || room.0.borrow().contains_key(&name) {
        writer.write("* that name is taken\n");
        return Ok(());
    }
    room.0.borrow_mut().insert(name.clone(), writer);
    let seat = Seat { room, name };
    let Seat { room, name } = &seat;
    room.say(name, &format!("* {name} has come\n"));
    while let line @ [_, ..] = &*reader.readline().await? {
        room.say(name, &format!("{name}: {}\n", text(line)));
    }
    Ok(())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

async fn serve(port: u16) -> io::Result<()> {
    let room = Room::default();
    let server =
        start_server(move |reader, writer| talk(room.clone(), reader, writer), "127.0.0.1", port).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8888), |port| port.parse());
    run(serve(port.map_err(io::Error::other)?))?
}
