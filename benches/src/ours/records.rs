//! `Object` for a derived struct, a million times.

use std::rc::Rc;
use std::time::Instant;

use crate::harness::{Group, Row};
use crate::rows::records::{Record, Records, decoder, same};

pub(crate) fn encode(group: &mut Group, records: &Records) {
    let records = Rc::clone(records);
    group.ours("Object", move || Ok(encoder(records)));
}

fn encoder(records: Records) -> impl Row {
    let mut bytes = Vec::new();
    move || {
        let start = Instant::now();
        crossmist::encode_into(&**records, &mut bytes)?;
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
