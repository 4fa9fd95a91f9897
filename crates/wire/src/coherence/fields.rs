//! The 64 bytes of a header, and where in them each field of a message is.
//!
//! [`Write`] and [`Read`] have a method for each name that a field of a message can have: the table of
//! messages finds the place of a field by its name. Reading checks what can be checked of the field alone.

use super::directory::Directory;
use super::error::DecodeError;
use super::{MAGIC, SWEEP_EXTENTS_MAX, VERSION};
use crate::ids::{
    Access, EXTENT_PAGES, Epoch, ExtentNumber, Microseconds, NodeId, PAGES_END, PageNumber, RequestNumber,
    Run, Transaction,
};
use alloc::vec::Vec;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of every header.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();
const _: () = assert!(HEADER_BYTES == 64);

#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) magic: [u8; 2],
    pub(super) version: u8,
    pub(super) tag: u8,
    pub(super) process: U32,
    pub(super) first: U64,
    pub(super) count: U16,
    access: u8,
    node: u8,
    pub(super) payload: U32,
    epoch: U64,
    request: U64,
    transaction: U64,
    have: U64,
    flags: u8,
    reserved: [u8; 3],
    ran: U32,
}

const CONFIRM: u8 = 1;
const CONTENTS: u8 = 2;
const DEMAND: u8 = 4;
const DISCARD: u8 = 8;

const READ: u8 = 1;
const WRITE: u8 = 2;

impl RawHeader {
    /// A header in which no message has written yet.
    pub(super) fn new(process: u32) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            tag: 0,
            process: process.into(),
            first: 0.into(),
            count: 0.into(),
            access: 0,
            node: 0,
            payload: 0.into(),
            epoch: 0.into(),
            request: 0.into(),
            transaction: 0.into(),
            have: 0.into(),
            flags: 0,
            reserved: [0; 3],
            ran: 0.into(),
        }
    }

    /// Does a payload of pages follow?
    pub(super) const fn has_contents(&self) -> bool {
        self.flags & CONTENTS != 0
    }
}

/// Puts the fields of a message in their places.
pub(super) struct Write<'a>(pub(super) &'a mut RawHeader);

impl Write<'_> {
    pub(super) fn run(&mut self, run: &Run) {
        self.0.first = run.first.0.into();
        self.0.count = (run.count as u16).into();
    }

    pub(super) fn extent(&mut self, extent: &ExtentNumber) {
        self.0.first = extent.0.into();
    }

    pub(super) fn access(&mut self, access: &Access) {
        self.0.access = match access {
            Access::Read => READ,
            Access::Write => WRITE,
        };
    }

    pub(super) fn epoch(&mut self, epoch: &Epoch) {
        self.0.epoch = epoch.0.into();
    }

    pub(super) fn request(&mut self, request: &RequestNumber) {
        self.0.request = request.0.into();
    }

    pub(super) fn transaction(&mut self, transaction: &Transaction) {
        self.0.transaction = transaction.0.into();
    }

    pub(super) fn have(&mut self, have: &Transaction) {
        self.0.have = have.0.into();
    }

    pub(super) fn extents(&mut self, extents: &u64) {
        self.0.have = (*extents).into();
    }

    pub(super) fn swept(&mut self, swept: &u64) {
        self.0.have = (*swept).into();
    }

    pub(super) fn requester(&mut self, requester: &NodeId) {
        self.0.node = requester.get();
    }

    pub(super) fn owner(&mut self, owner: &NodeId) {
        self.0.node = owner.get();
    }

    pub(super) fn confirm(&mut self, set: &bool) {
        self.flag(*set, CONFIRM);
    }

    pub(super) fn contents(&mut self, set: &bool) {
        self.flag(*set, CONTENTS);
    }

    pub(super) fn demand(&mut self, set: &bool) {
        self.flag(*set, DEMAND);
    }

    pub(super) fn discard(&mut self, set: &bool) {
        self.flag(*set, DISCARD);
    }

    /// More than the field holds is as long as can be.
    pub(super) fn ran(&mut self, ran: &Microseconds) {
        self.0.ran = u32::try_from(ran.0).unwrap_or(u32::MAX).into();
    }

    pub(super) fn directory(&mut self, directory: &Directory) {
        self.0.count = (directory.pages.len() as u16).into();
        self.0.node = directory.origin.get();
        self.0.transaction = directory.last.0.into();
        self.0.request = directory.discarded.0.into();
    }

    fn flag(&mut self, set: bool, bit: u8) {
        self.0.flags |= if set { bit } else { 0 };
    }
}

