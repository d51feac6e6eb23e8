//! Medians over turns.

use serde::Serialize;

/// Quantiles and not means: one turn that was disturbed must not speak for the others.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) p10: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) samples: usize,
}

impl Summary {
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let quantile = |q: f64| {
            let position = q * last as f64;
            let below = sorted[position.floor() as usize];
            let above = sorted[position.ceil() as usize];
            below + (above - below) * position.fract()
        };
        Some(Self {
            p10: quantile(0.1),
            p50: quantile(0.5),
            p90: quantile(0.9),
            samples: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let summary = Summary::of(&[3.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!(summary.p50, 2.5);
        assert!((summary.p10 - 1.3).abs() < 1e-9);
        assert!((summary.p90 - 3.7).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(Summary::of(&[]).is_none());
    }
}
