//! Last words: a line on standard error when the stub itself cannot go on.

use crate::kernel;

/// Exit status for failures that are Banyan's and not the program's.
pub const STATUS_OURS: u64 = 125;

/// Says what happened, in a line on standard error, and ends the process with [`STATUS_OURS`].
pub fn fail(what: &str) -> ! {
    fail_with(what, &[])
}

/// As [`fail`], with what comes behind the words: a name or a number. The line is cut at 256 bytes.
pub fn fail_with(what: &str, behind: &[&[u8]]) -> ! {
    let mut text = [b'\n'; 256];
    let parts = [b"banyan: ", what.as_bytes()];
    let bytes = parts.iter().chain(behind).copied().flatten();
    let mut length = 1;
    for (to, &byte) in text[..255].iter_mut().zip(bytes) {
        *to = byte;
        length += 1;
    }
    kernel::write_error(&text[..length]);
    kernel::exit_group(STATUS_OURS)
}

/// Decimal digits of a number.
pub struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of `value`.
    #[must_use]
    pub fn new(mut value: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            start -= 1;
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// The digits, as text has them.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}
