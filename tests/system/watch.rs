//! `banyan top` and the page of a node: what they show is what `banyan sql` says, and a terminal is given
//! back however its use ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use banyan_tests::launch::{self, End, How, excerpt};
use banyan_tests::{Running, gate, processes, workspace};
use serde_json::{Map, Value};

use crate::c;
use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(30);

/// A program that stands still on three nodes of its own, with a page.
struct Watched {
    running: Running,
    socket: PathBuf,
    page: String,
}

impl Watched {
    fn start() -> Option<Self> {
        if workspace::native_only() {
            return None;
        }
        let mut running = Running::start(&c("still", []).option("--page"), How::Banyan(3)).unwrap();
        running.wait_for_output("ready", SOON).unwrap();
        let daemons = processes::daemons(processes::of_run(&running.scratch.run));
        let socket = PathBuf::from(format!("@banyan-run-{}", daemons[0].pid));
        let messages = running.messages();
        let page =
            messages.lines().find_map(|line| line.strip_prefix("banyan: the page of this run is at http://"));
        let page = page.unwrap_or_else(|| panic!("{messages}")).trim_end_matches('/').to_owned();
        Some(Self { running, socket, page })
    }

    fn sql(&self, query: &str) -> Vec<Value> {
        let output = banyan(&self.socket, &["sql", "--json"], query);
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A view of two looks, of which the last was a whole one: all threads and regions are in it.
    fn view(&self) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let view = get(&self.page, "/api/view");
            let is_whole = |view: &Value| view["span_s"].is_number() && rows(view, "nodes").len() == 3;
            match view.map(|text| serde_json::from_str::<Value>(&text).unwrap()) {
                Some(view) if is_whole(&view) && rows(&view["jobs"][0], "thread_list").len() > 3 => {
                    return view;
                }
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn end(self) {
        launch::signal(&self.running, 15).unwrap();
        assert_eq!(self.running.finish(SOON).unwrap().end, End::Signal(15));
    }
}

/// A command that asks a node, which succeeds.
#[track_caller]
fn banyan(socket: &Path, words: &[&str], last: &str) -> Output {
    let mut command = Command::new(workspace::banyan().unwrap());
    command.args(words).arg("--socket").arg(socket).args(Some(last).filter(|last| !last.is_empty()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", excerpt(&output.stderr));
    output
}

/// What a page answers; none if that is no success.
fn get(page: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

#[track_caller]
fn rows<'a>(view: &'a Value, list: &str) -> &'a [Value] {
    view[list].as_array().unwrap_or_else(|| panic!("{list} of {view}"))
}

/// Some columns of rows, in an order that does not depend on who gave them.
fn picked(rows: &[Value], columns: &[&str]) -> Vec<String> {
    let pick = |row: &Value| {
        let fields = columns.iter().map(|&column| (column.to_owned(), row[column].clone()));
        Value::Object(fields.collect::<Map<String, Value>>()).to_string()
    };
    let mut picked: Vec<String> = rows.iter().map(pick).collect();
    picked.sort_unstable();
    picked
}

/// What does not change while a program stands still.
fn compare(watched: &Watched, view: &Value) {
    let job = &view["jobs"][0];
    let same = |shown: &[Value], query: &str, columns: &[&str]| {
        let told = watched.sql(query);
        assert!(!told.is_empty(), "{query}");
        assert_eq!(picked(shown, columns), picked(&told, columns), "{query}");
    };
    same(
        rows(view, "nodes"),
        "SELECT * FROM nodes",
        &["node", "state", "address", "cpus", "memory_bytes", "process", "jobs", "version"],
    );
    same(
        rows(view, "jobs"),
        "SELECT * FROM jobs",
        &[
            "job",
            "process",
            "program",
            "command",
            "home",
            "state",
            "nodes",
            "threads",
            "moves",
            "memory_bytes",
            "lost_us",
            "sent_bytes",
        ],
    );
    same(
        rows(job, "parts"),
        "SELECT * FROM job_nodes",
        &["job", "node", "number", "memory_bytes", "lost_us", "sent_bytes", "deputy_calls"],
    );
    same(rows(job, "faults"), "SELECT * FROM faults", &["job", "node", "cause", "count", "p50_us", "p99_us"]);
    same(rows(job, "thread_list"), "SELECT * FROM threads", &["job", "thread", "node", "moves", "going_to"]);
    same(
        rows(view, "hot"),
        "SELECT * FROM hot_pages",
        &["job", "node", "page", "address", "moves", "writer"],
    );
    same(rows(view, "links"), "SELECT DISTINCT node, peer FROM links", &["node", "peer"]);
    same(rows(view, "events"), "SELECT * FROM log", &["node", "number", "kind", "job", "text"]);
}

#[test]
fn the_page_and_top_show_what_sql_says() {
    let _pass = gate::enter();
    let Some(watched) = Watched::start() else { return };
    compare(&watched, &watched.view());
    let output = banyan(&watched.socket, &["top", "--once", "--json"], "");
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    compare(&watched, &view);

    // The strip says of each thread's own memory what the table of pages says.
    let slots = std::fs::read_to_string(watched.running.scratch.work().join("slots")).unwrap();
    let mut owners = BTreeMap::new();
    for line in slots.lines().filter(|line| line.starts_with("written ")) {
        let page: u64 = line.split(' ').nth(2).unwrap().parse().unwrap();
        let told =
            watched.sql(&format!("SELECT DISTINCT owner FROM pages WHERE page = {page} AND node = owner"));
        let cells = rows(&view["jobs"][0], "memory");
        let holds = |cell: &&Value| {
            (cell["start"].as_u64().unwrap()..cell["end"].as_u64().unwrap()).contains(&(page * 4096))
        };
        let cell = cells.iter().find(holds).unwrap_or_else(|| panic!("{page} in {cells:?}"));
        // A cell may have more than one extent, and is its who has most of it; these have one.
        assert_eq!(cell["end"].as_u64().unwrap() - cell["start"].as_u64().unwrap(), 2 << 20);
        assert_eq!(cell["owner"], told[0]["owner"], "{line}");
        owners.insert(cell["owner"].to_string(), ());
    }
    assert!(!owners.is_empty());

    // For people: one screen of text. Latency is the kernel's own measure.
    let text = banyan(&watched.socket, &["top", "--once"], "");
    let text = String::from_utf8_lossy(&text.stdout);
    for words in ["3 nodes,", "1 program,", "still", "MEMORY of still", "node 2"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let measured =
        watched.sql("SELECT count(*) AS links, sum(rtt_us > 0 AND rtt_us < 1000000) AS known FROM links");
    assert_eq!((measured[0]["links"].as_u64(), measured[0]["known"].as_u64()), (Some(6), Some(6)));
    let metrics = get(&watched.page, "/metrics").unwrap();
    assert!(metrics.contains("banyan_node_up{node=\"node 2\"} 1\n"), "{metrics}");
    watched.end();
}

#[test]
fn the_node_of_a_cluster_tells_where_its_page_is_and_the_page_of_all_members() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    assert!(cluster.status(0)["page"].is_null());
    let down = cluster.command(1, &["down"]);
    assert!(down.status.success(), "{}", excerpt(&down.stderr));
    let up = cluster.command(1, &["up", "--json", "--page=127.0.0.1:0"]);
    let up: Value = serde_json::from_slice(&up.stdout).unwrap_or_else(|_| panic!("{}", excerpt(&up.stderr)));
    assert_eq!(up["page"], cluster.status(1)["page"]);
    let page = up["page"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let deadline = Instant::now() + SOON;
    loop {
        let view: Option<Value> = get(&page, "/api/view").map(|text| serde_json::from_str(&text).unwrap());
        let up = view
            .as_ref()
            .map_or(0, |view| rows(view, "nodes").iter().filter(|node| node["state"] == "up").count());
        if up == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{view:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Where other machines could reach it, nothing is shown without the token, which is kept.
    assert!(cluster.command(1, &["down"]).status.success());
    let mut told = Vec::new();
    for _ in 0..2 {
        assert!(cluster.command(1, &["up", "--page=0.0.0.0:0"]).status.success());
        let page = cluster.status(1)["page"].as_str().unwrap().to_owned();
        let (address, token) = page.trim_start_matches("http://").split_once("/?token=").unwrap();
        assert_eq!(get(address, "/api/view"), None);
        assert_eq!(get(address, "/page.js"), None);
        told.push(token.to_owned());
        assert!(cluster.command(1, &["down"]).status.success());
    }
    assert!(told[0] == told[1] && told[0].len() == 26, "{told:?}");
}

#[test]
fn a_terminal_is_given_back_however_its_use_ends() {
    let _pass = gate::enter();
    let Some(watched) = Watched::start() else { return };
    let driver = workspace::program_source("watcher.py");
    for (what, status) in [("q", 0), ("ctrl-c", 0), ("term", 128 + 15), ("hangup", 128 + 1)] {
        let mut command = Command::new("python3");
        command.arg(&driver).args([what, "MEMORY of still"]).arg(workspace::banyan().unwrap());
        let output =
            command.args(["top", "--socket"]).arg(&watched.socket).env("TERM", "xterm").output().unwrap();
        assert!(output.status.success(), "{what}: {}", excerpt(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["status"], status, "{what}");
        assert_eq!(
            (&report["was_raw"], &report["is_as_before"]),
            (&Value::Bool(true), &Value::Bool(true)),
            "{what}"
        );
        if what == "hangup" {
            continue;
        }
        // Back from the other screen, with a cursor.
        let shown = report["shown"].as_str().unwrap();
        let last = |text: &str| shown.rfind(text);
        assert!(
            last("\u{1b}[?1049l") > last("\u{1b}[?1049h") && last("\u{1b}[?25h") > last("\u{1b}[?25l"),
            "{what}: {shown:?}"
        );
    }
    // Without a terminal it says what to do instead.
    let command =
        Command::new(workspace::banyan().unwrap()).args(["top", "--socket"]).arg(&watched.socket).output();
    let output = command.unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("banyan top --once"),
        "{}",
        excerpt(&output.stderr)
    );
    watched.end();
}
