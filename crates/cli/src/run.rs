//! `banyan run`: becomes the program.

use crate::job;
use anyhow::{Context, bail};
use banyan_node::state::{socket_of, usual_directory};
use banyan_node::{Children, Nodes, PageOffer, Placement, Run, Summary, again, launch};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const AFTER_HELP: &str = "\
Exit status: the program's own, or what a shell shows for the signal that ended it.
  125  Banyan failed; the reason is on standard error
  126  the program cannot be executed
  127  the program was not found

Examples:
  banyan run -n 3 -- pigz -p 8 -k -c FILE > FILE.gz
  cat FILE | banyan run -n 2 -- sha256sum
  banyan run -n 3 --stats -- PROGRAM ARGUMENTS...";

/// Arguments of `banyan run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArguments {
    /// Nodes to run on, or `all` of the cluster; without a cluster, each is a daemon started on this machine
    /// for the length of the run
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = node_count)]
    nodes: Nodes,
    /// Machines of the cluster to run on beside this one, by their names or ids
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', conflicts_with_all = ["nodes", "local"])]
    hosts: Vec<String>,
    /// Directory of the state of the node to begin on; BANYAN_STATE says it too. Without one, a node that is
    /// up in the usual place is used
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["socket", "local"])]
    state: Option<PathBuf>,
    /// The socket of a node to begin on, as `banyan node run` has put it; BANYAN_SOCKET says it too
    #[arg(long, value_name = "PATH", conflicts_with = "local")]
    socket: Option<PathBuf>,
    /// Use daemons started on this machine for the run, even if a node is up
    #[arg(long)]
    local: bool,
    /// Serve a page for browsers while the program runs, at this address or a free port of this machine; a
    /// node that is up has a page of its own (`banyan up --page`)
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:0", conflicts_with_all = ["state", "socket"])]
    page: Option<SocketAddr>,
    /// On which nodes threads are
    #[arg(long, value_enum, default_value_t = Place::Auto)]
    place: Place,
    /// Move a random thread to a random other node as often as this, such as `5ms`: a test of what a program
    /// notices of moves, which is nothing
    #[arg(long, value_name = "TIME", value_parser = interval)]
    move_every: Option<Duration>,
    /// What the program's children execute is under Banyan too, each a run of its own like this one; without
    /// this it is native, on the home node
    #[arg(long)]
    follow_exec: bool,
    /// At the end, say on standard error what ran where and what it cost
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "table")]
    stats: Option<Stats>,
    /// Do not wait for its end: print its name, and keep what it prints and how it ends (`banyan job logs`,
    /// `banyan wait`)
    #[arg(short, long)]
    detach: bool,
    /// What a detached run is called; without this, after its program
    #[arg(long, requires = "detach")]
    name: Option<String>,
    /// The program and its arguments; a word without a slash is looked up in PATH
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Place {
    /// At home at first; on more nodes when threads wait for processors, as long as that pays
    Auto,
    /// A new one on the next node, in turn
    Spread,
    /// A new one on the same node until it has as many threads as processors, then on the next
    Pack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stats {
    /// A table for people
    Table,
    /// One JSON object on one line, the last of standard error
    Json,
}

/// `all`, or a number that a cluster can have.
fn node_count(text: &str) -> Result<Nodes, String> {
    if text == "all" {
        return Ok(Nodes::All);
    }
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number.map(Nodes::Exactly).ok_or_else(|| format!("{text:?} is neither `all` nor a number from 1 to 64"))
}

/// A time such as `5ms`, `200us` or `1s`; not 0.
fn interval(text: &str) -> Result<Duration, String> {
    let units = [("us", 1), ("ms", 1000), ("s", 1_000_000)];
    let microseconds = units.iter().find_map(|(unit, factor)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*factor)
    });
    microseconds
        .filter(|&time| time > 0)
        .map(Duration::from_micros)
        .ok_or_else(|| format!("{text:?} is no time: a number with `us`, `ms` or `s` behind it is one"))
}

