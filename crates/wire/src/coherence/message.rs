//! The coherence messages, one row each: tag, name, what part of memory it is about, payload, fields.
//!
//! This table is the only place in this crate that lists them: encoding, decoding and [`Message::extent`]
//! follow from it, and a test compares it with the format's document. Where in the header a field is: in
//! `fields`, by the field's name. What a message *means*, and whether it may be sent now, is decided in
//! `banyan-core`.

use super::directory::Directory;
use super::table::messages;
use crate::ids::{Access, Epoch, ExtentNumber, Microseconds, NodeId, RequestNumber, Run, Transaction};

messages! {
    /// What one node tells another about the pages of one process.
    ///
    /// The three parties of a transfer are the requester, the owner (who keeps the directory) and the holder
    /// (who has the bytes); any two may be the same node.
    pub enum Message {
        /// Requester to owner: let me access the first page, and as many after it as can be had along with
        /// it.
        1 = Get (about run, payload None) {
            /// The pages.
            run: Run,
            /// What for.
            access: Access,
            /// The requester's newest knowledge of the extent.
            epoch: Epoch,
            /// Names this request at the requester; a retry has the same number.
            request: RequestNumber,
            /// If the requester has read copies of the whole run: the lowest transaction that gave or kept
            /// one. Otherwise zero.
            have: Transaction,
            /// A thread waits for the first page: queue the request if need be. Otherwise decline rather than
            /// wait.
            demand: bool,
            /// How long, at a stretch, the thread has run at most since this node had to stop writing the
            /// first page; [`Microseconds::MAX`] if it never did, or if that is not known.
            ran: Microseconds,
        }
        /// Owner to holder: send these pages to the requester; for a write, give them away.
        2 = Forward (about run, payload None) {
            /// The pages.
            run: Run,
            /// What the requester will do with them.
            access: Access,
            /// Of the extent.
            epoch: Epoch,
            /// The change that this is part of.
            transaction: Transaction,
            /// Who gets the pages.
            requester: NodeId,
            /// The requester's name for its request.
            request: RequestNumber,
            /// The requester has to confirm to the owner.
            confirm: bool,
        }
        /// Holder, or owner, to requester: the pages are yours to access.
        3 = Grant (about run, payload Contents) {
            /// The pages: the asked run or the beginning of it.
            run: Run,
            /// What is granted.
            access: Access,
            /// Of the extent.
            epoch: Epoch,
            /// The change that this completes.
            transaction: Transaction,
            /// The extent's owner.
            owner: NodeId,
            /// The requester's name for its request.
            request: RequestNumber,
            /// The bytes come with it; otherwise the requester has them already.
            contents: bool,
            /// Say [`Message::Done`] to the owner, and to the sender if it gave bytes away.
            confirm: bool,
        }
        /// Owner to requester: this request changes nothing (a prefetch that is in conflict, or pages already
        /// held).
        4 = Decline (about run, payload None) {
            /// The asked run.
            run: Run,
            /// Of the extent.
            epoch: Epoch,
            /// The requester's name for its request.
            request: RequestNumber,
        }
        /// Requester to owner, and to the holder that gave bytes away: the grant has been carried out.
        5 = Done (about run, payload None) {
            /// The pages.
            run: Run,
            /// Of the extent.
            epoch: Epoch,
            /// The change that is complete.
            transaction: Transaction,
        }
        /// Owner to reader: forget these pages.
        6 = Invalidate (about run, payload None) {
            /// The pages.
            run: Run,
            /// Of the extent.
            epoch: Epoch,
            /// The change that this is part of.
            transaction: Transaction,
            /// The pages become zero, so that a written page is forgotten too.
            discard: bool,
        }
        /// Reader to owner: forgotten.
        7 = Acknowledge (about run, payload None) {
            /// The pages.
            run: Run,
            /// Of the extent.
            epoch: Epoch,
            /// The change that this is part of.
            transaction: Transaction,
        }
        /// To a node that asked the wrong one, or with an old epoch: this is the owner as far as the sender
        /// knows.
        8 = Located (about extent, payload None) {
            /// The extent.
            extent: ExtentNumber,
            /// The epoch since which it is owned so.
            epoch: Epoch,
            /// Who owns it.
            owner: NodeId,
        }
        /// Home to owner: these pages become zero and are held by no other node.
        9 = Discard (about run, payload None) {
            /// The pages.
            run: Run,
            /// The sender's newest knowledge of the extent.
            epoch: Epoch,
            /// Ascending within an extent; a repetition does nothing.
            request: RequestNumber,
        }
        /// Owner to home: they are.
        10 = Discarded (about run, payload None) {
            /// The pages.
            run: Run,
            /// Of the extent.
            epoch: Epoch,
            /// As in the discard.
            request: RequestNumber,
        }
        /// Old owner to new owner: the extent is yours, and this is its directory.
        11 = Adopt (about extent, payload Entries) {
            /// The extent.
            extent: ExtentNumber,
            /// The epoch at which the receiver owns it.
            epoch: Epoch,
            /// The directory.
            directory: Directory,
        }
        /// New owner to old owner: taken.
        12 = Adopted (about extent, payload None) {
            /// The extent.
            extent: ExtentNumber,
            /// The new epoch.
            epoch: Epoch,
        }
        /// Home to first owner: these extents become zero, as far as no other node has ever asked for them.
        13 = Sweep (about extent, payload None) {
            /// The first of them.
            extent: ExtentNumber,
            /// How many, at most [`SWEEP_EXTENTS_MAX`](super::SWEEP_EXTENTS_MAX).
            extents: u64,
            /// That of extents which were never asked for.
            epoch: Epoch,
            /// Ascending for each owner; a repetition does nothing.
            request: RequestNumber,
        }
        /// First owner to home: they are, up to the first one that another node has asked for.
        14 = Swept (about extent, payload None) {
            /// As in the sweep.
            extent: ExtentNumber,
            /// How many were swept; may be none.
            swept: u64,
            /// As in the sweep.
            epoch: Epoch,
            /// As in the sweep.
            request: RequestNumber,
        }
    }
}
