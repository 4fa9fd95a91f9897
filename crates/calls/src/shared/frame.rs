//! The messages of a call channel, as bytes: kind, function, depth and arguments, varint-framed.
//!
//! For both ends of a channel, and for calls over a stream. Encoding writes into memory that the
//! caller owns; decoding reads from a private copy and refuses whatever it does not know. Not for
//! moving the bytes. No allocation. The layout is documented in `docs/formats/call-channel.md`.

use thiserror::Error;
use zerocopy::IntoBytes;

/// The longest frame in bytes.
pub const FRAME_MAX: usize = 4000;
/// Arguments that travel on the stack, at most: of a call with variable arguments, whose number is not known,
/// this many are sent. No frame has room for many more.
pub const STACK_WORDS_MAX: usize = 400;
/// Arguments on the stack of functions that have no variable ones, of functions that are called by their
/// address, and of call-backs. Room for more costs a call that does not need it.
pub const FIXED_WORDS_MAX: usize = 64;
/// Arguments in integer registers, at most.
pub const GENERAL_MAX: usize = 6;
/// Arguments in vector registers, at most.
pub const VECTOR_MAX: usize = 8;

/// Wanted result: st(0).
pub const WANT_ST0: u64 = 1;
/// Wanted results: xmm0 and xmm1.
pub const WANT_VECTOR: u64 = 2;
/// Wanted results: st(1), beside st(0).
pub const WANT_ST1: u64 = 4;
/// Wanted results: st(0) and st(1), if the function leaves something there. By the convention they are
/// empty but for its result, so that this needs no signature.
pub const WANT_ANY_ST: u64 = 8;
const WANT_ALL: u64 = WANT_ST0 | WANT_VECTOR | WANT_ST1 | WANT_ANY_ST;

/// In place of a count of words on the stack: the function's arguments are variable, or nothing is known of
/// them, so as many as a message has room for.
pub const VARIABLE_WORDS: u8 = 0xff;

/// The kernel's error numbers are below this, and so is any `errno` in a message.
pub(crate) const ERRNO_END: u64 = 4096;

/// The number of a function that does nothing, in every service.
pub const NULL_FUNCTION: u64 = 0xffff_ffff;
/// Set in a function's number that is an address of the worker.
pub(crate) const BY_ADDRESS: u64 = 1 << 48;

/// The address of a call-back that runs nothing: the worker has what it changed written back.
pub(crate) const NO_CODE: u64 = 0;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Caller to worker: run a function on the registers that follow.
    Call = 1,
    /// Caller to worker: run a function on the bytes that follow.
    CallBytes = 2,
    /// Worker to caller: the function returned.
    Return = 3,
    /// Worker to caller: run your own code at an address, on the registers that follow.
    Callback = 4,
    /// Caller to worker: your call-back returned.
    CallbackReturn = 5,
    /// Worker to caller: copy pages of your memory for me.
    Fetch = 6,
    /// Caller to worker: that many pages are copied.
    Fetched = 7,
    /// Worker to caller: I crashed.
    Crashed = 8,
    /// Worker to caller: I know no such function.
    NoFunction = 9,
    /// Worker to caller: the function's own error, as bytes.
    Failed = 10,
    /// Worker to caller: a system call was refused.
    Refused = 11,
    /// Worker to caller: the library left the nested calls with a jump, and goes on at that depth.
    Unwind = 12,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Call,
            2 => Self::CallBytes,
            3 => Self::Return,
            4 => Self::Callback,
            5 => Self::CallbackReturn,
            6 => Self::Fetch,
            7 => Self::Fetched,
            8 => Self::Crashed,
            9 => Self::NoFunction,
            10 => Self::Failed,
            11 => Self::Refused,
            12 => Self::Unwind,
            _ => return None,
        })
    }
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// It ends before what it announces.
    #[error("a call frame ends early")]
    Short,
    /// It has bytes after its end.
    #[error("a call frame has bytes after its end")]
    Long,
    /// Its kind is not known.
    #[error("a call frame of unknown kind {0}")]
    Kind(u8),
    /// A number does not fit.
    #[error("a call frame holds a number that is out of range")]
    Range,
    /// It does not fit in the memory given.
    #[error("a call frame is too large")]
    Full,
}

