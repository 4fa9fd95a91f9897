//! Tables over small nodes without jobs: rows of several nodes are united, and what a bad node answers harms
//! nothing.

use super::*;
use crate::observe::log::Kind;
use crate::transport::{Connection, read_message};
use banyan_wire::frame;
use banyan_wire::handshake::HELLO_BYTES;
use banyan_wire::sql::{Cell, QueryMessage, TableMessage};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A node that has a log, and nothing else.
#[derive(Debug)]
pub(crate) struct Small {
    name: &'static str,
    log: Log,
    others: Vec<(&'static str, SocketAddr)>,
    left: LeftConnections,
}

impl Small {
    pub(crate) fn facts(
        name: &'static str,
        entries: usize,
        others: Vec<(&'static str, SocketAddr)>,
    ) -> Arc<dyn Facts> {
        let log = Log::default();
        for number in 0..entries {
            log.note(Kind::Move, None, format!("{name} {number} {}", "x".repeat(300)));
        }
        Arc::new(Self { name, log, others, left: LeftConnections::default() })
    }
}

impl Facts for Small {
    fn name(&self) -> String {
        self.name.into()
    }

    fn name_of(&self, _: &Place, number: NodeId) -> String {
        number.to_string()
    }

    fn jobs(&self) -> Vec<Arc<Job>> {
        Vec::new()
    }

    fn own(&self) -> Own {
        let machine = crate::observe::machine::this_machine();
        Own { member: None, address: "here".into(), machine, certificate_expires: None }
    }

    fn others(&self) -> Vec<Other> {
        let place = |address| Place { address, member: None };
        let other = |&(name, address): &(&'static str, _)| Other {
            name: name.into(),
            place: place(address),
            member: None,
        };
        self.others.iter().map(other).collect()
    }

    fn trust(&self) -> Trust {
        Trust::Secret([1; 16])
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn companies(&self) -> Vec<CompanyView> {
        Vec::new()
    }

    fn registered(&self) -> Vec<NameFacts> {
        Vec::new()
    }

    fn left_connections(&self) -> &LeftConnections {
        &self.left
    }
}

/// Listens, and has `serve` answer who connects, after its greeting. The threads end with the tests.
fn listening(serve: impl Fn(Connection) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        while let Ok((connection, _)) = Connection::accept(&listener) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || {
                let mut hello = [0; HELLO_BYTES];
                if (&connection).read_exact(&mut hello).is_ok() {
                    serve(connection);
                }
            });
        }
    });
    address
}

/// A node with this many entries that answers others.
fn node(name: &'static str, entries: usize) -> SocketAddr {
    let (facts, served) = (Small::facts(name, entries, Vec::new()), Served::default());
    listening(move |connection| drop(serve(&facts, &served, &connection, &|| true)))
}

/// A node that answers every question with the same message.
fn liar(message: TableMessage) -> SocketAddr {
    listening(move |connection| {
        while read_message::<TableMessage>(&mut &connection).is_ok() {
            if (&connection).write_all(&frame::encode(&message)).is_err() {
                return;
            }
        }
    })
}

