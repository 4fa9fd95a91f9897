//! Numbers that no other process can know: secrets, and ids that must differ.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Bytes that no other process knows.
///
/// # Errors
/// The system's.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
