//! The subcommands of `banyan call`, for a command line program to embed.
//!
//! Data on standard output, the rest on standard error. `exec` becomes the program.

use crate::generate::{self, WrapError};
use crate::service::{Configuration, open_library};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Procedure calls in another process.
#[derive(Debug, Parser)]
pub struct CallCommand {
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
        program: Vec<std::ffi::OsString>,
    },
    /// Show which layers of the sandbox a library's worker gets on this machine.
    Status {
        /// The library.
        library: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure calls on this machine against what is promised.
    Bench {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
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
    pub fn run(self) -> Result<i32, Box<dyn std::error::Error>> {
        match self.action {
            Action::Wrap { library, headers, policy, output, json } => {
                let outcome = generate::wrap(&find(&library)?, &headers, policy.as_deref(), &output)?;
                for problem in &outcome.problems {
                    eprintln!("{problem}");
                }
                if json {
                    println!("{}", serde_json::to_string(&outcome)?);
                } else {
                    for one in outcome.coverage.iter().filter(|one| one.status == "refused") {
                        println!("refused\t{}\t{}", one.name, one.reason);
                    }
                    println!(
                        "{}: {:.1} % of {} exports without annotation",
                        outcome.library.display(),
                        outcome.share() * 100.0,
                        outcome.coverage.len()
                    );
                    let directory = outcome.library.parent().unwrap_or(Path::new("."));
                    eprintln!("next: LD_LIBRARY_PATH={} PROGRAM", directory.display());
                }
                Ok(i32::from(!outcome.problems.is_empty()))
            }
            Action::Exec { libraries, headers, policy, program } => {
                let libraries =
                    libraries.iter().map(|library| find(library)).collect::<Result<Vec<_>, _>>()?;
                let prepared = generate::prepare(&libraries, &headers, policy.as_deref())?;
                for problem in &prepared.problems {
                    eprintln!("{problem}");
                }
                let Some((name, arguments)) = program.split_first() else { return Ok(125) };
                let error = prepared.exec(name, arguments);
                eprintln!("{}: {error}", name.display());
                Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
            }
            Action::Status { library, json } => {
                let path = find(&library)?;
                let exports = generate::Exports::read(&path.canonicalize()?)?;
                let groups = generate::derive_groups(&exports.imports).0;
                let connection = open_library(
                    &Configuration {
                        library: Some(path),
                        groups,
                        namespaces: true,
                        ..Configuration::default()
                    },
                    None,
                )?;
                for layer in &connection.report().layers {
                    if json {
                        println!("{}", serde_json::to_string(layer)?);
                    } else {
                        println!(
                            "{}\t{}\t{}",
                            if layer.active { "on" } else { "off" },
                            layer.name,
                            layer.detail
                        );
                    }
                }
                Ok(0)
            }
            Action::Bench { json } => {
                let rows = crate::bench::run()?;
                for row in &rows {
                    if json {
                        println!("{}", serde_json::to_string(row)?);
                    } else {
                        println!(
                            "{}\t{:.3} {}\tbar {}\t{}",
                            if row.ok { "ok" } else { "missed" },
                            row.value,
                            row.unit,
                            row.bar,
                            row.name
                        );
                    }
                }
                Ok(i32::from(rows.iter().any(|row| !row.ok)))
            }
        }
    }
}
