//! The Rust face.
