//! Which measurements to take: by name, or by the start of names.

/// Names and starts of names; everything if there is none.
#[derive(Clone, Debug, Default)]
pub struct Selection(Vec<String>);

impl Selection {
    /// Selects what begins with one of `starts`.
    #[must_use]
    pub fn new(starts: Vec<String>) -> Self {
        Self(starts)
    }

    /// The starts.
    #[must_use]
    pub fn starts(&self) -> &[String] {
        &self.0
    }

    /// Whether a row of that name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// Whether a bench is wanted whose rows have that name, or begin with it and a full stop.
    #[must_use]
    pub fn wants_of(&self, bench: &str) -> bool {
        let is_row_of = |start: &String| start.strip_prefix(bench).is_some_and(|rest| rest.starts_with('.'));
        self.wants(bench) || self.0.iter().any(is_row_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_by_their_start() {
        let select =
            |starts: &[&str]| Selection::new(starts.iter().map(|start| (*start).to_owned()).collect());
        assert!(select(&[]).wants("fault.read") && select(&["fault"]).wants("fault.read"));
        assert!(!select(&["fault"]).wants("stream.read"));
        assert!(select(&["scale4.p", "stub"]).wants_of("scale4.pigz"));
        assert!(!select(&["scale4.p", "stub"]).wants_of("scale4.mandelbrot"));
        // The rows of a bench may be chosen one by one.
        assert!(select(&["actor.savina.big.24000"]).wants_of("actor.savina.big"));
        assert!(!select(&["call.crash.dirty"]).wants_of("call.crash.d.x"));
    }
}
