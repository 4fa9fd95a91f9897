//! Views of looks whose figures are known.

use crate::look::Look;
use crate::question::{Depth, PageRange, Question};
use crate::{History, Level, Live, View, metrics};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two nodes and one program on both, `step` seconds after they began; half of its time is lost.
fn look(step: f64) -> Look {
    let question = Live::default().question(None);
    assert_eq!(question.depth, Depth::Whole);
    let mut look = Look::of(&question);
    let mut row = |table: &str, row: serde_json::Value| look.take(table, &row.to_string());
    let count = |each: f64| (each * step) as u64;
    row("at", json!({"at_s": 1000.0 + step}));
    for node in ["n10", "n9"] {
        row(
            "nodes",
            json!({"node": node, "state": "up", "cpus": 4, "memory_bytes": 1 << 30, "available_bytes": 1 << 29,
                "load_1m": 1.0, "busy_s": 100.0 + step, "daemon_s": 0.1 * step, "process": 7, "jobs": 1}),
        );
    }
    row(
        "jobs",
        json!({"job": 5, "process": 70, "program": "prog\"", "command": "prog x", "home": "n9", "state": "running",
            "nodes": 2, "threads": 3, "moves": count(2.0), "wall_s": step, "cpu_s": 1.5 * step,
            "memory_bytes": 4 << 20, "lost_us": count(1.5e6), "sent_bytes": count(4096.0)}),
    );
    for (number, node, cpu, lost) in [(1, "n10", 1.0, 0.0), (0, "n9", 0.5, 1.5e6)] {
        row(
            "job_nodes",
            json!({"job": 5, "node": node, "number": number, "cpu_s": cpu * step, "memory_bytes": 1,
                "lost_us": count(lost), "sent_bytes": 0, "deputy_calls": 0}),
        );
    }
    row(
        "faults",
        json!({"job": 5, "node": "n9", "cause": "read", "count": count(30.0), "p50_us": 40.0, "p99_us": 90.0}),
    );
    row(
        "faults",
        json!({"job": 5, "node": "n9", "cause": "write", "count": count(10.0), "p50_us": null, "p99_us": null}),
    );
    for (job, bytes) in [(5, 1000.0), (6, 24.0)] {
        row(
            "links",
            json!({"job": job, "node": "n9", "peer": "n10", "urgent_bytes": count(bytes), "bulk_bytes": 0,
                "control_bytes": 0, "rtt_us": 100 + job, "tls": 1}),
        );
    }
    for (page, moves) in [(8193_u64, 50.0), (8192, 5.0), (8194, 0.0)] {
        let moves = 1000 + count(moves);
        row(
            "hot_pages",
            json!({"job": 5, "node": "n9", "page": page, "address": page * 4096, "moves": moves, "writer": "n10"}),
        );
    }
    row("threads", json!({"job": 5, "thread": 70, "node": "n9", "moves": 0, "going_to": null}));
    row("threads", json!({"job": 5, "thread": 71, "node": "n10", "moves": 1, "going_to": null}));
    row("extents", json!({"job": 5, "first_extent": 0, "extents": 17, "owner": "n9"}));
    row("extents", json!({"job": 5, "first_extent": 17, "extents": 100, "owner": "n10"}));
    let region = |start: u64, end: u64, kind: &str| json!({"job": 5, "start": start << 20, "end": end << 20, "prot": "rw", "kind": kind, "file": null});
    row("regions", region(32, 37, "image"));
    row("regions", region(36, 40, "anonymous"));
    row("regions", region(4096, 4097, "anonymous"));
    row(
        "log",
        json!({"node": "n9", "number": count(1.0), "at_s": 1000.0 + step, "kind": "move", "job": 5, "text": "m"}),
    );
    look
}

fn views() -> (View, View) {
    let mut live = Live::default();
    let first = live.take(look(2.0));
    (first, live.take(look(4.0)))
}

