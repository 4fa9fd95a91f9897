//! What a root holds, as it is at the moment: others may write while it is read.

use crate::terminal::{print, print_json};
use anyhow::{Context, bail};
use banyan_heap::{Heap, Root};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Bytes in a row.
const ROW: usize = 16;

/// A number of a slice.
struct Element {
    bytes: usize,
    value: fn(&[u8]) -> Value,
}

macro_rules! element {
    ($kind:ty) => {
        Element {
            bytes: size_of::<$kind>(),
            value: |bytes| {
                let mut eight = [0; size_of::<$kind>()];
                eight.copy_from_slice(bytes);
                json!(<$kind>::from_ne_bytes(eight))
            },
        }
    };
}

/// How to read the elements of a root, if its type says.
fn element(root: &Root) -> Option<Element> {
    Some(match root.kind.name.as_str() {
        "[]u16" => element!(u16),
        "[]u32" => element!(u32),
        "[]u64" | "[]usize" | "atomic u64" => element!(u64),
        "[]i8" => element!(i8),
        "[]i16" => element!(i16),
        "[]i32" => element!(i32),
        "[]i64" | "[]isize" => element!(i64),
        "[]f32" => element!(f32),
        "[]f64" => element!(f64),
        _ => return None,
    })
}

/// Prints a root.
pub(super) fn dump(heap: &Heap, name: &str, limit: u64, as_json: bool) -> anyhow::Result<()> {
    let root = heap.root(name)?;
    let root = root.with_context(|| format!("no root {name}: `banyan heap show` lists the heap's"))?;
    let element = element(&root);
    let unit = element.as_ref().map_or(ROW, |element| element.bytes);
    let bytes = root.bytes.min(unit.saturating_mul(usize::try_from(limit).unwrap_or(usize::MAX)));
    let mut content = vec![0; bytes];
    if !heap.read(root.offset, &mut content) {
        bail!("the root {name} is not in the heap: something has written over the heap's own part");
    }
    let is_whole = bytes == root.bytes;
    let values = element.map(|element| content.chunks_exact(unit).map(element.value).collect::<Vec<Value>>());
    if as_json {
        let values = values.unwrap_or_else(|| content.iter().map(|byte| json!(byte)).collect());
        return print_json(&[json!({
            "name": root.name,
            "type": root.kind.name,
            "bytes": root.bytes,
            "values": values,
            "whole": is_whole,
        })]);
    }
    let mut text = String::new();
    match values {
        Some(values) => {
            for value in values {
                writeln!(text, "{value}")?;
            }
        }
        None => {
            for (number, row) in content.chunks(ROW).enumerate() {
                let hexadecimal: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
                let letters = row
                    .iter()
                    .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' });
                let letters: String = letters.collect();
                writeln!(text, "{:08x}  {:47}  {letters}", number * ROW, hexadecimal.join(" "))?;
            }
        }
    }
    print(&text);
    if !is_whole {
        eprintln!("{} of {} bytes; --limit shows more.", bytes, root.bytes);
    }
    Ok(())
}
