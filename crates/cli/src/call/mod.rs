//! `banyan call`: calls in another process, which cannot crash their caller.
//!
//! Data on standard output, the rest on standard error. `exec` becomes the program.

mod services;

use crate::terminal::{print, print_json};
use banyan_calls::discovery::{Discovery, FIND_VARIABLE, SERVE_VARIABLE, WORKERS_VARIABLE};
use banyan_calls::generate::{self, Proof, WrapError};
use clap::{Parser, Subcommand};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Calls in another process, which cannot crash their caller
#[derive(Debug, Parser)]
pub(crate) struct CallCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a drop-in for a C library, whose functions run in another process.
    Wrap {
        /// The library.
        library: PathBuf,
        /// Headers that declare its functions.
        #[arg(long = "header")]
        headers: Vec<PathBuf>,
        /// What to do for single functions, TOML.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// Where to put the drop-in, its worker and the report.
        #[arg(short, long)]
        output: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run an unmodified program with a library isolated.
    Exec {
        /// The library's soname or path; may be given more than once.
        #[arg(long = "isolate", required = true)]
        libraries: Vec<PathBuf>,
        /// Headers that declare its functions.
        #[arg(long = "header")]
        headers: Vec<PathBuf>,
        /// What to do for single functions, TOML.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        program: Vec<OsString>,
    },
    /// Show the running services, their workers, and which layers of the sandbox are active.
    Status {
        /// A babysitter's process number, or a library to try the sandbox with; all services if not given.
        #[arg(value_name = "SERVICE")]
        what: Option<PathBuf>,
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// List the running services, one a line.
    List {
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show calls per second, latency and crashes of the running services, again and again.
    Top {
        /// Seconds between two looks.
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
        every: f64,
        /// How many looks; for ever if not given.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Have a program serve its isolated functions to others, instead of running.
    Serve {
        /// Where: system:NAME for programs of this machine; named:NAME for those of the cluster, on
        /// whichever machine; named:NAME=HOST:PORT for those of the network that HOST is an address
        /// of, or with :PORT alone of this machine. TCP to an address is neither encrypted nor
        /// authenticated.
        #[arg(long, value_name = "PLACE")]
        at: String,
        /// Workers that run at once; as many as processors if not given.
        #[arg(long, value_name = "N")]
        workers: Option<u32>,
        /// The program.
        #[arg(trailing_var_arg = true, required = true)]
        program: Vec<OsString>,
    },
}

fn find(library: &Path) -> Result<PathBuf, WrapError> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    let found =
        std::iter::once(library.to_owned()).chain(places.iter().map(|place| Path::new(place).join(library)));
    found.into_iter().find(|path| path.is_file()).ok_or_else(|| WrapError::Library {
        path: library.to_owned(),
        reason: "no such library here or in the system's directories".into(),
    })
}

impl CallCommand {
    /// Runs the command; returns the status to exit with.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.action {
            Action::Wrap { library, headers, policy, output, json } => {
                let outcome = generate::wrap(&find(&library)?, &headers, policy.as_deref(), &output)?;
                for problem in &outcome.problems {
                    eprintln!("{problem}");
                }
                if json {
                    print_json(&[&outcome])?;
                } else {
                    for one in outcome.coverage.iter().filter(|one| one.status == "refused") {
                        print(&format!("refused\t{}\t{}\n", one.name, one.reason));
                    }
                    print(&format!(
                        "{}: {} exports: {} work (checked), {} are expected to (not checked), {} refused\n",
                        outcome.library.display(),
                        outcome.coverage.len(),
                        outcome.count(Proof::Checked),
                        outcome.count(Proof::Expected),
                        outcome.count(Proof::Refused),
                    ));
                    let directory = outcome.library.parent().unwrap_or(Path::new("."));
                    eprintln!("next: LD_LIBRARY_PATH={} PROGRAM", directory.display());
                }
                Ok(u8::from(!outcome.problems.is_empty()))
            }
            Action::Exec { libraries, headers, policy, program } => {
                if let Some(name) = program.first() {
                    generate::check_program(name)?;
                }
                let libraries =
                    libraries.iter().map(|library| find(library)).collect::<Result<Vec<_>, _>>()?;
                let prepared = generate::prepare(&libraries, &headers, policy.as_deref())?;
                for problem in &prepared.problems {
                    eprintln!("{problem}");
                }
                let Some((name, arguments)) = program.split_first() else { return Ok(125) };
                Ok(not_executed(name, &prepared.exec(name, arguments)))
            }
            Action::Status { what, json } => services::status(what.as_deref(), json),
            Action::List { json } => services::list(json),
            Action::Top { every, count, json } => services::top(every, count, json),
            Action::Serve { at, workers, program } => serve(&at, workers, &program),
        }
    }
}

fn serve(place: &str, workers: Option<u32>, program: &[OsString]) -> anyhow::Result<u8> {
    use std::os::unix::process::CommandExt;
    let _: Discovery = place.parse().map_err(anyhow::Error::msg)?;
    let Some((name, arguments)) = program.split_first() else { return Ok(125) };
    let mut command = std::process::Command::new(name);
    command.args(arguments).env(SERVE_VARIABLE, place);
    if let Some(workers) = workers {
        command.env(WORKERS_VARIABLE, workers.to_string());
    }
    eprintln!("others reach it with {FIND_VARIABLE}={place}");
    Ok(not_executed(name, &command.exec()))
}

/// Says why a program was not executed; returns docker's status for that.
fn not_executed(name: &OsStr, error: &std::io::Error) -> u8 {
    eprintln!("banyan: {}: {error}", name.display());
    if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}
