//! What is shown of one node, program, thread or range of pages.

use super::model::{Model, Pane, Place};
use super::panes::{Drawn, faults, hot, jobs, links, memory};
use super::text::{Column, Palette, Role, bar, bytes, clean, cut, known, micros, number, percent, row};
use crate::terminal::wrap;
use banyan_view::{JobView, ThreadRow};
use ratatui::text::Line;

/// The panes of the place where the person is, which is not the overview.
pub(super) fn panes(model: &Model, palette: Palette, width: usize) -> Vec<Drawn> {
    match model.place() {
        Place::Overview => Vec::new(),
        Place::Node(name) => node(model, palette, name, width),
        Place::Job(job) => match find(model, *job) {
            Some(job) => of_job(model, palette, job, width),
            None => vec![text(palette, &["This program has ended; Esc goes back.".to_owned()], width)],
        },
        Place::Thread { job, thread } => of_thread(model, palette, *job, *thread, width),
        Place::Pages { job, first, chosen } => of_pages(model, palette, *job, *first, *chosen, width),
    }
}

fn find(model: &Model, job: u64) -> Option<&JobView> {
    model.view().jobs.iter().find(|one| one.row.job == job)
}

/// Plain lines, the first of which is the title.
fn text(palette: Palette, lines: &[String], width: usize) -> Drawn {
    let line = |(at, line): (usize, &String)| {
        palette.line(if at == 0 { Role::Strong } else { Role::Plain }, cut(line, width))
    };
    let lines: Vec<Line<'static>> = lines.iter().enumerate().map(line).collect();
    Drawn { least: lines.len(), lines, chosen: None, tail: Vec::new() }
}

fn node(model: &Model, palette: Palette, name: &str, width: usize) -> Vec<Drawn> {
    let Some(node) = model.view().nodes.iter().find(|node| node.row.node == name) else {
        return vec![text(palette, &["This node has left; Esc goes back.".to_owned()], width)];
    };
    let row = &node.row;
    let or_unknown = |text: &Option<String>| text.as_deref().map_or_else(|| "-".into(), clean);
    let size = |size: Option<u64>| size.map_or_else(|| "-".into(), |size| bytes(size as f64));
    let facts = [
        format!("Node {}", clean(name)),
        format!(
            "{}, {}, version {}, daemon is process {}",
            clean(&row.state),
            or_unknown(&row.address),
            or_unknown(&row.version),
            row.process.map_or_else(|| "-".into(), |process| process.to_string())
        ),
        format!(
            "processors {}, busy {}, load {}; the daemon takes {} of one",
            row.cpus.map_or_else(|| "-".into(), |cpus| cpus.to_string()),
            known(node.busy_share, percent),
            known(row.load_1m, |load| format!("{load:.2}")),
            known(node.daemon_share, percent),
        ),
        format!("memory {}, of which {} can still be had", size(row.memory_bytes), size(row.available_bytes)),
        format!(
            "faults {}/s, sent {}/s, received {}/s",
            known(node.faults_per_s, number),
            known(node.sent_per_s, bytes),
            known(node.received_per_s, bytes),
        ),
        String::new(),
    ];
    vec![text(palette, &facts, width), links(model, palette, width), jobs(model, palette, width)]
}

fn of_job(model: &Model, palette: Palette, job: &JobView, width: usize) -> Vec<Drawn> {
    let row = &job.row;
    let lost = job.lost_share.unwrap_or(job.lost_share_total);
    let facts = [
        format!(
            "{}, process {}: {}",
            clean(&row.program),
            row.process.map_or_else(|| "-".into(), |process| process.to_string()),
            clean(row.command.as_deref().unwrap_or_default())
        ),
        format!(
            "{} for {:.0} s on {} nodes, home {}; {} threads, which moved {} times",
            clean(&row.state),
            row.wall_s,
            row.nodes,
            row.home.as_deref().map_or_else(|| "-".into(), clean),
            row.threads.unwrap_or(0),
            row.moves.unwrap_or(0),
        ),
        format!(
            "time now  {}  {} lost waiting for memory; {} since it began",
            bar(lost, 20),
            known(job.lost_share, percent),
            percent(job.lost_share_total),
        ),
        String::new(),
    ];
    let mut panes = vec![text(palette, &facts, width), parts(model, palette, job, width)];
    panes.push(memory(model, palette, job, width));
    panes.push(faults(palette, job));
    if !model.hot().is_empty() {
        panes.push(hot(model, palette, width));
    }
    panes.push(threads(model, palette, job, width));
    panes
}

/// What the program does on each of its nodes.
fn parts(model: &Model, palette: Palette, job: &JobView, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns = [Left(14), Right(7), Right(5), Left(13), Right(7), Right(10), Rest];
    let names = ["NODE", "THREADS", "CPUS", "TIME LOST", "MEMORY", "SENT", "CALLS FOR OTHERS"];
    let mut lines = vec![palette.line(Role::Head, row(&columns, &names.map(str::to_owned), width))];
    for part in &job.parts {
        let values = [
            clean(&part.row.node),
            part.threads_here.to_string(),
            known(part.cpus_used, |cpus| format!("{cpus:.1}")),
            known(part.lost_share, |share| format!("{} {}", bar(share, 8), percent(share))),
            bytes(part.row.memory_bytes as f64),
            bytes(part.row.sent_bytes as f64),
            number(part.row.deputy_calls as f64),
        ];
        let role = model.node_number(&part.row.node).map_or(Role::Plain, Role::Node);
        lines.push(palette.line(role, row(&columns, &values, width)));
    }
    Drawn { least: lines.len().min(4), lines, chosen: None, tail: Vec::new() }
}

