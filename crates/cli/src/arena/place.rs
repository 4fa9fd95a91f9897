//! Where a new arena's heap lies, as it is typed.

use banyan_arena::ArenaOptions;
use clap::Args;

/// Where the heap of a new arena lies.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Address of the heap of a new arena, such as 0x180000000000; arenas that one process opens together
    /// need different ones
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(super) base: Option<u64>,
    /// Largest size of the heap of a new arena, such as 64GiB; takes room only as it is used
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) size: Option<u64>,
}

impl PlaceArguments {
    pub(super) fn options(self) -> ArenaOptions {
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
    }
}
