//! What a test of the engine needs and a program does not: the suite that every driver must pass, and a loop with no
//! kernel.
//!
//! The other two tools live with what they stand in for: [`Driver::fake`](crate::driver::Driver::fake), the driver
//! with no kernel, and [`Clock::manual`](crate::clock::Clock::manual), the clock that is set by hand. Layers point
//! down, so neither could be here.

#[cfg(test)]
pub mod suite;
#[cfg(test)]
pub mod world;
