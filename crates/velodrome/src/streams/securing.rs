//! What a layer of encryption needs of a connection that it comes to lie under.

use super::connection::Connection;

impl Connection {
    /// All that has arrived and was not read: to the layer it is ciphertext.
    pub(crate) fn take_unread(&self) -> Vec<u8> {
        let unread = self.inbound.buffer.borrow_mut().take(usize::MAX);
        self.keep_up();
        unread
    }
}
