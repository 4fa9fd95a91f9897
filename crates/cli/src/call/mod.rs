//! `banyan call`: calls in another process, which cannot crash their caller.
//!
//! Data on standard output, the rest on standard error. `exec` becomes the program.

use banyan_calls::discovery::{Discovery, FIND_VARIABLE, SERVE_VARIABLE, WORKERS_VARIABLE};
use banyan_calls::generate::{self, WrapError};
use banyan_calls::monitor::{self, Seen};
use banyan_calls::service::{Configuration, Layer, open_library};
use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
        program: Vec<std::ffi::OsString>,
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
        /// Where: system:NAME for programs of this machine; named:NAME=HOST:PORT for those of the
        /// network that HOST is an address of, or with :PORT alone of this machine. TCP is neither
        /// encrypted nor authenticated.
        #[arg(long, value_name = "PLACE")]
        at: String,
        /// Workers that run at once; as many as processors if not given.
        #[arg(long, value_name = "N")]
        workers: Option<u32>,
        /// The program.
        #[arg(trailing_var_arg = true, required = true)]
        program: Vec<std::ffi::OsString>,
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
    pub(crate) fn run(self) -> anyhow::Result<i32> {
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
            Action::Status { what, json } => status(what.as_deref(), json),
            Action::List { json } => list(json),
            Action::Top { every, count, json } => top(every, count, json),
            Action::Serve { at, workers, program } => serve(&at, workers, &program),
        }
    }
}

fn print_layers(layers: &[Layer], json: bool) -> anyhow::Result<()> {
    for layer in layers {
        if json {
            println!("{}", serde_json::to_string(layer)?);
        } else {
            println!("{}\t{}\t{}", if layer.active { "on" } else { "off" }, layer.name, layer.detail);
        }
    }
    Ok(())
}

fn status(what: Option<&Path>, json: bool) -> anyhow::Result<i32> {
    let number: Option<u32> = what.and_then(|what| what.to_str()?.parse().ok());
    if let (Some(library), None) = (what, number) {
        let path = find(library)?;
        let exports = generate::Exports::read(&path.canonicalize()?)?;
        let groups = generate::derive_groups(&exports.imports).0;
        let configuration =
            Configuration { library: Some(path), groups, namespaces: true, ..Configuration::default() };
        let connection = open_library(&configuration, None)?;
        print_layers(&connection.report().layers, json)?;
        return Ok(0);
    }
    let services = monitor::services();
    let chosen = |seen: &&Seen| number.is_none_or(|number| number == seen.babysitter);
    let chosen: Vec<&Seen> = services.iter().filter(chosen).collect();
    if let (Some(number), true) = (number, chosen.is_empty()) {
        eprintln!("no service has the babysitter {number}; `banyan call list` lists them");
        return Ok(1);
    }
    for seen in chosen {
        if json {
            println!("{}", serde_json::to_string(seen)?);
            continue;
        }
        println!("{}", seen.what);
        println!("  state      {}, babysitter {}, caller {}", seen.state, seen.babysitter, seen.caller);
        println!("  workers    {:?} of {}, ready {:?}", seen.workers, seen.workers_max, seen.spares);
        println!(
            "  calls      {}, absorbed crashes {}, workers ended {}",
            seen.calls, seen.absorbed, seen.ended
        );
        println!("  sandbox");
        for layer in &seen.layers {
            println!("    {:3} {} {}", if layer.active { "on" } else { "off" }, layer.name, layer.detail);
        }
    }
    Ok(0)
}

fn list(json: bool) -> anyhow::Result<i32> {
    let services = monitor::services();
    if !json && !services.is_empty() {
        println!("SERVICE\tCALLER\tSTATE\tWORKERS\tREADY\tCALLS\tABSORBED\tENDED\tWHAT");
    }
    for seen in &services {
        if json {
            println!("{}", serde_json::to_string(seen)?);
            continue;
        }
        println!(
            "{}\t{}\t{}\t{}/{}\t{}\t{}\t{}\t{}\t{}",
            seen.babysitter,
            seen.caller,
            seen.state,
            seen.workers.len(),
            seen.workers_max,
            seen.spares.len(),
            seen.calls,
            seen.absorbed,
            seen.ended,
            seen.what
        );
    }
    if services.is_empty() {
        eprintln!("no service is running; `banyan call exec --isolate LIBRARY -- PROGRAM` starts one");
    }
    Ok(0)
}

fn top(every: f64, count: Option<u64>, json: bool) -> anyhow::Result<i32> {
    if !(0.01..=3600.0).contains(&every) {
        anyhow::bail!("--every must be from 0.01 to 3600 seconds");
    }
    let mut before = monitor::services();
    let mut looks = 0;
    while count.is_none_or(|count| looks < count) {
        looks += 1;
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs_f64(every));
        let now = monitor::services();
        let seconds = start.elapsed().as_secs_f64();
        if !json && std::io::stdout().is_terminal() {
            print!("\x1b[H\x1b[2J");
        }
        if !json {
            println!("SERVICE\tCALLS/S\tLATENCY_US\tENDED/S\tABSORBED\tWORKERS\tWHAT");
        }
        for seen in &now {
            let Some(old) = before.iter().find(|old| old.babysitter == seen.babysitter) else { continue };
            let rate = seen.since(old, seconds);
            if json {
                println!("{}", serde_json::json!({ "service": seen, "rate": rate }));
                continue;
            }
            let latency = rate.latency_us.map_or_else(|| "-".into(), |latency| format!("{latency:.1}"));
            println!(
                "{}\t{:.0}\t{latency}\t{:.1}\t{}\t{}/{}\t{}",
                seen.babysitter,
                rate.calls_per_second,
                rate.ended_per_second,
                seen.absorbed,
                seen.workers.len(),
                seen.workers_max,
                seen.what
            );
        }
        before = now;
    }
    Ok(0)
}

fn serve(place: &str, workers: Option<u32>, program: &[std::ffi::OsString]) -> anyhow::Result<i32> {
    use std::os::unix::process::CommandExt;
    let _: Discovery = place.parse().map_err(anyhow::Error::msg)?;
    let Some((name, arguments)) = program.split_first() else { return Ok(2) };
    let mut command = std::process::Command::new(name);
    command.args(arguments).env(SERVE_VARIABLE, place);
    if let Some(workers) = workers {
        command.env(WORKERS_VARIABLE, workers.to_string());
    }
    eprintln!("others reach it with {FIND_VARIABLE}={place}");
    let error = command.exec();
    eprintln!("{}: {error}", name.display());
    Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
