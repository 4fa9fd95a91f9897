//! What a node remembers of an extent, as a holder of its pages and as their owner.
//!
//! Plain state and its small questions; what changes it is in the sibling modules. An extent that no other
//! node has asked for has no entry at all.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use banyan_wire::coherence::{self as wire, Holders};
use banyan_wire::ids::{
    Access, Epoch, Microseconds, NodeId, NodeSet, PageNumber, RequestNumber, Run, Transaction,
};

use super::hold::Hold;
use super::migration::Migration;

/// What this node may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// Nothing: the page is not in memory.
    Absent,
    /// Read it, as others may.
    Shared,
    /// Write it, as no other node may even read it.
    Exclusive,
}

impl Held {
    pub(super) const fn of(access: Access) -> Self {
        match access {
            Access::Read => Self::Shared,
            Access::Write => Self::Exclusive,
        }
    }

    /// Is this enough for the access?
    #[must_use]
    pub fn allows(self, access: Access) -> bool {
        self >= Self::of(access)
    }

    pub(super) const fn access(self) -> Option<Access> {
        match self {
            Self::Absent => None,
            Self::Shared => Some(Access::Read),
            Self::Exclusive => Some(Access::Write),
        }
    }
}

/// A page as its holder sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Page {
    pub(super) held: Held,
    /// The last transaction that touched the page here. Whatever arrives with no higher number is old news.
    pub(super) version: Transaction,
    /// What threads and acquisitions wait for. Unless the extent is being shared, a request is under way
    /// then.
    pub(super) wanted: Option<Access>,
    /// The request under way that covers the page, or zero.
    pub(super) request: RequestNumber,
    /// When it was last granted, or zero.
    pub(super) came: Microseconds,
    /// When this node last had to stop writing it, or zero.
    pub(super) lost: Microseconds,
}

/// A page as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) holders: Holders,
    /// The last transaction that let a node change the bytes.
    pub(super) written: Transaction,
    /// The transfer under way, or zero.
    pub(super) busy: Transaction,
    /// When it was granted for writing, unless it became zero since.
    pub(super) granted: Option<Microseconds>,
    /// How often write access went from one node to another.
    pub(super) moves: u32,
    pub(super) migration: Migration,
    pub(super) hold: Hold,
}

/// A transfer that the owner waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) run: Run,
    pub(super) purpose: Purpose,
    /// Who has still to acknowledge an invalidation.
    pub(super) waiting: NodeSet,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Access {
        access: Access,
        requester: NodeId,
        request: RequestNumber,
        /// The node that sends the bytes; none if the requester has them.
        source: Option<NodeId>,
    },
    Discard {
        request: RequestNumber,
    },
}

/// A request that has to wait at the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) requester: NodeId,
    pub(super) request: RequestNumber,
    pub(super) run: Run,
    pub(super) access: Access,
    pub(super) have: Transaction,
    pub(super) demand: bool,
    pub(super) ran: Microseconds,
}

/// The owner's directory of an extent that others have asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Directory {
    /// The driver is registering the extent; nothing is granted meanwhile, not even to local threads.
    pub(super) sharing: bool,
    /// Who holds, for writing, each page beyond `entries`.
    pub(super) origin: NodeId,
    /// Grows to the highest page that anyone has asked for, at most to the length of the extent.
    pub(super) entries: Vec<Entry>,
    /// At most one for each page, since a page is in one transfer at a time.
    pub(super) transfers: BTreeMap<Transaction, Transfer>,
    /// At most [`super::QUEUE_MAX`].
    pub(super) queue: VecDeque<Asked>,
    /// A discard that waits for transfers to end. At most one, since home sends them one after another.
    pub(super) discard: Option<(Run, RequestNumber)>,
    /// Who becomes the owner as soon as no transfer is under way.
    pub(super) successor: Option<NodeId>,
}

impl Directory {
    pub(super) fn new(origin: NodeId) -> Self {
        Self {
            sharing: false,
            origin,
            entries: Vec::new(),
            transfers: BTreeMap::new(),
            queue: VecDeque::new(),
            discard: None,
            successor: None,
        }
    }

    pub(super) fn entry(&self, page: PageNumber) -> Entry {
        self.entries.get(page.index()).copied().unwrap_or(self.untouched())
    }

