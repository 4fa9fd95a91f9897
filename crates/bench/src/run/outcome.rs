//! [`Outcome`]: what came of a bench of this family, whose bar is always on a ratio; it becomes a [`Row`].

use super::Bench;
use crate::row::{Detail, Row};
use serde_json::json;

/// What the ratio of a measure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// A cost: no more than this.
    AtMost(f64),
    /// A speed: no less than this.
    AtLeast(f64),
}

impl Bar {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bar) => ratio <= bar,
            Self::AtLeast(bar) => ratio >= bar,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(bar) => format!("ratio at most {bar:.2}"),
            Self::AtLeast(bar) => format!("ratio at least {bar:.2}"),
        }
    }
}

/// What came of a measure.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was taken.
    Measured(Measured),
    /// It needs something that this machine lacks; what, and how to get it.
    Skipped(String),
}

/// A measure that was taken.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The quantity, in `unit`.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The quantity beside that of the other side.
    pub(crate) ratio: f64,
    /// Whether what is no ratio holds too.
    pub(crate) sound: bool,
    /// Facts behind it.
    pub(crate) detail: Detail,
}

impl Outcome {
    /// A measure that is a ratio and nothing else.
    pub(crate) fn measured(value: f64, unit: &'static str, ratio: f64, detail: Detail) -> Self {
        Self::Measured(Measured { value, unit, ratio, sound: true, detail })
    }
}

impl Outcome {
    /// The row of a bench.
    pub(crate) fn row(self, bench: &Bench) -> Row {
        match self {
            Self::Measured(measured) => {
                let ok = measured.sound && bench.bar.holds(measured.ratio);
                let row = Row::new(bench.name, measured.value, measured.unit);
                let mut row = row.against(bench.rival, measured.ratio).judged(bench.bar.words(), ok);
                row.detail = measured.detail;
                row.fact("load_average", json!(crate::statistics::load()))
            }
            Self::Skipped(reason) => Row::skipped(bench.name, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_a_side() {
        assert!(Bar::AtMost(2.0).holds(1.9) && !Bar::AtMost(2.0).holds(2.1));
        assert!(Bar::AtLeast(0.6).holds(0.7) && !Bar::AtLeast(0.6).holds(0.5));
        assert!(!Bar::AtMost(2.0).holds(f64::NAN) && !Bar::AtLeast(2.0).holds(f64::NAN));
    }
}
