//! The type kit: hand-written heap types over CPython's C interface, and the only folder of this crate with `unsafe`.
//!
//! Why not `#[pyclass]` where the clock ticks: its methods pay a thread-local guard per call, it cannot take another
//! type's instances as base of its layout (`asyncio.Transport`), and its errors are built before anyone looks at them.
//! Here a method is a plain Rust function `fn(This<T>, Args) -> Result<Ref>`, and an error is what it is in C: NULL,
//! with the interpreter's error indicator set ([`Raised`]).
//!
//! One promise carries the whole folder: **code of this crate runs attached to the interpreter** (it holds the GIL).
//! It is entered only from CPython (methods, slots), which is attached, and from the loop's run method, which detaches
//! only inside [`gil::detached`], where nothing but the engine's wait runs. `Ref` and everything made of it is neither
//! Send nor Sync, so it cannot leave by accident. SAFETY lines below say "attached" for short.
#![allow(unsafe_code, reason = "this folder is the binding's quarantine for unsafe code")]

pub(crate) mod attributes;
mod bound;
pub(crate) mod buffer;
pub(crate) mod bytearrays;
mod calls;
pub(crate) mod context;
pub(crate) mod coroutines;
mod errors;
pub(crate) mod freeing;
pub(crate) mod gil;
pub(crate) mod methods;
pub(crate) mod module;
pub(crate) mod names;
pub(crate) mod object;
pub(crate) mod openssl;
pub(crate) mod reclassing;
pub(crate) mod recycled;
pub(crate) mod roomy;
pub(crate) mod runnables;
pub(crate) mod sets;
pub(crate) mod shared_keys;
pub(crate) mod stopping;
#[cfg(Py_3_12)]
pub(crate) mod taking;
#[cfg(not(Py_3_12))]
#[path = "taking_3_11.rs"]
pub(crate) mod taking;
pub(crate) mod types;
pub(crate) mod weak;
