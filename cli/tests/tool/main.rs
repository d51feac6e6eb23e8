//! The tool as somebody types it.

mod agreement;
mod commands;
mod learning;
mod raised;
mod support;
mod tutorial;
