//! `banyan name`: names of what runs in the cluster.

use super::{NodeChoice, other_answer, print_json};
use crate::terminal;
use banyan_node::admin::{AdminAnswer, ClusterRequest, NameFacts, NamesFacts};
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::time::Duration;

/// Commands about names.
#[derive(Debug, Subcommand)]
pub(crate) enum NameCommand {
    /// List the names of the cluster
    List(ListArguments),
    /// Register a name for this machine, or renew it
    #[command(after_help = "The name is gone when its time is over, or its machine leaves the cluster.")]
    Register(RegisterArguments),
    /// Take a name away, whichever machine has it
    Remove(RemoveArguments),
    /// Print each change of a name, as it comes
    Watch(WatchArguments),
}

/// Arguments of `banyan name list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only this one
    name: Option<String>,
    /// One JSON object for each name
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan name register`.
#[derive(Debug, Args)]
pub(crate) struct RegisterArguments {
    /// The name: letters, digits, `-`, `_` and `.`
    name: String,
    /// What it stands for, an address for example
    value: String,
    /// How long it stays if it is not registered again: a number with `s`, `m`, `h` or `d`
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = super::token::seconds)]
    lease_seconds: u64,
    /// Stay, and renew it until this command ends
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan name remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The name
    name: String,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan name watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// Only this one
    name: Option<String>,
    #[command(flatten)]
    node: NodeChoice,
}

impl NameCommand {
    /// Carries out the command. Returns the exit status.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self {
            Self::List(arguments) => list(&arguments),
            Self::Register(arguments) => register(&arguments),
            Self::Remove(RemoveArguments { name, node }) => {
                let done = format!("{name} stands for nothing any more.");
                node.order(&ClusterRequest::Unregister(name), &done)
            }
            Self::Watch(arguments) => watch(&arguments),
        }
    }
}

fn register(arguments: &RegisterArguments) -> anyhow::Result<u8> {
    let RegisterArguments { name, value, lease_seconds, keep, node } = arguments;
    let (name, value) = (name.clone(), value.clone());
    let seconds = u32::try_from(*lease_seconds).unwrap_or(u32::MAX);
    let request = ClusterRequest::Register { name: name.clone(), value, lease_seconds: seconds };
    let mut revision = register_once(node, &request)?;
    eprintln!("{name} stands for {}.", arguments.value);
    if !keep {
        return Ok(0);
    }
    loop {
        std::thread::sleep(Duration::from_secs(*lease_seconds) / 3);
        if node.ask(&ClusterRequest::Renew { name: name.clone(), revision }).is_err() {
            // It was taken away, or nobody leads at the moment. Who has it now says so.
            revision = register_once(node, &request)?;
        }
    }
}

fn register_once(node: &NodeChoice, request: &ClusterRequest) -> anyhow::Result<u64> {
    match node.ask(request)? {
        AdminAnswer::Registered { revision } => Ok(revision),
        _ => Err(other_answer()),
    }
}

fn names(node: &NodeChoice, after: Option<u64>) -> anyhow::Result<NamesFacts> {
    match node.ask(&ClusterRequest::Names { after })? {
        AdminAnswer::Names(names) => Ok(names),
        _ => Err(other_answer()),
    }
}

fn only<'a>(names: &'a NamesFacts, name: Option<&String>) -> Vec<&'a NameFacts> {
    names.names.iter().filter(|one| name.is_none_or(|name| one.name == *name)).collect()
}

fn list(arguments: &ListArguments) -> anyhow::Result<u8> {
    let names = names(&arguments.node, None)?;
    if !names.is_current {
        eprintln!("No member leads the cluster; this is what the node knew before.");
    }
    let found = only(&names, arguments.name.as_ref());
    if arguments.json {
        for name in &found {
            print_json(name)?;
        }
    } else {
        let width = |text: fn(&NameFacts) -> &str, least| {
            found.iter().map(|one| text(one).len()).max().unwrap_or(0).max(least)
        };
        let (name, value) = (width(|one| &one.name, 4), width(|one| &one.value, 5));
        let mut text = format!("{:name$}  {:value$}  {:>9}  HOLDER\n", "NAME", "VALUE", "LEASE");
        for one in &found {
            let lease = format!("{} s", one.lease_seconds);
            let _ = writeln!(text, "{:name$}  {:value$}  {lease:>9}  {}", one.name, one.value, one.holder);
        }
        terminal::print(&text);
    }
    Ok(u8::from(arguments.name.is_some() && found.is_empty()))
}

/// Prints one JSON object for each change: a name, or a name without a value that is gone.
fn watch(arguments: &WatchArguments) -> anyhow::Result<u8> {
    let mut before: Vec<NameFacts> = Vec::new();
    let mut after = None;
    loop {
        let names = names(&arguments.node, after)?;
        let found: Vec<NameFacts> = only(&names, arguments.name.as_ref()).into_iter().cloned().collect();
        for gone in before.iter().filter(|one| !found.iter().any(|other| other.name == one.name)) {
            print_json(&serde_json::json!({ "name": gone.name, "value": null }))?;
        }
        for new in found.iter().filter(|one| !before.contains(one)) {
            print_json(new)?;
        }
        (before, after) = (found, Some(names.revision));
    }
}
