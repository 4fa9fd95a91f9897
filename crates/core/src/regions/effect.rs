//! What a memory call comes to: its result, and what the replicas must do for it.

use super::READ_WRITE;
use super::region_map::FileNumber;
use alloc::vec::Vec;

/// A stretch of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl Range {
    /// The first bytes, and the others.
    pub(super) const fn split_at(self, first: u64) -> (Self, Self) {
        let rest = Self { start: self.start + first, length: self.length - first };
        (Self { length: first, ..self }, rest)
    }
}

/// One step of the home replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Map the range of the memory file at its address, without access rights.
    Reserve(Range),
    /// Tell the daemon that the range is mapped.
    Confirm(Range),
    /// Give the range these `PROT_` bits.
    Protect(Range, u32),
    /// Unmap the range.
    Unmap(Range),
    /// Make the range zero on all nodes.
    Discard(Range),
    /// Fill the range from a file.
    ReadFile {
        /// What is filled.
        to: Range,
        /// The file.
        file: FileNumber,
        /// Where in the file its first byte is.
        offset: u64,
    },
    /// Have the kernel map a file privately, without access rights.
    MapFile {
        /// Where.
        at: Range,
        /// The file.
        file: FileNumber,
        /// Where in the file the first byte is.
        offset: u64,
    },
    /// Have the kernel make the call on the range, which is a mapping of its own.
    Call(Range),
    /// Have the kernel move or resize a mapping of its own.
    Move {
        /// Where it is.
        from: u64,
        /// Where and how large it will be.
        to: Range,
    },
    /// Fill the range from other memory of the program.
    Copy {
        /// What is filled.
        to: Range,
        /// Address of the first byte to copy.
        from: u64,
    },
}

impl Operation {
    /// The file that it needs.
    #[must_use]
    pub const fn file(self) -> Option<FileNumber> {
        match self {
            Self::ReadFile { file, .. } | Self::MapFile { file, .. } => Some(file),
            _ => None,
        }
    }
}

/// What a memory call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The call's result: a value or a negated errno.
    pub result: i64,
    /// What the home replica does, in order, before the call returns.
    pub operations: Vec<Operation>,
    /// Other replicas must unmap this range, and have said so, before the operations are performed.
    pub forget: Option<Range>,
}

impl Effect {
    /// Nothing but a result.
    pub(super) fn new(result: u64) -> Self {
        Self { result: result as i64, operations: Vec::new(), forget: None }
    }

    /// Nothing but an error.
    pub(super) fn failure(errno: u32) -> Self {
        Self { result: -i64::from(errno), operations: Vec::new(), forget: None }
    }

    pub(super) fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// New memory in a free range.
    pub(super) fn create(&mut self, range: Range, protection: u32) {
        self.push(Operation::Reserve(range));
        self.push(Operation::Confirm(range));
        self.push(Operation::Protect(range, protection));
    }

    /// Fills a range, which has these rights, from a file.
    pub(super) fn fill(&mut self, to: Range, protection: u32, file: FileNumber, offset: u64) {
        if protection & READ_WRITE != READ_WRITE {
            self.push(Operation::Protect(to, READ_WRITE));
        }
        self.push(Operation::ReadFile { to, file, offset });
        if protection & READ_WRITE != READ_WRITE {
            self.push(Operation::Protect(to, protection));
        }
    }

    /// The end of memory in a range.
    pub(super) fn remove(&mut self, range: Range) {
        self.push(Operation::Unmap(range));
        self.push(Operation::Discard(range));
    }
}