/// Writes a frame into borrowed memory.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl<'a> FrameWriter<'a> {
    /// A writer over `bytes`.
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// The bytes written so far.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`FrameError::Full`].
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let end = self.used.checked_add(bytes.len()).ok_or(FrameError::Full)?;
        self.bytes.get_mut(self.used..end).ok_or(FrameError::Full)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    /// Appends a number in as few bytes as it needs, seven bits a byte, low bits first.
    ///
    /// # Errors
    /// [`FrameError::Full`].
    #[inline]
    pub fn number(&mut self, mut value: u64) -> Result<(), FrameError> {
        loop {
            let slot = self.bytes.get_mut(self.used).ok_or(FrameError::Full)?;
            self.used += 1;
            if value < 0x80 {
                *slot = value as u8;
                return Ok(());
            }
            *slot = value as u8 | 0x80;
            value >>= 7;
        }
    }

    /// Appends a kind.
    ///
    /// # Errors
    /// [`FrameError::Full`].
    #[inline]
    pub fn kind(&mut self, kind: Kind) -> Result<(), FrameError> {
        self.bytes(&[kind as u8])
    }
}

/// Reads a frame out of a private copy.
#[derive(Clone, Copy, Debug)]
pub struct FrameReader<'a> {
    bytes: &'a [u8],
}

impl<'a> FrameReader<'a> {
    /// A reader over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// [`FrameError::Short`].
    #[inline]
    pub const fn bytes(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        match self.bytes.split_at_checked(length) {
            Some((head, tail)) => {
                self.bytes = tail;
                Ok(head)
            }
            None => Err(FrameError::Short),
        }
    }

    /// Takes all that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// Takes a number.
    ///
    /// # Errors
    /// [`FrameError::Short`], or [`FrameError::Range`] when it needs more than 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, FrameError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.bytes(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FrameError::Range);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FrameError::Range)
    }

    /// Takes a number that must be below `limit`.
    ///
    /// # Errors
    /// As [`FrameReader::number`], and [`FrameError::Range`].
    #[inline]
    pub fn number_below(&mut self, limit: u64) -> Result<u64, FrameError> {
        let value = self.number()?;
        if value < limit { Ok(value) } else { Err(FrameError::Range) }
    }

    /// Takes a kind.
    ///
    /// # Errors
    /// [`FrameError::Short`] or [`FrameError::Kind`].
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, FrameError> {
        let byte = self.bytes(1)?[0];
        Kind::from_byte(byte).ok_or(FrameError::Kind(byte))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`FrameError::Long`].
    pub const fn end(self) -> Result<(), FrameError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(FrameError::Long) }
    }
}

/// The registers of one call: arguments on the way in, results on the way out.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// rdi, rsi, rdx, rcx, r8, r9.
    pub general: [u64; GENERAL_MAX],
    /// al at the call of a variadic function; rax at the return.
    pub rax: u64,
    /// rdx at the return.
    pub rdx: u64,
    /// xmm0 to xmm7; at the return xmm0 and xmm1.
    pub vector: [[u64; 2]; VECTOR_MAX],
    /// st(0) at the return, when asked for.
    pub st0: [u64; 2],
    /// Which results are wanted beside rax and rdx, `WANT_` bits; at the return, which there are.
    pub results: u64,
    /// The address of the arguments on the stack, if there may be more of them than words travel.
    pub stack: u64,
    /// st(1) at the return.
    pub st1: [u64; 2],
}

/// Which registers hold arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Integer registers in use.
    pub general: u8,
    /// Vector registers in use.
    pub vector: u8,
    /// Words on the stack in use.
    pub stack: u16,
}

impl Shape {
    /// All registers, and `stack` words: for a function of which nothing is known.
    #[must_use]
    pub const fn unknown(stack: u16) -> Self {
        Self { general: GENERAL_MAX as u8, vector: VECTOR_MAX as u8, stack }
    }
}

/// Appends the argument registers of `shape`, and the stack words.
///
/// # Errors
/// [`FrameError::Full`].
#[inline]
pub fn write_arguments(
    frame: &mut FrameWriter<'_>,
    shape: Shape,
    registers: &Registers,
    stack: &[u64],
) -> Result<(), FrameError> {
    let general = usize::from(shape.general).min(GENERAL_MAX);
    let vector = usize::from(shape.vector).min(VECTOR_MAX);
    frame.bytes(&[general as u8, vector as u8, registers.rax as u8, registers.results as u8])?;
    frame.number((stack.len() as u64) << 1 | u64::from(registers.stack != 0))?;
    if registers.stack != 0 {
        frame.number(registers.stack)?;
    }
    for &value in &registers.general[..general] {
        frame.number(value)?;
    }
    for value in &registers.vector[..vector] {
        frame.bytes(&value[0].to_le_bytes())?;
        frame.bytes(&value[1].to_le_bytes())?;
    }
    // All at once: with variable arguments they are many.
    frame.bytes(stack.as_bytes())
}

