//! The tool as somebody types it.

mod agreement;
mod answers;
mod commands;
mod learning;
mod raised;
mod review;
mod support;
mod tutorial;
mod unpacking;