    pub(super) fn entry_mut(&mut self, page: PageNumber) -> &mut Entry {
        let untouched = self.untouched();
        if self.entries.len() <= page.index() {
            self.entries.resize(page.index() + 1, untouched);
        }
        &mut self.entries[page.index()]
    }

    fn untouched(&self) -> Entry {
        Entry {
            holders: Holders::Writer(self.origin),
            written: Transaction(0),
            busy: Transaction(0),
            granted: None,
            moves: 0,
            migration: Migration::default(),
            hold: Hold::default(),
        }
    }
}

/// Pages given away whose arrival is not yet confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Retained {
    pub(super) run: Run,
    pub(super) requester: NodeId,
    pub(super) request: RequestNumber,
    pub(super) owner: NodeId,
    pub(super) epoch: Epoch,
}

/// A directory on its way to its next owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leaving {
    pub(super) to: NodeId,
    pub(super) epoch: Epoch,
    pub(super) directory: wire::Directory,
}

/// Everything about one extent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    /// The owner, as far as this node knows, and since which epoch.
    pub(super) owner: NodeId,
    pub(super) epoch: Epoch,
    /// This node is the owner. (That `owner` names this node is not enough: the directory may not have
    /// arrived.)
    pub(super) owned: bool,
    /// The state of each page beyond `pages`.
    pub(super) untouched: Held,
    /// Grows to the highest page touched, at most to the length of the extent.
    pub(super) pages: Vec<Page>,
    /// The directory, if this node is the owner and anyone else has asked.
    pub(super) directory: Option<Box<Directory>>,
    /// At an owner: the highest transaction used.
    pub(super) last: Transaction,
    /// At an owner: the highest discard carried out.
    pub(super) discarded: RequestNumber,
    /// At most one for each page: a page cannot be given away again before it came back, which takes a later
    /// transaction, which begins after this one is confirmed to the owner.
    pub(super) retained: BTreeMap<Transaction, Retained>,
    /// The directory, given to the next owner, who has not yet confirmed it.
    pub(super) leaving: Option<Box<Leaving>>,
}

impl Extent {
    pub(super) fn new(owner: NodeId, epoch: Epoch, owned: bool) -> Self {
        Self {
            owner,
            epoch,
            owned,
            untouched: if owned { Held::Exclusive } else { Held::Absent },
            pages: Vec::new(),
            directory: None,
            last: Transaction(0),
            discarded: RequestNumber(0),
            retained: BTreeMap::new(),
            leaving: None,
        }
    }

    /// Owned here, and no other node has ever asked: local threads touch it without a fault.
    pub(super) fn is_native(&self) -> bool {
        self.owned && self.directory.is_none()
    }

    pub(super) fn is_sharing(&self) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.sharing)
    }

    pub(super) fn page(&self, page: PageNumber) -> Page {
        self.pages.get(page.index()).copied().unwrap_or(self.untouched_page())
    }

    pub(super) fn page_mut(&mut self, page: PageNumber) -> &mut Page {
        let untouched = self.untouched_page();
        if self.pages.len() <= page.index() {
            self.pages.resize(page.index() + 1, untouched);
        }
        &mut self.pages[page.index()]
    }

    const fn untouched_page(&self) -> Page {
        Page {
            held: self.untouched,
            version: Transaction(0),
            wanted: None,
            request: RequestNumber(0),
            came: Microseconds(0),
            lost: Microseconds(0),
        }
    }
}

/// Collects pages, in ascending order, into runs of equal meaning.
pub(super) fn runs<T: PartialEq + Copy>(
    run: Run,
    mut of: impl FnMut(PageNumber) -> Option<T>,
) -> impl Iterator<Item = (Run, T)> {
    let mut next = run.first;
    core::iter::from_fn(move || {
        while next < run.end() {
            let Some(meaning) = of(next) else {
                next = next.plus(1);
                continue;
            };
            let mut found = Run::one(next);
            next = next.plus(1);
            while next < run.end() && of(next) == Some(meaning) {
                found.count += 1;
                next = next.plus(1);
            }
            return Some((found, meaning));
        }
        None
    })
}
