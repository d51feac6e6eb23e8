//! A million records to bytes and back, within one process.
//!
//! Encoders write into a buffer that is kept. Decoders check everything and own what they return;
//! dropping it is not measured.

use std::cell::LazyCell;
use std::rc::Rc;
use std::time::Instant;

use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::harness::{Group, Placement, Result, Row, Turn, expect_same};
use crate::ours;

pub(crate) const FAMILY: &str = "records";

#[derive(
    Clone,
    Debug,
    PartialEq,
    serde::Serialize,
    serde::Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
    crossmist::Object,
)]
pub(crate) struct Record {
    pub(crate) id: u32,
    pub(crate) stamp: u64,
    pub(crate) name: String,
}

/// Made when the first row is set up, as passes before it should not carry them around.
pub(crate) type Records = Rc<LazyCell<Vec<Record>, Box<dyn FnOnce() -> Vec<Record>>>>;

pub(crate) fn groups(smoke: bool) -> Vec<Group> {
    let (count, written) = match smoke {
        true => (10_000, "ten thousand"),
        false => (1_000_000, "a million"),
    };
    let records: Records = Rc::new(LazyCell::new(Box::new(move || {
        (0..count).map(record).collect()
    })));
    let group = |name, target| {
        Group::new(FAMILY, format!("{name} {written}"), Placement::OneCore)
            .turn(Turn {
                lead_in: 1,
                repeats: 2,
                at_most: 20,
            })
            .target(target)
            .headline()
    };

    let mut encode = group("encode", 1.5);
    let r = Rc::clone(&records);
    encode.raw("hand codec", move || Ok(encode_by_hand(r)));
    let r = Rc::clone(&records);
    encode.peer("postcard", move || Ok(encode_postcard(r)));
    let r = Rc::clone(&records);
    encode.peer("rkyv", move || Ok(encode_rkyv(r)));
    ours::records::encode(&mut encode, &records);

    let mut decode = group("decode", 1.15);
    let r = Rc::clone(&records);
    decode.raw("clone of the Vec", move || Ok(clone(r)));
    let r = Rc::clone(&records);
    decode.raw("hand codec", move || {
        let mut bytes = Vec::new();
        hand::encode(&r, &mut bytes);
        Ok(decoder(r, bytes, hand::decode))
    });
    let r = Rc::clone(&records);
    decode.peer("postcard", move || {
        let bytes = postcard::to_stdvec(&**r)?;
        Ok(decoder(r, bytes, |bytes| Ok(postcard::from_bytes(bytes)?)))
    });
    let r = Rc::clone(&records);
    decode.peer("rkyv", move || {
        let bytes = rkyv::to_bytes::<rancor::Error>(&**r)?;
        Ok(decoder(r, bytes, |bytes| {
            Ok(rkyv::from_bytes::<Vec<Record>, rancor::Error>(bytes)?)
        }))
    });
    ours::records::decode(&mut decode, &records);

    vec![encode, decode]
}

/// Names of 4 to 15 bytes, some of which are not ASCII.
fn record(index: u32) -> Record {
    let name = match index % 4 {
        0 => format!("n{index}-é"),
        1 => format!("user-{index}"),
        2 => format!("{index:04}"),
        _ => format!("record-{index}"),
    };
    Record {
        id: index,
        stamp: u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        name,
    }
}

fn clone(records: Records) -> impl Row {
    move || {
        let start = Instant::now();
        let cloned = records.to_vec();
        let took = start.elapsed();
        same(&cloned, &records)?;
        Ok(took.into())
    }
}

fn encode_by_hand(records: Records) -> impl Row {
    let mut bytes = Vec::new();
    move || {
        bytes.clear();
        let start = Instant::now();
        hand::encode(&records, &mut bytes);
        let took = start.elapsed();
        same(&hand::decode(&bytes)?, &records)?;
        Ok(took.into())
    }
}

fn encode_postcard(records: Records) -> impl Row {
    let mut bytes = Vec::new();
    move || {
        bytes.clear();
        let start = Instant::now();
        bytes = postcard::to_extend(&**records, std::mem::take(&mut bytes))?;
        let took = start.elapsed();
        same(&postcard::from_bytes::<Vec<Record>>(&bytes)?, &records)?;
        Ok(took.into())
    }
}

fn encode_rkyv(records: Records) -> impl Row {
    let mut bytes = AlignedVec::<16>::new();
    move || {
        bytes.clear();
        let start = Instant::now();
        bytes = rkyv::api::high::to_bytes_in::<_, rancor::Error>(
            &**records,
            std::mem::take(&mut bytes),
        )?;
        let took = start.elapsed();
        let decoded = rkyv::from_bytes::<Vec<Record>, rancor::Error>(&bytes)?;
        same(&decoded, &records)?;
        Ok(took.into())
    }
}

/// Measures `decode` on bytes that were encoded once.
pub(crate) fn decoder<B: std::ops::Deref<Target = [u8]>>(
    records: Records,
    bytes: B,
    decode: impl Fn(&[u8]) -> Result<Vec<Record>>,
) -> impl Row {
    move || {
        let start = Instant::now();
        let decoded = decode(&bytes)?;
        let took = start.elapsed();
        same(&decoded, &records)?;
        Ok(took.into())
    }
}

pub(crate) fn same(got: &[Record], expected: &[Record]) -> Result<()> {
    expect_same(got.len(), expected.len())?;
    match got.iter().zip(expected).position(|(g, e)| g != e) {
        None => Ok(()),
        Some(index) => expect_same(&got[index], &expected[index]),
    }
}

/// The least that a codec for this very type can do, with every check.
mod hand {
    use super::{Record, Result};

    /// `id`, `stamp` and the name's length.
    const LEAST: usize = 4 + 8 + 4;

    pub(super) fn encode(records: &[Record], bytes: &mut Vec<u8>) {
        bytes.reserve(8 + records.len() * LEAST);
        bytes.extend_from_slice(&(records.len() as u64).to_le_bytes());
        for Record { id, stamp, name } in records {
            let mut head = [0; LEAST];
            head[..4].copy_from_slice(&id.to_le_bytes());
            head[4..12].copy_from_slice(&stamp.to_le_bytes());
            head[12..].copy_from_slice(&(name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(name.as_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Record>> {
        let (count, mut rest) = bytes.split_first_chunk().ok_or("no count")?;
        let count = u64::from_le_bytes(*count) as usize;
        if count > rest.len() / LEAST {
            return Err("more records than bytes".into());
        }
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            let (head, behind) = rest.split_first_chunk::<LEAST>().ok_or("a cut record")?;
            let [
                i0,
                i1,
                i2,
                i3,
                s0,
                s1,
                s2,
                s3,
                s4,
                s5,
                s6,
                s7,
                l0,
                l1,
                l2,
                l3,
            ] = *head;
            let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            let (name, behind) = behind.split_at_checked(length).ok_or("a cut name")?;
            records.push(Record {
                id: u32::from_le_bytes([i0, i1, i2, i3]),
                stamp: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
                name: std::str::from_utf8(name)?.to_owned(),
            });
            rest = behind;
        }
        match rest {
            [] => Ok(records),
            _ => Err("bytes behind the last record".into()),
        }
    }
}
