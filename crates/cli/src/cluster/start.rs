//! `banyan up` and `banyan join`: this machine becomes a node of a cluster.

use super::{NodeChoice, print_json};
use crate::terminal;
use anyhow::{Context, bail};
use banyan_node::admin::{AdminAnswer, ClusterRequest, NewToken, Status};
use banyan_node::joining::{self, Newcomer};
use banyan_node::state::socket_of;
use clap::Args;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const UP_AFTER_HELP: &str = "\
The address must be one that the other machines reach.

Examples:
  banyan up
  banyan up --listen 10.0.0.1:7640 --name head
  banyan up --page";

const JOIN_AFTER_HELP: &str = "\
Examples:
  banyan join 10.0.0.1:7640 by1.…
  banyan join 10.0.0.1:7640 --token-file token --name worker-3";

/// A node that does not answer within this time after it was started hangs.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long the token is good that `up` prints.
const TOKEN_SECONDS: u64 = 3600;
/// Where a node listens if nothing is said.
const USUAL_LISTEN: &str = "0.0.0.0:7640";
/// Where its page is if nothing is said but that there shall be one.
const USUAL_PAGE: &str = "127.0.0.1:7641";

/// What this machine is to be in a cluster.
#[derive(Debug, Args)]
struct MachineArguments {
    /// Where to listen for other machines, when this one begins or joins a cluster; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = USUAL_LISTEN)]
    listen: SocketAddr,
    /// What this machine is called in the cluster, when it begins or joins one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serve a page for browsers at this address. Without an address, on this machine only; at an address
    /// that other machines reach, a token in the page's address lets them in
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = USUAL_PAGE)]
    page: Option<SocketAddr>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan up`.
#[derive(Debug, Args)]
#[command(after_help = UP_AFTER_HELP)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    machine: MachineArguments,
}

/// Arguments of `banyan join`.
#[derive(Debug, Args)]
#[command(after_help = JOIN_AFTER_HELP)]
pub(crate) struct JoinArguments {
    /// Where a machine of the cluster listens
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// The token that `banyan up` or `banyan token new` has printed; BANYAN_TOKEN says it too
    #[arg(value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// File that holds the token, so that no list of processes shows it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

/// What `up` and `join` have made, for scripts.
#[derive(serde::Serialize)]
struct Started<'a> {
    name: &'a str,
    address: SocketAddr,
    cluster: String,
    /// What another machine joins with; without a member that leads there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// What to type into a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
}

/// Starts this machine's node, and a cluster if there is none.
pub(crate) fn up(arguments: &UpArguments) -> anyhow::Result<u8> {
    let arguments = &arguments.machine;
    let directory = arguments.node.directory();
    if let Ok(status) = arguments.node.status() {
        eprintln!("The node is up already.");
        if arguments.page.is_some() && status.page.is_none() {
            eprintln!("It serves no page. To have it serve one:\n  banyan down\n  banyan up --page");
        }
        return say_started(arguments, &status);
    }
    let page = listen_for_page(arguments)?;
    let listener = if joining::is_member(&directory)? {
        listen(joining::listen_address(&directory)?)?
    } else {
        let listener = listen(arguments.listen)?;
        let newcomer = Newcomer {
            state: &directory,
            listen: listener.local_addr()?,
            name: arguments.name.as_deref().unwrap_or_default(),
        };
        joining::create(&newcomer)?;
        listener
    };
    let status = start_node(arguments, &directory, &listener, page.as_ref())?;
    say_started(arguments, &status)
}

fn say_started(arguments: &MachineArguments, status: &Status) -> anyhow::Result<u8> {
    let own = status.members.iter().find(|one| one.member.id == status.own);
    let own = &own.context("the node is not a member of its cluster any more; see `banyan leave`")?.member;
    let request =
        ClusterRequest::NewToken { seconds: TOKEN_SECONDS, uses: banyan_node::admin::Uses::Unlimited };
    // The others of the cluster may be down still, and a token can wait.
    let token = match status.leader.map(|_| arguments.node.ask(&request)) {
        Some(Ok(AdminAnswer::Token(token))) => Some(token),
        _ => None,
    };
    if arguments.json {
        let token = token.as_ref().map(|token| token.token.as_str());
        let cluster = status.cluster.to_string();
        print_json(&Started {
            name: &own.name,
            address: own.address,
            cluster,
            token,
            page: status.page.as_deref(),
        })?;
        return Ok(0);
    }
    eprintln!("{} is up, a node of cluster {}, and listens on {}.", own.name, status.cluster, own.address);
    say_page(status);
    if let Some(NewToken { token, address, .. }) = token {
        eprintln!("Within the hour, on each machine that is to join:");
        terminal::print(&format!("banyan join {address} {token}\n"));
    }
    Ok(0)
}

fn say_page(status: &Status) {
    if let Some(page) = &status.page {
        eprintln!("Its page is at {page}");
    }
}

/// Makes this machine a member of a cluster, and starts its node.
pub(crate) fn join(arguments: &JoinArguments) -> anyhow::Result<u8> {
    let directory = arguments.machine.node.directory();
    let token = token(arguments)?;
    let address = arguments
        .address
        .to_socket_addrs()
        .with_context(|| format!("{}: no such address; say HOST:PORT", arguments.address))?
        .next()
        .with_context(|| format!("{}: a name without an address", arguments.address))?;
    let page = listen_for_page(&arguments.machine)?;
    let listener = listen(arguments.machine.listen)?;
    let newcomer = Newcomer {
        state: &directory,
        listen: listener.local_addr()?,
        name: arguments.machine.name.as_deref().unwrap_or_default(),
    };
    let member = joining::join(&newcomer, address, &token)?;
    let status = start_node(&arguments.machine, &directory, &listener, page.as_ref())?;
    if arguments.machine.json {
        let cluster = status.cluster.to_string();
        print_json(&Started {
            name: &member.name,
            address: member.address,
            cluster,
            token: None,
            page: status.page.as_deref(),
        })?;
    } else {
        eprintln!(
            "{} is a node of cluster {}, which has {} now. To run a program on all of them:",
            member.name,
            status.cluster,
            terminal::count(status.members.len() as u64, "member")
        );
        eprintln!("  banyan run -n all -- PROGRAM ARGUMENTS...");
        say_page(&status);
    }
    Ok(0)
}

fn token(arguments: &JoinArguments) -> anyhow::Result<String> {
    if let Some(token) = &arguments.token {
        return Ok(token.clone());
    }
    if let Some(file) = &arguments.token_file {
        return std::fs::read_to_string(file).with_context(|| file.display().to_string());
    }
    std::env::var("BANYAN_TOKEN")
        .context("a token is missing: say it after the address, with --token-file, or in BANYAN_TOKEN")
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("listening on {address}; choose another address with --listen"))
}

fn listen_for_page(arguments: &MachineArguments) -> anyhow::Result<Option<TcpListener>> {
    let listen = |address| {
        let failed = || format!("a page at {address}; choose another address with --page=ADDRESS");
        TcpListener::bind(address).with_context(failed)
    };
    arguments.page.map(listen).transpose()
}

/// Starts the node of a state, which inherits its listening sockets, and waits until it answers.
fn start_node(
    arguments: &MachineArguments,
    directory: &Path,
    listener: &TcpListener,
    page: Option<&TcpListener>,
) -> anyhow::Result<Status> {
    let log = directory.join("log");
    let output = File::options().create(true).append(true).open(&log);
    let output = output.with_context(|| log.display().to_string())?;
    let inherited = || [listener].into_iter().chain(page);
    for socket in inherited() {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
    }
    let child = Command::new("/proc/self/exe")
        .arg0("banyan")
        .args(["node", "run", "--state"])
        .arg(directory)
        .args(["--listener", &listener.as_raw_fd().to_string()])
        .args(page.iter().map(|page| format!("--page-listener={}", page.as_raw_fd())))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn();
    for socket in inherited() {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    }
    let mut child = child.context("starting the node")?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the node ended at once, {status}: {}", last_line(&log));
        }
        if socket_of(directory).exists()
            && let Ok(status) = arguments.node.status()
        {
            return Ok(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            bail!("the node does not answer; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn last_line(log: &Path) -> String {
    let text: io::Result<String> = std::fs::read_to_string(log);
    text.ok().and_then(|text| text.lines().last().map(str::to_owned)).unwrap_or_default()
}
