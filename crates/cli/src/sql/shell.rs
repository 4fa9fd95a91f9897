//! Queries at a terminal: a line editor that completes the names of tables and columns.

use super::{Session, is_whole};
use crate::with_causes;
use banyan_node::Cell;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

const WORDS: [&str; 24] = [
    "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "BY", "LIMIT", "JOIN", "USING", "AND", "OR", "NOT", "AS",
    "ON", "IN", "LIKE", "BETWEEN", "NULL", "DISTINCT", "HAVING", "count(", "sum(", "max(", "min(",
];

const HELP: &str = "\
A query ends with a semicolon: SELECT * FROM nodes;
  tables          what tables there are
  columns TABLE   what is in one
  exit            or Ctrl-D";

/// What can be written.
struct Names {
    /// Each table, and its columns.
    tables: Vec<(String, Vec<String>)>,
}

/// Answers queries until the person has no more.
pub(super) fn run(session: &Session) -> anyhow::Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor: Editor<Names, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Names::of(session)?));
    eprintln!("Queries over the live structures of the nodes; `help` says more.");
    let mut query = String::new();
    loop {
        let prompt = if query.is_empty() { "banyan> " } else { "   ...> " };
        match editor.readline(prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                if query.is_empty() && is_command(session, &line)? {
                    if line.trim() == "exit" {
                        return Ok(());
                    }
                    continue;
                }
                query.push_str(&line);
                query.push('\n');
            }
            // The unfinished line is discarded, as in other shells.
            Err(ReadlineError::Interrupted) => query.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if is_whole(&query)
            && let Err(error) = session.run(&std::mem::take(&mut query))
        {
            eprintln!("banyan: {}", with_causes(&error.into()));
        }
    }
}

/// Carries out a line that is a command of the shell and no query. False if it is none.
fn is_command(session: &Session, line: &str) -> anyhow::Result<bool> {
    let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
    let query = match words.as_slice() {
        [] | ["exit"] => return Ok(true),
        ["help"] => {
            eprintln!("{HELP}");
            return Ok(true);
        }
        ["tables"] => {
            "SELECT table_name AS name, group_concat(column_name, ' ') AS columns FROM columns GROUP BY 1"
                .into()
        }
        ["columns", table] => format!(
            "SELECT column_name AS name, type, key, meaning FROM columns WHERE table_name = '{}'",
            table.replace('\'', "''")
        ),
        _ => return Ok(false),
    };
    session.run(&query)?;
    Ok(true)
}

impl Names {
    fn of(session: &Session) -> anyhow::Result<Self> {
        let mut tables: Vec<(String, Vec<String>)> = Vec::new();
        for row in session.ask("SELECT table_name, column_name FROM columns")? {
            let [Cell::Text(table), Cell::Text(column)] = row.as_slice() else { continue };
            match tables.last_mut().filter(|(name, _)| name == table) {
                Some((_, columns)) => columns.push(column.clone()),
                None => tables.push((table.clone(), vec![column.clone()])),
            }
        }
        Ok(Self { tables })
    }

    /// What a word may become, in a line with these words: columns of the tables that are named in it, or of
    /// all if none is.
    fn candidates(&self, line: &str, start: &str) -> Vec<String> {
        let is_named = |table: &str| line.split(|letter| !is_of_word(letter)).any(|word| word == table);
        let named: Vec<_> = self.tables.iter().filter(|(table, _)| is_named(table)).collect();
        let from = if named.is_empty() { self.tables.iter().collect() } else { named };
        let columns = from.into_iter().flat_map(|(_, columns)| columns);
        let names = self.tables.iter().map(|(table, _)| table).chain(columns).cloned();
        let small = start.to_lowercase();
        let words = WORDS.into_iter().map(str::to_owned);
        let mut found: Vec<String> =
            names.chain(words).filter(|name| name.to_lowercase().starts_with(&small)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn is_of_word(letter: char) -> bool {
    letter == '_' || letter.is_ascii_alphanumeric()
}

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        let begin = before.rfind(|letter| !is_of_word(letter)).map_or(0, |found| found + 1);
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        let found = self.candidates(line, &before[begin..]).into_iter().map(pair).collect();
        Ok((begin, found))
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Validator for Names {}

impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_tables_that_are_named() {
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = Names {
            tables: vec![
                ("nodes".into(), columns(&["node", "cpus"])),
                ("pages".into(), columns(&["node", "page", "writer"])),
            ],
        };
        assert_eq!(names.candidates("SELECT p", "p"), ["page", "pages"]);
        assert_eq!(names.candidates("SELECT  FROM nodes", "c"), ["count(", "cpus"]);
        assert_eq!(names.candidates("SELECT  FROM nodes", "wri"), Vec::<String>::new());
        assert_eq!(names.candidates("", "SEL"), ["SELECT"]);
    }
}