/// The values, warnings and failure that a query answers.
fn ask(facts: &Arc<dyn Facts>, sql: &str) -> (Vec<Cell>, Vec<String>, Option<String>) {
    let (mut cells, mut warnings, mut failure) = (Vec::new(), Vec::new(), None);
    answer(facts, sql, true, || true, &mut |message| {
        match message {
            QueryMessage::Rows(more) => cells.extend(more.iter().cloned()),
            QueryMessage::Warning(text) => warnings.push(text.clone()),
            QueryMessage::Failed(text) => failure = Some(text.clone()),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    (cells, warnings, failure)
}

fn integers(numbers: &[i64]) -> (Vec<Cell>, Vec<String>, Option<String>) {
    (numbers.iter().copied().map(Cell::Integer).collect(), Vec::new(), None)
}

#[test]
fn rows_of_all_nodes_are_united() {
    let (two, three) = (node("two", 4096), node("three", 7));
    let facts = Small::facts("one", 2, vec![("two", two), ("three", three)]);
    assert_eq!(ask(&facts, "SELECT count(*), sum(number) FROM log"), integers(&[4105, 4095 * 2048 + 21 + 1]));
    assert_eq!(
        ask(&facts, "SELECT count(*) FROM log WHERE node = 'two' AND number >= 4000"),
        integers(&[96])
    );
    assert_eq!(ask(&facts, "SELECT count(*) FROM log WHERE node = 'ONE' COLLATE NOCASE"), integers(&[2]));
    assert_eq!(ask(&facts, "SELECT count(*) FROM log WHERE node = 'four'"), integers(&[0]));
    assert_eq!(ask(&facts, "SELECT count(*) FROM pages"), integers(&[0]));
    let wrong = "SELECT count(*) FROM log WHERE text NOT LIKE node || ' ' || number || ' xxx%'";
    assert_eq!(ask(&facts, wrong), integers(&[0]));
    // For each row of one table, the other is asked again.
    let join = "SELECT count(*) FROM nodes n JOIN log l ON l.node = n.node AND l.number < 5";
    assert_eq!(ask(&facts, join), integers(&[12]));
    assert_eq!(ask(&facts, "SELECT number FROM log WHERE node = 'two' LIMIT 2"), integers(&[0, 1]));
}

#[test]
fn who_answers_nonsense_is_left_out_and_named() {
    let rows = |rows, cells| TableMessage::Rows { rows, cells, last: false };
    for (message, words) in [
        (rows(3, vec![Cell::Null]), "it answers what cannot be"),
        (rows(u32::MAX, Vec::new()), "it answers what cannot be"),
        (TableMessage::More, "it answers something else"),
        (TableMessage::Refused("it has no such table".into()), "it has no such table"),
    ] {
        let facts = Small::facts("one", 2, vec![("bad", liar(message.clone())), ("good", node("good", 3))]);
        let (cells, warnings, failure) = ask(&facts, "SELECT count(number) FROM log");
        assert_eq!((cells, failure), (vec![Cell::Integer(5)], None), "{message:?}");
        assert_eq!(warnings, [format!("without bad: {words}")]);
    }
    // Rows that never end are bounded by the budget of the query.
    let facts = Small::facts("one", 2, vec![("bad", liar(rows(4096, vec![Cell::Integer(1); 4096])))]);
    let (_, _, failure) = ask(&facts, "SELECT count(number) FROM log");
    assert!(failure.as_ref().is_some_and(|text| text.contains("are of log")), "{failure:?}");
}

#[test]
fn who_is_silent_or_gone_is_left_out_once() {
    let silent =
        listening(|connection| drop((&connection).read(&mut [0; 1000]).map(|_| std::thread::park())));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let facts = Small::facts("one", 2, vec![("silent", silent), ("gone", gone), ("good", node("good", 3))]);
    let begun = Instant::now();
    let sql = "SELECT count(*), sum(n.state = 'silent') FROM log JOIN nodes n WHERE n.node <> 'x'";
    let (cells, mut warnings, failure) = ask(&facts, sql);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((cells, failure), (vec![Cell::Integer(20), Cell::Integer(10)], None));
    warnings.sort();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("without gone: it does not answer: "), "{warnings:?}");
    assert!(warnings[1].starts_with("without silent: it "), "{warnings:?}");
}

#[test]
fn connections_are_used_again_and_one_that_was_closed_meanwhile_is_made_anew() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let (own, served) = (Small::facts("two", 3, Vec::new()), Served::default());
    let two = listening(move |connection| {
        counted.fetch_add(1, Ordering::Relaxed);
        drop(serve(&own, &served, &connection, &|| true));
    });
    let facts = Small::facts("one", 2, vec![("two", two)]);
    let sql = "SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM log)";
    for _ in 0..5 {
        assert_eq!(ask(&facts, sql), integers(&[10]));
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);

    // One that answers a question and leaves.
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let brief = listening(move |connection| {
        counted.fetch_add(1, Ordering::Relaxed);
        if read_message::<TableMessage>(&mut &connection).is_ok() {
            let rows = TableMessage::Rows { rows: 1, cells: Vec::new(), last: true };
            let _ = (&connection).write_all(&frame::encode(&rows));
        }
        connection.close();
    });
    let facts = Small::facts("one", 2, vec![("brief", brief)]);
    for _ in 0..3 {
        assert_eq!(ask(&facts, "SELECT count(*) FROM log"), integers(&[3]));
    }
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[test]
fn who_is_no_member_any_more_is_answered_no_more() {
    let (facts, served) = (Small::facts("one", 3, Vec::new()), Served::default());
    let is_member = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&is_member);
    let one = listening(move |connection| {
        drop(serve(&facts, &served, &connection, &|| still.load(Ordering::Relaxed)));
    });
    let connection = Connection::dial(one, Duration::from_secs(10)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (&connection).write_all(&[0; HELLO_BYTES]).unwrap();
    let ask = || {
        let scan = TableMessage::Scan { table: "log".into(), used: 1, conditions: Vec::new() };
        (&connection).write_all(&frame::encode(&scan)).unwrap();
        read_message::<TableMessage>(&mut &connection)
    };
    assert!(matches!(ask(), Ok(TableMessage::Rows { rows: 3, .. })));
    is_member.store(false, Ordering::Relaxed);
    assert!(ask().is_err(), "the connection has ended");
}

#[test]
fn questions_out_of_turn_and_with_too_many_conditions_are_refused() {
    use banyan_wire::sql::{CONDITIONS_MAX, Comparison, Condition};
    let connection = Connection::dial(node("one", 3), Duration::from_secs(10)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (&connection).write_all(&[0; HELLO_BYTES]).unwrap();
    let ask = |message: &TableMessage| -> TableMessage {
        (&connection).write_all(&frame::encode(message)).unwrap();
        read_message(&mut &connection).unwrap()
    };
    let scan = |table: &str, conditions| {
        let condition = Condition { column: 255, comparison: Comparison::Less, value: Cell::Null };
        TableMessage::Scan { table: table.into(), used: 0b10, conditions: vec![condition; conditions] }
    };
    for question in [
        TableMessage::More,
        scan("no_such_table", 0),
        scan("log", CONDITIONS_MAX + 1),
        TableMessage::Refused("no".into()),
    ] {
        assert!(matches!(ask(&question), TableMessage::Refused(_)), "{question:?}");
    }
    let cells = [0, 1, 2].map(Cell::Integer).to_vec();
    assert_eq!(ask(&scan("log", CONDITIONS_MAX)), TableMessage::Rows { rows: 3, cells, last: true });
    assert!(matches!(ask(&TableMessage::More), TableMessage::Refused(_)));
}
