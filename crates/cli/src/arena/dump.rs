//! `dump`: what a name holds. Texts are escaped: they come from a file that may be anyone's.

use super::ReadArguments;
use super::text::print_json;
use crate::terminal::print;
use anyhow::Context;
use banyan_arena::inspect::{self, DumpLimits, Item};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) fn dump(
    arguments: &ReadArguments,
    name: &str,
    snapshot: Option<&str>,
    limit: u64,
) -> anyhow::Result<u8> {
    let path = &arguments.path;
    let limits = DumpLimits { entries: limit, ..DumpLimits::default() };
    let found = inspect::dump(path, snapshot, name, limits);
    let found = found.with_context(|| format!("cannot print {name:?} of {}", path.display()))?;
    if arguments.json {
        let entries: Vec<Value> = found
            .entries
            .iter()
            .map(|(key, value)| match key {
                Some(key) => json!([as_json(key), as_json(value)]),
                None => as_json(value),
            })
            .collect();
        print_json(&json!({
            "name": name,
            "kind": found.kind,
            "length": found.length,
            "entries": entries,
            "whole": found.is_whole,
        }));
        return Ok(0);
    }
    let mut text = String::new();
    for (key, value) in &found.entries {
        if let Some(key) = key {
            write_item(&mut text, key);
            text.push_str(": ");
        }
        match value {
            // A noun is written as such, and has no letter that is not printed.
            Item::Text(noun) if found.kind == "noun" => text.push_str(noun),
            value => write_item(&mut text, value),
        }
        text.push('\n');
    }
    print(&text);
    eprintln!("{name:?}: {}, {} in all.", found.kind, found.length);
    if !found.is_whole {
        eprintln!("Not all of it is shown; see more with  --limit {}", limit.saturating_mul(10));
    }
    Ok(0)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn write_item(text: &mut String, item: &Item) {
    match item {
        Item::Number(number) => text.push_str(number),
        Item::Text(held) => {
            let _written = write!(text, "{held:?}");
        }
        Item::Bytes(bytes) => text.push_str(&hexadecimal(bytes)),
        Item::Entries(entries) => {
            text.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_item(text, key);
                text.push_str(": ");
                write_item(text, value);
            }
            text.push('}');
        }
    }
}

/// Numbers as such where JSON has them, else as texts; bytes as `{"hex": "0x..."}`.
fn as_json(item: &Item) -> Value {
    match item {
        Item::Number(number) => match serde_json::from_str(number) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => json!(number),
        },
        Item::Text(text) => json!(text),
        Item::Bytes(bytes) => json!({ "hex": hexadecimal(bytes) }),
        Item::Entries(entries) => {
            json!(
                entries.iter().map(|(key, value)| json!([as_json(key), as_json(value)])).collect::<Vec<_>>()
            )
        }
    }
}
