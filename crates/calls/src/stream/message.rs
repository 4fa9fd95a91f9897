//! What the frames of a stream of calls mean: greetings, calls, results, errors.
//!
//! Decoders refuse what they do not know; see `docs/formats/call-stream.md`.

use crate::caller::connection::CallOptions;
use crate::error::{CallError, Ran};
use crate::shared::frame::{FrameError, FrameReader};
use std::time::Duration;

/// Client to server: the version and the name of the service wanted.
pub(super) const HELLO: u8 = 1;
/// Server to client: the version; calls may follow.
pub(super) const WELCOME: u8 = 2;
/// Client to server: a call.
pub(super) const CALL: u8 = 3;
/// Server to client: the call's result.
pub(super) const RESULT: u8 = 4;
/// Server to client: the call's error.
pub(super) const ERROR: u8 = 5;
/// Server to client: why it will not serve; it closes the connection.
pub(super) const REFUSED: u8 = 6;
/// The version that both must speak.
pub(super) const VERSION: u64 = 2;
/// Longest name and longest text.
pub(super) const TEXT_MAX: usize = 4096;

fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn text(to: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    number(to, end as u64);
    to.extend(&text.as_bytes()[..end]);
}

fn read_text(from: &mut FrameReader<'_>) -> Result<String, FrameError> {
    let length = from.number_below(TEXT_MAX as u64 + 1)? as usize;
    Ok(String::from_utf8_lossy(from.bytes(length)?).into_owned())
}

/// A greeting: the version and a name.
#[must_use]
pub fn encode_hello(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    number(&mut body, VERSION);
    text(&mut body, name);
    body
}

/// The version and the name.
///
/// # Errors
/// Any [`FrameError`].
pub fn decode_hello(body: &[u8]) -> Result<(u64, String), FrameError> {
    let mut reader = FrameReader::new(body);
    let version = reader.number()?;
    let name = read_text(&mut reader)?;
    reader.end()?;
    Ok((version, name))
}

/// The head of a call; its arguments follow as chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHead {
    /// The function's number.
    pub function: u64,
    /// What is left of the deadline.
    pub deadline: Duration,
    /// The limit of processor time.
    pub cpu_limit: Option<Duration>,
    /// Retries for ends of the worker.
    pub retries: u32,
}

impl CallHead {
    /// Appends the head.
    pub fn encode(&self, to: &mut Vec<u8>) {
        number(to, self.function);
        number(to, self.deadline.as_micros() as u64);
        number(to, self.cpu_limit.map_or(0, |limit| (limit.as_micros() as u64).max(1)));
        number(to, self.retries.into());
    }

    /// Takes a head off the front.
    ///
    /// # Errors
    /// Any [`FrameError`].
    pub fn decode(from: &mut &[u8]) -> Result<Self, FrameError> {
        let mut reader = FrameReader::new(from);
        let function = reader.number()?;
        let deadline = Duration::from_micros(reader.number_below(1 << 42)?);
        let cpu = reader.number_below(1 << 42)?;
        let retries = reader.number_below(1 << 16)? as u32;
        *from = reader.rest();
        Ok(Self { function, deadline, cpu_limit: (cpu > 0).then(|| Duration::from_micros(cpu)), retries })
    }

    /// The options that the head stands for.
    #[must_use]
    pub fn options(&self) -> CallOptions {
        CallOptions {
            deadline: self.deadline,
            retries: self.retries,
            cpu_limit: self.cpu_limit,
            ..CallOptions::default()
        }
    }
}

const fn ran_code(ran: Ran) -> u64 {
    match ran {
        Ran::No => 0,
        Ran::Maybe => 1,
    }
}

fn read_ran(from: &mut FrameReader<'_>) -> Result<Ran, FrameError> {
    Ok(if from.number_below(2)? == 0 { Ran::No } else { Ran::Maybe })
}

