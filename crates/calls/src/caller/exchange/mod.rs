//! One call from the caller's side: the request, what the worker asks for meanwhile, the answer.
//!
//! While it waits the caller serves its worker: it copies pages of its own memory that the callee
//! touches, writes back what the callee changed, and runs call-backs. All that a worker says is
//! checked against what the caller itself recorded. Runs in signal handlers: no allocation, no
//! lock, no `errno`. Not for finding a worker; that is `pool`.

mod call_back;
mod kept;
mod pages;
mod placing;
mod stale;

pub(crate) use stale::KnownStale;

use crate::caller::connection::{CallOptions, Connection, Current};
use crate::caller::pool::Fate;
use crate::error::{CallError, Ran};
use crate::shared::frame::{
    FIXED_WORDS_MAX, FRAME_MAX, FrameError, FrameWriter, Kind, NO_CODE, Registers, Shape, read_arguments,
    read_results, read_words, write_arguments, write_results,
};
use crate::shared::layout::{
    BULK_BYTES_MAX, CHANNEL_LIMITS, DEPTH_MAX, INTERRUPTS, SEQUENCE_MASK, bulk_address, load_frame,
    slot_address, store_frame,
};
use crate::shared::message::{Answer, Keeping, Payload};
use crate::shared::waiting::{Deadline, Ended, post_request, sleep_for_reply, spin_for_reply};
use crate::sys::channel::{OWNER_DIED, THREAD_MASK};
use crate::sys::memory::load_bytes;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// The longest frame of a call on registers whose arguments are not variable.
pub(crate) const REGISTER_FRAME: usize = 768;
/// As long as most frames of such calls are. Clearing memory for more would take a part of the call's time.
const SHORT_FRAME: usize = 128;

/// Whether a call of this shape fits a short frame.
const fn is_short(shape: Shape) -> bool {
    /// Kind, function, depth, what is kept, `errno` and counts.
    const HEAD: usize = 1 + 10 + 1 + 1 + 2 + 4 + 2 + 10;
    HEAD + 10 * shape.general as usize + 16 * shape.vector as usize + 8 * shape.stack as usize <= SHORT_FRAME
}

/// The answer to a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// The registers hold the results; the callee's `errno`.
    Registers(u32),
    /// Bytes of a result.
    Bytes(ReplyBytes),
    /// The function said that it failed: the bytes of its reason.
    Failed(ReplyBytes),
}

/// Where the bytes of an answer are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReplyBytes {
    /// At the start of the frame.
    Frame { length: usize },
    /// In the channel's bulk area.
    Bulk { address: u64, length: usize },
}

fn errno() -> u32 {
    // SAFETY: the C library's errno of this thread; reading it is always sound.
    unsafe { *libc::__errno_location() as u32 }
}

fn set_errno(value: u32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value as i32 };
}

impl Connection {
    /// Calls `function` on registers. On success the results replace the arguments and `errno` is the
    /// callee's.
    ///
    /// `words` are the arguments on the stack. `shape` says which registers matter; pointers in
    /// the first `named` integer registers are checked against dead generations.
    ///
    /// # Errors
    /// Any [`CallError`]; the registers are unchanged then.
    ///
    /// # Safety
    /// The callee may change any memory of this process that the arguments reach and that a
    /// function of this kind may change: they must be right for the function.
    pub unsafe fn call_registers(
        &self,
        function: u64,
        registers: &mut Registers,
        shape: Shape,
        words: &[u64],
        named: usize,
        options: &CallOptions,
    ) -> Result<(), CallError> {
        let before = errno();
        let attempt = |frame: &mut [u8], index, current, deadline: &Deadline| {
            let named = named.min(shape.general.into());
            self.check_generations(&registers.general[..named], current)?;
            self.check_known_stale(function, registers, current)?;
            let mut writer = FrameWriter::new(frame);
            writer.kind(Kind::Call)?;
            writer.number(function)?;
            let depth_at = writer.used();
            writer.bytes(&[0, Keeping::None as u8])?;
            writer.number(before.into())?;
            write_arguments(&mut writer, shape, registers, words)?;
            let used = writer.used();
            let arguments = shape.general.into();
            self.exchange(index, current, frame, used, depth_at, registers, options, deadline)
                .inspect_err(|_| self.note_stale(index, function, registers, arguments))
        };
        let result = if is_short(shape) && words.len() <= shape.stack.into() {
            self.with_retries(options, with_frame::<SHORT_FRAME>(attempt))
        } else if words.len() <= FIXED_WORDS_MAX {
            self.with_retries(options, with_frame::<REGISTER_FRAME>(attempt))
        } else {
            self.with_retries(options, with_frame::<FRAME_MAX>(attempt))
        };
        match result {
            Ok(Reply::Registers(errno)) => {
                set_errno(errno);
                Ok(())
            }
            Ok(Reply::Bytes(_) | Reply::Failed(_)) => Err(FrameError::Range.into()),
            Err(error) => Err(error),
        }
    }

