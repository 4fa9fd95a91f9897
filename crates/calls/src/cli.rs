//! The subcommands of `banyan call`, for a command line program to embed.
//!
//! Data on standard output, the rest on standard error. `exec` ends with the program's status.

use crate::generate::{self, WrapError};
use crate::service::{Configuration, open_library};
use clap::{Parser, Subcommand};
use std::os::unix::process::ExitStatusExt;
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
            Action::Wrap { library, headers, policy, output } => {
                let outcome = generate::wrap(&find(&library)?, &headers, policy.as_deref(), &output)?;
                for one in outcome.coverage.iter().filter(|one| one.status == "refused") {
                    println!("{}\t{}\t{}", one.status, one.name, one.reason);
                }
                for problem in &outcome.problems {
                    eprintln!("{problem}");
                }
                println!(
                    "{}: {:.1} % of {} exports without annotation",
                    outcome.library.display(),
                    outcome.share() * 100.0,
                    outcome.coverage.len()
                );
                Ok(i32::from(!outcome.problems.is_empty()))
            }
            Action::Exec { libraries, headers, policy, program } => {
                let directory = std::env::temp_dir().join(format!("banyan-call-{}", std::process::id()));
                let result = exec(&libraries, &headers, policy.as_deref(), &program, &directory);
                let _ = std::fs::remove_dir_all(&directory);
                result
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

fn exec(
    libraries: &[PathBuf],
    headers: &[PathBuf],
    policy: Option<&Path>,
    program: &[std::ffi::OsString],
    directory: &Path,
) -> Result<i32, Box<dyn std::error::Error>> {
    for library in libraries {
        let outcome = generate::wrap(&find(library)?, headers, policy, directory)?;
        for problem in &outcome.problems {
            eprintln!("{problem}");
        }
    }
    let Some((name, arguments)) = program.split_first() else { return Ok(2) };
    let mut path = directory.as_os_str().to_owned();
    if let Some(old) = std::env::var_os("LD_LIBRARY_PATH") {
        path.push(":");
        path.push(old);
    }
    match std::process::Command::new(name).args(arguments).env("LD_LIBRARY_PATH", path).status() {
        Ok(status) => Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{}: not found", name.display());
            Ok(127)
        }
        Err(error) => {
            eprintln!("{}: {error}", name.display());
            Ok(126)
        }
    }
}
