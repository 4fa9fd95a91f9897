//! Tables and JSON about heaps.

use super::PlaceArguments;
use crate::terminal::{count, print, print_json, size_text};
use banyan_heap::{Heap, HeapInfo, Lease};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Prints all heaps; one that cannot be opened is named on standard error.
pub(super) fn list(place: &PlaceArguments, as_json: bool) -> anyhow::Result<()> {
    let names = Heap::list(place.directory.as_deref())?;
    let mut text = format!(
        "{:24} {:>10} {:>10} {:>9} {:11} {:8} {}\n",
        "HEAP", "USED", "SIZE", "PROCESSES", "MODEL", "LEASE", "ADDRESS"
    );
    let mut found = Vec::new();
    for name in names {
        match place.open(&name).and_then(|heap| Ok(heap.info()?)) {
            Ok(info) => found.push(info),
            Err(error) => eprintln!("banyan: {error}"),
        }
    }
    if as_json {
        return print_json(&found.iter().map(summary).collect::<Vec<Value>>());
    }
    if found.is_empty() {
        eprintln!("There are no heaps. A program makes one by `Heap::open` or `bn_open`.");
        return Ok(());
    }
    for info in &found {
        writeln!(
            text,
            "{:24} {:>10} {:>10} {:>9} {:11} {:8} {:#x}",
            info.name,
            size_text(info.used),
            size_text(info.size),
            others(info),
            info.model.word(),
            lease_text(info.lease),
            info.address
        )?;
    }
    print(&text);
    eprintln!("To see what is in one:\n  banyan heap show {}", found[0].name);
    Ok(())
}

/// This process is attached too, to look.
fn others(info: &HeapInfo) -> usize {
    info.participants.iter().filter(|it| it.process_id != std::process::id()).count()
}

fn lease_text(lease: Lease) -> String {
    match lease {
        Lease::UntilUnlinked => "-".to_owned(),
        Lease::Unused(time) => format!("{time:?}"),
    }
}

fn lease_json(lease: Lease) -> Value {
    match lease {
        Lease::UntilUnlinked => Value::Null,
        Lease::Unused(time) => json!(time.as_secs_f64()),
    }
}

fn summary(info: &HeapInfo) -> Value {
    json!({
        "name": info.name,
        "address": info.address,
        "size_bytes": info.size,
        "used_bytes": info.used,
        "model": info.model.word(),
        "lease_seconds": lease_json(info.lease),
        "processes": others(info),
    })
}

/// Prints one heap: what it is, its names, its processes.
pub(super) fn show(heap: &Heap, as_json: bool) -> anyhow::Result<()> {
    let info = heap.info()?;
    let participants = info.participants.iter().filter(|it| it.process_id != std::process::id());
    if as_json {
        let mut object = summary(&info);
        object["roots"] = info
            .roots
            .iter()
            .map(|it| json!({"name": it.name, "type": it.kind.name, "bytes": it.bytes, "offset": it.offset}))
            .collect();
        object["participants"] = participants
            .map(|it| {
                let seconds = Duration::from_nanos(it.attached_ns).as_secs_f64();
                json!({"process": it.process_id, "program": it.program, "attached_seconds": seconds})
            })
            .collect();
        return print_json(&[object]);
    }
    let mut text = format!(
        "{}: {} of {} used, {}, at {:#x}\n",
        info.name,
        size_text(info.used),
        size_text(info.size),
        info.model.word(),
        info.address
    );
    if let Lease::Unused(time) = info.lease {
        writeln!(text, "It ends when no process has been attached for {time:?}.")?;
    }
    writeln!(text, "\n{:32} {:24} {:>10} {:>14}", "ROOT", "TYPE", "SIZE", "ADDRESS")?;
    for root in &info.roots {
        let address = info.address + root.offset as u64;
        let size = size_text(root.bytes as u64);
        writeln!(text, "{:32} {:24} {size:>10} {address:#14x}", root.name, root.kind.name)?;
    }
    writeln!(text, "\n{:>8} {:16} ATTACHED FOR", "PROCESS", "PROGRAM")?;
    for it in participants {
        let time = Duration::from_secs(it.attached_ns / 1_000_000_000);
        writeln!(text, "{:>8} {:16} {time:?}", it.process_id, it.program)?;
    }
    print(&text);
    if let Some(root) = info.roots.first() {
        eprintln!("To see what a name holds:\n  banyan heap dump {} '{}'", info.name, root.name);
    }
    Ok(())
}

/// Prints what a heap uses, and its waits.
pub(super) fn stat(heap: &Heap, as_json: bool) -> anyhow::Result<()> {
    let info = heap.info()?;
    if as_json {
        let mut object = summary(&info);
        object["roots"] = json!(info.roots.len());
        object["deaths"] = json!(info.deaths);
        object["waits"] = info
            .waits
            .iter()
            .map(|it| {
                json!({
                    "process": it.thread.process_id,
                    "thread": it.thread.thread_id,
                    "lock_address": it.lock,
                    "waited_seconds": Duration::from_nanos(it.waited_ns).as_secs_f64(),
                    "holder": it.holder.map(|it| json!({"process": it.process_id, "thread": it.thread_id})),
                })
            })
            .collect();
        return print_json(&[object]);
    }
    let mut text = format!(
        "{}: {} of {} used by {}, {}\n",
        info.name,
        size_text(info.used),
        size_text(info.size),
        if others(&info) == 1 { "1 process".to_owned() } else { format!("{} processes", others(&info)) },
        count(info.roots.len() as u64, "root"),
    );
    if info.deaths > 0 {
        writeln!(text, "Processes that ended without closing it, as far as others noticed: {}", info.deaths)?;
    }
    if info.waits.is_empty() {
        text.push_str("No thread has waited for a lock for long.\n");
    }
    for it in &info.waits {
        let time = Duration::from_millis(it.waited_ns / 1_000_000);
        let has = it.holder.map_or_else(|| "no one thread has it".to_owned(), |it| format!("{it} has it"));
        writeln!(text, "{} waits for the lock at {:#x} for {time:?}: {has}", it.thread, it.lock)?;
    }
    print(&text);
    Ok(())
}
