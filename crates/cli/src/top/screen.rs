//! The whole screen: a model in, as many lines as the terminal has out.

use super::detail;
use super::model::{Effect, Model, Place};
use super::panes::{Drawn, header, overview};
use super::text::{Palette, Role, cut};
use ratatui::Frame;
use ratatui::text::{Line, Text};

const HELP: &[&str] = &[
    "What is shown is what `banyan sql` says, once a second.",
    "",
    "  arrows, j k     go through the list whose name has a >",
    "  Tab             the next list",
    "  Enter           more of what is chosen: a node, a program, a thread, pages",
    "  Esc             back",
    "  s               another order of the list",
    "  /               show only what has these letters; Esc ends it",
    "  Space           stand still, and go on",
    "  q, Ctrl-C       leave",
    "",
    "TIME LOST  of the time in which threads ran or waited for memory of other",
    "           nodes, the part in which they waited",
    "CPUS       processors in use; FAULT/S page faults that went to other nodes",
    "NOW/S      how often the right to write a page changes its node",
    "!          nodes fight for a page: below the list is what to do about it",
    "",
    "Any key goes back.",
];

/// The lines of the screen.
pub(super) fn lines(model: &Model, palette: Palette, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = header(model, palette, width);
    let room = height.saturating_sub(lines.len() + 1);
    if model.shows_help {
        lines.extend(HELP.iter().take(room).map(|line| palette.line(Role::Plain, cut(line, width))));
    } else {
        let panes = match model.place() {
            Place::Overview => overview(model, palette, width),
            _ => detail::panes(model, palette, width),
        };
        lines.extend(stacked(panes, room));
    }
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(footer(model, palette, width));
    lines.truncate(height);
    lines
}

fn footer(model: &Model, palette: Palette, width: usize) -> Line<'static> {
    if model.is_typing {
        return palette.line(Role::Strong, cut(&format!("/{}_", model.filter), width));
    }
    let order = model.focus().and_then(|pane| model.order(pane));
    let order = order.map(|order| format!("  s order: {order}")).unwrap_or_default();
    let back = if *model.place() == Place::Overview { "" } else { "  Esc back" };
    let mut text = format!("q leave  ? help{back}  Tab list  Enter more  / filter  Space pause{order}");
    if !model.filter.is_empty() {
        text = format!("only {:?} (Esc: all)  {text}", model.filter);
    }
    palette.line(Role::Dim, cut(&text, width))
}

/// Panes one above the other in N lines: each first has what it needs at least, then as many lines as
/// it has and there is room for, from the top. A chosen line is always among those that are seen.
fn stacked(panes: Vec<Drawn>, room: usize) -> Vec<Line<'static>> {
    let mut left = room;
    let mut given: Vec<usize> = Vec::new();
    for pane in &panes {
        let least = pane.least + pane.tail.len();
        // A head without anything below it says nothing.
        let least = if least <= left {
            least
        } else if left >= 2 {
            left
        } else {
            0
        };
        left -= least;
        given.push(least);
    }
    for (pane, lines) in panes.iter().zip(&mut given).filter(|(_, lines)| **lines > 0) {
        let more = left.min((pane.lines.len() + pane.tail.len()).saturating_sub(*lines));
        *lines += more;
        left -= more;
    }
    let mut all = Vec::new();
    for (pane, lines) in panes.into_iter().zip(given) {
        if lines == 0 {
            continue;
        }
        let tail = if lines >= pane.tail.len() + 2 { pane.tail } else { Vec::new() };
        let below = lines - 1 - tail.len();
        // The first line below the head that is seen.
        let first = pane.chosen.map_or(1, |chosen| (chosen + 1).saturating_sub(below).max(1));
        let mut rows = pane.lines.into_iter();
        all.extend(rows.next());
        all.extend(rows.skip(first - 1).take(below));
        all.extend(tail);
    }
    all
}

/// Draws the screen.
pub(super) fn draw(model: &Model, palette: Palette, frame: &mut Frame<'_>) {
    let area = frame.area();
    let lines = lines(model, palette, area.width.into(), area.height.into());
    frame.render_widget(Text::from(lines), area);
}

/// What a key of the terminal does.
pub(super) fn key(model: &mut Model, event: &crossterm::event::KeyEvent) -> Effect {
    use crossterm::event::{KeyCode, KeyEventKind, KeyModifiers};
    if event.kind == KeyEventKind::Release {
        return Effect::Draw;
    }
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        // In raw mode the terminal makes no signal of it.
        return if matches!(event.code, KeyCode::Char('c' | 'd')) { Effect::Quit } else { Effect::Draw };
    }
    model.key(event.code)
}