/// Finds the fields of a message in their places, and believes nothing.
pub(super) struct Read<'a>(pub(super) &'a RawHeader);

impl Read<'_> {
    pub(super) fn run(&self) -> Result<Run, DecodeError> {
        let (first, count) = (self.0.first.get(), self.0.count.get());
        let run = Run { first: PageNumber(first), count: u32::from(count) };
        // The bound on the first page comes before anything that adds to it.
        if first < PAGES_END && run.is_within_extent() {
            Ok(run)
        } else {
            Err(DecodeError::Run { first, count })
        }
    }

    pub(super) fn extent(&self) -> Result<ExtentNumber, DecodeError> {
        let number = self.0.first.get();
        if number < PAGES_END / u64::from(EXTENT_PAGES) {
            Ok(ExtentNumber(number))
        } else {
            Err(DecodeError::Extent(number))
        }
    }

    pub(super) fn access(&self) -> Result<Access, DecodeError> {
        match self.0.access {
            READ => Ok(Access::Read),
            WRITE => Ok(Access::Write),
            other => Err(DecodeError::Access(other)),
        }
    }

    pub(super) fn epoch(&self) -> Result<Epoch, DecodeError> {
        Ok(Epoch(self.0.epoch.get()))
    }

    pub(super) fn request(&self) -> Result<RequestNumber, DecodeError> {
        match self.0.request.get() {
            0 => Err(DecodeError::Zero),
            number => Ok(RequestNumber(number)),
        }
    }

    pub(super) fn transaction(&self) -> Result<Transaction, DecodeError> {
        match self.0.transaction.get() {
            0 => Err(DecodeError::Zero),
            number => Ok(Transaction(number)),
        }
    }

    pub(super) fn have(&self) -> Result<Transaction, DecodeError> {
        Ok(Transaction(self.0.have.get()))
    }

    pub(super) fn extents(&self) -> Result<u64, DecodeError> {
        match self.0.have.get() {
            0 => Err(DecodeError::Zero),
            _ => self.swept(),
        }
    }

    pub(super) fn swept(&self) -> Result<u64, DecodeError> {
        match self.0.have.get() {
            count @ 0..=SWEEP_EXTENTS_MAX => Ok(count),
            count => Err(DecodeError::Extents(count)),
        }
    }

    pub(super) fn requester(&self) -> Result<NodeId, DecodeError> {
        self.node()
    }

    pub(super) fn owner(&self) -> Result<NodeId, DecodeError> {
        self.node()
    }

    pub(super) fn confirm(&self) -> Result<bool, DecodeError> {
        Ok(self.0.flags & CONFIRM != 0)
    }

    pub(super) fn contents(&self) -> Result<bool, DecodeError> {
        Ok(self.0.flags & CONTENTS != 0)
    }

    pub(super) fn demand(&self) -> Result<bool, DecodeError> {
        Ok(self.0.flags & DEMAND != 0)
    }

    pub(super) fn discard(&self) -> Result<bool, DecodeError> {
        Ok(self.0.flags & DISCARD != 0)
    }

    pub(super) fn ran(&self) -> Result<Microseconds, DecodeError> {
        Ok(match self.0.ran.get() {
            u32::MAX => Microseconds::MAX,
            ran => Microseconds(ran.into()),
        })
    }

    /// All but its entries, which are in the payload.
    pub(super) fn directory(&self) -> Result<Directory, DecodeError> {
        if u32::from(self.0.count.get()) > EXTENT_PAGES {
            return Err(DecodeError::Run { first: self.0.first.get(), count: self.0.count.get() });
        }
        Ok(Directory {
            last: Transaction(self.0.transaction.get()),
            discarded: RequestNumber(self.0.request.get()),
            origin: self.node()?,
            pages: Vec::new(),
        })
    }

    fn node(&self) -> Result<NodeId, DecodeError> {
        NodeId::new(self.0.node).ok_or(DecodeError::Node(self.0.node))
    }
}
