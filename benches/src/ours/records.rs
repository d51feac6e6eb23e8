//! `Object` for a derived struct, a million times.
//!
//! `to_bytes` makes a buffer of its own each time, where the other encoders keep theirs: that is
//! what a caller of ours pays.

use std::rc::Rc;
use std::time::Instant;

use crate::harness::{Group, Row};
use crate::rows::records::{Record, Records, decoder, same};

pub(crate) fn encode(group: &mut Group, records: &Records) {
    let records = Rc::clone(records);
    group.ours("Object", move || Ok(encoder(records)));
}

fn encoder(records: Records) -> impl Row {
    move || {
        let start = Instant::now();
        let bytes = crossmist::to_bytes(&**records)?;
        let took = start.elapsed();
        same(&crossmist::from_bytes::<Vec<Record>>(&bytes)?, &records)?;
        Ok(took.into())
    }
}

pub(crate) fn decode(group: &mut Group, records: &Records) {
    let records = Rc::clone(records);
    group.ours("Object", move || {
        let bytes = crossmist::to_bytes(&**records)?;
        Ok(decoder(records, bytes, |bytes| {
            Ok(crossmist::from_bytes(bytes)?)
        }))
    });
}