/// Takes argument registers into `registers`; returns how many stack words follow, for [`read_words`].
///
/// # Errors
/// [`FrameError::Short`], or [`FrameError::Range`] when a count is beyond its limit.
#[inline]
pub fn read_arguments(frame: &mut FrameReader<'_>, registers: &mut Registers) -> Result<usize, FrameError> {
    let counts = frame.bytes(4)?;
    let (general, vector) = (usize::from(counts[0]), usize::from(counts[1]));
    let (rax, results) = (counts[2].into(), u64::from(counts[3]));
    let words_and_more = frame.number()?;
    let words = words_and_more >> 1;
    if general > GENERAL_MAX || vector > VECTOR_MAX || words > STACK_WORDS_MAX as u64 || results > WANT_ALL {
        return Err(FrameError::Range);
    }
    let words = words as usize;
    registers.stack = if words_and_more & 1 != 0 { frame.number()? } else { 0 };
    (registers.rax, registers.results) = (rax, results);
    for value in &mut registers.general[..general] {
        *value = frame.number()?;
    }
    for value in &mut registers.vector[..vector] {
        *value = [word(frame)?, word(frame)?];
    }
    Ok(words)
}

/// Takes the stack words at the end of a frame: as many as `to` has room for, and no more may follow.
///
/// # Errors
/// [`FrameError::Short`] or [`FrameError::Long`].
#[inline]
pub fn read_words(mut frame: FrameReader<'_>, to: &mut [u64]) -> Result<(), FrameError> {
    let bytes = frame.bytes(size_of_val(to))?;
    to.as_mut_bytes().copy_from_slice(bytes);
    frame.end()
}

#[inline]
fn word(frame: &mut FrameReader<'_>) -> Result<u64, FrameError> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(frame.bytes(8)?);
    Ok(u64::from_le_bytes(bytes))
}

/// Appends result registers and `errno`.
///
/// # Errors
/// [`FrameError::Full`].
#[inline]
pub fn write_results(
    frame: &mut FrameWriter<'_>,
    registers: &Registers,
    errno: u32,
) -> Result<(), FrameError> {
    frame.number(errno.into())?;
    frame.number(registers.rax)?;
    frame.number(registers.rdx)?;
    let has = |wanted| registers.results & wanted != 0;
    let vector = if has(WANT_VECTOR) { &registers.vector[..2] } else { &[] };
    let st = has(WANT_ST0).then_some(&registers.st0).into_iter();
    let st = st.chain(has(WANT_ST1).then_some(&registers.st1));
    for value in vector.iter().chain(st) {
        frame.bytes(&value[0].to_le_bytes())?;
        frame.bytes(&value[1].to_le_bytes())?;
    }
    Ok(())
}

