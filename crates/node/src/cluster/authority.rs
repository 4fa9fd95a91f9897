//! Who decides about the address space of a job: the one interface behind which that may be the home daemon,
//! or a consensus of nodes.
//!
//! The pager and the service of the stub ask here and do not know who answers. Not here: who holds which page
//! (the owner of its extent knows), and the decisions themselves (`banyan_core::regions`).

use crate::pager::PagerError;
use banyan_core::coherence::Extents;
use banyan_core::regions::{Effect, Limits};
use banyan_wire::control::RegionFacts;
use banyan_wire::ids::NodeId;
use banyan_wire::stub::MapSource;
use banyan_wire::syscalls;
use std::os::fd::OwnedFd;

/// A system call about memory, as the program made it.
#[derive(Debug)]
pub(crate) struct MemoryCall {
    /// Which call.
    pub(crate) kind: syscalls::MemoryCall,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
    /// The node on which the calling thread executes: new memory is placed there.
    pub(crate) node: NodeId,
    /// The limits of the process.
    pub(crate) limits: Limits,
    /// For `mmap`: what is mapped, or the file whose copy it is.
    pub(crate) source: MapSource,
    /// That file.
    pub(crate) file: Option<OwnedFd>,
}

/// The authority over the regions and extents of one job, as one of its nodes reaches it.
pub(crate) trait Authority {
    /// The extents whose owners this node knows from the start. It learns of others when it asks for a page.
    fn first_owners(&self) -> Vec<(Extents, NodeId)>;

    /// Carries out a memory call: places, frees or protects. When it returns, no other replica maps what the
    /// call has taken away; the effect is what is left for the home replica to do.
    ///
    /// # Errors
    /// [`PagerError`] if the authority does not answer in time.
    fn memory_call(&self, call: MemoryCall) -> Result<Effect, PagerError>;

    /// The region at `address` if it allows `access`, a `PROT_` bit. `node` maps it afterwards, and will be
    /// asked to unmap it when it shrinks. A region without rights is one that only home can have.
    ///
    /// # Errors
    /// [`PagerError`] if the authority does not answer in time.
    fn learn(&self, node: NodeId, address: u64, access: u32) -> Result<Option<RegionFacts>, PagerError>;
}
