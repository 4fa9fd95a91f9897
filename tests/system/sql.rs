//! `banyan sql`: what it says of a run, and of a cluster, is what is known otherwise; and what is no query,
//! or asks for too much, is refused in plain words.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use banyan_tests::launch::{self, End, How, excerpt};
use banyan_tests::{Running, gate, processes, workspace};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use serde_json::Value;

use crate::c;
use crate::cluster::Cluster;

const SOON: Duration = Duration::from_secs(30);
/// What the tables may take beside the second for which a silent node is waited for, on a busy machine.
const BUSY: Duration = Duration::from_secs(15);

/// A program that stands still on three nodes that were started for it.
struct Still {
    running: Running,
    home: PathBuf,
}

/// What it says of its pages.
#[derive(Debug, Default)]
struct Slots {
    /// By thread: the first page, and how many.
    written: BTreeMap<u64, (u64, u64)>,
    read: (u64, u64),
}

impl Still {
    fn start() -> Option<Self> {
        if workspace::native_only() {
            return None;
        }
        let mut running = Running::start(&c("still", []), How::Banyan(3)).unwrap();
        running.wait_for_output("ready", SOON).unwrap();
        let daemons = processes::daemons(processes::of_run(&running.scratch.run));
        let sockets = daemons.iter().map(|daemon| PathBuf::from(format!("@banyan-run-{}", daemon.pid)));
        // All of them know the others, and say the same of them.
        let sockets: Vec<PathBuf> = sockets.collect();
        let nodes = |socket| rows(&sql(socket, &["SELECT node, process FROM nodes ORDER BY node"]));
        assert_eq!(sockets.len(), 3);
        assert!(nodes(&sockets[0]).len() == 3 && nodes(&sockets[1]) == nodes(&sockets[2]));
        assert_eq!(nodes(&sockets[0]), nodes(&sockets[1]));
        let home = sockets[0].clone();
        Some(Self { running, home })
    }

    fn slots(&self) -> Slots {
        let text = std::fs::read_to_string(self.running.scratch.work().join("slots")).unwrap();
        slots(&text)
    }

    fn rows(&self, query: &str) -> Vec<Value> {
        rows(&sql(&self.home, &[query]))
    }

    #[track_caller]
    fn refused(&self, query: &str, words: &str) {
        refused(&sql(&self.home, &[query]), words);
    }

    fn end(self) -> launch::Outcome {
        launch::signal(&self.running, 15).unwrap();
        let outcome = self.running.finish(SOON).unwrap();
        assert_eq!(outcome.end, End::Signal(15));
        outcome
    }
}

fn slots(text: &str) -> Slots {
    let mut slots = Slots::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().unwrap();
        match words[0] {
            "written" => drop(slots.written.insert(number(1), (number(2), number(3)))),
            "read" => slots.read = (number(1), number(2)),
            other => panic!("{other}"),
        }
    }
    slots
}

/// `banyan sql` of one node.
fn sql(socket: &std::path::Path, words: &[&str]) -> Output {
    of_all(|| {
        let mut command = Command::new(workspace::banyan().unwrap());
        command.args(["sql", "--json", "--socket"]).arg(socket).args(words).output().unwrap()
    })
}

/// An answer of all nodes: on a busy machine one may say nothing for a second, and is asked again.
fn of_all(ask: impl Fn() -> Output) -> Output {
    let deadline = Instant::now() + SOON;
    loop {
        let output = ask();
        let is_whole = !String::from_utf8_lossy(&output.stderr).contains("banyan: without ");
        if is_whole || Instant::now() > deadline {
            return output;
        }
    }
}

/// Its rows, and not a word beside.
#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success() && output.stderr.is_empty(), "{}", excerpt(&output.stderr));
    lines(output)
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command has failed with our status, one line, and these words.
#[track_caller]
fn refused(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.starts_with("banyan: ") && text.lines().count() == 1 && text.contains(words), "{text}");
}

#[track_caller]
fn number(row: &Value, column: &str) -> u64 {
    row[column].as_u64().unwrap_or_else(|| panic!("{column} of {row}"))
}

fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap_or_default().to_owned()
}

