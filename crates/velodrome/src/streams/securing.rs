//! What a layer of encryption needs of a connection that it comes to lie under.

use std::rc::Rc;

use super::connection::Connection;
use crate::channel::Channel;

impl Connection {
    /// Carry the bytes by `layer`, from now on. A reader that waits at the socket is woken when that gets another
    /// protocol, and waits here then.
    pub(crate) fn attach_layer(&self, layer: Rc<dyn Channel>) {
        self.layer.set(Some(Box::new(layer)));
        self.plain.set(false);
    }

    /// All that has arrived and was not read: to the layer it is ciphertext.
    pub(crate) fn take_unread(&self) -> Vec<u8> {
        let kept = self.inbound.buffer.get();
        let unread = kept.map_or_else(Vec::new, |buffer| buffer.borrow_mut().take(usize::MAX));
        self.keep_up();
        unread
    }
}
