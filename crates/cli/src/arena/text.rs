//! What all commands about arenas print alike.

use crate::terminal::print;
pub(super) use crate::terminal::size_text;
use serde_json::Value;

/// Bytes in a page.
pub(super) const PAGE: u64 = 4096;

pub(super) fn print_json(value: &Value) {
    print(&format!("{value}\n"));
}
