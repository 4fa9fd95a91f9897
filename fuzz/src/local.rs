//! What a machine keeps of its cluster and is asked by its own processes: the log and the snapshots of
//! companies, files, questions over the node's socket, requests to its page, tokens that people carry, and
//! the rows that a view is made of.
//!
//! Not for what other machines say: `nodes` has that.

use std::fmt::{Debug, Display};

use banyan_core::companies::log::{Company, Entry, ExtentRun, Owner, SnapshotError};
use banyan_core::membership::Token;
use banyan_core::support::{Footing, Incarnation};
use banyan_node::fuzz;
use banyan_view::{
    EventRow, FaultRow, HotRow, JobRow, LinkRow, Live, Look, NodeRow, PartRow, ThreadRow, metrics,
};
use banyan_wire::cluster::{ClusterId, MemberId, TokenId};
use banyan_wire::ids::{ExtentNumber, JobId};

use crate::Target;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        inputs: fuzz::company::store_inputs,
        inputs_in_test: 300,
        ..Target::new("company_store", fuzz::company::store)
    },
    Target {
        inputs: fuzz::company::snapshot_inputs,
        ..Target::new("company_snapshot", fuzz::company::snapshot)
    },
    Target { inputs: states, ..Target::new("company_state", state) },
    Target {
        inputs: fuzz::question_inputs,
        inputs_in_test: 5000,
        words: JSON_WORDS,
        ..Target::new("local_question", fuzz::question)
    },
    Target { inputs: fuzz::json_inputs, words: JSON_WORDS, ..Target::new("local_json", fuzz::json) },
    Target {
        inputs: fuzz::certificate_inputs,
        inputs_in_test: 2000,
        ..Target::new("certificate", fuzz::certificate)
    },
    Target { inputs: fuzz::script_inputs, words: JSON_WORDS, ..Target::new("script", fuzz::script) },
    Target {
        inputs: fuzz::page::request_inputs,
        words: HTTP_WORDS,
        inputs_in_test: 2000,
        ..Target::new("page_request", fuzz::page::request)
    },
    Target { inputs: tokens, words: &[".", "by1.", " "], ..Target::new("token", token) },
    Target { inputs: rows, words: JSON_WORDS, ..Target::new("view_row", row) },
];

const JSON_WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "[[[[[[[[",
    "{\"a\":",
];
const HTTP_WORDS: &[&str] = &[
    "\r\n",
    "Host: ",
    "host: [",
    "]:",
    "localhost",
    "GET ",
    "HEAD ",
    "CONNECT ",
    "/",
    "?token=",
    "&",
    "%",
    "/api/history/",
    "Authorization: Bearer ",
    "Cookie: banyan-7641=",
    "; ",
    "Content-Length: 9\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "http://",
    "HTTP/1.0",
    "\r\n\r\n",
];

/// A company's state, as another member sends it.
///
/// # Panics
/// When decoding is wrong: what is accepted has one spelling, and each entry is applied to it or refused.
pub fn state(bytes: &[u8]) {
    match Company::from_bytes(bytes) {
        Ok(company) => {
            assert_eq!(company.to_bytes(), bytes, "two spellings of a state");
            for entry in entries() {
                // A refusal is an answer as good as any; what comes of it is still a state.
                let mut changed = company.clone();
                let applied = changed.apply(&entry);
                assert!(applied.is_ok() || changed == company, "a refused entry has changed something");
                let read = Company::from_bytes(&changed.to_bytes());
                assert_eq!(read.as_ref(), Ok(&changed), "an entry leads to no state");
            }
        }
        Err(error @ (SnapshotError::Bytes(_) | SnapshotError::Unsound)) => {
            assert!(!error.to_string().is_empty());
        }
    }
}

fn entries() -> Vec<Entry> {
    let owner = |member, number| Owner { node: MemberId([member; 10]), incarnation: Incarnation(number) };
    let allocate = |owner, job, first, count| {
        let extents = ExtentRun { job: JobId(job), first: ExtentNumber(first), count };
        Entry::Allocate { owner, extents }
    };
    let (one, other) = (owner(1, 3), owner(2, 1));
    vec![
        Entry::Join { owner: one, footing: Footing::on(&[one.node]) },
        Entry::Join { owner: other, footing: Footing::on(&[one.node, other.node]) },
        allocate(one, 1, 0x80_0000, 64),
        allocate(one, 1, 0x80_0200, 512),
        allocate(other, 2, 0x80_0000, 1),
    ]
}

