//! `create`, `import`, `export`, `move`, `gc`, `compact`: what makes an arena, copies it, and gives its room
//! back.

use super::CreateArguments;
use super::ReadArguments;
use super::place::PlaceArguments;
use super::progress::Progress;
use super::text::{print_json, size_text};
use anyhow::Context;
use banyan_arena::inspect::{self, Export};
use banyan_arena::noun::Collection;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) fn create(arguments: &CreateArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let options = arguments.place.options();
    inspect::create(path, options).with_context(|| format!("cannot make {}", path.display()))?;
    eprintln!("Made {}, an empty arena at {:#x}.", path.display(), options.base);
    eprintln!("Look at it:  banyan arena info {}", path.display());
    Ok(0)
}

pub(super) fn export_noun(path: &Path, root: &str, output: &Path) -> anyhow::Result<u8> {
    let done = inspect::export_noun(path, root, output);
    let done = done.with_context(|| format!("cannot export {}", path.display()))?;
    eprintln!("Wrote the noun of root {root:?} to {}, {}.", output.display(), size_text(done.bytes));
    eprintln!("Put it into an arena:  banyan arena import --cue {root} {} NEW", output.display());
    Ok(0)
}

pub(super) fn export(path: &Path, what: Export<'_>, output: &Path) -> anyhow::Result<u8> {
    let mut progress = Progress::new("exporting", "pages");
    let done = inspect::export(path, what, output, &mut |done, total| progress.show(done, total));
    progress.end();
    let done = done.with_context(|| format!("cannot export {}", path.display()))?;
    let (commit, file) = (done.position.transaction, output.display());
    let since = what.since.map_or(String::new(), |since| format!("what changed since {since} up to "));
    eprintln!("Wrote {since}commit {commit} to {file}: {} pages, {}.", done.pages, size_text(done.bytes));
    match what.since {
        None => eprintln!("Make an arena of it:  banyan arena import {file} NEW"),
        Some(_) => {
            eprintln!("Make an arena, of all exports in order:  banyan arena import WHOLE ... {file} NEW");
        }
    }
    eprintln!("Later, only what changed:  banyan arena export --since {commit} {} NEXT", path.display());
    Ok(0)
}

pub(super) fn import(
    inputs: &[PathBuf],
    path: &Path,
    cue: Option<&str>,
    place: PlaceArguments,
) -> anyhow::Result<u8> {
    let names: Vec<String> = inputs.iter().map(|input| input.display().to_string()).collect();
    let context = || format!("cannot import {} as {}", names.join(" "), path.display());
    if let Some(root) = cue {
        let [input] = inputs else { anyhow::bail!("a jam is one file; give one with --cue") };
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
    let mut progress = Progress::new("importing", "bytes");
    let done = inspect::import(inputs, path, &mut |done, total| progress.show(done, total));
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

pub(super) fn relocate(path: &Path, new: &Path, place: PlaceArguments) -> anyhow::Result<u8> {
    let options = place.options();
    let done = inspect::relocate(path, new, options);
    let done = done.with_context(|| format!("cannot move {} to {}", path.display(), new.display()))?;
    eprintln!(
        "Made {} at {:#x}, at most {}, with {} roots of {}.",
        new.display(),
        options.base,
        size_text(options.reservation),
        done.position.roots.len(),
        path.display()
    );
    eprintln!("Check it:  banyan arena verify {}", new.display());
    Ok(0)
}

pub(super) fn gc(arguments: &ReadArguments) -> anyhow::Result<u8> {
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

pub(super) fn compact(arguments: &ReadArguments) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let mut progress = Progress::new("moving", "pages");
    let done = inspect::compact(path, &mut |done, total| progress.show(done, total));
    progress.end();
    let done = done.with_context(|| format!("cannot compact {}", path.display()))?;
    if arguments.json {
        print_json(&json!({
            "before_bytes": done.before,
            "after_bytes": done.after,
            "moved_pages": done.moved,
        }));
    } else {
        eprintln!(
            "{} has {}, {} before; {} pages were moved.",
            path.display(),
            size_text(done.after),
            size_text(done.before),
            done.moved
        );
        eprintln!("Check it:  banyan arena verify {}", path.display());
    }
    Ok(0)
}