#[test]
fn threads_jobs_and_nodes_are_those_of_the_run() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    let process = still.running.pid().to_string();
    let told =
        Command::new(workspace::banyan().unwrap()).args(["job", "threads", &process, "--json"]).output();
    let of_job = |row: &Value| (number(row, "thread"), number(row, "node"));
    let mut known: Vec<_> = lines(&told.unwrap()).iter().map(of_job).collect();
    known.sort_unstable();
    let threads = still.rows("SELECT thread, number, node, moves FROM threads ORDER BY thread");
    let found: Vec<_> = threads.iter().map(|row| (number(row, "thread"), number(row, "number"))).collect();
    assert_eq!(found, known);
    assert!(threads.iter().all(|row| text(row, "node") == format!("node {}", number(row, "number"))));

    let jobs = still.rows("SELECT * FROM jobs");
    let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!(number(job, "process").to_string(), process);
    assert_eq!((text(job, "home"), text(job, "state")), ("node 0".into(), "running".into()));
    assert_eq!((number(job, "nodes"), number(job, "threads")), (3, known.len() as u64));
    assert!(text(job, "command").ends_with("still") && text(job, "program") == "still", "{job}");

    let nodes = still.rows("SELECT node, state, process FROM nodes ORDER BY node");
    let names: Vec<String> = nodes.iter().map(|row| text(row, "node")).collect();
    assert_eq!(names, ["node 0", "node 1", "node 2"]);
    assert!(nodes.iter().all(|row| row["state"] == "up"));
    let daemons: BTreeSet<u64> = nodes.iter().map(|row| number(row, "process")).collect();
    let running = processes::daemons(processes::of_run(&still.running.scratch.run));
    assert_eq!(daemons, running.iter().map(|daemon| daemon.pid as u64).collect());

    // Each has noted its own beginnings.
    let log = still.rows("SELECT node, kind, text FROM log ORDER BY node, number");
    for name in names {
        let kinds: Vec<String> =
            log.iter().filter(|row| text(row, "node") == name).map(|row| text(row, "kind")).collect();
        assert_eq!(kinds, ["start", "begin"], "{name}");
    }
    still.end();
}

#[test]
fn pages_are_where_the_program_has_put_them() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    let slots = still.slots();
    let nodes: BTreeMap<u64, String> = still
        .rows("SELECT thread, node FROM threads")
        .iter()
        .map(|row| (number(row, "thread"), text(row, "node")))
        .collect();
    let mut used = BTreeSet::new();
    for (thread, &(first, count)) in &slots.written {
        let node = &nodes[thread];
        used.insert(node.clone());
        let wanted = format!("page BETWEEN {first} AND {}", first + count - 1);
        let holding =
            still.rows(&format!("SELECT node, page, resident FROM pages WHERE state = 'write' AND {wanted}"));
        assert_eq!(holding.len() as u64, count, "{holding:?}");
        assert!(
            holding.iter().all(|row| text(row, "node") == *node && row["resident"] == 1),
            "{node}: {holding:?}"
        );
        // The same by the node alone, as its owner has it, and from each page's own address.
        let counted = still.rows(&format!(
            "SELECT count(*) AS count, sum(address = page * 4096) AS right FROM pages \
             WHERE node = '{node}' AND writer = '{node}' AND {wanted}"
        ));
        assert_eq!((number(&counted[0], "count"), number(&counted[0], "right")), (count, count));
        let owned =
            still.rows(&format!("SELECT DISTINCT owner, writer FROM pages WHERE node = owner AND {wanted}"));
        assert_eq!(owned.len(), 1, "{owned:?}");
        assert_eq!(text(&owned[0], "writer"), *node, "{owned:?}");
    }
    assert_eq!(used.len(), 3, "every node has threads: {nodes:?}");

    let (first, count) = slots.read;
    let wanted = format!("page BETWEEN {first} AND {}", first + count - 1);
    let holding = still.rows(&format!(
        "SELECT node, count(*) AS count FROM pages WHERE state = 'read' AND {wanted} GROUP BY 1"
    ));
    let holding: BTreeMap<String, u64> =
        holding.iter().map(|row| (text(row, "node"), number(row, "count"))).collect();
    assert_eq!(holding, used.iter().map(|node| (node.clone(), count)).collect());
    let readers =
        still.rows(&format!("SELECT DISTINCT readers, writer FROM pages WHERE node = owner AND {wanted}"));
    assert_eq!(readers.len(), 1, "{readers:?}");
    assert_eq!(text(&readers[0], "readers"), "node 0,node 1,node 2");
    assert!(readers[0]["writer"].is_null());

    // No page has two writers, and no writer beside a reader; and extents know as many as there are.
    let wrong = still.rows(
        "SELECT page, group_concat(node || ' ' || state) AS held FROM pages WHERE state <> 'none' GROUP BY job, page \
         HAVING sum(state = 'write') > 1 OR (sum(state = 'write') = 1 AND count(*) > 1)",
    );
    assert!(wrong.is_empty(), "{wrong:?}");
    let resident = "SELECT node, sum(resident) AS count FROM pages GROUP BY 1 ORDER BY 1";
    let extents = "SELECT node, sum(resident_pages) AS count FROM extents GROUP BY 1 ORDER BY 1";
    assert_eq!(still.rows(resident), still.rows(extents));
    let memory = "SELECT node, memory_bytes / 4096 AS count FROM job_nodes ORDER BY 1";
    assert_eq!(still.rows(resident), still.rows(memory));
    still.end();
}

