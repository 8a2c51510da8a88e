//! A chat server: whoever connects says a name, and what each one says goes to all others. The guide builds it step by
//! step.
//!
//!     cargo run -p velodrome --example chat_server [PORT]
//!     nc localhost 8888

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use velodrome::{StreamReader, StreamWriter, run, start_server};

/// Who is there, by name. One thread, so a cell is all the lock there is.
#[derive(Clone, Default)]
struct Room(Rc<RefCell<HashMap<String, Rc<StreamWriter>>>>);

/// What is kept for somebody who does not read; with more, they are not worth waiting for.
const PATIENCE: usize = 1024 * 1024;

impl Room {
    fn enter(&self, name: &str, writer: &Rc<StreamWriter>) -> bool {
        let mut members = self.0.borrow_mut();
        if name.is_empty() || members.contains_key(name) {
            return false;
        }
        members.insert(name.to_owned(), Rc::clone(writer));
        true
    }

    fn say(&self, from: &str, what: &str) {
        for (_, writer) in self.0.borrow().iter().filter(|(name, _)| *name != from) {
            writer.write(what);
            if writer.buffered() > PATIENCE {
                writer.abort();
            }
        }
    }

    fn leave(&self, name: &str) {
        self.0.borrow_mut().remove(name);
        self.say(name, &format!("* {name} has left\n"));
    }
}

async fn talk(room: Room, mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write("What is your name? ");
    let name = text(&reader.readline().await?);
    let writer = Rc::new(writer);
    if !room.enter(&name, &writer) {
        writer.write("* that name is taken\n");
        return Ok(());
    }
    room.say(&name, &format!("* {name} has come\n"));
    let talked = listen(&room, &name, &mut reader).await;
    room.leave(&name);
    talked
}

async fn listen(room: &Room, name: &str, reader: &mut StreamReader) -> io::Result<()> {
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
