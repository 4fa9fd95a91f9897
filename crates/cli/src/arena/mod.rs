//! `banyan arena`: looks at arenas, checks them and copies them. The work is done by `banyan_arena::inspect`;
//! here it is parsed and printed.

mod progress;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use banyan_arena::ArenaOptions;
use banyan_arena::inspect;
use banyan_arena::noun::Collection;
use banyan_arena::store::{FORMAT_VERSION, Position};
use clap::{Args, Subcommand};
use progress::Progress;

use crate::terminal::print;
use serde_json::{Value, json};
use uuid::Uuid;

/// Bytes in a page.
const PAGE: u64 = 4096;

/// Commands about arenas, files that hold a persistent heap
#[derive(Debug, Subcommand)]
pub(crate) enum ArenaCommand {
    /// Make an empty arena
    Create(CreateArguments),
    /// Say what an arena is and holds
    Info(ReadArguments),
    /// Read every page of an arena and check it; names the first bad bytes
    #[command(
        after_help = "Exit status: 0 if all is well, 1 if bytes are damaged, 125 if it could not be checked."
    )]
    Verify(ReadArguments),
    /// List the snapshots that an arena retains, oldest first
    Snapshots(ReadArguments),
    /// List the pages that differ between two snapshots
    Diff {
        #[command(flatten)]
        arena: ReadArguments,
        /// The older snapshot
        #[arg(value_name = "OLD")]
        old: String,
        /// The newer one
        #[arg(value_name = "NEW")]
        new: String,
    },
    /// Copy the last commit of an arena, or a snapshot, into a file
    Export {
        /// The arena
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The file to make
        #[arg(value_name = "FILE")]
        output: PathBuf,
        /// Copy this snapshot
        #[arg(long, value_name = "NAME", conflicts_with = "jam")]
        snapshot: Option<String>,
        /// Write the noun of this root, jammed, and nothing else: it can go into an arena at another address
        #[arg(long, value_name = "ROOT")]
        jam: Option<String>,
    },
    /// Make an arena of what `export` wrote
    Import {
        /// The file that `export` wrote
        #[arg(value_name = "FILE")]
        input: PathBuf,
        /// The arena to make
        #[arg(value_name = "ARENA")]
        path: PathBuf,
        /// The file is a jammed noun: put it under this root of a new arena, or of one that is there
        #[arg(long, value_name = "ROOT")]
        cue: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Free the nouns that no root leads to
    Gc(ReadArguments),
}

/// An arena, and how to print what is found.
#[derive(Debug, Args)]
pub(crate) struct ReadArguments {
    /// The arena
    #[arg(value_name = "ARENA")]
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// The file to make
    #[arg(value_name = "ARENA")]
    path: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Where the heap of a new arena lies.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Address of the heap of a new arena, such as 0x180000000000; arenas that one process opens together
    /// need different ones
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    base: Option<u64>,
    /// Largest size of the heap of a new arena, such as 64GiB; takes room only as it is used
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
}

impl PlaceArguments {
    fn options(self) -> ArenaOptions {
        let usual = ArenaOptions::default();
        ArenaOptions {
            base: self.base.unwrap_or(usual.base),
            reservation: self.size.unwrap_or(usual.reservation),
            ..usual
        }
    }
}

fn parse_address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or("an address is hexadecimal and begins with 0x")?;
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}

fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err("a size is a number and KiB, MiB, GiB or TiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a size begins with a number".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is larger than any heap".to_owned())
}

/// Carries out a command. Returns the exit status.
pub(crate) fn arena(command: &ArenaCommand) -> anyhow::Result<u8> {
    match command {
        ArenaCommand::Create(arguments) => create(arguments),
        ArenaCommand::Info(arguments) => info(arguments),
        ArenaCommand::Verify(arguments) => verify(arguments),
        ArenaCommand::Snapshots(arguments) => snapshots(arguments),
        ArenaCommand::Diff { old, new, arena } => diff(arena, old, new),
        ArenaCommand::Export { path, output, snapshot, jam } => {
            export(path, output, snapshot.as_deref(), jam.as_deref())
        }
        ArenaCommand::Import { input, path, cue, place } => import(input, path, cue.as_deref(), *place),
        ArenaCommand::Gc(arguments) => gc(arguments),
    }
}

fn print_json(value: &Value) {
    print(&format!("{value}\n"));
}

fn create(arguments: &CreateArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let options = arguments.place.options();
    inspect::create(path, options).with_context(|| format!("cannot make {}", path.display()))?;
    eprintln!("Made {}, an empty arena at {:#x}.", path.display(), options.base);
    eprintln!("Look at it:  banyan arena info {}", path.display());
    Ok(0)
}

fn position_json(position: &Position) -> Value {
    json!({
        "commit": position.transaction,
        "epoch": position.epoch,
        "event": position.event,
        "roots": position.roots,
    })
}

