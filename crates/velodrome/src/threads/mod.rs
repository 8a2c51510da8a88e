//! Work that crosses threads: into the loop from outside ([`handle`]), and out of it onto threads that may block
//! ([`pool`]). What comes back is a [`remote`] task; the way back is a [`promise`].

pub(crate) mod handle;
pub(crate) mod parking;
pub(crate) mod pool;
pub(crate) mod promise;
pub(crate) mod remote;
