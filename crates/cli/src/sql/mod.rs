//! `banyan sql`: queries over what the nodes hold, which the node of this machine answers.
//!
//! One query as an argument, or queries from standard input: at a terminal with an editor (`shell`), else as
//! they come. How rows are printed is in `output`; what can be asked is in docs/reference/sql.md.

mod output;
mod shell;

use crate::which_node::WhichNode;
use banyan_node::{Cell, QueryError, QueryMessage};
use clap::Args;
use output::{Form, Printer};
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Rows come from the live structures of all nodes. Those of a node that does
not answer within a second are left out, with a line on standard error. A
query ends after 2 s of processor time or 10 million rows. Without a query,
queries are read from standard input; each ends with a semicolon at the end of
a line.

Examples:
  banyan sql \"SELECT * FROM columns\"
  banyan sql \"SELECT node, state, cpus, load_1m FROM nodes\"
  banyan sql \"SELECT job, process, command, lost_us / 1e6 AS lost_s FROM jobs\"
  banyan sql \"SELECT node, state, count(*) FROM pages GROUP BY 1, 2\"
  banyan sql --csv \"SELECT * FROM faults\" > faults.csv";

/// Arguments of `banyan sql`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SqlArguments {
    /// The query; only reading is possible
    query: Option<String>,
    /// One JSON object for each row
    #[arg(long)]
    json: bool,
    /// Lines of values with commas between them, and one of names before them
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Let a query use as much as it wants
    #[arg(long)]
    no_limit: bool,
    #[command(flatten)]
    node: WhichNode,
}

/// Who is asked, and how it is printed.
struct Session {
    socket: PathBuf,
    form: Form,
    bounded: bool,
}

/// Answers one query, or all of standard input. Returns the exit status.
pub(crate) fn sql(arguments: &SqlArguments) -> anyhow::Result<u8> {
    let form = match arguments {
        SqlArguments { json: true, .. } => Form::Json,
        SqlArguments { csv: true, .. } => Form::Csv,
        _ => Form::Table,
    };
    let session =
        Session { socket: arguments.node.socket("banyan sql")?, form, bounded: !arguments.no_limit };
    match &arguments.query {
        Some(query) => session.run(query)?,
        None if std::io::stdin().is_terminal() => shell::run(&session)?,
        None => session.run_all(std::io::stdin().lock())?,
    }
    Ok(0)
}

impl Session {
    /// Answers a query on standard output.
    fn run(&self, query: &str) -> Result<(), QueryError> {
        let mut printer = Printer::new(self.form);
        let result = banyan_node::query(&self.socket, query, self.bounded, &mut |message| {
            match message {
                QueryMessage::Columns(names) => printer.columns(names),
                QueryMessage::Rows(cells) => return printer.rows(cells),
                QueryMessage::Warning(text) => {
                    // Rows before what is said of them.
                    printer.flush();
                    eprintln!("banyan: {text}");
                }
                _ => {}
            }
            true
        });
        printer.flush();
        result
    }

    /// The rows of a query.
    fn ask(&self, query: &str) -> Result<Vec<Vec<Cell>>, QueryError> {
        let (mut width, mut found) = (1, Vec::new());
        banyan_node::query(&self.socket, query, true, &mut |message| {
            match message {
                QueryMessage::Columns(names) => width = names.len().max(1),
                QueryMessage::Rows(cells) => found.extend(cells.chunks(width).map(<[Cell]>::to_vec)),
                _ => {}
            }
            true
        })?;
        Ok(found)
    }

    /// Answers the queries of a stream, to the first that fails.
    fn run_all(&self, stream: impl BufRead) -> anyhow::Result<()> {
        let mut query = String::new();
        for line in stream.lines() {
            query.push_str(&line?);
            query.push('\n');
            if is_whole(&query) {
                self.run(&std::mem::take(&mut query))?;
            }
        }
        if !query.trim().is_empty() {
            self.run(&query)?;
        }
        Ok(())
    }
}

/// Whether a query ends here.
fn is_whole(query: &str) -> bool {
    query.trim_end().ends_with(';')
}
