//! Last words: a line on standard error when the stub itself cannot go on.

use crate::kernel;

/// Exit status for failures that are Banyan's and not the program's.
pub const STATUS_OURS: u64 = 125;

/// Writes the parts and a newline to standard error with one call, cut at 256 bytes.
pub fn line(parts: &[&str]) {
    let mut text = [0_u8; 256];
    let mut length = 0;
    for byte in parts.iter().flat_map(|part| part.bytes()).take(255) {
        text[length] = byte;
        length += 1;
    }
    text[length] = b'\n';
    kernel::write_error(&text[..=length]);
}

/// Says what happened and ends the process with [`STATUS_OURS`].
pub fn fail(parts: &[&str]) -> ! {
    line(parts);
    kernel::exit_group(STATUS_OURS)
}

/// Decimal digits of a number, for [`macro@line`].
pub struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of `value`.
    #[must_use]
    pub fn new(mut value: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = 20;
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { digits, start };
            }
        }
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.digits[self.start..]).unwrap_or("?")
    }
}
