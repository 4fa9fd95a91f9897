//! `verify`: whether every byte of an arena is what was committed.

use super::ReadArguments;
use super::progress::Progress;
use super::text::print_json;
use crate::terminal::print;
use anyhow::Context;
use banyan_arena::inspect;
use banyan_arena::store::Damage;
use serde_json::{Value, json};
use std::fmt::Write as _;

fn json_of(damage: &Damage) -> Value {
    json!({ "offset": damage.offset, "length": damage.length, "what": damage.what })
}

pub(super) fn verify(arguments: &ReadArguments) -> anyhow::Result<u8> {
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
        let damage: Vec<Value> = report.damage.iter().map(json_of).collect();
        print_json(&json!({
            "ok": is_sound,
            "pages": report.pages,
            "nodes": report.nodes,
            "damage": damage,
            "unfinished": report.unfinished.as_ref().map(json_of),
        }));
        return Ok(u8::from(!is_sound));
    }
    let mut text = String::new();
    for damage in &report.damage {
        let _ = writeln!(text, "{}: {damage}", path.display());
    }
    print(&text);
    if let Some(Damage { offset, length, .. }) = report.unfinished {
        eprintln!(
            "{}: the last commit is not whole, bytes {offset}..{}, and does not count: its writer ended in the middle of \
             it, or it was damaged since.",
            path.display(),
            offset + length
        );
    }
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
