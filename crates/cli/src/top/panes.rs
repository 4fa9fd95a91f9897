//! The overview: header, nodes, programs, memory, faults, links, hot pages, events, each with the lines that
//! it needs at least, and more where there is room.

use super::model::{Model, Pane};
use super::text::{
    Column, Palette, Role, bar, bytes, clean, clock, cut, known, letter, micros, micros_between, number,
    percent, row,
};
use crate::terminal::{count, wrap};
use banyan_view::{Cell, JobView, Level};
use ratatui::text::{Line, Span};

/// A pane before it is cut to what there is room for.
pub(super) struct Drawn {
    /// The first is its head.
    pub(super) lines: Vec<Line<'static>>,
    /// Lines that it always shows, if it has that many.
    pub(super) least: usize,
    /// The line that must be seen, if one is chosen.
    pub(super) chosen: Option<usize>,
    /// What is seen below them in any case.
    pub(super) tail: Vec<Line<'static>>,
}

/// The header: what the cluster is, and what is the matter.
pub(super) fn header(model: &Model, palette: Palette, width: usize) -> Vec<Line<'static>> {
    let view = model.view();
    let total = &view.total;
    let some = if total.nodes_up == total.nodes { String::new() } else { format!("{} of ", total.nodes_up) };
    let facts = format!(
        "{some}{}, {}, {} memory, {}, {}",
        count(total.nodes, "node"),
        count(total.cpus, "cpu"),
        bytes(total.memory_bytes as f64),
        count(total.jobs, "program"),
        count(total.threads, "thread"),
    );
    let pause = if model.is_paused() { "PAUSED " } else { "" };
    let time = format!("{pause}{} UTC", clock(view.at_s));
    let room = width.saturating_sub(time.len() + 8);
    let first = Line::from(vec![
        palette.span(Role::Strong, "banyan  "),
        palette.span(Role::Plain, row(&[Column::Left(room)], &[facts], room)),
        palette.span(if model.is_paused() { Role::Caution } else { Role::Dim }, time),
    ]);
    vec![first, health(model, palette, width)]
}

/// The worst thing there is to say.
fn health(model: &Model, palette: Palette, width: usize) -> Line<'static> {
    if let Some(trouble) = &model.trouble {
        return palette.line(Role::Bad, cut(&format!("!! {}", clean(trouble)), width));
    }
    let advice = &model.view().advice;
    let Some(first) = advice.first() else { return palette.line(Role::Dim, "Looking ...") };
    let (role, mark) = match first.level {
        Level::Good => (Role::Good, "ok"),
        Level::Caution => (Role::Caution, "! "),
        Level::Bad => (Role::Bad, "!!"),
    };
    let more = if advice.len() > 1 { format!(" (+{} more)", advice.len() - 1) } else { String::new() };
    let room = width.saturating_sub(more.len() + 3);
    palette.line(role, format!("{mark} {}{more}", cut(&clean(&first.text), room)))
}

/// All panes of the overview, from the top.
pub(super) fn overview(model: &Model, palette: Palette, width: usize) -> Vec<Drawn> {
    let mut panes = vec![nodes(model, palette, width), jobs(model, palette, width)];
    if let Some(job) = model.job_in_view() {
        let job = &model.view().jobs[job];
        panes.push(memory(model, palette, job, width));
        panes.push(faults(palette, job));
    }
    if !model.view().links.is_empty() {
        panes.push(links(model, palette, width));
    }
    if !model.view().hot.is_empty() {
        panes.push(hot(model, palette, width));
    }
    panes.push(events(model, palette, width));
    panes
}

/// The head of a list: underlined, and its name in brackets if the arrow keys go through it.
fn head(
    model: &Model,
    palette: Palette,
    pane: Pane,
    columns: &[Column],
    names: &[&str],
    width: usize,
) -> Line<'static> {
    let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    if model.focus() == Some(pane)
        && let Some(first) = names.first_mut()
    {
        *first = format!(">{first}");
    }
    palette.line(Role::Head, row(columns, &names, width))
}

fn list(
    model: &Model,
    palette: Palette,
    pane: Pane,
    head: Line<'static>,
    rows: Vec<(Role, String)>,
    least: usize,
) -> Drawn {
    let chosen = model.chosen(pane);
    let mut lines = vec![head];
    for (at, (role, text)) in rows.into_iter().enumerate() {
        let role = if chosen == Some(at) { Role::Chosen } else { role };
        lines.push(palette.line(role, text));
    }
    Drawn { least: least.min(lines.len()), chosen: chosen.map(|at| at + 1), lines, tail: Vec::new() }
}