/// The socket of the node on which the run begins, if it is not one that is started for it.
fn node(arguments: &RunArguments) -> Option<PathBuf> {
    if arguments.local {
        return None;
    }
    let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let said = arguments.socket.clone().or_else(|| arguments.state.as_deref().map(socket_of));
    let said = said.or_else(|| named("BANYAN_SOCKET"));
    said.or_else(|| named("BANYAN_STATE").map(|directory| socket_of(&directory))).or_else(|| {
        let usual = socket_of(&usual_directory());
        launch::is_there(&usual).then_some(usual)
    })
}

/// The page of the run, whose address is printed.
fn page(arguments: &RunArguments, is_on_a_node: bool) -> anyhow::Result<Option<Arc<PageOffer>>> {
    let Some(address) = arguments.page else { return Ok(None) };
    if is_on_a_node {
        bail!(
            "--page: the run begins on a node that is up, whose own page shows it: `banyan status` says where; \
             --local has the run on nodes of its own"
        );
    }
    let page = PageOffer::listen(address)
        .with_context(|| format!("a page at {address}; choose another address with --page=ADDRESS"))?;
    eprintln!("banyan: the page of this run is at {}", page.url()?);
    Ok(Some(Arc::new(page)))
}

impl RunArguments {
    /// The nodes to run on.
    fn wanted(&self) -> Nodes {
        if self.hosts.is_empty() { self.nodes.clone() } else { Nodes::Named(self.hosts.clone()) }
    }

    /// The words of the same run, but in the foreground.
    fn in_the_foreground(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["run".into()];
        let mut option = |name: &str, value: OsString| {
            words.push([OsString::from(name), value].join("=".as_ref()));
        };
        match self.wanted() {
            Nodes::All => option("--nodes", "all".into()),
            Nodes::Exactly(count) => option("--nodes", count.to_string().into()),
            Nodes::Named(names) => option("--hosts", names.join(",").into()),
        }
        for (name, path) in [("--state", &self.state), ("--socket", &self.socket)] {
            if let Some(path) = path {
                option(name, path.into());
            }
        }
        if let Some(value) = self.place.to_possible_value() {
            option("--place", value.get_name().into());
        }
        if let Some(page) = self.page {
            option("--page", page.to_string().into());
        }
        if let Some(every) = self.move_every {
            option("--move-every", format!("{}us", every.as_micros()).into());
        }
        if let Some(value) = self.stats.and_then(|stats| stats.to_possible_value()) {
            option("--stats", value.get_name().into());
        }
        let flags = [("--local", self.local), ("--follow-exec", self.follow_exec)];
        words.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.into()));
        words.push("--".into());
        words.extend(self.program.iter().cloned());
        words
    }
}

/// Runs the program, or begins it and returns. In the foreground it returns, with an exit status, only if it
/// could not be started.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<u8> {
    if arguments.detach {
        let words = arguments.in_the_foreground();
        return job::begin(arguments.name.as_deref(), &arguments.program, &words);
    }
    let node = node(arguments);
    let page = page(arguments, node.is_some())?;
    let error = launch::run(&Run {
        words: arguments.program.clone(),
        nodes: arguments.wanted(),
        node,
        page,
        placement: match arguments.place {
            Place::Auto => Placement::Auto,
            Place::Spread => Placement::Spread,
            Place::Pack => Placement::Pack,
        },
        move_every: arguments.move_every,
        children: if arguments.follow_exec { Children::Followed } else { Children::Native },
        summary: match arguments.stats {
            None => Summary::None,
            Some(Stats::Table) => Summary::Table,
            Some(Stats::Json) => Summary::Json,
        },
        zeroth: None,
        fault_device: None,
        file: None,
    });
    eprintln!("banyan: {error}");
    Ok(error.status())
}

/// Runs the program that another one executes in its place: `script` says which, and how. Returns, with an
/// exit status, only if it could not be started.
pub(crate) fn again(script: &Path, arguments: Vec<OsString>) -> u8 {
    let run = match again::read(script, arguments) {
        Ok(run) => run,
        Err(error) => {
            eprintln!("banyan: {} is no script of a run: {error}", script.display());
            return 125;
        }
    };
    let error = launch::run(&run);
    eprintln!("banyan: {error}");
    error.status()
}
