//! `banyan status` and `banyan node list`: the cluster as the node of this machine sees it.

use super::{NodeChoice, print_json};
use crate::terminal;
use banyan_node::admin::{MemberStatus, Status};
use clap::Args;
use std::fmt::Write;

/// Arguments of `banyan status` and `banyan node list`.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// One JSON object; of `node list`, one for each member
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Says what the cluster is and who is there. Status 1 if a member does not answer.
pub(crate) fn status(arguments: &StatusArguments) -> anyhow::Result<u8> {
    let status = arguments.node.status()?;
    if arguments.json {
        print_json(&status)?;
    } else {
        let there: Vec<&MemberStatus> =
            status.members.iter().filter(|one| one.answered_us.is_some()).collect();
        let processors: u32 = there.iter().map(|one| one.member.machine.processors).sum();
        let memory: u64 = there.iter().map(|one| one.member.machine.memory_bytes).sum();
        let head = format!(
            "cluster {}: {} of {} here, {}, {:.1} GiB, {} on this node\n\n",
            status.cluster,
            there.len(),
            terminal::count(status.members.len() as u64, "member"),
            terminal::count(u64::from(processors), "processor"),
            memory as f64 / f64::from(1 << 30),
            terminal::count(status.jobs as u64, "job"),
        );
        terminal::print(&(head + &table(&status)));
        if status.leader.is_none() {
            terminal::print(
                "\nNo member leads: programs run, and nothing about the cluster can be changed.\n",
            );
        }
        if let Some(trouble) = &status.trouble {
            terminal::print(&format!("\nThis node takes no part in what the cluster decides: {trouble}\n"));
        }
        if let Some(page) = &status.page {
            terminal::print(&format!("\npage  {page}\n"));
        }
    }
    Ok(u8::from(status.members.iter().any(|one| one.answered_us.is_none())))
}

/// Lists the members.
pub(crate) fn list(arguments: &StatusArguments) -> anyhow::Result<u8> {
    let status = arguments.node.status()?;
    if arguments.json {
        for member in &status.members {
            print_json(member)?;
        }
    } else {
        terminal::print(&table(&status));
    }
    Ok(0)
}

fn table(status: &Status) -> String {
    let width = status.members.iter().map(|one| one.member.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:width$}  {:16}  {:8}  {:21}  {:>4}  {:>8}  {}\n",
        "NAME", "ID", "SEAT", "ADDRESS", "CPUS", "MEMORY", "STATE"
    );
    for MemberStatus { member, seat, answered_us, trouble } in &status.members {
        let seat = seat.word();
        let state = match answered_us {
            Some(_) if member.id == status.own => "this one".to_owned(),
            Some(microseconds) => format!("answers in {:.1} ms", *microseconds as f64 / 1000.0),
            None => trouble.clone().unwrap_or_default(),
        };
        let memory = format!("{:.1} GiB", member.machine.memory_bytes as f64 / f64::from(1 << 30));
        let _ = writeln!(
            text,
            "{:width$}  {:16}  {seat:8}  {:21}  {:>4}  {memory:>8}  {state}",
            member.name,
            member.id.to_string(),
            member.address.to_string(),
            member.machine.processors,
        );
    }
    text
}
