//! What a measure found, as a table for people or as one JSON object a line.

use super::Bench;
use serde_json::{Map, Value, json};

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

    fn value(self) -> f64 {
        match self {
            Self::AtMost(bar) | Self::AtLeast(bar) => bar,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(bar) => format!("<= {bar:.2}"),
            Self::AtLeast(bar) => format!(">= {bar:.2}"),
        }
    }
}

/// Facts behind a measure, in the order in which they are shown.
pub(crate) type Detail = Map<String, Value>;

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

/// The middle value; the mean of the two middle ones if their number is even.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

/// Rounds to four significant digits, for people and for files that are compared.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let factor = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * factor).round() / factor
}

/// Rounded values, for a detail.
pub(crate) fn list_of(values: &[f64]) -> Value {
    values.iter().map(|value| json!(rounded(*value))).collect()
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Prints outcomes as they come.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    missed: Vec<&'static str>,
    skipped: usize,
    failed: usize,
}

impl Report {
    /// For people, or as JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, missed: Vec::new(), skipped: 0, failed: 0 }
    }

    /// Says on what machine this is.
    pub(crate) fn begin(&self) {
        if self.json {
            return;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        println!("{processors} processors, load average {:.2}", load());
        println!("{:<18} {:>10} {:<5} {:>8} {:>9}  ok", "name", "value", "unit", "ratio", "bar");
    }

    /// Says on a terminal what is being measured.
    pub(crate) fn announce(&self, bench: &Bench) {
        if !self.json {
            eprintln!("banyan: measuring {}: {}", bench.name, bench.about);
        }
    }

    /// Prints one outcome.
    pub(crate) fn add(&mut self, bench: &Bench, outcome: anyhow::Result<Outcome>) {
        match outcome {
            Ok(Outcome::Measured(mut measured)) => {
                let ok = measured.sound && bench.bar.holds(measured.ratio);
                if !ok {
                    self.missed.push(bench.name);
                }
                measured.detail.insert("load_average".into(), json!(load()));
                self.line(bench, Some(&measured), Some(ok), Value::Object(measured.detail.clone()));
            }
            Ok(Outcome::Skipped(reason)) => {
                self.skipped += 1;
                self.line(bench, None, None, json!({ "skipped": reason }));
            }
            Err(error) => {
                self.failed += 1;
                self.line(bench, None, None, json!({ "error": format!("{error:#}") }));
            }
        }
    }

    fn line(&self, bench: &Bench, measured: Option<&Measured>, ok: Option<bool>, detail: Value) {
        if self.json {
            println!(
                "{}",
                json!({
                    "name": bench.name,
                    "value": measured.map(|measured| rounded(measured.value)),
                    "unit": measured.map(|measured| measured.unit),
                    "ratio": measured.map(|measured| rounded(measured.ratio)),
                    "bar": bench.bar.value(),
                    "ok": ok,
                    "detail": detail,
                })
            );
            return;
        }
        let (value, unit, ratio) = match measured {
            Some(measured) => {
                (rounded(measured.value).to_string(), measured.unit, format!("{:.2}", measured.ratio))
            }
            None => ("-".into(), "", "-".into()),
        };
        let verdict = match ok {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        println!("{:<18} {value:>10} {unit:<5} {ratio:>8} {:>9}  {verdict}", bench.name, bench.bar.words());
        if let Value::Object(detail) = detail {
            for (name, fact) in detail {
                let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
                println!("    {}: {fact}", name.replace('_', " "));
            }
        }
    }

    /// Sums up. Returns the exit status: 1 if a measure could not be taken.
    pub(crate) fn end(&self) -> u8 {
        if !self.json {
            match self.missed.as_slice() {
                [] => println!("every bar that was measured is reached"),
                missed => println!("missed: {}", missed.join(", ")),
            }
            if self.skipped > 0 {
                println!("{} skipped for want of a program or a permission", self.skipped);
            }
        }
        if self.failed > 0 {
            eprintln!("banyan: {} of the measures could not be taken", self.failed);
        }
        u8::from(self.failed > 0)
    }
}

/// Names the measures.
pub(crate) fn list(benches: &[&Bench]) {
    for bench in benches {
        println!("{:<18} {:>9}  {}", bench.name, bench.bar.words(), bench.about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_rounding() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(rounded(1234.56), 1235.0);
        assert_eq!(rounded(0.012_345_6), 0.01235);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn a_bar_has_a_side() {
        assert!(Bar::AtMost(2.0).holds(1.9) && !Bar::AtMost(2.0).holds(2.1));
        assert!(Bar::AtLeast(0.6).holds(0.7) && !Bar::AtLeast(0.6).holds(0.5));
        assert!(!Bar::AtMost(2.0).holds(f64::NAN) && !Bar::AtLeast(2.0).holds(f64::NAN));
    }
}