/// The root company with members and leases, and a new one.
fn states() -> Vec<Vec<u8>> {
    let mut company = Company::root();
    for entry in entries() {
        // What is refused is not in it.
        let _ = company.apply(&entry);
    }
    vec![company.to_bytes(), Company::root().to_bytes()]
}

/// A token that a person has carried, and the names of members, clusters and tokens in commands: what is
/// read is written in the same letters, but for their case.
///
/// # Panics
/// When decoding is wrong.
pub fn token(bytes: &[u8]) {
    fn same(value: Option<impl Display + Debug>, text: &str) {
        if let Some(value) = value {
            assert_eq!(value.to_string(), text.to_ascii_lowercase(), "two spellings of {value:?}");
        }
    }
    let text = String::from_utf8_lossy(bytes);
    same(ClusterId::parse(&text), &text);
    same(MemberId::parse(&text), &text);
    same(TokenId::parse(&text), &text);
    fuzz::page::token(&text);
    match text.parse::<Token>() {
        Ok(token) => {
            let text = text.to_ascii_lowercase();
            assert_eq!(token.to_string(), text.trim(), "two spellings of a token");
            assert!(!format!("{token:?}").contains(text.trim()), "its secret is shown");
        }
        Err(error) => assert!(!error.to_string().contains(text.trim()) || text.trim().len() < 8),
    }
}

fn tokens() -> Vec<Vec<u8>> {
    let token = Token {
        cluster: ClusterId([1; 10]),
        id: TokenId([2; 5]),
        secret: *b"0123456789abcdef",
        authority: *b"0123456789abcdef0123456789abcdef",
    };
    let texts = [token.to_string(), MemberId([7; 10]).to_string(), TokenId([3; 5]).to_string()];
    texts.map(String::into_bytes).into_iter().chain(fuzz::page::token_inputs()).collect()
}

/// What nodes answer to the question of a look: lines with a table's name and a row of it as JSON; an empty
/// line begins the next look.
///
/// # Panics
/// When a view cannot be made of them, or cannot be shown.
pub fn row(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut live = Live::default();
    for look in text.split("\n\n") {
        let mut taken = Look::of(&live.question(None));
        for line in look.lines() {
            let (table, row) = line.split_once(' ').unwrap_or((line, ""));
            taken.take(table, row);
        }
        let view = live.take(taken);
        let json = serde_json::to_string(&view).expect("a view is plain data");
        serde_json::from_str::<serde_json::Value>(&json).expect("what a browser reads is JSON");
        assert!(metrics(&view).lines().all(|line| !line.is_empty()), "an empty line among metrics");
        // The next question names nodes that have answered.
        let _ = live.question(None).sql();
    }
}

/// Two looks, the second one a second later.
fn rows() -> Vec<Vec<u8>> {
    fn line(table: &str, row: &impl serde::Serialize) -> String {
        format!("{table} {}\n", serde_json::to_string(row).expect("a row is plain data"))
    }
    let look = |at: u64| {
        let count = at * 1000;
        let node = NodeRow {
            node: "node 1".into(),
            state: "ready".into(),
            cpus: Some(8),
            busy_s: Some(at as f64),
            process: Some(7),
            ..NodeRow::default()
        };
        let job = JobRow { job: 3, program: "sort".into(), nodes: 2, lost_us: count, ..JobRow::default() };
        let part = PartRow { job: 3, node: "node 1".into(), lost_us: count, ..PartRow::default() };
        let hot = HotRow { job: 3, moves: count, ..HotRow::default() };
        let fault = FaultRow { job: 3, node: "node 1".into(), count, ..FaultRow::default() };
        let link = LinkRow { job: 3, node: "node 1".into(), ..LinkRow::default() };
        let event = EventRow { node: "node 1".into(), number: at, ..EventRow::default() };
        let thread = ThreadRow { job: 3, ..ThreadRow::default() };
        format!("at {{\"at_s\":{at}}}\n")
            + &line("nodes", &node)
            + &line("jobs", &job)
            + &line("job_nodes", &part)
            + &line("hot_pages", &hot)
            + &line("faults", &fault)
            + &line("links", &link)
            + &line("log", &event)
            + &line("threads", &thread)
            + "extents {\"job\":3,\"node\":\"node 1\",\"extent\":8388608,\"state\":\"owned\"}\n"
    };
    vec![format!("{}\n{}", look(1), look(2)).into_bytes()]
}
