//! Queries over tables of numbers: what they answer, which constraints reach them, and what is refused.

use super::*;
use crate::table::{Column, Kind, Rows, Scan};
use banyan_wire::sql::{Cell, Comparison, Condition};
use std::time::{Duration, Instant};

/// The numbers from 0, with their names.
struct Numbers {
    name: &'static str,
    count: i64,
    scans: Mutex<Vec<Scan>>,
}

const COLUMNS: &[Column] = &[
    Column::key("n", Kind::Integer, "The number"),
    Column::key("word", Kind::Text, "Its name"),
    Column::plain("half", Kind::Real, "Half of it"),
];

impl Numbers {
    fn new(name: &'static str, count: i64) -> Arc<Self> {
        Arc::new(Self { name, count, scans: Mutex::default() })
    }
}

impl Table for Numbers {
    fn name(&self) -> &'static str {
        self.name
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn about_rows(&self) -> u64 {
        self.count.unsigned_abs()
    }

    fn scan(&self, scan: Scan) -> Result<Box<dyn Rows>, String> {
        let (first, last) = scan.range(0);
        if scan.range(0) == (-1, -1) {
            return Err("there is no number before 0".into());
        }
        assert_ne!(scan.range(0), (-2, -2), "a mistake");
        self.scans.lock().unwrap().push(scan);
        Ok(Box::new(Some(first.max(0) - 1..=last.min(self.count - 1))))
    }
}

impl Rows for Option<std::ops::RangeInclusive<i64>> {
    fn advance(&mut self) -> Result<bool, String> {
        let Some(left) = self else { return Ok(false) };
        let (start, end) = (left.start() + 1, *left.end());
        *left = start..=end;
        Ok(start <= end)
    }

    fn field(&self, column: usize) -> Field<'_> {
        let number = self.as_ref().map_or(0, |left| *left.start());
        match column {
            0 => Field::Integer(number),
            1 => format!("number {number}").into(),
            _ => Field::Real(number as f64 / 2.0),
        }
    }
}

const VIEWS: &[&str] = &["CREATE VIEW small AS SELECT n FROM numbers WHERE n < 3"];

/// The rows that a query answers.
fn run(tables: &[Arc<Numbers>], sql: &str, budget: Option<Budget>) -> Result<Vec<Vec<Cell>>, QueryError> {
    let tables: Vec<Arc<dyn Table>> = tables.iter().map(|table| Arc::clone(table) as _).collect();
    let mut rows = Vec::new();
    query(&tables, VIEWS, sql, budget, || true, &mut |answer| {
        if let Answer::Row(fields) = answer {
            rows.push(fields.iter().cloned().map(Field::into_cell).collect());
        }
        Ok(())
    })?;
    Ok(rows)
}

fn of_ten(sql: &str) -> Result<Vec<Vec<Cell>>, String> {
    run(&[Numbers::new("numbers", 10)], sql, Some(Budget::default())).map_err(|error| error.to_string())
}

#[test]
fn rows_are_joined_grouped_and_filtered() {
    let integer = |number| vec![Cell::Integer(number)];
    assert_eq!(of_ten("SELECT count(*) FROM numbers"), Ok(vec![integer(10)]));
    assert_eq!(of_ten("SELECT n FROM numbers WHERE n > 7 AND half < 4.5"), Ok(vec![integer(8)]));
    assert_eq!(of_ten("SELECT sum(n) FROM small"), Ok(vec![integer(3)]));
    assert_eq!(
        of_ten("SELECT b.n FROM numbers a JOIN numbers b ON b.n = a.n + 8"),
        Ok(vec![integer(8), integer(9)])
    );
    assert_eq!(of_ten("SELECT n FROM numbers WHERE n IN (3, 99, 5)"), Ok(vec![integer(3), integer(5)]));
    let text = Cell::Text("number 4".into());
    assert_eq!(of_ten("SELECT word, NULL FROM numbers WHERE n = 4"), Ok(vec![vec![text, Cell::Null]]));
    assert_eq!(of_ten("SELECT x'00ff'"), Ok(vec![vec![Cell::Text("00FF".into())]]));
}

/// What compares otherwise than a table does must not lose rows.
#[test]
fn comparisons_that_a_table_cannot_make_lose_nothing() {
    for condition in ["n = '4'", "n = 4.0", "word = 'NUMBER 4' COLLATE NOCASE", "n BETWEEN 3.5 AND 4.5"] {
        let rows = of_ten(&format!("SELECT n FROM numbers WHERE {condition}"));
        assert_eq!(rows, Ok(vec![vec![Cell::Integer(4)]]), "{condition}");
    }
}

#[test]
fn a_table_is_told_what_narrows_its_rows_and_what_is_looked_at() {
    let numbers = Numbers::new("numbers", 100);
    let sql = "SELECT word FROM numbers WHERE n >= 5 AND n < 7 AND word = 'number 6'";
    assert_eq!(run(&[Arc::clone(&numbers)], sql, None).unwrap().len(), 1);
    let scans = numbers.scans.lock().unwrap();
    let [scan] = scans.as_slice() else { panic!("{scans:?}") };
    assert_eq!(scan.used, 0b11);
    assert_eq!((scan.range(0), scan.text(1)), ((5, 6), Some("number 6")));
    let equal = Condition { column: 1, comparison: Comparison::Equal, value: Cell::Text("number 6".into()) };
    assert!(scan.conditions.contains(&equal));
}

