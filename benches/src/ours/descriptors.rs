//! A message that carries files.

use std::fs::File;
use std::time::Instant;

use crossmist::{Duplex, Object, func};

use crate::harness::{Group, Result, Row, expect_same};
use crate::rows::descriptors::{CHECK_EVERY, files, identity};

#[derive(Object)]
pub(crate) struct Order {
    identify: bool,
    files: Vec<File>,
}

#[func]
pub(crate) fn receive(mut channel: Duplex<u64, Order>) {
    while let Ok(Some(order)) = channel.recv() {
        let answer = match order.identify {
            true => identity(&order.files).unwrap_or(0),
            false => order.files.len() as u64,
        };
        drop(order);
        if channel.send(&answer).is_err() {
            break;
        }
    }
}

pub(crate) fn one_message(group: &mut Group, count: usize) {
    group.ours("request", move || send(count));
}

fn send(count: usize) -> Result<impl Row> {
    let (mut channel, theirs) = crossmist::duplex::<Order, u64>()?;
    let child = receive.builder().kill_on_drop(true).spawn(theirs)?;
    let files = files(count)?;
    let identity = identity(&files)?;
    let mut order = Order {
        identify: true,
        files,
    };
    let mut exchanges = 0_u64;
    Ok(move || {
        let _alive = &child;
        if exchanges.is_multiple_of(CHECK_EVERY) {
            order.identify = true;
            expect_same(channel.request(&order)?, identity)?;
            order.identify = false;
        }
        exchanges += 1;
        let start = Instant::now();
        let answer = channel.request(&order)?;
        let took = start.elapsed();
        expect_same(answer, count as u64)?;
        Ok(took.into())
    })
}
