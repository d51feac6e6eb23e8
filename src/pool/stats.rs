//! `PoolStats`: the counts by which to choose the size of a pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counts of a pool: its calls since it was built, and its children now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Calls that were given to a child.
    pub calls: u64,
    /// Calls that found a spare child waiting.
    pub hits: u64,
    /// Calls for which a child had to be started.
    pub misses: u64,
    /// Calls that were given to a child that had answered others. See [`Reuse`](crate::Reuse).
    pub reused: u64,
    /// Calls that waited because all workers were busy.
    pub waited: u64,
    /// Calls that gave up, or did not wait, because all workers were busy.
    pub busy: u64,
    /// Calls that returned an error.
    pub failed: u64,
    /// Spare children that ended while they waited, and were replaced.
    pub died_idle: u64,
    /// Spare children that were not needed for a long time, or no longer fitted the program, and were ended.
    pub released: u64,
    /// Spare children that could not be started.
    pub failed_starts: u64,
    /// Calls that are running now.
    pub running: usize,
    /// Calls that wait now.
    pub waiting: usize,
    /// Spare children that wait now.
    pub spares: usize,
    /// The time from the start of a call to its result, without the wait for a worker.
    pub latency: Latency,
}

/// Quantiles of a time. Each is exact to about six percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// Half of the calls took at most this long.
    pub p50: Duration,
    /// 90 % took at most this long.
    pub p90: Duration,
    /// 99 % took at most this long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) waited: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) died_idle: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) failed_starts: AtomicU64,
    pub(super) latency: Histogram,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Returns everything but what is running now.
    pub(super) fn stats(&self) -> PoolStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolStats {
            calls: get(&self.calls),
            hits: get(&self.hits),
            misses: get(&self.misses),
            reused: get(&self.reused),
            waited: get(&self.waited),
            busy: get(&self.busy),
            failed: get(&self.failed),
            died_idle: get(&self.died_idle),
            released: get(&self.released),
            failed_starts: get(&self.failed_starts),
            latency: self.latency.quantiles(),
            ..PoolStats::default()
        }
    }
}

/// Counts of times, in steps of a sixteenth of a power of two.
#[derive(Debug)]
pub(super) struct Histogram {
    counts: [AtomicU64; STEPS],
    most_nanos: AtomicU64,
}

/// 64 powers, with 16 steps each.
const STEPS: usize = 64 << FRACTION_BITS;
const FRACTION_BITS: u32 = 4;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; STEPS],
            most_nanos: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    pub(super) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(counter) = self.counts.get(step(nanos)) {
            count(counter);
        }
        self.most_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    fn quantiles(&self) -> Latency {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        let max = Duration::from_nanos(self.most_nanos.load(Ordering::Relaxed));
        let quantile = |percent: u64| {
            let wanted = total.saturating_mul(percent).div_ceil(100);
            let mut seen = 0u64;
            let step = counts.iter().position(|count| {
                seen = seen.saturating_add(*count);
                seen >= wanted && seen > 0
            });
            let upper = step.map_or(0, |step| least_of(step.saturating_add(1)));
            Duration::from_nanos(upper).min(max)
        };
        Latency {
            p50: quantile(50),
            p90: quantile(90),
            p99: quantile(99),
            max,
        }
    }
}

/// The step that a time belongs to.
fn step(nanos: u64) -> usize {
    let nanos = nanos.max(1);
    let power = nanos.ilog2();
    // The bits below the highest one.
    let fraction = match power.checked_sub(FRACTION_BITS) {
        Some(shift) => nanos >> shift,
        None => nanos << FRACTION_BITS.saturating_sub(power),
    };
    let fraction = usize::try_from(fraction).unwrap_or(0) & ((1 << FRACTION_BITS) - 1);
    (usize::try_from(power).unwrap_or(0) << FRACTION_BITS) | fraction
}

/// The least time of a step.
fn least_of(step: usize) -> u64 {
    let power = u32::try_from(step >> FRACTION_BITS).unwrap_or(u32::MAX);
    let fraction = u64::try_from(step & ((1 << FRACTION_BITS) - 1)).unwrap_or(0);
    let mantissa = (1u64 << FRACTION_BITS) | fraction;
    match power.checked_sub(FRACTION_BITS) {
        Some(shift) => mantissa.checked_shl(shift).unwrap_or(u64::MAX),
        None => mantissa >> FRACTION_BITS.saturating_sub(power),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_times() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), Latency::default());
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        let latency = histogram.quantiles();
        let near = |found: Duration, micros: u64| {
            let exact = Duration::from_micros(micros);
            assert!(
                found >= exact && found <= exact.mul_f64(1.07),
                "{found:?}, {exact:?}"
            );
        };
        near(latency.p50, 500);
        near(latency.p90, 900);
        near(latency.p99, 990);
        assert_eq!(latency.max, Duration::from_micros(1000));
    }

    proptest! {
        #[test]
        fn a_time_is_in_its_step(nanos: u64) {
            let step = step(nanos);
            prop_assert!(step < STEPS);
            prop_assert!(least_of(step) <= nanos.max(1));
            prop_assert!(step + 1 == STEPS || nanos < least_of(step + 1));
        }
    }
}
