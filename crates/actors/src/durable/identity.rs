//! [`Identity`]: who a durable configuration is to other processes, and what is made of it: seals, streams
//! and names.
//!
//! An identity is a public name of 128 random bits, and a key. An address of one of the configuration's
//! actors carries the actor's place and a seal made with the key, so it needs no table, means the same after
//! a restart, and cannot be made up. What one durable configuration sends to another is a **stream**, named
//! by another seal that only the two can know.

use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher24;

use crate::model::durable_address::{DurableAddress, Token};

/// What a name begins with that stands for a configuration of another process, or for a stream from one.
/// Names that people give do not begin so.
const CONFIGURATION_PREFIX: &str = "\u{1}";
const STREAM_PREFIX: &str = "\u{2}";

/// Who a durable configuration is to other processes; kept with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) configuration: Token,
    key: Token,
}

impl Identity {
    #[cfg(test)]
    pub(super) fn of(configuration: Token, key: Token) -> Self {
        Self { configuration, key }
    }

    pub(crate) fn random() -> Self {
        Self { configuration: random_token(), key: random_token() }
    }

    /// SipHash-2-4 with 128 bits, a pseudo-random function of its key (Aumasson and Bernstein, 2012).
    fn prf(&self, bytes: &[u8]) -> Token {
        SipHasher24::new_with_key(&self.key).hash(bytes).as_bytes()
    }

    /// The address of an actor, for other processes.
    pub(crate) fn seal(&self, slot: u32, generation: u32) -> DurableAddress {
        let mut bytes = *b"actor\0\0\0\0\0\0\0\0";
        bytes[5..9].copy_from_slice(&slot.to_le_bytes());
        bytes[9..].copy_from_slice(&generation.to_le_bytes());
        DurableAddress { configuration: self.configuration, slot, generation, seal: self.prf(&bytes) }
    }

    /// The name of the stream of messages to another configuration.
    pub(crate) fn stream(&self, to: &Token) -> Token {
        let mut bytes = *b"stream\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        bytes[6..].copy_from_slice(to);
        self.prf(&bytes)
    }
}

fn hexadecimal(prefix: &str, token: &Token) -> String {
    token.iter().fold(prefix.to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn token_of(prefix: &str, name: &str) -> Option<Token> {
    let digits = name.strip_prefix(prefix)?;
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(number.to_be_bytes())
}

/// The name under which an outbox knows a configuration of another process.
pub(crate) fn name_of_configuration(configuration: &Token) -> String {
    hexadecimal(CONFIGURATION_PREFIX, configuration)
}

pub(crate) fn configuration_of_name(name: &str) -> Option<Token> {
    token_of(CONFIGURATION_PREFIX, name)
}

/// The name under which a receiver knows a stream.
pub(crate) fn name_of_stream(stream: &Token) -> String {
    hexadecimal(STREAM_PREFIX, stream)
}

pub(crate) fn stream_of_name(name: &str) -> Option<Token> {
    token_of(STREAM_PREFIX, name)
}

/// 128 bits that cannot be guessed.
pub(crate) fn random_token() -> Token {
    let mut token = [0; 16];
    let mut filled = 0;
    while filled < token.len() {
        // The kernel's pool is ready long before any program; interruptions are tried again.
        let got = rustix::rand::getrandom(&mut token[filled..], rustix::rand::GetRandomFlags::empty());
        filled += got.unwrap_or(0);
    }
    token
}
