//! Samples of one row, and what is made of them.

use serde::Serialize;
use std::collections::BTreeMap;

/// A row of the table: its samples, and why others are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    /// `ms`, `MiB` or `/s`.
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<f64>,
    /// Reason → how often.
    pub(crate) errors: BTreeMap<String, usize>,
}

/// All rows by name.
pub(crate) type Rows = BTreeMap<&'static str, Row>;

impl Row {
    pub(crate) fn error(&mut self, reason: String) {
        *self.errors.entry(reason).or_default() += 1;
    }

    /// How many samples were lost.
    pub(crate) fn lost(&self) -> usize {
        self.errors.values().sum()
    }

    /// The value that `percent` of the samples do not exceed (nearest rank); of the median the mean of the middle two.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        let value = *sorted.get(rank - 1)?;
        if percent == 50 && sorted.len().is_multiple_of(2) {
            return Some(value.midpoint(*sorted.get(rank)?));
        }
        Some(value)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.percentile(50)
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.samples.len()).ok().filter(|count| *count > 0)?;
        Some(self.samples.iter().sum::<f64>() / f64::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let row = |samples: &[f64]| Row { samples: samples.to_vec(), ..Row::default() };
        assert_eq!(row(&[]).median(), None);
        assert_eq!(row(&[]).mean(), None);
        assert_eq!(row(&[7.0]).percentile(95), Some(7.0));
        assert_eq!(row(&[3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(row(&[4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(row(&[3.0, 1.0, 2.0]).percentile(0), Some(1.0));
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((row(&hundred).percentile(95), row(&hundred).mean()), (Some(95.0), Some(50.5)));
    }
}
