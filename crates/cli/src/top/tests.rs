//! Screens of views whose figures are known, drawn as a terminal would show them.

use super::model::{Effect, Model, Pane, Place};
use super::text::Palette;
use super::{plain, screen};
use banyan_view::{Live, Look, View};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::json;

const JOB: u64 = 5;
const HOT: u64 = 0x1000_0000;

/// Three nodes and two programs, `step` seconds after they began.
fn look(live: &Live, step: u64) -> Look {
    let mut look = Look::of(&live.question(None));
    let mut row = |table: &str, row: serde_json::Value| look.take(table, &row.to_string());
    row("at", json!({"at_s": 3600 + step}));
    for node in ["n1", "n2", "n3"] {
        row(
            "nodes",
            json!({"node": node, "state": if node == "n3" { "silent" } else { "up" }, "cpus": 4,
                "memory_bytes": 8_u64 << 30, "available_bytes": 2_u64 << 30, "load_1m": 1.5, "busy_s": 2 * step,
                "daemon_s": 0.0, "process": 7, "jobs": 1, "address": format!("{node}:7640")}),
        );
    }
    for (job, program, lost) in [(JOB, "pigz", 900_000), (6, "calm", 0)] {
        row(
            "jobs",
            json!({"job": job, "process": 100 + job, "program": program, "command": format!("{program} -p 8"),
                "home": "n1", "state": "running", "nodes": 2, "threads": 2, "moves": step, "wall_s": step,
                "cpu_s": 2 * step, "memory_bytes": 5 << 20, "lost_us": lost * step, "sent_bytes": 1000 * step}),
        );
        for (number, node) in [(0, "n1"), (1, "n2")] {
            row(
                "job_nodes",
                json!({"job": job, "node": node, "number": number, "cpu_s": step, "memory_bytes": 4096,
                    "lost_us": lost * step / 2, "sent_bytes": 500 * step, "deputy_calls": 3}),
            );
        }
    }
    row(
        "faults",
        json!({"job": JOB, "node": "n2", "cause": "write", "count": 40 * step, "p50_us": 40.0, "p99_us": 900.0}),
    );
    row(
        "links",
        json!({"job": JOB, "node": "n1", "peer": "n2", "urgent_bytes": 3_000_000 * step, "bulk_bytes": 0,
            "control_bytes": 0, "rtt_us": 120, "tls": 1}),
    );
    for (at, each) in [(0, 200), (1, 0)] {
        row(
            "hot_pages",
            json!({"job": JOB, "node": "n1", "page": HOT / 4096 + at, "address": HOT + 4096 * at,
                "moves": 10 + each * step, "writer": "n2"}),
        );
    }
    for (thread, node) in [(105, "n1"), (106, "n2")] {
        row(
            "threads",
            json!({"job": JOB, "thread": thread, "node": node, "moves": thread - 105, "going_to": null}),
        );
    }
    row("extents", json!({"job": JOB, "first_extent": HOT >> 21, "extents": 1, "owner": "n1"}));
    row("extents", json!({"job": JOB, "first_extent": (HOT >> 21) + 1, "extents": 3, "owner": "n2"}));
    let end = HOT + (8 << 20);
    row(
        "regions",
        json!({"job": JOB, "start": HOT, "end": end, "prot": "rw", "kind": "anonymous", "file": null}),
    );
    let text = "thread 106 is on node 1 now \u{1b}[2J";
    row(
        "log",
        json!({"node": "n1", "number": step, "at_s": 3600 + step, "kind": "move", "job": JOB, "text": text}),
    );
    row(
        "pages",
        json!({"job": JOB, "node": "n2", "page": HOT / 4096, "state": "write", "owner": "n1", "resident": 1}),
    );
    look
}

fn view() -> View {
    let mut live = Live::default();
    let first = look(&live, 1);
    live.take(first);
    let second = look(&live, 2);
    live.take(second)
}

fn model() -> Model {
    let mut model = Model::new();
    model.take(view());
    model
}

fn drawn(model: &Model, palette: Palette, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(model, palette, frame)).unwrap();
    terminal
}

