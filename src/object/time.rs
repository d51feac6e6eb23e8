//! Durations and points in time.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::clock;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

impl Object for Duration {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.as_secs().to_le_bytes());
        encoder.put(&self.subsec_nanos().to_le_bytes());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let seconds = u64::decode(decoder)?;
        // More nanoseconds would carry, and `Duration::new` panics if that overflows.
        Ok(Duration::new(seconds, nanoseconds(decoder)?))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        12
    }
}

/// Sent as the time since 1970.
impl Object for SystemTime {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let since = match self.duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(error) => -nanos(error.duration()),
        };
        put(encoder, since);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let since = take(decoder)?;
        let time = match duration(since) {
            Some(distance) if since < 0 => UNIX_EPOCH.checked_sub(distance),
            Some(distance) => UNIX_EPOCH.checked_add(distance),
            None => None,
        };
        time.ok_or_else(|| decoder.error("a time that `SystemTime` can hold", "one beyond it"))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        12
    }
}

/// Sent as a reading of CLOCK_MONOTONIC, which all processes of a machine share if they are in one
/// time namespace.
///
/// # Security
///
/// A peer can send any instant that the type can hold. Add to it and subtract from it only with
/// `checked_add` and `checked_sub`.
impl Object for Instant {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let anchor = &*ANCHOR;
        let distance = match self.checked_duration_since(anchor.instant) {
            Some(after) => nanos(after),
            None => -nanos(anchor.instant.saturating_duration_since(*self)),
        };
        put(encoder, anchor.reading.saturating_add(distance));
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let reading = take(decoder)?;
        let anchor = &*ANCHOR;
        let distance = reading.saturating_sub(anchor.reading);
        let instant = match duration(distance) {
            Some(length) if distance < 0 => anchor.instant.checked_sub(length),
            Some(length) => anchor.instant.checked_add(length),
            None => None,
        };
        instant.ok_or_else(|| decoder.error("a time that `Instant` can hold", "one beyond it"))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        12
    }
}

/// An instant whose reading of CLOCK_MONOTONIC is known, in nanoseconds.
struct Anchor {
    instant: Instant,
    reading: i128,
}

static ANCHOR: LazyLock<Anchor> = LazyLock::new(|| {
    let before = clock::monotonic_nanos();
    let instant = Instant::now();
    let after = clock::monotonic_nanos();
    Anchor {
        instant,
        reading: reading(instant, before, after).unwrap_or(i128::midpoint(before, after)),
    }
});

/// Returns the reading that `instant` was created from, which is between `before` and `after`.
///
/// `Instant` does not reveal it, but it ends where its 64 bits of seconds do: the longest time that
/// can be subtracted is the time since then. In a standard library that counts otherwise, there is
/// no such end between the bounds. The result is then `None`, and the anchor is off by less than
/// the distance of the bounds.
fn reading(instant: Instant, before: i128, after: i128) -> Option<i128> {
    let fits = |reading: i128| {
        let since_first = duration(nanos(Duration::new(1 << 63, 0)).checked_add(reading)?)?;
        Some(instant.checked_sub(since_first).is_some())
    };
    if !fits(before)? || fits(after.checked_add(1)?)? {
        return None;
    }
    let (mut fitting, mut beyond) = (before, after.checked_add(1)?);
    while beyond.checked_sub(fitting)? > 1 {
        let middle = i128::midpoint(fitting, beyond);
        if fits(middle)? {
            fitting = middle;
        } else {
            beyond = middle;
        }
    }
    Some(fitting)
}

/// Returns the nanoseconds of a duration, which are less than 2⁹⁴.
fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// Returns the duration of so many nanoseconds, whatever their sign. `None` beyond 2⁶⁴ seconds.
fn duration(nanos: i128) -> Option<Duration> {
    let nanos = nanos.unsigned_abs();
    let seconds = u64::try_from(nanos / u128::from(NANOS_PER_SECOND)).ok()?;
    let below = u32::try_from(nanos % u128::from(NANOS_PER_SECOND)).ok()?;
    Some(Duration::new(seconds, below))
}

/// Writes a time in nanoseconds: seconds, rounded down, and nanoseconds.
fn put(encoder: &mut Encoder<'_>, nanos: i128) {
    let second = i128::from(NANOS_PER_SECOND);
    match i64::try_from(nanos.div_euclid(second)) {
        Ok(seconds) => {
            encoder.put(&seconds.to_le_bytes());
            let below = u32::try_from(nanos.rem_euclid(second)).unwrap_or(0);
            encoder.put(&below.to_le_bytes());
        }
        Err(_) => encoder.fail("a time beyond 2⁶³ seconds can't be sent"),
    }
}

/// Reads what [`put`] wrote.
fn take(decoder: &mut Decoder<'_>) -> Result<i128, DecodeError> {
    let seconds = i64::decode(decoder)?;
    let below = nanoseconds(decoder)?;
    // 2⁶³ × 10⁹ is far within 127 bits.
    Ok(i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(below))
}

fn nanoseconds(decoder: &mut Decoder<'_>) -> Result<u32, DecodeError> {
    let nanos = u32::decode(decoder)?;
    if nanos >= NANOS_PER_SECOND {
        return Err(decoder.error("less than 1000000000 nanoseconds", nanos));
    }
    Ok(nanos)
}