/// An error's bytes.
#[must_use]
pub fn encode_error(error: &CallError) -> Vec<u8> {
    let mut body = Vec::new();
    match error {
        CallError::Crashed { signal, address, instruction, ran } => {
            for value in [1, *signal as u64 & 0x7f, *address, *instruction, ran_code(*ran)] {
                number(&mut body, value);
            }
        }
        // A call is cancelled where it was begun, and only there: no message is sent.
        CallError::TimedOut { ran } | CallError::Cancelled { ran } => {
            number(&mut body, 2);
            number(&mut body, ran_code(*ran));
        }
        CallError::Refused { call } => {
            number(&mut body, 3);
            number(&mut body, (*call).into());
        }
        CallError::Exited { status } => {
            number(&mut body, 4);
            number(&mut body, *status as u64 & 0xff);
        }
        CallError::NoService(reason) => {
            number(&mut body, 5);
            text(&mut body, reason);
        }
        CallError::NoFunction => number(&mut body, 6),
        CallError::Failed(reason) => {
            number(&mut body, 7);
            text(&mut body, reason);
        }
        CallError::TooMany => number(&mut body, 8),
        CallError::StaleHandle { .. } | CallError::Protocol(_) | CallError::Disconnected { .. } => {
            number(&mut body, 9);
            match error {
                CallError::Disconnected { reason, .. } => text(&mut body, reason),
                error => text(&mut body, &error.to_string()),
            }
            number(&mut body, ran_code(error.ran()));
        }
    }
    body
}

/// The error that a server sent.
///
/// # Errors
/// Any [`FrameError`].
pub fn decode_error(body: &[u8]) -> Result<CallError, FrameError> {
    let mut reader = FrameReader::new(body);
    let error = match reader.number()? {
        1 => CallError::Crashed {
            signal: reader.number_below(65)? as i32,
            address: reader.number()?,
            instruction: reader.number()?,
            ran: read_ran(&mut reader)?,
        },
        2 => CallError::TimedOut { ran: read_ran(&mut reader)? },
        3 => CallError::Refused { call: reader.number_below(1 << 32)? as u32 },
        4 => CallError::Exited { status: reader.number_below(256)? as i32 },
        5 => CallError::NoService(read_text(&mut reader)?),
        6 => CallError::NoFunction,
        7 => CallError::Failed(read_text(&mut reader)?),
        8 => CallError::TooMany,
        9 => CallError::Disconnected { reason: read_text(&mut reader)?, ran: read_ran(&mut reader)? },
        _ => return Err(FrameError::Range),
    };
    reader.end()?;
    Ok(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_survive() {
        for error in [
            CallError::Crashed { signal: 11, address: 8, instruction: u64::MAX, ran: Ran::Maybe },
            CallError::TimedOut { ran: Ran::No },
            CallError::Refused { call: 41 },
            CallError::Exited { status: 3 },
            CallError::NoService("none".into()),
            CallError::NoFunction,
            CallError::Failed("é".repeat(10)),
            CallError::TooMany,
            CallError::Disconnected { reason: "gone".into(), ran: Ran::Maybe },
        ] {
            assert_eq!(decode_error(&encode_error(&error)), Ok(error));
        }
        assert!(encode_error(&CallError::Failed("é".repeat(5000))).len() < TEXT_MAX + 10);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_error(&bytes);
            let _ = decode_hello(&bytes);
            let _ = CallHead::decode(&mut &bytes[..]);
        }

        #[test]
        fn heads_survive(function in any::<u64>(), deadline in 0..1_u64 << 42, cpu in 1..1_u64 << 42, retries in 0..65_536_u32) {
            let cpu_limit = Some(Duration::from_micros(cpu));
            let head = CallHead { function, deadline: Duration::from_micros(deadline), cpu_limit, retries };
            let mut bytes = Vec::new();
            head.encode(&mut bytes);
            let mut from = &bytes[..];
            prop_assert_eq!(CallHead::decode(&mut from), Ok(head));
            prop_assert!(from.is_empty());
        }
    }
}
