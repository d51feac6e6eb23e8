//! A web service that renders pictures that strangers upload.
//!
//! Each picture is rendered in a process that has seen no other, is confined, and shares prepared fonts
//! with the rest (`render.rs`). What a request gets is in `server.rs`.

pub mod render;
pub mod server;