#[test]
fn regions_faults_and_links_agree_with_the_statistics() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    let slots = still.slots();
    let (first, _) = slots.read;
    let region =
        still.rows(&format!("SELECT * FROM regions WHERE start <= {0} AND \"end\" > {0}", first * 4096));
    let [region] = region.as_slice() else { panic!("{region:?}") };
    assert_eq!((text(region, "prot"), text(region, "kind")), ("rw-".into(), "anonymous".into()));
    assert_eq!(number(region, "bytes"), number(region, "end") - number(region, "start"));
    assert!(number(region, "bytes") >= 8 * (2 << 20));
    let image =
        still.rows("SELECT count(*) AS count FROM regions WHERE kind = 'image' AND file LIKE '%/still%'");
    assert!(number(&image[0], "count") > 1, "{image:?}");

    let causes = still
        .rows("SELECT cause, sum(count) AS count, max(p99_us) AS most FROM faults GROUP BY 1 ORDER BY 1");
    let causes: BTreeMap<String, u64> =
        causes.iter().map(|row| (text(row, "cause"), number(row, "count"))).collect();
    let sent = still
        .rows("SELECT sum(urgent_bytes + bulk_bytes) AS sent, sum(tls) AS tls, count(*) AS links FROM links");
    assert_eq!((number(&sent[0], "tls"), number(&sent[0], "links")), (0, 6));
    let total = still.rows("SELECT sent_bytes, lost_us FROM jobs");
    let outcome = still.end();
    let stats = outcome.stats.expect("statistics");
    // The end of a program may touch a page or two.
    let close = |found: u64, last: u64| found <= last && last - found <= 64;
    let faults = &stats.faults;
    for (cause, last) in [("read", faults.read), ("write", faults.write), ("upgrade", faults.upgrade)] {
        assert!(close(causes[cause], last), "{cause}: {causes:?}, then {last}");
    }
    assert!(causes["write"] >= 8, "{causes:?}");
    let sent = number(&sent[0], "sent");
    assert!(
        sent <= stats.bytes_moved && stats.bytes_moved - sent < 1 << 20,
        "{sent}, then {}",
        stats.bytes_moved
    );
    assert!(number(&total[0], "sent_bytes") <= stats.bytes_moved);
    let lost = number(&total[0], "lost_us") as f64 / 1e6;
    assert!(
        lost > 0.0 && lost <= stats.remote_wait_seconds + 1e-5,
        "{lost}, then {}",
        stats.remote_wait_seconds
    );
}