    /// Calls `function` on bytes, and hands the bytes of the result to `read`.
    ///
    /// `write` fills the given memory and returns how much it used, or `None` when it is too small. Then
    /// `write_all` is called, once an attempt, which appends all to memory that grows, or returns `None` if
    /// they are too long for that.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub fn call_bytes<T>(
        &self,
        function: u64,
        mut write: impl FnMut(&mut [u8]) -> Option<usize>,
        mut write_all: impl FnMut(&mut Vec<u8>) -> Option<()>,
        read: impl FnOnce(&[u8]) -> Result<T, CallError>,
        options: &CallOptions,
    ) -> Result<T, CallError> {
        let mut frame = [0_u8; FRAME_MAX];
        let reply = self.with_retries(options, |index, current, deadline| {
            let mut writer = FrameWriter::new(&mut frame);
            writer.kind(Kind::CallBytes)?;
            writer.number(function)?;
            let depth_at = writer.used();
            writer.number(0)?;
            let head = writer.used();
            let used = match write(&mut frame[head + 1..]) {
                Some(length) => {
                    frame[head] = 0;
                    head + 1 + length.min(FRAME_MAX - head - 1)
                }
                None => {
                    let length = self.write_bulk(current, index, &mut write_all)?;
                    let mut writer = FrameWriter::new(&mut frame[head..]);
                    writer.bytes(&[1])?;
                    writer.number(length as u64)?;
                    head + writer.used()
                }
            };
            let mut registers = Registers::default();
            self.exchange(index, current, &mut frame, used, depth_at, &mut registers, options, deadline)
        })?;
        let (Reply::Bytes(bytes) | Reply::Failed(bytes)) = reply else {
            return Err(FrameError::Range.into());
        };
        let copy;
        let bytes = match bytes {
            ReplyBytes::Frame { length } => frame.get(..length).ok_or(FrameError::Short)?,
            ReplyBytes::Bulk { address, length } => {
                let mut bytes = vec![0; length];
                // SAFETY: the length was checked against the bulk area, which stays mapped.
                unsafe { load_bytes(address, &mut bytes) };
                copy = bytes;
                &copy[..]
            }
        };
        if matches!(reply, Reply::Failed(_)) {
            return Err(CallError::Failed(String::from_utf8_lossy(bytes).into_owned()));
        }
        read(bytes)
    }

    fn write_bulk(
        &self,
        current: Current,
        index: usize,
        write_all: &mut impl FnMut(&mut Vec<u8>) -> Option<()>,
    ) -> Result<usize, CallError> {
        // Built privately and then copied: no reference may exist to memory that a worker writes.
        let mut bytes = Vec::with_capacity(FRAME_MAX * 16);
        write_all(&mut bytes).filter(|()| bytes.len() as u64 <= BULK_BYTES_MAX).ok_or(FrameError::Full)?;
        let bulk = bulk_address(slot_address(self.window, current.slot()), index);
        // SAFETY: the area is mapped for writing and at least BULK_BYTES_MAX long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), bulk as *mut u8, bytes.len()) };
        Ok(bytes.len())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one attempt; a struct would be built for this call only"
    )]
    fn exchange(
        &self,
        index: usize,
        current: Current,
        frame: &mut [u8],
        used: usize,
        depth_at: usize,
        registers: &mut Registers,
        options: &CallOptions,
        deadline: &Deadline,
    ) -> Result<Reply, CallError> {
        let client = &self.state().channels[index];
        let has_answered = client.of.load(Relaxed) == current_key(current);
        if !has_answered {
            self.prepare(current, index, deadline)?;
        }
        let depth = client.depth.load(Relaxed);
        if depth as usize >= DEPTH_MAX {
            return Err(CallError::TooMany);
        }
        if depth == 0 && self.has_ended(current, index, has_answered) {
            // It ended between calls.
            self.retire(current, Fate::Kill);
            return Err(CallError::Crashed { signal: 0, address: 0, instruction: 0, ran: Ran::No });
        }
        client.stale_word.store(0, Relaxed);
        frame[depth_at] = depth as u8 | if client.interrupts() { INTERRUPTS } else { 0 };
        if frame[0] == Kind::Call as u8 {
            frame[depth_at + 1] = self.refresh(index, current, &registers.general) as u8;
        }
        let result = self.converse(index, current, frame, used, registers, options, deadline);
        let ended = match result {
            Ok(reply) => return Ok(reply),
            Err(ended) => ended,
        };
        client.of.store(0, Relaxed);
        client.granted.store(0, Relaxed);
        match ended {
            Failure::Wait(Ended::Died) => {
                // Only its thread may have ended.
                self.retire(current, Fate::Kill);
                if options.retries > 0 {
                    return Err(CallError::Crashed {
                        signal: 0,
                        address: 0,
                        instruction: 0,
                        ran: Ran::Maybe,
                    });
                }
                Err(self.how_ended(current, deadline))
            }
            Failure::Wait(Ended::Late) => {
                self.retire(current, Fate::Kill);
                Err(CallError::TimedOut { ran: Ran::Maybe })
            }
            Failure::Wait(Ended::Violation) => {
                self.retire(current, Fate::Kill);
                Err(FrameError::Range.into())
            }
            Failure::Frame(error) => {
                self.retire(current, Fate::Kill);
                Err(error.into())
            }
            Failure::Call(error) => {
                let ends_itself = matches!(error, CallError::Crashed { .. } | CallError::Refused { .. });
                let placed = client.placed.load(Relaxed) != u32::MAX;
                let worker = self.channel(current.slot(), index).alive.word.load(Relaxed) & THREAD_MASK;
                let ending = Fate::Ending(if placed { worker } else { 0 });
                self.retire(current, if ends_itself { ending } else { Fate::Kill });
                Err(error)
            }
            Failure::Keep(error) => {
                // It forgets the pages that it kept: this call told it nothing about them.
                client.of.store(current_key(current), Relaxed);
                Err(error)
            }
        }
    }

    /// Whether the worker has ended: its slot says so, or has been emptied for the next one, which a
    /// babysitter may be doing just now, or is that one's already.
    fn has_ended(&self, current: Current, index: usize, has_answered: bool) -> bool {
        let alive = self.channel(current.slot(), index).alive.word.load(Acquire);
        alive & OWNER_DIED != 0
            || has_answered && alive & THREAD_MASK == 0
            || self.control().slots[current.slot()].generation.load(Acquire) != current.generation()
    }

    #[expect(clippy::too_many_arguments, reason = "as in exchange")]
    fn converse(
        &self,
        index: usize,
        current: Current,
        frame: &mut [u8],
        mut used: usize,
        registers: &mut Registers,
        options: &CallOptions,
        deadline: &Deadline,
    ) -> Result<Reply, Failure> {
        let client = &self.state().channels[index];
        let (slot, channel) =
            (slot_address(self.window, current.slot()), self.channel(current.slot(), index));
        let limits = self.limits(current, options, deadline);
        let on_bytes = frame.first() == Some(&(Kind::CallBytes as u8));
        loop {
            let sequence = client.sequence.load(Relaxed).wrapping_add(1) & SEQUENCE_MASK;
            client.sequence.store(sequence, Relaxed);
            store_frame(&channel.request_frame, &frame[..used]);
            let (spin_us, beside) = self.waiting_mode(client, channel, current, options.wait);
            if post_request(channel, sequence, used, spin_us, beside) {
                self.statistics.wakes.fetch_add(1, Relaxed);
            }
            let spun = spin_for_reply(channel, sequence, u64::from(spin_us) * self.ticks_per_us);
            if spun.is_none() && spin_us > 0 {
                client.note_in_vain();
            }
            spun.unwrap_or_else(|| sleep_for_reply(channel, sequence, &limits)).map_err(Failure::Wait)?;
            let length = channel.reply.beside.load(Relaxed) as usize;
            let mut long;
            let reply = if length <= frame.len() {
                load_frame(&channel.reply_frame, length, frame)
            } else if length <= REGISTER_FRAME && !on_bytes {
                long = [0; REGISTER_FRAME];
                load_frame(&channel.reply_frame, length, &mut long)
            } else {
                return Err(Failure::Frame(FrameError::Long));
            };
            match Answer::read(reply, CHANNEL_LIMITS)? {
                Answer::Fetch { page, wanted } => {
                    self.look_for_stale(index, current, page);
                    let granted = self.grant(index, current, page, wanted);
                    let mut writer = FrameWriter::new(frame);
                    writer.kind(Kind::Fetched)?;
                    writer.number(granted)?;
                    used = writer.used();
                }
                Answer::CallBack { touched, target, errno, arguments: mut reader } => {
                    let mut arguments = Registers::default();
                    let mut words = [0; FIXED_WORDS_MAX];
                    let count = read_arguments(&mut reader, &mut arguments)?.min(words.len());
                    read_words(reader, &mut words[..count])?;
                    let count = call_back::more_words(slot, index, arguments.stack, &mut words, count);
                    self.write_back(index, current, touched)?;
                    self.variables.pull(slot);
                    set_errno(errno);
                    let errno = match target {
                        NO_CODE => errno,
                        _ => self.run_call_back(index, target, &mut arguments, &words[..count])?,
                    };
                    self.variables.push(slot, current.generation());
                    let keeping = self.refresh(index, current, &[]);
                    let mut writer = FrameWriter::new(frame);
                    writer.kind(Kind::CallbackReturn)?;
                    writer.bytes(&[keeping as u8])?;
                    write_results(&mut writer, &arguments, errno)?;
                    used = writer.used();
                }
                Answer::Unwind { touched, depth } => {
                    self.write_back(index, current, touched)?;
                    self.variables.pull(slot);
                    return Err(self.unwind(index, depth.into()));
                }
                Answer::Returned { touched, results } if !on_bytes => {
                    self.write_back(index, current, touched)?;
                    return Ok(Reply::Registers(read_results(results, registers)?));
                }
                answer @ (Answer::Bytes(payload) | Answer::Failed(payload)) if on_bytes => {
                    let has_failed = matches!(answer, Answer::Failed(_));
                    let bytes = match payload {
                        Payload::Bulk(length) => {
                            ReplyBytes::Bulk { address: bulk_address(slot, index), length }
                        }
                        Payload::Inline(bytes) => {
                            let count = bytes.len();
                            frame.copy_within(length - count..length, 0);
                            ReplyBytes::Frame { length: count }
                        }
                    };
                    return Ok(if has_failed { Reply::Failed(bytes) } else { Reply::Bytes(bytes) });
                }
                Answer::Crashed { signal, address, instruction } => {
                    return Err(Failure::Call(CallError::Crashed {
                        signal,
                        address,
                        instruction,
                        ran: Ran::Maybe,
                    }));
                }
                Answer::Refused(call) => return Err(Failure::Call(CallError::Refused { call })),
                Answer::NoFunction => return Err(Failure::Keep(CallError::NoFunction)),
                // The reply to a call of the other kind.
                Answer::Returned { .. } | Answer::Bytes(_) | Answer::Failed(_) => {
                    return Err(Failure::Frame(FrameError::Range));
                }
            }
        }
    }
}

/// Has an attempt use a frame of `N` bytes of the stack.
fn with_frame<const N: usize>(
    mut attempt: impl FnMut(&mut [u8], usize, Current, &Deadline) -> Result<Reply, CallError>,
) -> impl FnMut(usize, Current, &Deadline) -> Result<Reply, CallError> {
    move |index, current, deadline| attempt(&mut [0; N], index, current, deadline)
}

fn current_key(current: Current) -> u64 {
    u64::from(current.generation()) << 8 | (current.slot() as u64) << 1
}

enum Failure {
    Wait(Ended),
    Frame(FrameError),
    /// The worker is finished.
    Call(CallError),
    /// The worker is well.
    Keep(CallError),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}
