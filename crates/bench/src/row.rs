//! [`Row`]: one measured promise, the same for every bench, and what scripts read of it.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Facts behind a row, in the order in which they are shown.
pub type Detail = Map<String, Value>;

/// One measurement, what it is held to, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Family, what is measured, and which figure of it: `arena.commit.k16`.
    pub name: String,
    /// The figure, in `unit`; `None` if it could not be had.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// What it is compared with, if with anything.
    pub rival: Option<String>,
    /// The figure against the rival's; the bar says which side is better.
    pub ratio: Option<f64>,
    /// What is promised, in words.
    pub bar: String,
    /// Whether the promise is kept; `None` if nothing was promised of it, or this machine cannot tell.
    pub ok: Option<bool>,
    /// How it was measured, and the figures beside it.
    pub detail: Detail,
}

impl Row {
    /// A figure that is held to nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let value = Some(rounded(value)).filter(|value| value.is_finite());
        let (rival, ratio, bar, ok, detail) = (None, None, String::new(), None, Detail::new());
        Self { name: name.into(), value, unit, rival, ratio, bar, ok, detail }
    }

    /// A promise whose figure could not be had: it counts as not kept.
    #[must_use]
    pub fn failed(name: impl Into<String>, error: impl Into<String>) -> Self {
        Self { ok: Some(false), ..Self::new(name, f64::NAN, "") }.fact("error", json!(error.into()))
    }

    /// A figure that needs what this machine does not have.
    #[must_use]
    pub fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(name, f64::NAN, "").fact("skipped", json!(reason.into()))
    }

    /// With what is promised, and whether that is kept.
    #[must_use]
    pub fn judged(self, bar: impl Into<String>, ok: bool) -> Self {
        Self { bar: bar.into(), ok: Some(ok), ..self }
    }

    /// With what it is compared to.
    #[must_use]
    pub fn against(self, rival: impl Into<String>, ratio: f64) -> Self {
        Self { rival: Some(rival.into()), ratio: Some(rounded(ratio)), ..self }
    }

    /// With one more fact.
    #[must_use]
    pub fn fact(mut self, name: &str, fact: Value) -> Self {
        self.detail.insert(name.to_owned(), fact);
        self
    }

    /// With words on how it was measured.
    #[must_use]
    pub fn note(self, text: impl Into<String>) -> Self {
        match text.into() {
            text if text.is_empty() => self,
            text => self.fact("note", json!(text)),
        }
    }
}

/// Rounds to four significant digits, for people and for files that are compared.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let factor = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        assert_eq!(rounded(1234.56), 1235.0);
        assert_eq!(rounded(0.012_345_6), 0.01235);
        assert_eq!(rounded(0.0), 0.0);
    }

    /// Scripts read the rows by these names.
    #[test]
    fn a_row_has_the_keys_that_are_promised() {
        let row = Row::new("actor.tell.same_host", 40.5, "ns").judged("at least 1.5 x", true);
        let text = serde_json::to_string(&row).unwrap();
        let expected = r#"{"name":"actor.tell.same_host","value":40.5,"unit":"ns","rival":null,"ratio":null,"bar":"at least 1.5 x","ok":true,"detail":{}}"#;
        assert_eq!(text, expected);
        let failed = serde_json::to_string(&Row::failed("call.idle", "no worker")).unwrap();
        assert!(failed.contains(r#""value":null"#) && failed.contains(r#""ok":false"#), "{failed}");
    }
}
