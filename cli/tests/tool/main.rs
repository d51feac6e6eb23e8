//! The tool as somebody types it.

mod agreement;
mod commands;
mod learning;
mod support;
mod tutorial;
