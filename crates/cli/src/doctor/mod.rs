//! `banyan doctor`: says what this machine lacks for Banyan and what to type about it.

mod checks;

use crate::terminal::{columns, print, style, wrap};
use banyan_node::doctor::Facts;
use checks::{Check, Status};
use clap::Args;
use serde::Serialize;

/// Arguments of `banyan doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    version: &'static str,
    processors: usize,
    memory_bytes: u64,
    checks: &'a [Check],
}

/// Prints the report. Returns 0 if nothing fails, else 1.
pub(crate) fn doctor(arguments: &DoctorArguments) -> anyhow::Result<u8> {
    let facts = Facts::gather();
    let checks = checks::checks(&facts);
    let is_ok = checks.iter().all(|check| check.status != Status::Fail);
    let text = if arguments.json {
        let report = Report {
            ok: is_ok,
            version: env!("CARGO_PKG_VERSION"),
            processors: facts.processors,
            memory_bytes: facts.memory_bytes,
            checks: &checks,
        };
        format!("{}\n", serde_json::to_string(&report)?)
    } else {
        lines(&checks, columns())
    };
    print(&text);
    Ok(u8::from(!is_ok))
}

fn lines(checks: &[Check], columns: usize) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let indent = width + 8;
    let mut text = String::new();
    for check in checks {
        let word = match check.status {
            Status::Ok => style::good("ok  "),
            Status::Warn => style::caution("warn"),
            Status::Fail => style::bad("fail"),
        };
        let found = wrap(&check.found, indent, columns);
        text.push_str(&format!("{word}  {:width$}  {found}\n", check.name));
        if let Some(fix) = &check.fix {
            // Not wrapped: it is there to be copied.
            text.push_str(&format!("{:indent$}fix: {}\n", "", style::strong(fix)));
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    let end = match (failed, warned) {
        (0, 0) => "Everything that Banyan needs is here.".to_owned(),
        (0, 1) => "Banyan runs here; one thing could be better.".to_owned(),
        (0, warned) => format!("Banyan runs here; {warned} things could be better."),
        (1, _) => "Banyan does not run here: one thing is missing.".to_owned(),
        (failed, _) => format!("Banyan does not run here: {failed} things are missing."),
    };
    let next = if failed == 0 { "Next: banyan demo" } else { "Then ask again: banyan doctor" };
    text.push_str(&format!("\n{end} {next}\n"));
    text
}
