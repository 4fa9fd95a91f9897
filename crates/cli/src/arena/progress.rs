//! A progress bar on standard error, where a terminal is; elsewhere nothing.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that appears at its first update.
pub(crate) struct Progress {
    bar: ProgressBar,
    counted: &'static str,
    has_length: bool,
}

impl Progress {
    /// `verb` says what is done, `counted` what is counted.
    pub(crate) fn new(verb: &'static str, counted: &'static str) -> Self {
        let bar = ProgressBar::no_length();
        bar.set_prefix(verb);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, counted, has_length: false }
    }

    /// How much is done, and of how much.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        if !self.has_length {
            self.has_length = true;
            let template = format!(
                "{{prefix}} [{{bar:32}}] {{percent:>3}} % {{pos}}/{{len}} {} {{msg}} {{eta}}",
                self.counted
            );
            if let Ok(style) = ProgressStyle::with_template(&template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_message("left:");
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Something that has no known end.
    pub(crate) fn note(&mut self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.tick();
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
