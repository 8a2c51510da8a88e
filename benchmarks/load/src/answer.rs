//! Where one answer ends and the next begins.

use std::io;

/// Counts the answers in a stream of bytes that comes in pieces.
pub(crate) enum Answer {
    /// The echo of a message: as long as the message, and the same bytes.
    Echo { at: usize },
    /// An HTTP response; what has come of it so far.
    Http { partial: Vec<u8> },
}

impl Answer {
    /// How many answers these bytes complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], message: &[u8]) -> io::Result<usize> {
        match self {
            Self::Echo { at } => feed_echo(at, bytes, message),
            Self::Http { partial } => feed_http(partial, bytes),
        }
    }
}

fn feed_echo(at: &mut usize, mut bytes: &[u8], message: &[u8]) -> io::Result<usize> {
    let mut complete = 0;
    while !bytes.is_empty() {
        let length = bytes.len().min(message.len() - *at);
        let (head, tail) = bytes.split_at(length);
        if head != &message[*at..*at + length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo is not what was sent"));
        }
        *at += length;
        bytes = tail;
        if *at == message.len() {
            *at = 0;
            complete += 1;
        }
    }
    Ok(complete)
}

fn feed_http(partial: &mut Vec<u8>, bytes: &[u8]) -> io::Result<usize> {
    partial.extend_from_slice(bytes);
    let mut complete = 0;
    while let Some(length) = response_length(partial)?.filter(|length| *length <= partial.len()) {
        partial.drain(..length);
        complete += 1;
    }
    Ok(complete)
}

/// Head and body together, once the head is whole.
fn response_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("not a 200 response: {text}")));
    }
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "a response without Content-Length");
    body.map(|body: usize| Some(head + 4 + body)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_counted_across_pieces() {
        let mut answer = Answer::Echo { at: 0 };
        assert_eq!(answer.feed(b"ab", b"abc").unwrap(), 0);
        assert_eq!(answer.feed(b"cabcab", b"abc").unwrap(), 2);
        assert_eq!(answer.feed(b"c", b"abc").unwrap(), 1);
    }

    #[test]
    fn a_wrong_echo_is_an_error() {
        assert!(Answer::Echo { at: 0 }.feed(b"abd", b"abc").is_err());
    }

    #[test]
    fn responses_are_counted_across_pieces() {
        let mut answer = Answer::Http { partial: Vec::new() };
        assert_eq!(answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", b"").unwrap(), 0);
        assert_eq!(answer.feed(b"iHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").unwrap(), 2);
    }

    #[test]
    fn a_response_that_is_not_200_is_an_error() {
        let mut answer = Answer::Http { partial: Vec::new() };
        assert!(answer.feed(b"HTTP/1.1 500 Oh\r\n\r\n", b"").is_err());
    }
}
