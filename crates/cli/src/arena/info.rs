//! `info`, `snapshots`, `diff`: what an arena holds; it may be in use.

use super::ReadArguments;
use super::text::{PAGE, print_json, size_text};
use crate::terminal::print;
use anyhow::Context;
use banyan_arena::inspect;
use banyan_arena::store::Position;
use serde_json::{Value, json};
use std::fmt::Write as _;
use uuid::Uuid;

fn position_json(position: &Position) -> Value {
    json!({
        "commit": position.transaction,
        "epoch": position.epoch,
        "event": position.event,
        "roots": position.roots,
    })
}

pub(super) fn info(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let info = inspect::info(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (blocks, free) = info.blocks;
    if arguments.json {
        let snapshots: Vec<&str> = info.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        print_json(&json!({
            "format": info.format_version,
            "uuid": Uuid::from_bytes(info.identity.uuid).to_string(),
            "base": info.identity.base,
            "reservation_bytes": info.identity.reservation,
            "position": position_json(&info.position),
            "page_bytes": info.pages * PAGE,
            "file_bytes": blocks * PAGE,
            "free_bytes": free * PAGE,
            "snapshots": snapshots,
            "log_records": info.recovery.records,
        }));
        return Ok(0);
    }
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    row("format", info.format_version.to_string());
    row("uuid", Uuid::from_bytes(info.identity.uuid).to_string());
    row("heap", format!("{:#x}, at most {}", info.identity.base, size_text(info.identity.reservation)));
    row("commit", format!("{}", info.position.transaction));
    row("epoch", format!("{}", info.position.epoch));
    row("event", format!("{}", info.position.event));
    row("pages", format!("{}, {}", info.pages, size_text(info.pages * PAGE)));
    row("file", format!("{}, {} of it free", size_text(blocks * PAGE), size_text(free * PAGE)));
    row("snapshots", info.snapshots.len().to_string());
    row("log", format!("{} commits to replay at the next open", info.recovery.records));
    for (name, value) in &info.position.roots {
        row("root", format!("{name:?} = {value:#x}"));
    }
    print(&text);
    Ok(0)
}

pub(super) fn snapshots(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let list = inspect::snapshots(path).with_context(|| format!("cannot read {}", path.display()))?;
    if arguments.json {
        let list: Vec<Value> = list
            .iter()
            .map(|snapshot| json!({ "name": snapshot.name, "position": position_json(&snapshot.position) }))
            .collect();
        print_json(&Value::Array(list));
        return Ok(0);
    }
    if list.is_empty() {
        eprintln!("{} retains no snapshot; a program makes one with Arena::snapshot.", path.display());
        return Ok(0);
    }
    let mut text = format!("{:>10} {:>10} {:>10}  NAME\n", "COMMIT", "EPOCH", "EVENT");
    for snapshot in &list {
        let Position { transaction, epoch, event, .. } = snapshot.position;
        let _ = writeln!(text, "{transaction:>10} {epoch:>10} {event:>10}  {}", snapshot.name);
    }
    print(&text);
    Ok(0)
}

pub(super) fn diff(arguments: &ReadArguments, old: &str, new: &str) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let pages =
        inspect::diff(path, old, new).with_context(|| format!("cannot compare in {}", path.display()))?;
    let base = inspect::info(path)?.identity.base;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for page in &pages {
        let page = u64::from(*page);
        match runs.last_mut() {
            Some((first, count)) if *first + *count == page => *count += 1,
            _ => runs.push((page, 1)),
        }
    }
    if arguments.json {
        let runs: Vec<Value> = runs
            .iter()
            .map(|(first, count)| json!({ "address": base + first * PAGE, "bytes": count * PAGE }))
            .collect();
        print_json(&json!({ "old": old, "new": new, "pages": pages.len(), "ranges": runs }));
        return Ok(0);
    }
    let mut text = String::new();
    for (first, count) in &runs {
        let _ = writeln!(text, "{:#x} {}", base + first * PAGE, count * PAGE);
    }
    print(&text);
    eprintln!("{} pages in {} ranges differ: address and bytes of each.", pages.len(), runs.len());
    Ok(0)
}