/// Takes result registers; which are among them is what the reader's `registers.results` says, and for
/// [`WANT_ANY_ST`] the length. All are taken, or `registers` stays as it was. Returns `errno`.
///
/// # Errors
/// [`FrameError::Short`], [`FrameError::Range`] or [`FrameError::Long`].
#[inline]
pub fn read_results(mut frame: FrameReader<'_>, registers: &mut Registers) -> Result<u32, FrameError> {
    let errno = frame.number_below(ERRNO_END)? as u32;
    let (rax, rdx) = (frame.number()?, frame.number()?);
    let has_vector = registers.results & WANT_VECTOR != 0;
    let rest = frame.rest();
    let vectors = 2 * usize::from(has_vector);
    let mut st =
        usize::from(registers.results & WANT_ST0 != 0) + usize::from(registers.results & WANT_ST1 != 0);
    if registers.results & WANT_ANY_ST != 0 {
        st = (rest.len() / 16).saturating_sub(vectors).min(2);
    }
    let expected = 16 * (vectors + st);
    if rest.len() != expected {
        return Err(if rest.len() < expected { FrameError::Short } else { FrameError::Long });
    }
    registers.results |= [0, WANT_ST0, WANT_ST0 | WANT_ST1][st];
    let vector = if has_vector { &mut registers.vector[..2] } else { &mut [] };
    let st = [&mut registers.st0, &mut registers.st1].into_iter().take(st);
    for (to, value) in vector.iter_mut().chain(st).zip(rest.chunks_exact(16)) {
        let mut words = FrameReader::new(value);
        *to = [word(&mut words)?, word(&mut words)?];
    }
    (registers.rax, registers.rdx) = (rax, rdx);
    Ok(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_overflows_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX, 1 << 63] {
            let mut bytes = [0; 10];
            let mut writer = FrameWriter::new(&mut bytes);
            writer.number(value).unwrap();
            let used = writer.used();
            let mut reader = FrameReader::new(&bytes[..used]);
            assert_eq!(reader.number(), Ok(value));
            reader.end().unwrap();
        }
        assert_eq!(FrameReader::new(&[0xff; 10]).number(), Err(FrameError::Range));
        assert_eq!(FrameReader::new(&[0x80]).number(), Err(FrameError::Short));
        assert_eq!(FrameReader::new(&[5]).number_below(5), Err(FrameError::Range));
    }

    #[test]
    fn arguments_and_results_survive() {
        let mut registers = Registers { general: [1, 2, 3, 1 << 60, 5, 6], rax: 3, ..Registers::default() };
        registers.vector[2] = [7, 8];
        let mut bytes = [0; 600];
        let mut writer = FrameWriter::new(&mut bytes);
        write_arguments(&mut writer, Shape { general: 4, vector: 3, stack: 0 }, &registers, &[9, 10])
            .unwrap();
        let mut read = Registers::default();
        let used = writer.used();
        let mut reader = FrameReader::new(&bytes[..used]);
        assert_eq!(read_arguments(&mut reader, &mut read), Ok(2));
        let mut stack = [0; 2];
        assert_eq!(read_words(reader, &mut stack), Ok(()));
        assert_eq!((read.general, read.vector[2], stack), ([1, 2, 3, 1 << 60, 0, 0], [7, 8], [9, 10]));
        assert_eq!(read_words(reader, &mut [0; 1]), Err(FrameError::Long));
        assert_eq!(read_words(reader, &mut [0; 3]), Err(FrameError::Short));
        assert_eq!(FrameReader::new(&[99]).kind(), Err(FrameError::Kind(99)));
        assert_eq!(
            read_arguments(&mut FrameReader::new(&[7, 0, 0, 0, 0]), &mut read),
            Err(FrameError::Range)
        );
        let results = Registers { rax: 1, rdx: 2, st0: [3, 4], results: WANT_ST0, ..read };
        let mut writer = FrameWriter::new(&mut bytes);
        write_results(&mut writer, &results, 7).unwrap();
        let used = writer.used();
        let mut read = Registers { results: WANT_ST0, ..Registers::default() };
        assert_eq!(read_results(FrameReader::new(&bytes[..used - 1]), &mut read), Err(FrameError::Short));
        assert_eq!(read_results(FrameReader::new(&bytes[..=used]), &mut read), Err(FrameError::Long));
        assert_eq!(read, Registers { results: WANT_ST0, ..Registers::default() }, "all or nothing");
        assert_eq!(read_results(FrameReader::new(&bytes[..used]), &mut read), Ok(7));
        assert_eq!((read.rax, read.rdx, read.st0), (1, 2, [3, 4]));
        // Of a function that is not declared the length tells what it left.
        for found in [0, WANT_ST0, WANT_ST0 | WANT_ST1] {
            let results = Registers { st1: [5, 6], results: WANT_VECTOR | WANT_ANY_ST | found, ..results };
            let mut writer = FrameWriter::new(&mut bytes);
            write_results(&mut writer, &results, 7).unwrap();
            let used = writer.used();
            let mut read = Registers { results: WANT_VECTOR | WANT_ANY_ST, ..Registers::default() };
            assert_eq!(read_results(FrameReader::new(&bytes[..used]), &mut read), Ok(7));
            assert_eq!(read.results, results.results);
            let expected = [(found & WANT_ST0, [3, 4]), (found & WANT_ST1, [5, 6])];
            let expected = expected.map(|(there, value)| if there == 0 { [0, 0] } else { value });
            assert_eq!([read.st0, read.st1], expected);
            assert_eq!(read_results(FrameReader::new(&bytes[..used + 1]), &mut read), Err(FrameError::Long));
        }
    }
}