#[test]
fn figures_that_need_two_looks_are_missing_after_one_and_right_after_two() {
    let (first, second) = views();
    assert_eq!((first.span_s, second.span_s), (None, Some(2.0)));
    let (job, before) = (&second.jobs[0], &first.jobs[0]);
    assert_eq!((before.cpus_used, before.lost_share, before.faults_per_s), (None, None, None));
    assert_eq!(before.lost_share_total, 0.5);
    assert_eq!((job.cpus_used, job.lost_share), (Some(1.5), Some(0.5)));
    assert_eq!(
        (job.faults_per_s, job.moves_per_min, job.sent_per_s),
        (Some(40.0), Some(120.0), Some(4096.0))
    );
    assert_eq!(job.faults[0].per_s, Some(30.0));
    // By number in the run, home first.
    let parts: Vec<_> = job.parts.iter().map(|part| (part.row.node.as_str(), part.lost_share)).collect();
    assert_eq!(parts, [("n9", Some(0.75)), ("n10", Some(0.0))]);
    assert_eq!(job.parts.iter().map(|part| part.threads_here).collect::<Vec<_>>(), [1, 1]);
    let node = &second.nodes[0];
    assert_eq!((node.row.node.as_str(), node.busy_share, node.daemon_share), ("n9", Some(0.25), Some(0.1)));
    assert_eq!(
        (node.faults_per_s, node.sent_per_s, node.received_per_s),
        (Some(40.0), Some(1024.0), Some(0.0))
    );
    assert_eq!(second.nodes[1].received_per_s, Some(1024.0));
    let total = &second.total;
    assert_eq!((total.nodes, total.nodes_up, total.machines, total.threads), (2, 2, 2, 3));
    assert_eq!((total.cpus, total.memory_bytes, total.available_bytes), (8, 2 << 30, 1 << 30));
}

#[test]
fn connections_of_several_programs_are_one_link() {
    let (_, second) = views();
    let [link] = second.links.as_slice() else { panic!("{:?}", second.links) };
    assert_eq!((link.sent_bytes, link.sent_per_s), (4096, Some(1024.0)));
    assert_eq!((link.rtt_us, link.tls), (Some(105), true));
}

#[test]
fn pages_that_fight_come_first_and_their_remedy_is_said() {
    let (first, second) = views();
    let pages: Vec<_> =
        second.hot.iter().map(|page| (page.row.page, page.moves_per_s, page.fights)).collect();
    assert_eq!(pages, [(8193, Some(50.0), true), (8192, Some(5.0), false), (8194, Some(0.0), false)]);
    assert_eq!(second.hot[0].region.as_deref(), Some("image"));
    assert!(second.hot[0].remedy.contains("banyan job move"), "{}", second.hot[0].remedy);
    assert!(second.hot[2].remedy.contains("rests"), "{}", second.hot[2].remedy);
    assert!(first.hot.iter().all(|page| !page.fights && page.remedy.contains("next look")));
    let [advice] = second.advice.as_slice() else { panic!("{:?}", second.advice) };
    assert_eq!(advice.level, Level::Caution);
    assert!(advice.text.contains("prog\" loses 50 %") && advice.text.contains("one page"), "{}", advice.text);
}

#[test]
fn the_strip_has_what_is_mapped_and_its_owners() {
    let (_, second) = views();
    let cells: Vec<_> = second.jobs[0]
        .memory
        .iter()
        .map(|cell| (cell.start >> 20, cell.end >> 20, cell.owner.as_deref(), cell.fights, cell.leap))
        .collect();
    let n = |cell: u64, owner, fights| (cell, cell + 2, owner, fights, false);
    let mut expected =
        vec![n(32, Some("n9"), 1), n(34, Some("n10"), 0), n(36, Some("n10"), 0), n(38, Some("n10"), 0)];
    expected.push((4096, 4098, None, 0, true));
    assert_eq!(cells, expected);
}

