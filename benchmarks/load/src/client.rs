//! One connection and what is in flight on it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::args::{Args, Mode};
use crate::budget::now;
use crate::wire::Wire;

pub(crate) struct Client {
    pub wire: Wire,
    answer: Answer,
    /// Messages asked for and not yet wholly in the kernel; `offset` bytes of the first of them are.
    owed: usize,
    offset: usize,
    /// When each message in flight was asked for, the oldest first.
    started: VecDeque<Instant>,
}

impl Client {
    pub(crate) fn open(args: &Args) -> io::Result<Self> {
        let answer = match args.mode {
            Mode::Http => Answer::Http { partial: Vec::new() },
            _ => Answer::Echo { at: 0 },
        };
        Ok(Self { wire: Wire::open(args)?, answer, owed: 0, offset: 0, started: VecDeque::new() })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.started.len()
    }

    pub(crate) fn ask(&mut self, since: Instant, message: &[u8]) -> io::Result<()> {
        self.started.push_back(since);
        self.owed += 1;
        self.flush(message)
    }

    /// Every message is a write of its own, as a client that does not know of the next one would do it.
    pub(crate) fn flush(&mut self, message: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            match self.wire.send(&message[self.offset..]) {
                Ok(sent) => self.advance(sent, message.len()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, sent: usize, length: usize) {
        self.offset += sent;
        if self.offset == length {
            self.offset = 0;
            self.owed -= 1;
        }
    }

    /// Read all there is; `latency` is told of every answer that became complete.
    pub(crate) fn collect(
        &mut self,
        buffer: &mut [u8],
        message: &[u8],
        mut latency: impl FnMut(Duration),
    ) -> io::Result<()> {
        loop {
            let length = match self.wire.recv(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let answers = self.answer.feed(&buffer[..length], message)?;
            if answers > 0 {
                let now = now();
                self.started.drain(..answers).for_each(|since| latency(now - since));
            }
            if length < buffer.len() && self.wire.is_drained_by_short_read() {
                return Ok(());
            }
        }
    }

    /// A datagram that was lost is not answered for ever.
    pub(crate) fn forget(&mut self) -> usize {
        (self.owed, self.offset) = (0, 0);
        std::mem::take(&mut self.started).len()
    }
}