/// What a terminal of that size shows, a line each.
fn shown(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = drawn(model, Palette::Plain, width, height);
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn has(lines: &[String], words: &[&str]) -> usize {
    let found = lines.iter().position(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line has {words:?}:\n{}", lines.join("\n")))
}

#[track_caller]
fn press(model: &mut Model, keys: &[KeyCode]) -> Effect {
    let mut effect = Effect::Draw;
    for &key in keys {
        effect = screen::key(model, &KeyEvent::new(key, KeyModifiers::NONE));
    }
    effect
}

#[test]
fn the_first_screen_shows_every_pane_in_80_columns_and_24_lines() {
    let lines = shown(&model(), 80, 24);
    has(&lines[..1], &["2 of 3 nodes", "8 cpus", "16G", "2 programs", "4 threads", "01:00:02 UTC"]);
    has(&lines[1..2], &["!! n3 does not answer", "(+1 more)"]);
    has(&lines, &["0 n1", "up", "50%", "1.5", "75%", "2.9M"]);
    has(&lines, &["2 n3", "silent"]);
    has(&lines, &["105", "pigz", "31%", "2.0", "40", "5.0M", "60"]);
    let memory = has(&lines, &["MEMORY of pigz"]);
    assert_eq!((lines[memory + 1].as_str(), lines[memory + 2].as_str()), ("0111", "!"));
    has(&lines, &["FAULTS", "read 0/s", "write 40/s 40..900us"]);
    has(&lines, &["n1", "n2", "2.9M", "120us", "TLS"]);
    has(&lines, &["!  10000000", "pigz", "410", "200", "n2", "anonymous"]);
    has(&lines, &["   10000000: Data or locks that threads of several nodes write"]);
    // What a program can write into the log does not reach the terminal.
    has(&lines, &["01:00:02", "move", "thread 106 is on node 1 now \u{fffd}[2J"]);
    has(&lines[23..], &["q leave", "? help"]);
}

#[test]
fn the_largest_and_the_smallest_screens_are_filled() {
    for (width, height) in [(200, 60), (80, 24), (40, 10), (20, 4), (3, 2), (1, 1)] {
        for keys in
            [&[][..], &[KeyCode::Char('?')], &[KeyCode::Enter], &[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]]
        {
            let mut model = model();
            press(&mut model, keys);
            assert_eq!(screen::lines(&model, Palette::Plain, width, height).len(), height);
            drawn(&model, Palette::Coloured, width as u16, height as u16);
        }
    }
    // Before the first view, too.
    assert!(shown(&Model::new(), 80, 24)[1].contains("Looking"));
}

#[test]
fn without_colours_nothing_is_told_by_one() {
    let has_colour = |palette| {
        let terminal = drawn(&model(), palette, 80, 24);
        terminal
            .backend()
            .buffer()
            .content()
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(has_colour(Palette::Coloured));
    assert!(!has_colour(Palette::Plain));
}

#[test]
fn enter_goes_to_a_program_a_thread_and_back() {
    let mut model = model();
    assert_eq!(model.focus(), Some(Pane::Jobs));
    assert_eq!(press(&mut model, &[KeyCode::Enter]), Effect::Look);
    assert_eq!(*model.place(), Place::Job(JOB));
    let lines = shown(&model, 80, 24);
    has(&lines, &["pigz, process 105: pigz -p 8"]);
    has(&lines, &["31% lost", "31% since it began"]);
    has(&lines, &["n2", "1", "1.0", "31%"]);
    press(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(*model.place(), Place::Thread { job: JOB, thread: 106 });
    let lines = shown(&model, 80, 24);
    has(&lines, &["Thread 106 of pigz"]);
    has(&lines, &["banyan job move 105 106 NODE-NUMBER"]);
    has(&lines, &["01:00:02 thread 106 is on node 1"]);
    press(&mut model, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!(*model.place(), Place::Overview);
}

#[test]
fn enter_on_a_hot_page_asks_for_the_pages_around_it_and_arrows_for_the_next() {
    let mut model = model();
    assert_eq!(model.wants(), None);
    assert_eq!(press(&mut model, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]), Effect::Look);
    let wanted = model.wants().unwrap();
    assert_eq!((wanted.job, wanted.first), (JOB, HOT / 4096));
    let lines = shown(&model, 80, 24);
    has(&lines, &["10000000 in anonymous: moved 410 times, now 200/s"]);
    has(&lines, &["10000000", "n2", "write", "n1"]);
    // The last of eight pages on three nodes, in a few lines.
    let mut many = view();
    let row = many.pages[0].clone();
    many.pages.clear();
    for page in HOT / 4096 - 7..=HOT / 4096 {
        many.pages.extend(["n1", "n2", "n3"].map(|node| banyan_view::PageRow {
            page,
            node: node.into(),
            ..row.clone()
        }));
    }
    model.take(many);
    has(&shown(&model, 80, 14), &["10000000", "n3"]);
    assert_eq!(press(&mut model, &[KeyCode::Right]), Effect::Look);
    assert_eq!(model.wants().unwrap().first, HOT / 4096 + 8);
    press(&mut model, &[KeyCode::Left, KeyCode::Left]);
    assert_eq!(model.wants().unwrap().first, HOT / 4096 - 8);
}

#[test]
fn a_node_shows_its_links_and_programs() {
    let mut model = model();
    press(&mut model, &[KeyCode::BackTab, KeyCode::Down, KeyCode::Enter]);
    assert_eq!(*model.place(), Place::Node("n2".into()));
    let lines = shown(&model, 80, 24);
    has(&lines, &["Node n2"]);
    has(&lines, &["memory 8.0G, of which 2.0G"]);
    has(&lines, &["n1", "n2", "120us"]);
    has(&lines, &["calm"]);
}

#[test]
fn lists_are_sorted_and_filtered() {
    let mut model = model();
    let programs = |model: &Model| -> Vec<String> {
        model.jobs().iter().map(|&at| model.view().jobs[at].row.program.clone()).collect()
    };
    assert_eq!(programs(&model), ["pigz", "calm"]);
    press(&mut model, &[KeyCode::Char('s'); 4]);
    assert_eq!(model.order(Pane::Jobs), Some("program"));
    assert_eq!(programs(&model), ["calm", "pigz"]);
    press(&mut model, &[KeyCode::Char('/'), KeyCode::Char('P'), KeyCode::Char('q')]);
    assert!(shown(&model, 80, 24)[23].starts_with("/Pq_"));
    press(&mut model, &[KeyCode::Backspace, KeyCode::Char('i'), KeyCode::Enter]);
    assert_eq!(programs(&model), ["pigz"]);
    assert!(model.nodes().is_empty());
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(programs(&model).len(), 2);
}

#[test]
fn a_paused_screen_stands_still_until_it_goes_on() {
    let mut model = model();
    press(&mut model, &[KeyCode::Char(' ')]);
    let mut later = view();
    later.at_s += 60.0;
    model.take(later);
    assert!(shown(&model, 80, 24)[0].contains("PAUSED 01:00:02"));
    press(&mut model, &[KeyCode::Char(' ')]);
    assert!(shown(&model, 80, 24)[0].ends_with("01:01:02 UTC"));
}

#[test]
fn a_program_that_ends_while_it_is_looked_at_is_said_to_have_ended() {
    let mut model = model();
    press(&mut model, &[KeyCode::Enter]);
    model.take(View::default());
    has(&shown(&model, 80, 24), &["This program has ended"]);
    press(&mut model, &[KeyCode::Enter, KeyCode::Down, KeyCode::Esc]);
    assert_eq!(*model.place(), Place::Overview);
    has(&shown(&model, 80, 24), &["no program runs"]);
}

#[test]
fn trouble_is_the_second_line_until_a_view_comes() {
    let mut model = model();
    model.fail("no node answers\nthere".into());
    assert!(shown(&model, 80, 24)[1].contains("!! no node answers\u{fffd}there"));
    model.take(view());
    assert!(!shown(&model, 80, 24)[1].contains("no node answers"));
}

#[test]
fn the_chosen_line_of_a_long_list_is_seen() {
    let mut view = view();
    let event = view.events[0].clone();
    view.events = (0..90)
        .map(|number| banyan_view::EventRow { number, text: format!("event {number}."), ..event.clone() })
        .collect();
    let mut model = Model::new();
    model.take(view);
    press(&mut model, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(model.focus(), Some(Pane::Events));
    has(&shown(&model, 80, 24), &["event 89."]);
    press(&mut model, &[KeyCode::End]);
    has(&shown(&model, 80, 24), &["event 0."]);
    press(&mut model, &[KeyCode::Home, KeyCode::PageDown, KeyCode::PageDown]);
    has(&shown(&model, 80, 24), &["event 69."]);
}

#[test]
fn ctrl_c_leaves_and_help_goes_with_any_key() {
    let mut model = model();
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    assert_eq!(screen::key(&mut model, &control('c')), Effect::Quit);
    assert_eq!(press(&mut model, &[KeyCode::Char('q')]), Effect::Quit);
    press(&mut model, &[KeyCode::Char('?')]);
    has(&shown(&model, 80, 24), &["Esc", "back"]);
    assert_eq!(press(&mut model, &[KeyCode::Char('q')]), Effect::Draw);
    has(&shown(&model, 80, 24), &["pigz"]);
}

#[test]
fn plain_text_ends_with_the_last_line_that_says_something() {
    let text = plain(&model(), 80);
    assert!(text.ends_with("[2J\n") && text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