#[test]
fn a_large_program_has_no_more_cells_than_a_small_one_has_room_for() {
    let mut large = look(1.0);
    let region = json!({"job": 5, "start": 1_u64 << 40, "end": (1_u64 << 40) + (1 << 38), "prot": "rw", "kind": "anonymous"});
    large.take("regions", &region.to_string());
    let cells = Live::default().take(large).jobs[0].memory.clone();
    assert!(cells.len() <= 64 + 3, "{}", cells.len());
    assert!(cells.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert_eq!(cells.last().unwrap().end, (1 << 40) + (1 << 38));
}

#[test]
fn events_are_shown_once_and_a_node_that_began_anew_tells_its_own() {
    let mut live = Live::default();
    live.take(look(2.0));
    let question = live.question(None);
    assert_eq!(question.events_from, BTreeMap::from([("n10".into(), 0), ("n9".into(), 3)]));
    // The same again, as if it had been asked without numbers.
    let view = live.take(look(2.0));
    assert_eq!(view.events.iter().map(|event| event.number).collect::<Vec<_>>(), [2]);
    let mut restarted = look(3.0);
    restarted.nodes.iter_mut().for_each(|node| node.process = Some(8));
    restarted.events[0].number = 0;
    let view = live.take(restarted);
    assert_eq!(view.events.iter().map(|event| event.number).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn counters_that_began_anew_and_looks_long_ago_give_no_rates() {
    let mut live = Live::default();
    live.take(look(4.0));
    let mut again = look(2.0);
    again.at_s = 1006.0;
    let view = live.take(again);
    assert_eq!((view.jobs[0].cpus_used, view.jobs[0].lost_share), (None, None));
    let mut late = look(8.0);
    late.at_s = 5000.0;
    assert_eq!(live.take(late).span_s, None);
}

#[test]
fn a_silent_node_is_the_first_thing_said() {
    let mut silent = look(1.0);
    silent.nodes[0].state = "silent".into();
    let view = Live::default().take(silent);
    assert_eq!(view.advice[0].level, Level::Bad);
    assert!(view.advice[0].text.starts_with("n10 "), "{}", view.advice[0].text);
    assert_eq!((view.total.cpus, view.total.nodes, view.total.nodes_up), (4, 2, 1));
    assert_eq!(Live::default().take(Look::default()).advice[0].level, Level::Good);
}

#[test]
fn nodes_of_one_machine_count_its_processors_once_and_complain_once() {
    let mut shared = look(1.0);
    for (number, node) in shared.nodes.iter_mut().enumerate() {
        node.address = Some(format!("127.0.0.1:{number}"));
        node.load_1m = Some(9.0);
    }
    let view = Live::default().take(shared);
    assert_eq!((view.total.machines, view.total.cpus, view.total.memory_bytes), (1, 4, 1 << 30));
    let [advice] = view.advice.as_slice() else { panic!("{:?}", view.advice) };
    assert!(advice.text.starts_with("The machine of n9 and 1 more has a load of 9.0"), "{}", advice.text);
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    let mut look = look(1.0);
    look.take("nodes", "{\"node\": 7}");
    look.take("nodes", "no JSON");
    look.take("dreams", "{}");
    let view = Live::default().take(look);
    assert_eq!(view.nodes.len(), 2);
    assert_eq!(view.missing.len(), 2, "{:?}", view.missing);
}

#[test]
fn names_are_quoted_in_a_query() {
    let events_from = BTreeMap::from([("it's".to_owned(), 3)]);
    let pages = Some(PageRange { job: 1, first: u64::MAX - 3, pages: 100 });
    let sql = Question { depth: Depth::Quick, events_from, pages }.sql();
    assert!(sql.contains("('it''s', 3)"), "{sql}");
    assert!(!sql.contains("FROM threads") && sql.contains("FROM pages WHERE job = 1"), "{sql}");
}

#[test]
fn a_view_is_the_same_after_it_has_travelled() {
    let (_, view) = views();
    let read: View = serde_json::from_str(&serde_json::to_string(&view).unwrap()).unwrap();
    assert_eq!(read, view);
}

#[test]
fn metrics_have_the_figures_of_the_view_and_quote_names() {
    let (_, view) = views();
    let text = metrics(&view);
    for line in [
        "banyan_node_up{node=\"n9\"} 1",
        "banyan_job_lost_seconds_total{job=\"5\",process=\"70\",program=\"prog\\\"\"} 6",
        "banyan_faults_total{job=\"5\",node=\"n9\",cause=\"read\"} 120",
        "# TYPE banyan_faults_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(metrics(&View::default()), "");
}

#[test]
fn history_is_dense_for_a_minute_and_sparse_for_a_quarter_of_an_hour() {
    let mut history = History::default();
    for second in 0..2000 {
        history.push(f64::from(second), Arc::from("{}"));
    }
    let times: Vec<f64> = history.moments().map(|moment| moment.at_s).collect();
    assert!(times[0] <= 1104.0 && times[0] >= 1099.0, "{}", times[0]);
    let (old, new): (Vec<f64>, Vec<f64>) = times.iter().partition(|&&at| at < 1939.0);
    assert_eq!(new.len(), 61);
    assert!(old.windows(2).all(|pair| (4.0..=6.0).contains(&(pair[1] - pair[0]))), "{old:?}");
    assert_eq!(history.latest().unwrap().number, 1999);
    assert_eq!(history.at(1999).unwrap().at_s, 1999.0);
    // One that was dropped is the one before it.
    let some = history.at(1503).unwrap();
    assert!(some.number <= 1503 && some.number > 1496, "{}", some.number);
    assert!(history.at(3).is_none());
}

#[test]
fn history_has_a_bound_in_bytes() {
    let mut history = History::default();
    let large: Arc<str> = Arc::from("x".repeat(1 << 20));
    for second in 0..100 {
        history.push(f64::from(second) * 5.0, Arc::clone(&large));
    }
    assert_eq!(history.moments().count(), 24);
    assert_eq!(history.latest().unwrap().number, 99);
}
