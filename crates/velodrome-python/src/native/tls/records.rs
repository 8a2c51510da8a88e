//! Where TLS records end in the ciphertext that was received, so that none is asked for before it is complete: to be
//! told "not yet" costs an exception from Python's `SSLObject`, and several hundred instructions from OpenSSL.
//!
//! Only the five bytes of each header are looked at (RFC 8446, 5.1). It must never hold back what OpenSSL could act on:
//! what does not look like a record ends the counting, and everything is offered from then on.

/// Type, version and length.
const HEADER: usize = 5;

/// The largest record: 2^14 bytes of plaintext and 2,048 of expansion, which is TLS 1.2's allowance (RFC 5246, 6.2.3).
const LARGEST: usize = (1 << 14) + 2048;

/// change_cipher_spec, alert, handshake, application_data, heartbeat.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// Every version from SSL 3.0 to TLS 1.3 calls itself so.
const MAJOR_VERSION: u8 = 3;

/// What is known of the stream so far.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    /// How much of the next header is known.
    known: usize,
    /// How much of the present record's body is to come.
    missing: usize,
    /// How many bytes of an incomplete record came in.
    incomplete: usize,
    /// This is no TLS.
    lost: bool,
}

impl Records {
    /// More came in.
    pub(super) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.lost {
            let step = if self.missing > 0 { self.body(data) } else { self.head(data) };
            data = &data[step..];
        }
    }

    /// Whether, with `pending` bytes not yet taken by OpenSSL, there is a whole record among them.
    pub(super) fn is_one_among(&self, pending: usize) -> bool {
        self.whole_among(pending) > 0
    }

    /// How many of the `pending` bytes belong to whole records: those that the application could have read.
    pub(super) fn whole_among(&self, pending: usize) -> usize {
        pending.saturating_sub(self.incomplete)
    }

    fn body(&mut self, data: &[u8]) -> usize {
        let step = self.missing.min(data.len());
        self.missing -= step;
        self.incomplete = if self.missing == 0 { 0 } else { self.incomplete + step };
        step
    }

    fn head(&mut self, data: &[u8]) -> usize {
        let step = (HEADER - self.known).min(data.len());
        self.header[self.known..self.known + step].copy_from_slice(&data[..step]);
        self.known += step;
        self.incomplete += step;
        if self.known == HEADER {
            self.known = 0;
            self.begin();
        }
        step
    }

    fn begin(&mut self) {
        let [kind, major, _, high, low] = self.header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        self.missing = length;
        self.lost = !TYPES.contains(&kind) || major != MAJOR_VERSION || length > LARGEST;
        if self.lost || length == 0 {
            self.incomplete = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut all = vec![23, 3, 3, high, low];
        all.resize(HEADER + usize::from(length), 0);
        all
    }

    /// After each byte: is there a whole record, if OpenSSL has taken nothing?
    fn whole(data: &[u8]) -> Vec<bool> {
        let mut records = Records::default();
        let feed = |(n, byte): (usize, &u8)| {
            records.feed(std::slice::from_ref(byte));
            records.is_one_among(n + 1)
        };
        data.iter().enumerate().map(feed).collect()
    }

    #[test]
    fn a_record_is_there_with_its_last_byte() {
        assert_eq!(whole(&record(3)), [false, false, false, false, false, false, false, true]);
        assert_eq!(whole(&record(0)), [false, false, false, false, true]);
    }

    #[test]
    fn what_openssl_has_taken_is_not_there_any_more() {
        let mut records = Records::default();
        records.feed(&[record(100), record(100)[..50].to_vec()].concat());
        assert!(records.is_one_among(155) && records.is_one_among(51));
        assert!(!records.is_one_among(50));
        assert_eq!((records.whole_among(155), records.whole_among(50)), (105, 0));
        // Half of a record that is incomplete may have been taken, by a handshake that wanted more.
        assert!(!records.is_one_among(0));
        records.feed(&record(100)[50..]);
        assert!(records.is_one_among(55) && !records.is_one_among(0));
    }

    #[test]
    fn however_it_is_cut() {
        let stream = [record(1), record(300), record(16_384)].concat();
        for size in [1, 2, 4, 5, 6, 7, 299, 310, 16_700] {
            let mut records = Records::default();
            stream.chunks(size).for_each(|part| records.feed(part));
            assert!(records.is_one_among(1) && !records.is_one_among(0), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_record_is_offered_at_once() {
        for start in [&b"GET / HTTP/1.1\r\n"[..], &[23, 2, 0, 0, 9], &[19, 3, 3, 0, 9], &[23, 3, 3, 255, 0]] {
            let mut records = Records::default();
            records.feed(start);
            assert!(records.is_one_among(1), "{start:?}");
            records.feed(&record(10)[..7]);
            assert!(records.is_one_among(1), "for ever");
        }
        let mut records = Records::default();
        records.feed(&record(u16::try_from(LARGEST).unwrap())[..HEADER]);
        assert!(!records.is_one_among(HEADER), "the largest is one");
    }
}
