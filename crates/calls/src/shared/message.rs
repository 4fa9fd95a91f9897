//! What a frame of a call channel says, checked against the limits of the channel.
//!
//! Each end reads the other's frames through here and nowhere else: kinds that the sender may not
//! send, counts beyond what was agreed and bytes too many are refused. Registers are left in the
//! frame, to be read where they are needed. Pure; no allocation.

use crate::shared::frame::{ERRNO_END, FrameError, FrameReader, Kind};
use crate::shared::layout::DEPTH_MAX;

/// Pages asked for at once, at most.
pub const FETCH_MAX: u64 = 256;
/// The first page number that no process has: addresses have 47 bits.
const PAGE_END: u64 = 1 << 35;

/// What a channel can carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pages in a call.
    pub pages: u64,
    /// Bytes beside the frame.
    pub bulk_bytes: u64,
}

/// Bytes that travel with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// In the frame.
    Inline(&'a [u8]),
    /// In the channel's bulk area, that many.
    Bulk(usize),
}

impl<'a> Payload<'a> {
    fn read(mut reader: FrameReader<'a>, limits: Limits) -> Result<Self, FrameError> {
        if reader.number_below(2)? == 0 {
            return Ok(Self::Inline(reader.rest()));
        }
        let length = reader.number_below(limits.bulk_bytes + 1)? as usize;
        reader.end()?;
        Ok(Self::Bulk(length))
    }
}

/// What a worker says.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The function returned; the results follow.
    Returned {
        /// How many pages it changed.
        changed: u64,
        /// `errno` and registers.
        results: FrameReader<'a>,
    },
    /// It calls the caller's code; the arguments follow.
    CallBack {
        /// How many pages were changed until now.
        changed: u64,
        /// The address.
        target: u64,
        /// The library's `errno`.
        errno: u32,
        /// Registers and stack words.
        arguments: FrameReader<'a>,
    },
    /// It needs pages of the caller.
    Fetch {
        /// The first page's number.
        page: u64,
        /// How many.
        wanted: u64,
    },
    /// A function on bytes returned.
    Bytes(Payload<'a>),
    /// A function on bytes failed, with a text.
    Failed(Payload<'a>),
    /// The function crashed.
    Crashed {
        /// The signal.
        signal: i32,
        /// The address that faulted.
        address: u64,
        /// The instruction that faulted.
        instruction: u64,
    },
    /// The sandbox refused a system call of that number.
    Refused(u32),
    /// There is no such function.
    NoFunction,
    /// The library jumped over the caller's call-backs, to the call at that depth.
    Unwind {
        /// How many pages were changed until now.
        changed: u64,
        /// The depth.
        depth: u8,
    },
}

impl<'a> Answer<'a> {
    /// Reads a worker's frame.
    ///
    /// # Errors
    /// [`FrameError`], for anything that a worker must not say.
    #[inline]
    pub fn read(frame: &'a [u8], limits: Limits) -> Result<Self, FrameError> {
        let mut reader = FrameReader::new(frame);
        Ok(match reader.kind()? {
            Kind::Return => {
                Self::Returned { changed: reader.number_below(limits.pages + 1)?, results: reader }
            }
            Kind::Callback => Self::CallBack {
                changed: reader.number_below(limits.pages + 1)?,
                target: reader.number()?,
                errno: reader.number_below(ERRNO_END)? as u32,
                arguments: reader,
            },
            Kind::Fetch => {
                let (page, wanted) = (reader.number_below(PAGE_END)?, reader.number_below(FETCH_MAX + 1)?);
                reader.end()?;
                Self::Fetch { page, wanted }
            }
            Kind::CallBytes => Self::Bytes(Payload::read(reader, limits)?),
            Kind::Failed => Self::Failed(Payload::read(reader, limits)?),
            Kind::Crashed => Self::Crashed {
                signal: reader.number_below(65)? as i32,
                address: reader.number()?,
                instruction: reader.number()?,
            },
            Kind::Refused => Self::Refused(reader.number_below(1 << 32)? as u32),
            Kind::NoFunction => Self::NoFunction,
            Kind::Unwind => {
                let changed = reader.number_below(limits.pages + 1)?;
                let depth = reader.number_below(DEPTH_MAX as u64)? as u8;
                reader.end()?;
                Self::Unwind { changed, depth }
            }
            Kind::Call | Kind::CallbackReturn | Kind::Fetched => return Err(FrameError::Range),
        })
    }
}

/// What a caller says.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Run a function on the registers that follow.
    Call {
        /// Its number.
        function: u64,
        /// How deep the call is nested, and flags.
        depth: u8,
        /// The caller's `errno`.
        errno: u32,
        /// Registers and stack words.
        arguments: FrameReader<'a>,
    },
    /// Run a function on bytes.
    CallBytes {
        /// Its number.
        function: u64,
        /// Its arguments.
        arguments: Payload<'a>,
    },
    /// The call-back returned; `errno` and the results follow.
    CallBackReturned(FrameReader<'a>),
    /// That many pages were copied.
    Fetched(u64),
}

impl<'a> Request<'a> {
    /// Reads a caller's frame.
    ///
    /// # Errors
    /// [`FrameError`], for anything that a caller must not say.
    #[inline]
    pub fn read(frame: &'a [u8], limits: Limits) -> Result<Self, FrameError> {
        let mut reader = FrameReader::new(frame);
        Ok(match reader.kind()? {
            Kind::Call => Self::Call {
                function: reader.number()?,
                depth: reader.number_below(128)? as u8,
                errno: reader.number_below(ERRNO_END)? as u32,
                arguments: reader,
            },
            Kind::CallBytes => {
                let function = reader.number()?;
                reader.number_below(128)?;
                Self::CallBytes { function, arguments: Payload::read(reader, limits)? }
            }
            Kind::CallbackReturn => Self::CallBackReturned(reader),
            Kind::Fetched => {
                let count = reader.number_below(FETCH_MAX + 1)?;
                reader.end()?;
                Self::Fetched(count)
            }
            Kind::Fetch
            | Kind::Callback
            | Kind::Return
            | Kind::Crashed
            | Kind::NoFunction
            | Kind::Failed
            | Kind::Refused
            | Kind::Unwind => return Err(FrameError::Range),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { pages: 8, bulk_bytes: 100 };

    #[test]
    fn limits_are_kept_and_directions_told_apart() {
        let read = |frame: &[u8]| Answer::read(frame, LIMITS).map(|_| ());
        assert_eq!(read(&[Kind::Return as u8, 8]), Ok(()));
        assert_eq!(read(&[Kind::Return as u8, 9]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Fetch as u8, 16, 1]), Ok(()));
        assert_eq!(read(&[Kind::Fetch as u8, 16, 1, 0]), Err(FrameError::Long));
        assert_eq!(read(&[Kind::CallBytes as u8, 1, 101]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Crashed as u8, 65, 0, 0]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Call as u8, 1, 0, 0]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Unwind as u8, 8, 31]), Ok(()));
        assert_eq!(read(&[Kind::Unwind as u8, 8, 32]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Unwind as u8, 9, 0]), Err(FrameError::Range));
        let read = |frame: &[u8]| Request::read(frame, LIMITS).map(|_| ());
        assert_eq!(read(&[Kind::Call as u8, 1, 0, 0]), Ok(()));
        assert_eq!(read(&[Kind::Return as u8, 1]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Fetched as u8, 0x81, 2]), Err(FrameError::Range));
    }
}