#[test]
fn what_is_no_query_or_asks_for_too_much_is_refused_in_a_line() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    for (query, words) in [
        ("SELEC * FROM nodes", "syntax error"),
        ("SELECT * FROM streets", "no such table: streets"),
        ("SELECT page FROM nodes", "no such column: page"),
        ("ATTACH '/tmp/x' AS x", "ATTACH is refused: a query only reads"),
        ("INSERT INTO nodes (node) VALUES ('x')", "refused"),
        ("DELETE FROM pages", "may not be modified"),
        ("DROP TABLE pages", "refused"),
        ("PRAGMA table_info(pages)", "PRAGMA table_info"),
        ("SELECT load_extension('/tmp/x.so')", "load_extension is refused"),
        ("SELECT 1; SELECT 2", "one query at a time"),
        ("", "a query is missing"),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
            "processor time",
        ),
    ] {
        still.refused(query, words);
    }
    // What cannot be narrowed: the reason names the table and what is missing.
    let begun = Instant::now();
    let join = "SELECT count(*) FROM pages a, pages b, pages c WHERE a.address <> b.address + c.address";
    let ended = sql(&still.home, &[join]);
    refused(&ended, "of pages, which was read");
    refused(&ended, "WHERE job = ...");
    // Queries have less of a busy processor than others.
    assert!(begun.elapsed() < 8 * BUSY, "{:?}", begun.elapsed());
    still.refused(&format!("SELECT {}1", "1 + ".repeat(20_000)), "65536 are allowed");
    let wide = format!("SELECT {} 1", "printf('%60000d', 1), ".repeat(3));
    still.refused(&wide, "a row of the answer has more than");
    // Every table can be read as it is named, and has the columns that it says.
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in still.rows("SELECT table_name, column_name FROM columns") {
        tables.entry(text(&row, "table_name")).or_default().push(text(&row, "column_name"));
    }
    assert_eq!(tables.len(), 14, "{tables:?}");
    for (table, columns) in tables {
        let names = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let rows = still.rows(&format!("SELECT {names} FROM {table}"));
        // These are of clusters.
        if ["companies", "names"].contains(&table.as_str()) {
            assert!(rows.is_empty(), "{table}");
            continue;
        }
        assert!(!rows.is_empty(), "{table}");
        let keys = rows[0].as_object().map(|row| row.keys().cloned().collect::<BTreeSet<_>>());
        assert_eq!(keys, Some(columns.into_iter().collect()), "{table}");
    }
    still.end();
}