fn threads(model: &Model, palette: Palette, job: &JobView, width: usize) -> Drawn {
    use Column::{Left, Rest, Right};
    let columns = [Right(8), Left(14), Right(6), Rest];
    let focus = if model.focus() == Some(Pane::Threads) { ">THREAD" } else { "THREAD" };
    let names = [focus, "NODE", "MOVES", "GOING TO"];
    let mut lines = vec![palette.line(Role::Head, row(&columns, &names.map(str::to_owned), width))];
    let chosen = model.chosen(Pane::Threads);
    for (at, (_, thread)) in model.threads().into_iter().enumerate() {
        let Some(thread) = job.thread_list.iter().find(|one| one.thread == thread) else { continue };
        let ThreadRow { thread, node, moves, going_to, .. } = thread;
        let values = [
            thread.to_string(),
            clean(node),
            moves.to_string(),
            clean(going_to.as_deref().unwrap_or_default()),
        ];
        let of_node = model.node_number(node).map_or(Role::Plain, Role::Node);
        let role = if chosen == Some(at) { Role::Chosen } else { of_node };
        lines.push(palette.line(role, row(&columns, &values, width)));
    }
    Drawn { least: lines.len().min(3), lines, chosen: chosen.map(|at| at + 1), tail: Vec::new() }
}

fn of_thread(model: &Model, palette: Palette, job: u64, thread: u64, width: usize) -> Vec<Drawn> {
    let found = find(model, job);
    let found = found.and_then(|job| Some((job, job.thread_list.iter().find(|one| one.thread == thread)?)));
    let Some((job, found)) = found else {
        return vec![text(palette, &["This thread has ended; Esc goes back.".to_owned()], width)];
    };
    let process = job.row.process.unwrap_or(0);
    let going =
        found.going_to.as_deref().map(|node| format!(", going to {}", clean(node))).unwrap_or_default();
    let mut lines = vec![
        format!("Thread {thread} of {} (process {process})", clean(&job.row.program)),
        format!("on {}{going}; moved {} times", clean(&found.node), found.moves),
        format!("to move it: banyan job move {process} {thread} NODE-NUMBER, one of"),
    ];
    let number = |part: &banyan_view::PartView| format!("  {} {}", part.row.number, clean(&part.row.node));
    lines.extend(job.parts.iter().map(number));
    let word = format!("thread {thread} ");
    let events = model.view().events.iter().rev();
    let own = events.filter(|event| event.job == Some(job.row.job) && event.text.starts_with(&word));
    let own: Vec<String> =
        own.map(|event| format!("  {} {}", super::text::clock(event.at_s), clean(&event.text))).collect();
    if !own.is_empty() {
        lines.extend([String::new(), "Lately:".into()]);
        lines.extend(own);
    }
    vec![text(palette, &lines, width)]
}

/// A range of pages: what each node has of them.
fn of_pages(model: &Model, palette: Palette, job: u64, first: u64, chosen: u64, width: usize) -> Vec<Drawn> {
    use Column::{Left, Rest, Right};
    let hot = model.view().hot.iter().find(|page| page.row.job == job && page.row.page == chosen);
    let mut lines = vec![format!(
        "Pages of {} from address {:x}; left and right go on",
        clean(model.program(job)),
        first.saturating_mul(4096)
    )];
    if let Some(page) = hot {
        let region = page.region.as_deref().unwrap_or("-");
        lines.push(format!(
            "{:x} in {}: moved {} times, now {}/s",
            page.row.address,
            clean(region),
            page.row.moves,
            known(page.moves_per_s, number)
        ));
        lines.extend(wrap(&page.remedy, 0, width).lines().map(str::to_owned));
    }
    if let Some(slow) = find(model, job).map(slowest) {
        lines.push(format!("99 of 100 faults of this program take no longer than {}", micros(slow)));
    }
    lines.push(String::new());
    let columns = [Left(14), Left(10), Left(5), Left(10), Left(10), Right(6), Rest];
    let names = ["ADDRESS", "NODE", "MAY", "OWNER", "WRITER", "MOVES", "READERS"];
    let mut table = vec![palette.line(Role::Head, row(&columns, &names.map(str::to_owned), width))];
    let mut pages: Vec<_> = model.view().pages.iter().filter(|page| page.job == job).collect();
    pages.sort_by(|one, other| (one.page, &one.node).cmp(&(other.page, &other.node)));
    for page in &pages {
        let text = |text: &Option<String>| clean(text.as_deref().unwrap_or_default());
        let values = [
            format!("{:x}", page.page.saturating_mul(4096)),
            clean(&page.node),
            clean(&page.state),
            text(&page.owner),
            text(&page.writer),
            page.moves.map_or_else(String::new, |moves| number(moves as f64)),
            text(&page.readers),
        ];
        let role = if page.page == chosen { Role::Strong } else { Role::Plain };
        table.push(palette.line(role, row(&columns, &values, width)));
    }
    if pages.is_empty() {
        table.push(palette.line(Role::Dim, "no node has these pages"));
    }
    // As much as there is room for, and the chosen page in any case.
    let seen = pages.iter().rposition(|page| page.page == chosen).map(|at| at + 1);
    let least = table.len().min(2);
    vec![text(palette, &lines, width), Drawn { least, lines: table, chosen: seen, tail: Vec::new() }]
}

/// What 99 of 100 faults do not exceed, on the node where that is most.
fn slowest(job: &JobView) -> f64 {
    job.faults.iter().filter_map(|fault| fault.row.p99_us).fold(0.0, f64::max)
}
