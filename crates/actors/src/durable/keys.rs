//! The keys of a durable configuration's records: what each is, to the byte, is in
//! `docs/formats/durable-actors.md`.

/// The first byte of a key says what the record is; the others number it.
pub(super) const ACTOR: u64 = 1 << 56;
pub(super) const QUEUED: u64 = 2 << 56;
pub(super) const OUTBOX: u64 = 3 << 56;
pub(super) const SEEN: u64 = 4 << 56;
pub(super) const SENT: u64 = 5 << 56;
pub(super) const TIMER: u64 = 6 << 56;
pub(super) const SELF: u64 = 7 << 56;
pub(super) const LEDGER: u64 = 8 << 56;
pub(super) const KIND: u64 = 0xff << 56;