#[test]
fn garbage_on_the_socket_harms_no_one() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    let name = still.home.to_string_lossy().into_owned();
    let address = SocketAddrUnix::new_abstract_name(name.trim_start_matches('@').as_bytes()).unwrap();
    let mark = b"BANYAN\x00\x03";
    let bodies: [&[u8]; 6] =
        [b"", b"\x00", b"\x00\xff\xff\xff\xff\x0fSELECT", b"\x04", &[0xff; 70_000], b"\x00\x08SELECT 1\x02"];
    for body in bodies {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        rustix::net::send(&socket, &[mark, body].concat(), SendFlags::NOSIGNAL).unwrap();
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(SOON)).unwrap();
        // The node hangs up.
        let mut answer = [0; 100];
        let received = rustix::net::recv(&socket, &mut answer, rustix::net::RecvFlags::empty());
        assert!(received.is_ok_and(|(length, _)| length == 0), "{body:?}");
    }
    // Who asks and goes at once, many times, leaves no query behind.
    for _ in 0..20 {
        let mut asking = Command::new(workspace::banyan().unwrap())
            .args(["sql", "--no-limit", "--socket", &name])
            .arg("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        asking.kill().unwrap();
        asking.wait().unwrap();
    }
    // There is room for eight at a time: all of these would take it.
    let deadline = Instant::now() + BUSY;
    while !sql(&still.home, &["SELECT * FROM nodes"]).status.success() {
        assert!(Instant::now() < deadline, "the node still answers queries that nobody waits for");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(still.rows("SELECT node FROM nodes").len(), 3);
    still.end();
}

#[test]
fn queries_come_from_standard_input_and_go_out_in_three_forms() {
    let _pass = gate::enter();
    let Some(still) = Still::start() else { return };
    let ask = |words: &[&str], input: &str| {
        let mut command = Command::new(workspace::banyan().unwrap());
        command.arg("sql").args(words).arg("--socket").arg(&still.home);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let two = "SELECT node\n  FROM nodes ORDER BY node;\nSELECT 1 AS one, NULL AS two, 'a,\"b' AS three";
    let csv = ask(&["--csv"], two);
    assert_eq!(
        text(&csv),
        "node\nnode 0\nnode 1\nnode 2\none,two,three\n1,,\"a,\"\"b\"\n",
        "{}",
        excerpt(&csv.stderr)
    );
    let json = ask(&["--json"], "SELECT 1 AS one, 0.5 AS half, 'x' AS x, NULL AS none");
    assert_eq!(text(&json), "{\"one\":1,\"half\":0.5,\"x\":\"x\",\"none\":null}\n");
    let table = ask(&[], "SELECT number, node FROM job_nodes ORDER BY 1;\n");
    assert_eq!(text(&table), "NUMBER  NODE\n     0  node 0\n     1  node 1\n     2  node 2\n");
    let wrong = ask(&[], "SELECT 1;\nSELECT wrong;\nSELECT 2;\n");
    refused(&wrong, "no such column: wrong");
    assert_eq!(text(&wrong), "1\n1\n", "what came before it is answered");
    let none = Command::new(workspace::banyan().unwrap())
        .args(["sql", "--state", "no-such-directory", "SELECT 1"])
        .output()
        .unwrap();
    refused(&none, "start it with `banyan up`");
    still.end();
}

#[test]
fn a_cluster_is_asked_as_one_and_who_is_silent_is_named() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(3) else { return };
    let once = |node: usize, query: &str| cluster.command(node, &["sql", "--json", query]);
    let ask = |node: usize, query: &str| of_all(|| once(node, query));
    let case = cluster.on(1, &c("still", []));
    let mut running = Running::start(&case, How::Banyan(3)).unwrap();
    running.wait_for_output("ready", SOON).unwrap();
    let slots = slots(&std::fs::read_to_string(running.scratch.work().join("slots")).unwrap());

    let nodes = rows(&ask(0, "SELECT * FROM nodes ORDER BY role, joined_s, node"));
    let status = cluster.status(0);
    let members = status["members"].as_array().unwrap();
    let of_member = |name: &str| members.iter().find(|member| member["name"] == name).unwrap().clone();
    assert_eq!(nodes.len(), 3);
    let month = 30.0 * 24.0 * 3600.0;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    for node in &nodes {
        let member = of_member(&text(node, "node"));
        for field in ["id", "address"] {
            assert_eq!(node[field], member[field]);
        }
        assert_eq!(number(node, "jobs"), 1);
        let left = number(node, "cert_expires_s") as f64 - now;
        assert!((2.0 * month..3.1 * month).contains(&left), "{left}");
    }
    // By role it need not be the first: who has just joined does not vote yet.
    let founder = of_state(&cluster, 0);

    // The home is the second node; every node gives the same answer, over TLS.
    for node in 0..3 {
        let home = rows(&ask(node, "SELECT home, nodes, process FROM jobs"));
        assert_eq!(number(&home[0], "process"), running.pid() as u64);
        assert_eq!((text(&home[0], "home"), number(&home[0], "nodes")), (of_state(&cluster, 1), 3));
        let links = rows(&ask(node, "SELECT count(*) AS links, sum(tls) AS tls FROM links"));
        assert_eq!((number(&links[0], "links"), number(&links[0], "tls")), (6, 6));
        for (&thread, &(first, count)) in &slots.written {
            let query = format!(
                "SELECT t.node AS at, p.node, count(*) AS count FROM threads t JOIN pages p USING (job) \
                 WHERE t.thread = {thread} AND p.state = 'write' AND p.page BETWEEN {first} AND {} GROUP BY 1, 2",
                first + count - 1
            );
            let found = rows(&ask(node, &query));
            let [found] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((&found["at"], number(found, "count")), (&found["node"], count));
        }
    }
    let joins = rows(&ask(2, &format!("SELECT text FROM log WHERE node = '{founder}' AND kind = 'join'")));
    assert_eq!(joins.len(), 2, "{joins:?}");

    // A node that hangs is waited for a second and named; it still has what is known of it.
    let hanging = cluster.process(2);
    let name = of_state(&cluster, 2);
    processes::send(hanging, Signal::STOP);
    let begun = Instant::now();
    let output = once(0, "SELECT node, state, cpus FROM nodes");
    let took = begun.elapsed();
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    let of_others = once(0, &format!("SELECT DISTINCT node FROM pages WHERE node <> '{name}'"));
    let of_one = ask(0, &format!("SELECT count(*) AS count FROM pages WHERE node = '{founder}'"));
    processes::send(hanging, Signal::CONT);
    assert!(took > Duration::from_millis(900) && took < BUSY, "{took:?}");
    assert!(output.status.success() && warned.lines().count() == 1, "{warned}");
    assert!(warned.starts_with(&format!("banyan: without {name}: it said nothing for 1 s")), "{warned}");
    let states: BTreeMap<String, Value> =
        lines(&output).into_iter().map(|row| (text(&row, "node"), row)).collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states[&name]["state"], "silent");
    assert_eq!(number(&states[&name], "cpus"), number(&nodes[0], "cpus"));
    assert_eq!(lines(&of_others).len(), 2);
    assert!(
        of_one.stderr.is_empty() && number(&lines(&of_one)[0], "count") > 0,
        "who is not asked is not missed"
    );
    drop(running);
}

/// What the node with this state is called.
fn of_state(cluster: &Cluster, node: usize) -> String {
    let status = cluster.status(node);
    let members = status["members"].as_array().unwrap();
    let own = members.iter().find(|member| member["id"] == status["own"]).unwrap();
    text(own, "name")
}