pub(super) fn nodes(model: &Model, palette: Palette, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns =
        [Left(1), Left(13), Left(6), Left(12), Right(5), Left(11), Right(7), Right(6), Right(6), Rest];
    let names = ["", "NODE", "STATE", "CPU", "LOAD", "MEMORY USED", "FAULT/S", "SENT/S", "RECV/S", ""];
    let rows = model.nodes().into_iter().map(|at| {
        let node = &model.view().nodes[at];
        let used = node.row.memory_bytes.zip(node.row.available_bytes);
        let used = used.filter(|(all, _)| *all > 0);
        let used = used.map(|(all, left)| all.saturating_sub(left) as f64 / all as f64);
        let share = |share: Option<f64>, columns| {
            known(share, |share| format!("{} {}", bar(share, columns), percent(share)))
        };
        let values = [
            letter(at).to_string(),
            clean(&node.row.node),
            clean(&node.row.state),
            share(node.busy_share, 7),
            known(node.row.load_1m, |load| format!("{load:.1}")),
            share(used, 6),
            known(node.faults_per_s, number),
            known(node.sent_per_s, bytes),
            known(node.received_per_s, bytes),
            String::new(),
        ];
        let role = if node.row.state == "up" { Role::Node(at) } else { Role::Bad };
        (role, row(&columns, &values, width))
    });
    let head = head(model, palette, Pane::Nodes, &columns[1..], &names[1..], width);
    let mut spans = vec![palette.span(Role::Plain, "  ")];
    spans.extend(head.spans);
    list(model, palette, Pane::Nodes, Line::from(spans), rows.collect(), 4)
}

pub(super) fn jobs(model: &Model, palette: Palette, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns = [Right(8), Left(12), Right(5), Right(7), Left(13), Right(5), Right(7), Right(6), Rest];
    let names =
        ["PROCESS", "PROGRAM", "NODES", "THREADS", "TIME LOST", "CPUS", "FAULT/S", "MEMORY", "MOVES/MIN"];
    let rows = model.jobs().into_iter().map(|at| {
        let job = &model.view().jobs[at];
        let values = [
            job.row.process.map_or_else(|| "-".into(), |process| process.to_string()),
            clean(&job.row.program),
            job.row.nodes.to_string(),
            job.row.threads.map_or_else(|| "-".into(), |threads| threads.to_string()),
            known(job.lost_share, |share| format!("{} {}", bar(share, 8), percent(share))),
            known(job.cpus_used, |cpus| format!("{cpus:.1}")),
            known(job.faults_per_s, number),
            bytes(job.row.memory_bytes as f64),
            known(job.moves_per_min, number),
        ];
        let role = if job.lost_share > Some(0.25) { Role::Caution } else { Role::Plain };
        (role, row(&columns, &values, width))
    });
    let mut rows: Vec<(Role, String)> = rows.collect();
    if rows.is_empty() {
        let text = if model.filter.is_empty() {
            "no program runs; to start one: banyan run -n all -- PROGRAM"
        } else {
            "none"
        };
        rows.push((Role::Dim, cut(text, width)));
    }
    let head = head(model, palette, Pane::Jobs, &columns, &names, width);
    list(model, palette, Pane::Jobs, head, rows, 2)
}

/// The address space of a program: a letter for each part, by its owner, and below it where nodes fight.
pub(super) fn memory(model: &Model, palette: Palette, job: &JobView, width: usize) -> Drawn {
    let title = format!("MEMORY of {}", clean(&job.row.program));
    let legend = "whose it is, low to high; ! pages fight";
    let text = row(
        &[Column::Left(width.saturating_sub(legend.len() + 1)), Column::Rest],
        &[title, legend.into()],
        width,
    );
    let mut lines = vec![palette.line(Role::Head, text)];
    if job.memory.is_empty() {
        lines.push(palette.line(Role::Dim, "nothing is known of it yet"));
        return Drawn { least: lines.len(), lines, chosen: None, tail: Vec::new() };
    }
    let (mut owners, mut marks) = (Vec::new(), String::new());
    for cell in &job.memory {
        if cell.leap {
            owners.push(palette.span(Role::Dim, "|"));
            marks.push(' ');
        }
        owners.push(owner(model, palette, cell));
        marks.push(match cell {
            Cell { fights: 1.., .. } => '!',
            Cell { moves: 1.., .. } => '.',
            _ => ' ',
        });
    }
    owners.truncate(width);
    lines.push(Line::from(owners));
    let has_marks = !marks.trim().is_empty();
    lines.push(palette.line(Role::Caution, cut(&marks, width)));
    Drawn { least: if has_marks { 3 } else { 2 }, lines, chosen: None, tail: Vec::new() }
}

fn owner(model: &Model, palette: Palette, cell: &Cell) -> Span<'static> {
    match cell.owner.as_deref().and_then(|owner| model.node_number(owner)) {
        Some(number) => palette.span(Role::Node(number), letter(number).to_string()),
        None => palette.span(Role::Dim, "-"),
    }
}

