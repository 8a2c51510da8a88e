//! Several futures at once: as a group that stands and falls together, all of them, or the first of them.

pub(crate) mod as_completed;
pub(crate) mod failure;
pub(crate) mod gather;
pub(crate) mod group;
pub(crate) mod join_all;
pub(crate) mod shield;
pub(crate) mod wait;
