//! Everything that a value tells its serializer, as one number. Two values that tell the same are
//! the same, as far as serde can see.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// A type and its field or variant.
pub(super) type Step = (&'static str, &'static str);

/// The state of what was told so far.
#[derive(Debug)]
pub(super) struct Told {
    digest: Cell<u64>,
    seed: u64,
    /// The fields and variants on the way, if they are wanted.
    steps: Option<RefCell<Vec<Step>>>,
}

/// The initial digest of a value. It is random, so that an attacker who chooses a value cannot
/// choose its digest.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// Both halves of a product.
fn mix(digest: u64, word: u64) -> u64 {
    let product = u128::from(digest ^ word) * 0x9e37_79b9_7f4a_7c15;
    (product as u64).rotate_left(29) ^ (product >> 64) as u64
}

impl Told {
    pub(super) fn new() -> Self {
        let seed = seed();
        Self {
            digest: Cell::new(seed),
            seed,
            steps: None,
        }
    }

    /// Creates one that also keeps the steps.
    pub(super) fn with_steps() -> Self {
        Self {
            steps: Some(RefCell::default()),
            ..Self::new()
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps.map(RefCell::into_inner).unwrap_or_default()
    }

    #[inline]
    pub(super) fn word(&self, word: u64) {
        self.digest.set(mix(self.digest.get(), word));
    }

    pub(super) fn bytes(&self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let digest = words.iter().fold(self.digest.get(), |digest, word| {
            mix(digest, u64::from_le_bytes(*word))
        });
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length distinguishes a last zero from none.
        let digest = mix(digest, u64::from_le_bytes(last));
        self.digest.set(mix(digest, bytes.len() as u64));
    }

    /// Tells a field or a variant.
    pub(super) fn step(&self, of: &'static str, name: &'static str) {
        self.bytes(name.as_bytes());
        if let Some(steps) = &self.steps {
            steps.borrow_mut().push((of, name));
        }
    }

    /// Begins an element, which is told separately from the others.
    pub(super) fn part(&self) {
        self.digest.set(self.seed);
    }

    /// Continues after elements whose digests add up to `sum`. The order of a hash map differs from
    /// run to run.
    pub(super) fn parts(&self, before: u64, sum: u64) {
        self.digest.set(mix(before, sum));
    }
}

impl fmt::Write for &Told {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// A plain value of serde.
pub(super) trait Tell {
    fn tell(&self, told: &Told);
}

macro_rules! words {
    ($($type:ty)*) => {$(
        impl Tell for $type {
            fn tell(&self, told: &Told) {
                told.word(*self as u64);
            }
        }
    )*};
}

words! { bool i8 i16 i32 i64 u8 u16 u32 u64 char }

macro_rules! with_bytes {
    ($($type:ty: $value:ident => $bytes:expr;)*) => {$(
        impl Tell for $type {
            fn tell(&self, told: &Told) {
                let $value = self;
                told.bytes($bytes);
            }
        }
    )*};
}

with_bytes! {
    i128: value => &value.to_le_bytes();
    u128: value => &value.to_le_bytes();
    f32: value => &value.to_le_bytes();
    f64: value => &value.to_le_bytes();
    str: value => value.as_bytes();
    [u8]: value => value;
}
