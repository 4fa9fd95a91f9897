//! Sizes and JSON, as all commands about arenas print them.

use crate::terminal::print;
use serde_json::Value;

/// Bytes in a page.
pub(super) const PAGE: u64 = 4096;

pub(super) fn print_json(value: &Value) {
    print(&format!("{value}\n"));
}

/// A number of bytes, for people.
pub(super) fn size_text(bytes: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size_text(0), "0 B");
        assert_eq!(size_text(1 << 40), "1 TiB");
        assert_eq!(size_text(6 << 19), "3 MiB");
        assert_eq!(size_text(5 << 19), "2.5 MiB");
    }
}