/// A join takes the table from inside by its key, and not whole for each row.
#[test]
fn a_join_seeks() {
    let (few, many) = (Numbers::new("few", 20), Numbers::new("numbers", 1_000_000));
    let sql = "SELECT count(*) FROM numbers JOIN few USING (n)";
    let budget = Budget { rows: 100, ..Budget::default() };
    assert_eq!(run(&[many, few], sql, Some(budget)).unwrap(), [[Cell::Integer(20)]]);
}

#[test]
fn nothing_can_be_changed() {
    for (sql, words) in [
        ("ATTACH 'file' AS x", "ATTACH is refused"),
        ("ATTACH ':memory:' AS x", "ATTACH is refused"),
        ("DETACH main", "DETACH is refused"),
        ("CREATE TABLE x(y)", "is refused"),
        ("CREATE TEMP TABLE x(y)", "is refused"),
        ("CREATE VIRTUAL TABLE x USING fts5(y)", "is refused"),
        ("CREATE VIEW x AS SELECT 1", "is refused"),
        ("DROP VIEW small", "is refused"),
        ("INSERT INTO numbers VALUES (1, 2, 3)", "INSERT, or CREATE is refused"),
        ("DELETE FROM numbers", "may not be modified"),
        ("UPDATE sqlite_master SET sql = ''", "may not be modified"),
        ("PRAGMA hard_heap_limit = 0", "PRAGMA hard_heap_limit"),
        ("SELECT * FROM pragma_table_info('numbers')", "is refused"),
        ("SELECT load_extension('x')", "load_extension is refused"),
        ("VACUUM INTO 'file'", "only reads"),
        ("BEGIN", "a transaction is refused"),
        ("REINDEX", "only reads"),
        ("ANALYZE", "only reads"),
    ] {
        let error = of_ten(sql).unwrap_err();
        assert!(error.contains(words), "{sql}: {error}");
    }
}

#[test]
fn what_is_no_query_is_a_plain_error() {
    for (sql, words) in [
        ("", "a query is missing"),
        (" -- nothing", "a query is missing"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one query at a time"),
        ("SELECT \"no such\" FROM numbers", "no such column"),
        ("SELECT * FROM elsewhere", "no such table: elsewhere"),
        ("SELECT ?1", "variable"),
        ("SELECT 'a\0b'", "byte of zero"),
        ("SELECT n FROM numbers WHERE n = -1", "there is no number before 0"),
        ("SELECT zeroblob(1000000)", "too big"),
    ] {
        let error = of_ten(sql).unwrap_err();
        assert!(error.contains(words) && !error.contains('\n'), "{sql}: {error}");
    }
    let long = format!("SELECT {}", "1+".repeat(SQL_BYTES_MAX));
    assert!(of_ten(&long).unwrap_err().contains("bytes; 65536 are allowed"));
    assert!(of_ten(&format!("SELECT {}1", "(".repeat(5000))).is_err());
    assert!(of_ten("SELECT 1;").is_ok());
}

#[test]
fn a_mistake_of_a_table_is_an_error_of_its_query() {
    let error = of_ten("SELECT n FROM numbers WHERE n = -2").unwrap_err();
    assert!(error.contains("a mistake of Banyan's in table numbers"), "{error}");
    assert!(of_ten("SELECT n FROM numbers").is_ok());
}

#[test]
fn a_query_over_its_budget_is_ended_with_the_reason() {
    let numbers = || [Numbers::new("numbers", 100_000)];
    let budget = Budget { rows: 1_000_000, ..Budget::default() };
    let sql = "SELECT count(*) FROM numbers a, numbers b WHERE a.half <> b.half";
    let error = run(&numbers(), sql, Some(budget)).unwrap_err().to_string();
    for words in ["1000000 rows", "of numbers, which was read", "by n, word", "WHERE n = ", "--no-limit"] {
        assert!(error.contains(words), "{error}");
    }
    let budget = Budget { processor: Duration::from_millis(50), ..Budget::default() };
    let begun = Instant::now();
    let error = run(&numbers(), sql, Some(budget)).unwrap_err().to_string();
    assert!(error.contains("of processor time; ") && error.contains("numbers"), "{error}");
    let endless = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x";
    let error = run(&numbers(), endless, Some(budget)).unwrap_err().to_string();
    assert!(error.contains("without taking rows"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_that_is_not_wanted_ends_the_query() {
    let table: Arc<dyn Table> = Numbers::new("numbers", i64::MAX);
    let mut taken = 0;
    let result = query(&[table], &[], "SELECT n FROM numbers", None, || true, &mut |_| {
        taken += 1;
        if taken < 5 { Ok(()) } else { Err(Stop) }
    });
    assert!(matches!(result, Err(QueryError::Stopped)));
    assert_eq!(taken, 5);
}

#[test]
fn a_query_that_nobody_waits_for_ends() {
    let endless = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x";
    let mut looks = 0;
    let wanted = move || {
        looks += 1;
        looks < 10
    };
    let result = query(&[], &[], endless, None, wanted, &mut |_| Ok(()));
    assert!(matches!(result, Err(QueryError::Stopped)), "{result:?}");
}