/// Faults of a program by cause, on all its nodes.
pub(super) fn faults(palette: Palette, job: &JobView) -> Drawn {
    let mut parts = vec![palette.span(Role::Head, "FAULTS")];
    for cause in ["read", "write", "upgrade"] {
        let of_cause = || job.faults.iter().filter(|fault| fault.row.cause == cause);
        let per_s: f64 = of_cause().filter_map(|fault| fault.per_s).sum();
        let slowest = of_cause().filter_map(|fault| fault.row.p99_us).fold(0.0, f64::max);
        let usual = of_cause().filter_map(|fault| fault.row.p50_us).fold(0.0, f64::max);
        let text = format!("  {cause} {}/s {}", number(per_s), micros_between(usual, slowest));
        parts.push(palette.span(Role::Plain, text));
    }
    Drawn { lines: vec![Line::from(parts)], least: 1, chosen: None, tail: Vec::new() }
}

pub(super) fn links(model: &Model, palette: Palette, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns = [Left(14), Left(14), Right(8), Left(12), Right(9), Rest];
    let names = ["FROM", "TO", "SENT/S", "", "LATENCY", ""];
    let all = &model.view().links;
    let most = all.iter().filter_map(|link| link.sent_per_s).fold(1.0, f64::max);
    let rows = model.links().into_iter().map(|at| {
        let link = &all[at];
        let values = [
            clean(&link.node),
            clean(&link.peer),
            known(link.sent_per_s, bytes),
            known(link.sent_per_s, |sent| bar(sent / most, 12)),
            link.rtt_us.map_or_else(|| "-".into(), |time| micros(time as f64)),
            if link.tls { "TLS".into() } else { String::new() },
        ];
        (Role::Plain, row(&columns, &values, width))
    });
    let head = head(model, palette, Pane::Links, &columns, &names, width);
    list(model, palette, Pane::Links, head, rows.collect(), 2)
}

pub(super) fn hot(model: &Model, palette: Palette, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns = [Left(2), Left(14), Left(12), Right(8), Right(7), Left(8), Rest];
    let names = ["", "HOT PAGE", "PROGRAM", "MOVES", "NOW/S", "WRITER", "IN"];
    let rows = model.hot().into_iter().map(|at| {
        let page = &model.view().hot[at];
        let values = [
            if page.fights { "! ".into() } else { String::new() },
            format!("{:x}", page.row.address),
            clean(model.program(page.row.job)),
            number(page.row.moves as f64),
            known(page.moves_per_s, number),
            page.row.writer.as_deref().map_or_else(|| "read".into(), clean),
            clean(page.region.as_deref().unwrap_or("-")),
        ];
        (if page.fights { Role::Caution } else { Role::Plain }, row(&columns, &values, width))
    });
    let head = head(model, palette, Pane::Hot, &columns[1..], &names[1..], width);
    let mut spans = vec![palette.span(Role::Plain, "   ")];
    spans.extend(head.spans);
    let drawn = list(model, palette, Pane::Hot, Line::from(spans), rows.collect(), 3);
    Drawn { tail: remedy(model, palette, width), ..drawn }
}

/// What to do about the chosen page, or else about the first for which nodes fight.
fn remedy(model: &Model, palette: Palette, width: usize) -> Vec<Line<'static>> {
    const LINES_MAX: usize = 2;
    let pages = model.hot();
    let chosen = model.chosen(Pane::Hot).and_then(|at| pages.get(at));
    let fights = pages.first().filter(|&&at| model.view().hot[at].fights);
    let Some(&at) = chosen.or(fights) else { return Vec::new() };
    let page = &model.view().hot[at];
    let text = wrap(&format!("{:x}: {}", page.row.address, page.remedy), 3, width);
    let lines = text.lines().take(LINES_MAX);
    lines.map(|line| palette.line(Role::Strong, cut(&format!("   {}", line.trim_start()), width))).collect()
}

pub(super) fn events(model: &Model, palette: Palette, width: usize) -> Drawn {
    use Column::{Left, Rest};
    let columns = [Left(8), Left(10), Left(6), Rest];
    let names = ["EVENT", "NODE", "KIND", "WHAT HAPPENED"];
    let rows = model.events().into_iter().map(|at| {
        let event = &model.view().events[at];
        let values = [clock(event.at_s), clean(&event.node), clean(&event.kind), clean(&event.text)];
        let role = if event.kind == "loss" { Role::Bad } else { Role::Plain };
        (role, row(&columns, &values, width))
    });
    let head = head(model, palette, Pane::Events, &columns, &names, width);
    list(model, palette, Pane::Events, head, rows.collect(), 2)
}
