//! Colour, width and live lines, for people. Where nobody watches, plain text.

use std::io::{self, IsTerminal, Write};

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// Coloured if the stream is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
    pub(crate) fn for_stream(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: is_terminal && !refused && !dumb }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn caution(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// One of a few colours that are told apart, by number.
    pub(crate) fn numbered(self, number: usize, text: &str) -> String {
        const CODES: [&str; 6] = ["36", "35", "33", "32", "34", "31"];
        self.paint(CODES[number % CODES.len()], text)
    }
}

/// Columns of the terminal that standard output or standard error is, else 100.
pub(crate) fn columns() -> usize {
    const USUAL: usize = 100;
    const LEAST: usize = 40;
    let asked = std::env::var("COLUMNS").ok().and_then(|value| value.parse().ok());
    let of = |size: Result<rustix::termios::Winsize, _>| size.ok().map(|size| usize::from(size.ws_col));
    of(rustix::termios::tcgetwinsize(io::stdout()))
        .or_else(|| of(rustix::termios::tcgetwinsize(io::stderr())))
        .filter(|&found| found > 0)
        .or(asked)
        .unwrap_or(USUAL)
        .max(LEAST)
}

/// Breaks text between words so that it fits beside an indent of so many columns.
pub(crate) fn wrap(text: &str, indent: usize, columns: usize) -> String {
    let room = columns.saturating_sub(indent).max(20);
    let (mut wrapped, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            wrapped.push_str(&format!("\n{:indent$}", ""));
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// A line on standard error that is replaced while something goes on; off a terminal, a plain line now and then.
#[derive(Debug)]
pub(crate) struct LiveLine {
    is_terminal: bool,
    is_open: bool,
}

impl LiveLine {
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), is_open: false }
    }

    /// Whether the line is replaced, so that it may change often.
    pub(crate) fn is_live(&self) -> bool {
        self.is_terminal
    }

    /// Shows how it stands.
    pub(crate) fn show(&mut self, text: &str) {
        let mut stream = io::stderr();
        let written = if self.is_terminal {
            let short: String = text.chars().take(columns().saturating_sub(1)).collect();
            write!(stream, "\r\x1b[K{short}")
        } else {
            writeln!(stream, "{text}")
        };
        // Progress that nobody can see harms nothing.
        let _ = written.and_then(|()| stream.flush());
        self.is_open = self.is_terminal;
    }

    /// Replaces it by a last line, which stays.
    pub(crate) fn end(&mut self, text: &str) {
        let _ = if self.is_open {
            writeln!(io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(io::stderr(), "{text}")
        };
        self.is_open = false;
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if self.is_open {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two three", 0, 20), "one two three");
        assert_eq!(wrap("a word and another word", 4, 26), "a word and another\n    word");
        assert_eq!(wrap("an-unbreakable-word-that-is-long", 0, 20), "an-unbreakable-word-that-is-long");
    }

    #[test]
    fn no_terminal_no_colour() {
        assert_eq!(Style::for_stream(false).bad("x"), "x");
        assert_eq!(Style { coloured: true }.good("x"), "\x1b[32mx\x1b[0m");
    }
}
