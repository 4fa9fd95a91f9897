//! One query over some tables: reading only, within a budget.
//!
//! Each query has a database of its own, in memory and empty: only its views are kept there. Not here: what a
//! table is (`crate::table`).

use crate::budget::{Budget, Overrun, Watch};
use crate::sys::{Entry, module};
use crate::table::{Field, Table};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest query.
pub const SQL_BYTES_MAX: usize = 64 << 10;
/// The longest text or bytes that a query can make.
const VALUE_BYTES_MAX: i32 = 64 << 10;
/// Memory of all queries of a process.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Instructions of SQLite between two looks at the clock: some tens of microseconds.
const LOOK_EVERY: i32 = 10_000;

/// Why a query gives no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is too long to be looked at.
    #[error("a query of {0} bytes; {SQL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// There is none.
    #[error("a query is missing; try SELECT * FROM nodes")]
    Empty,
    /// There are several.
    #[error("one query at a time; this is more than one")]
    Several,
    /// It would do something else than read.
    #[error("{0} is refused: a query only reads")]
    Refused(String),
    /// It used more than it may.
    #[error("{0}")]
    Overrun(Overrun),
    /// It needs more memory than all queries of a node may have.
    #[error("the query needs more than {} MiB of memory; ask for fewer rows", MEMORY_BYTES_MAX >> 20)]
    Memory,
    /// SQLite, or a table, says why.
    #[error("{0}")]
    Failed(String),
    /// Who took the answers wants no more.
    #[error("the answer is not wanted any more")]
    Stopped,
}

/// Who takes the answers wants no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// A part of what a query answers.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The names of the columns; first, and once.
    Columns(&'a [String]),
    /// A row.
    Row(&'a [Field<'a>]),
}

/// Answers a query over `tables` and `views`, which are statements that make them. Each part of the answer
/// goes to `take`; the query ends
/// early when `wanted` says so, which is asked now and then.
///
/// # Errors
/// [`QueryError`].
pub fn query(
    tables: &[Arc<dyn Table>],
    views: &[&str],
    sql: &str,
    budget: Option<Budget>,
    wanted: impl FnMut() -> bool + Send + 'static,
    take: &mut dyn FnMut(Answer<'_>) -> Result<(), Stop>,
) -> Result<(), QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::TooLong(sql.len()));
    }
    if sql.contains('\0') {
        return Err(QueryError::Failed("a query has no byte of zero in it".into()));
    }
    let watch = Arc::new(Watch::new(budget, tables.iter().map(|table| &**table)));
    let refused = Arc::new(Mutex::new(None));
    let mut wanted = Some(wanted);
    let mut run = || -> Result<Result<(), Stop>, Error> {
        let mut database = open(tables, views, &watch)?;
        guard(&mut database, &refused)?;
        let (mut wanted, watch) = (wanted.take(), Arc::clone(&watch));
        let mut is_wanted = move || wanted.as_mut().is_none_or(|wanted| wanted());
        database.progress_handler(LOOK_EVERY, Some(move || watch.is_late() || !is_wanted()))?;
        answer(&database, sql, take)
    };
    let error = match run() {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(Stop)) => return Err(QueryError::Stopped),
        Err(error) => error,
    };
    let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    Err(match (watch.overrun(), refused, &error) {
        (Some(overrun), ..) => QueryError::Overrun(overrun),
        (_, Some(what), _) => QueryError::Refused(what),
        (.., Error::Empty) => QueryError::Empty,
        (.., Error::MultipleStatement) => QueryError::Several,
        _ if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => QueryError::Stopped,
        _ if error.sqlite_error_code() == Some(ErrorCode::OutOfMemory) => QueryError::Memory,
        // Without the whole query, which the person has before the eyes.
        (.., Error::SqlInputError { msg, .. }) => QueryError::Failed(msg.clone()),
        (.., Error::SqliteFailure(_, Some(text))) => QueryError::Failed(text.clone()),
        _ => QueryError::Failed(error.to_string()),
    })
}

fn open(tables: &[Arc<dyn Table>], views: &[&str], watch: &Arc<Watch>) -> Result<Connection, Error> {
    let database = Connection::open_in_memory()?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES_MAX as i32),
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_COLUMN, 200),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 0),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        database.set_limit(limit, value)?;
    }
    // Words in double quotes are names only, so that a name which is wrong is an error.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // What a query sorts stays in memory, of which there is a bound.
    database.execute_batch("PRAGMA temp_store = MEMORY")?;
    database.query_row(&format!("PRAGMA hard_heap_limit = {MEMORY_BYTES_MAX}"), [], |_| Ok(()))?;
    for (number, table) in tables.iter().enumerate() {
        let entry = Entry { table: Arc::clone(table), number, watch: Arc::clone(watch) };
        database.create_module(table.name(), module(), Some(entry))?;
    }
    for view in views {
        database.execute_batch(view)?;
    }
    Ok(database)
}

/// From now on the database is read only.
fn guard(database: &mut Connection, refused: &Arc<Mutex<Option<String>>>) -> Result<(), Error> {
    let refused = Arc::clone(refused);
    database.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
        match refusal(context.action) {
            None => Authorization::Allow,
            Some(what) => {
                // The first is what the person wrote; what follows are its steps.
                refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
                Authorization::Deny
            }
        }
    }))
}

/// What is refused of a query, as a person would call it.
fn refusal(action: AuthAction<'_>) -> Option<String> {
    let what = match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => return None,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            "load_extension"
        }
        AuthAction::Function { .. } => return None,
        AuthAction::Pragma { pragma_name, .. } => {
            return Some(format!("PRAGMA {pragma_name} (SELECT * FROM columns says what there is)"));
        }
        AuthAction::Attach { .. } => "ATTACH",
        AuthAction::Detach { .. } => "DETACH",
        AuthAction::Insert { .. } => "INSERT, or CREATE",
        AuthAction::Update { .. } => "UPDATE",
        AuthAction::Delete { .. } => "DELETE, or DROP",
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "a transaction",
        _ => "a statement that changes something",
    };
    Some(what.into())
}

fn answer(
    database: &Connection,
    sql: &str,
    take: &mut dyn FnMut(Answer<'_>) -> Result<(), Stop>,
) -> Result<Result<(), Stop>, Error> {
    let mut statement = database.prepare(sql)?;
    // What the hook of the preparation lets pass because it finds nothing to do.
    if !statement.readonly() || statement.column_count() == 0 {
        let reason = "this is no query: it would change something, and a query only reads";
        return Err(Error::ModuleError(reason.into()));
    }
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if take(Answer::Columns(&names)).is_err() {
        return Ok(Err(Stop));
    }
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut fields = Vec::with_capacity(names.len());
        for column in 0..names.len() {
            fields.push(field(row.get_ref(column)?));
        }
        if take(Answer::Row(&fields)).is_err() {
            return Ok(Err(Stop));
        }
    }
    Ok(Ok(()))
}

fn field(found: ValueRef<'_>) -> Field<'_> {
    match found {
        ValueRef::Null => Field::Null,
        ValueRef::Integer(number) => Field::Integer(number),
        ValueRef::Real(number) => Field::Real(number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        // No table has bytes; a query can make some, and is answered as hex(x) would be.
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into(),
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
