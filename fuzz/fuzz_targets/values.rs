//! An encoded value of any type, in a sound frame.
#![cfg_attr(fuzzing, no_main)]

use crossmist::{Object, from_bytes, to_bytes};
use crossmist_fuzz::types::{Visit, data};

struct Decode<'i>(&'i [u8]);

impl Visit for Decode<'_> {
    fn visit<T: Object>(&mut self) {
        if let Ok(value) = from_bytes::<T>(&crossmist_fuzz::message(self.0)) {
            // A value that was accepted can be sent on.
            let again = to_bytes(&value).expect("a received value can be sent");
            assert!(from_bytes::<T>(&again).is_ok());
        }
    }
}

fn run(input: &[u8]) {
    if let Some((index, input)) = input.split_first() {
        data(*index, &mut Decode(input));
    }
}

crossmist_fuzz::target!("values", run);
