//! Words, figures and bars of the screen: what a value looks like, and how values stand in columns.
//!
//! A colour never says anything alone: what matters has a mark or a word, too, for `NO_COLOR` and for people
//! who do not see it.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Whether colours are wanted (<https://no-color.org>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Palette {
    Coloured,
    Plain,
}

/// What a piece of text is, from which follows what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    Dim,
    Head,
    Strong,
    Good,
    Caution,
    Bad,
    Chosen,
    /// Of the node with this place among all.
    Node(usize),
}

impl Palette {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_set { Self::Plain } else { Self::Coloured }
    }

    fn style(self, role: Role) -> Style {
        const NODES: [Color; 6] =
            [Color::Cyan, Color::Magenta, Color::Yellow, Color::Green, Color::Blue, Color::LightRed];
        let (colour, modifier) = match role {
            Role::Plain => (None, Modifier::empty()),
            Role::Dim => (Some(Color::DarkGray), Modifier::empty()),
            Role::Head => (None, Modifier::UNDERLINED),
            Role::Strong => (None, Modifier::BOLD),
            Role::Good => (Some(Color::Green), Modifier::empty()),
            Role::Caution => (Some(Color::Yellow), Modifier::BOLD),
            Role::Bad => (Some(Color::Red), Modifier::BOLD),
            Role::Chosen => (None, Modifier::REVERSED),
            Role::Node(number) => (Some(NODES[number % NODES.len()]), Modifier::empty()),
        };
        let style = Style::new().add_modifier(modifier);
        match (self, colour) {
            (Self::Coloured, Some(colour)) => style.fg(colour),
            _ => style,
        }
    }

    pub(super) fn span(self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(role))
    }

    pub(super) fn line(self, role: Role, text: impl Into<String>) -> Line<'static> {
        Line::from(self.span(role, text))
    }
}

/// A letter or digit for a node: its place among all, so that a strip can be read without colours.
pub(super) fn letter(number: usize) -> char {
    u32::try_from(number).ok().and_then(|number| char::from_digit(number, 36)).unwrap_or('*')
}

/// Text of a program or another machine: what could move the cursor is shown and not done.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Cut to a number of columns; a mark says that something is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if Span::raw(text).width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if Span::raw(short.as_str()).width() >= columns {
            short.pop();
            break;
        }
    }
    if columns > 0 {
        short.push('\u{2026}');
    }
    short
}

/// Where a column's values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// To the left, this wide.
    Left(usize),
    /// To the right, this wide.
    Right(usize),
    /// To the left, as wide as the rest of the line.
    Rest,
}

/// Values in columns, with a space between them.
pub(super) fn row(columns: &[Column], values: &[String], width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (column, value) in columns.iter().zip(values) {
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        let wide = match column {
            Column::Left(wide) | Column::Right(wide) => *wide,
            Column::Rest => width.saturating_sub(used),
        };
        let value = cut(value, wide);
        let room = wide.saturating_sub(Span::raw(value.as_str()).width());
        let spaces = " ".repeat(room);
        match column {
            Column::Right(_) => line.extend([spaces.as_str(), value.as_str()]),
            Column::Left(_) | Column::Rest => line.extend([value.as_str(), spaces.as_str()]),
        }
        used += wide;
    }
    line
}

/// A share as a bar, in a number of columns.
pub(super) fn bar(share: f64, columns: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    format!("{}{}", "\u{2588}".repeat(full), "\u{2591}".repeat(columns - full))
}

/// A number in four places or so: 7, 1.2k, 35M.
pub(super) fn number(value: f64) -> String {
    let value = value.max(0.0);
    for (least, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= least {
            let scaled = value / least;
            return if scaled < 10.0 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") };
        }
    }
    if value > 0.0 && value < 10.0 && value.fract() > 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Bytes in five places or so: 12 B, 1.2 K, 35 M, by powers of 1,024.
pub(super) fn bytes(value: f64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        let scaled = value / (1_u64 << shift) as f64;
        if scaled >= 1.0 {
            return if scaled < 10.0 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") };
        }
    }
    format!("{value:.0}B")
}

/// A figure that may be unknown yet.
pub(super) fn known(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".into(), text)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Microseconds.
pub(super) fn micros(value: f64) -> String {
    if value >= 1000.0 { format!("{:.1}ms", value / 1000.0) } else { format!("{value:.0}us") }
}

/// A range of microseconds; the unit once, if both ends have the same.
pub(super) fn micros_between(least: f64, most: f64) -> String {
    if most < 1000.0 {
        format!("{least:.0}..{}", micros(most))
    } else {
        format!("{}..{}", micros(least), micros(most))
    }
}

/// Seconds as a time of day, UTC.
pub(super) fn clock(at_s: f64) -> String {
    let seconds = at_s.max(0.0) as u64 % 86400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let found: Vec<String> = [0.0, 0.25, 7.0, 999.0, 1234.0, 56_789.0, 3e9].map(number).into();
        assert_eq!(found, ["0", "0.2", "7", "999", "1.2k", "57k", "3.0G"]);
        let found: Vec<String> = [0.0, 1023.0, 1536.0, 5e7, 3e12].map(bytes).into();
        assert_eq!(found, ["0B", "1023B", "1.5K", "48M", "2.7T"]);
        assert_eq!((micros(48.9), micros(6848.5)), ("49us".into(), "6.8ms".into()));
        assert_eq!(
            (micros_between(40.2, 900.0), micros_between(40.0, 1500.0)),
            ("40..900us".into(), "40us..1.5ms".into())
        );
        assert_eq!(known(None, percent), "-");
        assert_eq!(clock(86400.0 + 3661.5), "01:01:01");
    }

    #[test]
    fn columns_are_kept_whatever_is_in_them() {
        let columns = [Column::Left(4), Column::Right(5), Column::Rest];
        let line =
            |one: &str, two: &str, three: &str| row(&columns, &[one.into(), two.into(), three.into()], 16);
        assert_eq!(line("ab", "12", "rest"), "ab      12 rest ");
        assert_eq!(line("abcdef", "1234567", "resting"), "abc\u{2026} 1234\u{2026} rest\u{2026}");
        // A wide letter takes two columns.
        let wide = line("\u{6f22}\u{5b57}\u{6f22}", "1", "");
        assert_eq!(wide, format!("\u{6f22}\u{2026} {}1{}", " ".repeat(5), " ".repeat(6)));
        assert_eq!(clean("a\u{1b}[2J"), "a\u{fffd}[2J");
        assert_eq!(bar(0.5, 4), "\u{2588}\u{2588}\u{2591}\u{2591}");
        assert_eq!(bar(7.0, 2), "\u{2588}\u{2588}");
    }
}
