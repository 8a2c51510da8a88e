//! A guide: nothing but text, whose programs are compiled and run with the other tests.
//!
//! * [`tutorial`]: from a coroutine to a chat server, beside the same program in Python.
//! * [`from_asyncio`]: for who knows asyncio: what is called the same, and what is different in Rust.
//! * [`from_tokio`]: for who knows tokio: what it is called here, and what one thread spares you.
//! * [`limits`]: what this crate does not do, and why.

pub mod from_asyncio;
pub mod from_tokio;
pub mod limits;
pub mod tutorial;
