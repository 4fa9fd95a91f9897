//! What goes into a coherence machine and what comes out of it.
//!
//! Only the vocabulary; the decisions are in the sibling modules.

use alloc::string::String;

use banyan_wire::coherence::Message;
use banyan_wire::ids::{Access, ExtentNumber, NodeId, PageNumber, Run, Transaction};

/// The driver's name for something that it asked for and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A thread of this node, as the driver numbers them. A number may be used again after the thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadNumber(pub u32);

/// Consecutive extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extents {
    /// The lowest.
    pub first: ExtentNumber,
    /// How many.
    pub count: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// A local thread waits for this page. Repetitions and faults that are long resolved do no harm.
    Fault {
        /// Which thread.
        thread: ThreadNumber,
        /// The page.
        page: PageNumber,
        /// What the thread tried.
        access: Access,
        /// Where prefetch has to stop: the first page that is not in the same mapping.
        limit: PageNumber,
    },
    /// Get all these pages, in as few requests as possible. Answered by [`Output::Acquired`]. The run may
    /// span extents, but at most [`super::ACQUIRE_PAGES_MAX`] pages count; the rest is left to faults.
    Acquire {
        /// Comes back in the answer; unused by any other acquisition that is under way.
        token: Token,
        /// The pages.
        run: Run,
        /// What for.
        access: Access,
    },
    /// A message from another node. The frame's payload must stay at hand until the outputs have been carried
    /// out.
    Receive {
        /// Who sent it.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// The deadline that the machine last named has passed. More often does no harm.
    Tick,
    /// This node is the first owner of these fresh extents, which no thread has touched yet.
    Claim(Extents),
    /// At home: another node is the first owner of these fresh extents. To be given before that node may
    /// touch them.
    Assign {
        /// The extents.
        extents: Extents,
        /// Their owner.
        owner: NodeId,
    },
    /// At home: extents that nothing is mapped in and nobody has asked for get another first owner, as with
    /// [`Input::Assign`]: one that joins in place of this node, or this node in place of one that did not
    /// join after all. Extents of which anything is known stay as they are, and so do those that are not
    /// `from`'s as just this range.
    Cede {
        /// The extents.
        extents: Extents,
        /// Their owner so far.
        from: NodeId,
        /// Their owner.
        to: NodeId,
    },
    /// The answer to [`Output::Share`]: the extent is registered.
    Shared {
        /// The extent.
        extent: ExtentNumber,
        /// After registering it, there was no page of it in the replica's memory.
        empty: bool,
    },
    /// At home: these pages become zero everywhere and held by none of the nodes that held them before.
    /// Answered by [`Output::Discarded`]. The run may span extents.
    Discard {
        /// Comes back in the answer; unused by any other discard that is under way.
        token: Token,
        /// The pages.
        run: Run,
    },
    /// This node, which is not home and runs no threads, is about to leave: it hands over all that it owns.
    /// For native extents that have contents the driver gives [`Input::HandOver`], since the machine does not
    /// know them. See `retire`.
    Retire,
    /// A node that retires has handed over all: serve it no more.
    Dismiss {
        /// The node.
        node: NodeId,
    },
    /// This node, which retires, says nothing more from now on, if it has nothing left. To be given
    /// until [`super::Machine::has_closed`].
    Close,
    /// A node has closed. Home is asked in its place.
    Forget {
        /// The node.
        node: NodeId,
    },
    /// At the owner: let another node own this extent from now on. Ignored anywhere else.
    HandOver {
        /// The extent.
        extent: ExtentNumber,
        /// The new owner.
        to: NodeId,
    },
}

/// Which of the two connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small messages that a thread waits for.
    Urgent,
    /// Long runs.
    Bulk,
}

/// Where the driver finds the pages that go with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contents {
    /// No pages go with it.
    None,
    /// Read them from the replica's memory now: they are write-protected, and may be changed or gone after
    /// the next output.
    Replica,
    /// Those kept by [`Output::Retain`] for the message's extent and transaction.
    Retained,
}

/// Something to do. The driver does all of it, in order; every run is within one extent unless it says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output {
    /// Register the extent with userfaultfd, then see whether it is empty, then answer with [`Input::Shared`]
    /// at once. Until then its threads touched it natively; every page is theirs to write, and a hole is a
    /// zero page.
    Share {
        /// The extent.
        extent: ExtentNumber,
    },
    /// The extent is owned here, wholly zero, and held by no other node: unregister it (which wakes its
    /// waiters) so that its first touches are native.
    Native {
        /// The extent.
        extent: ExtentNumber,
    },
    /// Send a message.
    Send {
        /// The receiver; never this node.
        to: NodeId,
        /// By which connection.
        lane: Lane,
        /// The message.
        message: Message,
        /// The pages to send with it.
        contents: Contents,
    },
    /// Write these pages, which the frame just received carries, into the memory, then map them (CONTINUE;
    /// with write-protection if the access is read), which wakes their waiters. The run is all or a part of
    /// the frame's.
    Install {
        /// The pages.
        run: Run,
        /// How they may be accessed.
        access: Access,
        /// Leave this page unmapped: it is in memory, and its next touch will show how far a sequential
        /// reader got.
        marker: Option<PageNumber>,
    },
    /// The pages are in memory and mapped read-only (or not mapped): let them be written (WRITEPROTECT off),
    /// and wake their waiters.
    Upgrade {
        /// The pages.
        run: Run,
    },
    /// Take away write access (WRITEPROTECT on), so that what is read from the pages afterwards is final.
    Downgrade {
        /// The pages.
        run: Run,
    },
    /// Drop the pages from memory (PUNCH_HOLE). As the outcome of a discard at home or of a sweep, the run
    /// may span extents.
    Invalidate {
        /// The pages.
        run: Run,
    },
    /// The pages are held: map what is not mapped with this access (CONTINUE; a hole is a zero page) and wake
    /// waiters.
    Wake {
        /// The pages.
        run: Run,
        /// How they may be accessed.
        access: Access,
    },
    /// Keep a copy of these pages under this extent and transaction: they are about to be given away.
    Retain {
        /// The pages.
        run: Run,
        /// The change by which they are given away.
        transaction: Transaction,
    },
    /// The copy is no longer needed.
    Release {
        /// The pages.
        run: Run,
        /// As in [`Output::Retain`].
        transaction: Transaction,
    },
    /// Every page of an acquisition has been granted since it was asked for.
    Acquired {
        /// Of the acquisition.
        token: Token,
    },
    /// A discard is complete on every node.
    Discarded {
        /// Of the discard.
        token: Token,
    },
    /// A peer sent what it cannot have sent if it works: close the connection with this reason. Nothing has
    /// changed.
    Reject {
        /// The peer.
        from: NodeId,
        /// What is wrong.
        reason: String,
    },
    /// This machine contradicts itself. It does nothing more; end the process rather than corrupt its memory.
    Fatal {
        /// What is wrong.
        reason: String,
    },
}
