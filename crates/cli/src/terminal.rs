//! Colour, width, live lines and pictures, for people; off a terminal, plain text. What all commands print
//! with.

use std::io::{self, IsTerminal, Write};

/// How text is set off for people. `anstream` takes it away where it is not wanted.
pub(crate) mod style {
    use anstyle::{AnsiColor, Style};

    fn paint(style: Style, text: &str) -> String {
        format!("{style}{text}{style:#}")
    }

    fn colour(colour: AnsiColor) -> Style {
        colour.on_default()
    }

    pub(crate) fn good(text: &str) -> String {
        paint(colour(AnsiColor::Green), text)
    }

    pub(crate) fn caution(text: &str) -> String {
        paint(colour(AnsiColor::Yellow), text)
    }

    pub(crate) fn bad(text: &str) -> String {
        paint(colour(AnsiColor::Red).bold(), text)
    }

    pub(crate) fn strong(text: &str) -> String {
        paint(Style::new().bold(), text)
    }

    /// One of a few colours that are told apart, by number.
    pub(crate) fn numbered(number: usize, text: &str) -> String {
        const COLOURS: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Magenta,
            AnsiColor::Yellow,
            AnsiColor::Green,
            AnsiColor::Blue,
            AnsiColor::Red,
        ];
        paint(colour(COLOURS[number % COLOURS.len()]), text)
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

/// Breaks text between words so that it fits beside an indent of that many columns.
pub(crate) fn wrap(text: &str, indent: usize, columns: usize) -> String {
    let options = textwrap::Options::new(columns.saturating_sub(indent).max(20))
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(text, options).replace('\n', &format!("\n{:indent$}", ""))
}

/// Prints data, without colours where they are not wanted (<https://no-color.org>). A reader that closes the
/// pipe early has seen enough.
pub(crate) fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// A number with its noun: "1 member", "3 members".
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number of bytes, for people.
pub(crate) fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            let whole = bytes as f64 / (1_u64 << shift) as f64;
            return if whole.fract() == 0.0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole:.1} {unit}")
            };
        }
    }
    format!("{bytes} B")
}

/// Prints values as JSON, one a line.
pub(crate) fn print_json<T: serde::Serialize>(values: &[T]) -> anyhow::Result<()> {
    for value in values {
        print(&format!("{}\n", serde_json::to_string(value)?));
    }
    Ok(())
}

/// Prints a picture in place of the last one; below it where standard output is no terminal.
pub(crate) fn redraw(text: &str) -> io::Result<()> {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    let mut out = io::stdout().lock();
    write!(out, "{clear}{text}").and_then(|()| out.flush())
}

/// A line on standard error that is replaced while something goes on; off a terminal, a plain line now and
/// then.
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
        let mut plain = anstream::StripStream::new(Vec::new());
        plain.write_all(style::bad("x").as_bytes()).unwrap_or_default();
        assert_eq!(plain.into_inner(), b"x");
        assert_eq!(style::good("x"), "\x1b[32mx\x1b[0m");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size_text(0), "0 B");
        assert_eq!(size_text(1 << 40), "1 TiB");
        assert_eq!(size_text(6 << 19), "3 MiB");
        assert_eq!(size_text(5 << 19), "2.5 MiB");
    }
}