fn info(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let info = inspect::info(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (blocks, free) = info.blocks;
    if arguments.json {
        let snapshots: Vec<&str> = info.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        print_json(&json!({
            "format": FORMAT_VERSION,
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
    row("format", FORMAT_VERSION.to_string());
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

/// A number of bytes, for people.
fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            let whole = bytes as f64 / (1_u64 << shift) as f64;
            return if whole.fract() == 0.0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole:.1} {unit}")
            };
        }
    }
    format!("{bytes} B")
}

fn verify(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let mut progress = Progress::new("checking", "pages");
    let checked = inspect::verify(path, &mut |done, total| progress.show(done, total));
    progress.end();
    // Damage that keeps the arena from being opened is a finding as well.
    let report = match checked {
        Ok(report) => report,
        Err(error) => match inspect::damage_of(&error) {
            Some(damage) => {
                let damage = vec![damage.clone()];
                banyan_arena::store::VerifyReport { damage, ..Default::default() }
            }
            None => return Err(error).with_context(|| format!("cannot check {}", path.display())),
        },
    };
    let is_sound = report.damage.is_empty();
    if arguments.json {
        let damage: Vec<Value> = report
            .damage
            .iter()
            .map(|damage| json!({ "offset": damage.offset, "length": damage.length, "what": damage.what }))
            .collect();
        print_json(&json!({
            "ok": is_sound,
            "pages": report.pages,
            "nodes": report.nodes,
            "damage": damage,
        }));
        return Ok(u8::from(!is_sound));
    }
    let mut text = String::new();
    for damage in &report.damage {
        let _ = writeln!(text, "{}: {damage}", path.display());
    }
    print(&text);
    if is_sound {
        eprintln!(
            "{}: all is intact. Pages: {}; nodes of the directory: {}.",
            path.display(),
            report.pages,
            report.nodes
        );
    } else {
        eprintln!(
            "Damaged ranges: {}; pages read: {}. Restore a copy, or save what can still be read:  banyan arena export {} FILE",
            report.damage.len(),
            report.pages,
            path.display()
        );
    }
    Ok(u8::from(!is_sound))
}

fn snapshots(arguments: &ReadArguments) -> anyhow::Result<u8> {
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

fn diff(arguments: &ReadArguments, old: &str, new: &str) -> anyhow::Result<u8> {
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

fn export(path: &Path, output: &Path, snapshot: Option<&str>, jam: Option<&str>) -> anyhow::Result<u8> {
    let context = || format!("cannot export {}", path.display());
    if let Some(root) = jam {
        let done = inspect::export_noun(path, root, output).with_context(context)?;
        eprintln!("Wrote the noun of root {root:?} to {}, {}.", output.display(), size_text(done.bytes));
        eprintln!("Put it into an arena:  banyan arena import --cue {root} {} NEW", output.display());
        return Ok(0);
    }
    let mut progress = Progress::new("exporting", "pages");
    let done = inspect::export(path, snapshot, output, &mut |done, total| progress.show(done, total));
    progress.end();
    let done = done.with_context(context)?;
    let commit = done.position.transaction;
    eprintln!(
        "Wrote commit {commit} to {}: {} pages, {}.",
        output.display(),
        done.pages,
        size_text(done.bytes)
    );
    eprintln!("Make an arena of it:  banyan arena import {} NEW", output.display());
    Ok(0)
}

fn import(input: &Path, path: &Path, cue: Option<&str>, place: PlaceArguments) -> anyhow::Result<u8> {
    let context = || format!("cannot import {} as {}", input.display(), path.display());
    if let Some(root) = cue {
        let done = inspect::import_noun(input, path, root, place.options()).with_context(context)?;
        eprintln!("Root {root:?} of {} holds the noun, {} jammed.", path.display(), size_text(done.bytes));
        eprintln!("Look at it:  banyan arena info {}", path.display());
        return Ok(0);
    }
    anyhow::ensure!(
        place.base.is_none() && place.size.is_none(),
        "an exported arena keeps its address and size, since its heap holds addresses; leave --base and --size out, or \
         export single nouns with --jam"
    );
    let mut progress = Progress::new("importing", "pages");
    let done = inspect::import(input, path, &mut |done, total| progress.show(done, total));
    progress.end();
    let done = done.with_context(context)?;
    eprintln!(
        "Made {} of {} pages, at epoch {}, event {}.",
        path.display(),
        done.pages,
        done.position.epoch,
        done.position.event
    );
    eprintln!("Look at it:  banyan arena info {}", path.display());
    Ok(0)
}

fn gc(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let mut progress = Progress::new("collecting", "granules");
    let done = inspect::collect(path, &mut |step| match step {
        Collection::Sweeping(done, total) => progress.show(u64::from(done), u64::from(total)),
        Collection::Marking(found) => progress.note(&format!("{found} nouns found")),
        Collection::Idle | Collection::Done(_) => {}
    });
    progress.end();
    let done = done.with_context(|| format!("cannot collect {}", path.display()))?;
    let report = done.report;
    if arguments.json {
        print_json(&json!({
            "reached": report.reached,
            "freed_bytes": report.freed_bytes,
            "live_bytes": report.live_bytes,
            "steps": done.steps,
        }));
    } else {
        eprintln!(
            "{}: {} nouns live in {}; {} freed.",
            path.display(),
            report.reached,
            size_text(report.live_bytes),
            size_text(report.freed_bytes)
        );
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_addresses() {
        assert_eq!(parse_size("64GiB"), Ok(64 << 30));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "GiB", "1GB", "-1", "99999999999TiB", "18446744073709551616"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_address("0x100000000000"), Ok(0x1000_0000_0000));
        for wrong in ["", "0x", "4096", "0xg"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size_text(0), "0 B");
        assert_eq!(size_text(1 << 40), "1 TiB");
        assert_eq!(size_text(6 << 19), "3 MiB");
        assert_eq!(size_text(5 << 19), "2.5 MiB");
    }
}
