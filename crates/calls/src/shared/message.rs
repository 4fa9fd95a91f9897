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
pub(crate) const PAGE_END: u64 = 1 << 35;

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

/// What a worker did with pages of the caller until it gave control back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// How many it changed.
    pub changed: u64,
    /// Whether it keeps all that it has.
    pub keeps: bool,
}

impl Touched {
    fn read(reader: &mut FrameReader<'_>, limits: Limits) -> Result<Self, FrameError> {
        let number = reader.number_below(2 * (limits.pages + 1))?;
        Ok(Self { changed: number >> 1, keeps: number & 1 != 0 })
    }

    /// As it stands in a frame.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.changed << 1 | self.keeps as u64
    }
}

/// What is to become of the pages that the worker kept when it gave control to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Keeping {
    /// It has none, or forgets them.
    None = 0,
    /// All are as they were.
    All = 1,
    /// The channel's bulk area says more.
    Told = 2,
}

impl Keeping {
    fn read(reader: &mut FrameReader<'_>) -> Result<Self, FrameError> {
        Ok(match reader.number_below(3)? {
            0 => Self::None,
            1 => Self::All,
            _ => Self::Told,
        })
    }
}

/// What a worker says.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The function returned; the results follow.
    Returned {
        /// Pages of the caller.
        touched: Touched,
        /// `errno` and registers.
        results: FrameReader<'a>,
    },
    /// It calls the caller's code; the arguments follow.
    CallBack {
        /// Pages of the caller.
        touched: Touched,
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
        /// Pages of the caller.
        touched: Touched,
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
            Kind::Return => Self::Returned { touched: Touched::read(&mut reader, limits)?, results: reader },
            Kind::Callback => Self::CallBack {
                touched: Touched::read(&mut reader, limits)?,
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
                let touched = Touched::read(&mut reader, limits)?;
                let depth = reader.number_below(DEPTH_MAX as u64)? as u8;
                reader.end()?;
                Self::Unwind { touched, depth }
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
        /// Pages that the worker kept.
        keeping: Keeping,
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
    /// The call-back returned.
    CallBackReturned {
        /// Pages that the worker kept.
        keeping: Keeping,
        /// `errno` and registers.
        results: FrameReader<'a>,
    },
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
                keeping: Keeping::read(&mut reader)?,
                errno: reader.number_below(ERRNO_END)? as u32,
                arguments: reader,
            },
            Kind::CallBytes => {
                let function = reader.number()?;
                reader.number_below(128)?;
                Self::CallBytes { function, arguments: Payload::read(reader, limits)? }
            }
            Kind::CallbackReturn => {
                Self::CallBackReturned { keeping: Keeping::read(&mut reader)?, results: reader }
            }
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
        assert_eq!(read(&[Kind::Return as u8, 17]), Ok(()));
        assert_eq!(read(&[Kind::Return as u8, 18]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Fetch as u8, 16, 1]), Ok(()));
        assert_eq!(read(&[Kind::Fetch as u8, 16, 1, 0]), Err(FrameError::Long));
        assert_eq!(read(&[Kind::CallBytes as u8, 1, 101]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Crashed as u8, 65, 0, 0]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Call as u8, 1, 0, 0]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Unwind as u8, 16, 31]), Ok(()));
        assert_eq!(read(&[Kind::Unwind as u8, 16, 32]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Unwind as u8, 18, 0]), Err(FrameError::Range));
        let read = |frame: &[u8]| Request::read(frame, LIMITS).map(|_| ());
        assert_eq!(read(&[Kind::Call as u8, 1, 0, 2, 0]), Ok(()));
        assert_eq!(read(&[Kind::Call as u8, 1, 0, 3, 0]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::CallbackReturn as u8, 3]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Return as u8, 1]), Err(FrameError::Range));
        assert_eq!(read(&[Kind::Fetched as u8, 0x81, 2]), Err(FrameError::Range));
    }
}
