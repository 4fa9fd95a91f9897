//! The nodes, their memory, and what the program may see in it.
//!
//! A page's contents are one number: which write it was last written by. Outputs are carried out as a driver
//! must, but one at a time: other nodes, and the threads of all, can act between any two outputs of a step.
//! Who acts next, and what happens to messages, is up to the simulation or the explorer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use banyan_core::coherence::{Conduct, Extents, Input, Lane, Machine, Output, Token};
use banyan_core::ids::{Access, ExtentNumber, Microseconds, NodeId, PageNumber, Run};
use banyan_wire::coherence::Message;

use crate::invariants::{Violation, copy_is_final, minimum_hold, no_lost_write, nothing_rejected};
use crate::page::{Slot, Value};
use crate::replica::Replica;

/// One node.
#[derive(Clone, Debug)]
pub struct Site<C> {
    /// Its coherence machine.
    pub machine: Machine<C>,
    /// Its memory.
    pub replica: Replica,
    /// Extents just registered, and whether they were empty then; the machine is not yet told.
    pub registering: VecDeque<(ExtentNumber, bool)>,
    /// Outputs of the step under way that are not carried out yet.
    outputs: VecDeque<Output>,
    /// The pages that came with its message.
    frame: Vec<(PageNumber, Value)>,
    /// When it began.
    begun: Microseconds,
    hash: u64,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// Who sent it.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// By which connection.
    pub lane: Lane,
    /// What.
    pub message: Message,
    /// The pages that it carries.
    pub pages: Vec<(PageNumber, Value)>,
}

/// What came of an output, beside changes of memory.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be delivered, or not.
    pub packet: Option<Packet>,
    /// Pages whose waiters run again.
    pub woken: Option<Run>,
    /// An acquisition that ended.
    pub acquired: Option<Token>,
    /// A discard that ended.
    pub discarded: Option<Token>,
    /// An extent was registered, which the machine is to be told.
    pub registered: bool,
    /// The hasty thread has had its access.
    pub ran: bool,
}

/// What a program that sees one memory could see in it now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Oracle {
    /// The possible contents of each page that is not surely zero. More than one while, and just after,
    /// threads race with a discard.
    allowed: BTreeMap<PageNumber, BTreeSet<Value>>,
    /// Pages being discarded.
    pub discarding: BTreeMap<Token, Run>,
    writes: Value,
}

impl Oracle {
    /// May a thread read this?
    #[must_use]
    pub fn allows(&self, page: PageNumber, value: Value) -> bool {
        self.allowed.get(&page).map_or(value == 0, |values| values.contains(&value))
    }

    /// The one value that every thread must read, if it is settled.
    #[must_use]
    pub fn settled(&self, page: PageNumber) -> Option<Value> {
        match self.allowed.get(&page) {
            None => Some(0),
            Some(values) if values.len() == 1 => values.first().copied(),
            Some(_) => None,
        }
    }

    /// Is the page being discarded?
    #[must_use]
    fn is_discarding(&self, page: PageNumber) -> bool {
        self.discarding.values().any(|run| run.contains(page))
    }

    /// The pages that are not surely zero.
    pub fn pages(&self) -> impl Iterator<Item = PageNumber> {
        self.allowed.keys().copied()
    }

    fn write(&mut self, page: PageNumber) -> Value {
        self.writes += 1;
        let mut values = BTreeSet::from([self.writes]);
        if self.is_discarding(page) {
            values.insert(0);
        }
        self.allowed.insert(page, values);
        self.writes
    }

    fn read(&mut self, page: PageNumber, value: Value) {
        if !self.is_discarding(page) && self.allowed.contains_key(&page) {
            self.allowed.insert(page, BTreeSet::from([value]));
        }
    }

    /// A discard begins.
    pub fn begin_discard(&mut self, token: Token, run: Run) {
        for page in run.pages() {
            if let Some(values) = self.allowed.get_mut(&page) {
                values.insert(0);
            }
        }
        self.discarding.insert(token, run);
    }

    /// A discard is complete. `floor` is the last write before it began: what is older must be gone.
    pub fn end_discard(&mut self, token: Token, floor: Value) {
        let Some(run) = self.discarding.remove(&token) else { return };
        for page in run.pages() {
            if let Some(values) = self.allowed.get_mut(&page) {
                values.retain(|value| *value > floor || *value == 0);
                if values.iter().all(|value| *value == 0) {
                    self.allowed.remove(&page);
                }
            }
        }
    }

    /// How many writes there were.
    #[must_use]
    pub fn writes(&self) -> Value {
        self.writes
    }
}

/// The cluster without its network.
#[derive(Clone, Debug)]
pub struct World<C> {
    /// The nodes, by number.
    pub sites: Vec<Rc<Site<C>>>,
    /// What the program may see.
    pub oracle: Oracle,
    /// The minimum hold time that the nodes were told, if it is to be checked.
    pub hold: Option<Microseconds>,
    /// Where memory changed since the invariants were last checked; not part of the state.
    pub touched: Vec<Run>,
}

/// The access of a thread, if its page is mapped for it.
fn perform(
    oracle: &mut Oracle,
    replica: &mut Replica,
    touched: &mut Vec<Run>,
    (number, page, access): (usize, PageNumber, Access),
) -> Result<Option<Value>, Violation> {
    if replica.mapped(page).is_none_or(|mapped| mapped < access) {
        return Ok(None);
    }
    let found = replica.value(page);
    if !oracle.allows(page, found) {
        return Err(no_lost_write::seen(number, page, found, oracle.settled(page)));
    }
    if access == Access::Read {
        oracle.read(page, found);
        return Ok(Some(found));
    }
    let value = oracle.write(page);
    let slot = replica.slots.entry(page).or_insert(Slot { value, mapped: Some(Access::Write), granted: 0 });
    slot.value = value;
    touched.push(Run::one(page));
    Ok(Some(value))
}

/// The pages whose memory an output changes.
fn changed(output: &Output) -> Option<Run> {
    match output {
        Output::Share { extent } | Output::Native { extent } => Some(extent.run()),
        Output::Install { run, .. }
        | Output::Upgrade { run }
        | Output::Downgrade { run }
        | Output::Invalidate { run }
        | Output::Wake { run, .. }
        | Output::Retain { run, .. }
        | Output::Release { run, .. } => Some(*run),
        Output::Send { .. }
        | Output::Acquired { .. }
        | Output::Discarded { .. }
        | Output::Reject { .. }
        | Output::Fatal { .. } => None,
    }
}

/// A hash that is quick and the same everywhere; it identifies states.
#[derive(Clone, Default)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        let bits = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 31);
    }
}

impl<C: Conduct> Site<C> {
    fn rehash(&mut self) {
        let mut hasher = QuickHasher::default();
        self.machine.hash(&mut hasher);
        self.replica.hash(&mut hasher);
        self.registering.hash(&mut hasher);
        self.outputs.hash(&mut hasher);
        self.frame.hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

impl<C: Conduct> World<C> {
    /// A cluster of these machines, one a node. `owners` says which extents have another first owner than the
    /// home.
    pub fn new(machines: Vec<Machine<C>>, extents: &[(ExtentNumber, NodeId)], home: NodeId) -> Self {
        let mut sites = Vec::new();
        for (number, machine) in machines.into_iter().enumerate() {
            let native = |(extent, owner): &(ExtentNumber, NodeId)| {
                (usize::from(owner.get()) == number).then_some(*extent)
            };
            let replica =
                Replica { native: extents.iter().filter_map(native).collect(), ..Replica::default() };
            let mut site = Site {
                machine,
                replica,
                registering: VecDeque::new(),
                outputs: VecDeque::new(),
                frame: Vec::new(),
                begun: Microseconds(0),
                hash: 0,
            };
            let mut outputs = Vec::new();
            // Neighbours of one owner are one range, as the memory of a node is.
            for piece in extents.chunk_by(|one, next| one.0.0 + 1 == next.0.0 && one.1 == next.1) {
                let (first, owner) = piece[0];
                let extents = Extents { first, count: piece.len() as u64 };
                if owner == home {
                    continue;
                }
                if usize::from(owner.get()) == number {
                    site.machine.step(Microseconds(0), Input::Claim(extents), &mut outputs);
                } else if usize::from(home.get()) == number {
                    site.machine.step(Microseconds(0), Input::Assign { extents, owner }, &mut outputs);
                }
            }
            site.rehash();
            sites.push(Rc::new(site));
        }
        Self { sites, oracle: Oracle::default(), hold: None, touched: Vec::new() }
    }

    /// The hash of everything here, as far as each node was settled since it changed.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let mut hasher = QuickHasher::default();
        self.sites.iter().for_each(|site| site.hash.hash(&mut hasher));
        self.oracle.hash(&mut hasher);
        hasher.finish()
    }

    /// For the explorer: forgets the times in a node that changed, and notes its new hash.
    pub fn settle(&mut self, number: usize) {
        let site = Rc::make_mut(&mut self.sites[number]);
        site.machine.forget_times();
        site.rehash();
    }

    /// A thread's access: `Some` value read or written if it can go on, `None` if it faults.
    ///
    /// # Errors
    /// When the program sees what it must not.
    pub fn access(
        &mut self,
        number: usize,
        page: PageNumber,
        access: Access,
    ) -> Result<Option<Value>, Violation> {
        if self.sites[number].replica.mapped(page).is_none_or(|mapped| mapped < access) {
            return Ok(None);
        }
        let site = Rc::make_mut(&mut self.sites[number]);
        perform(&mut self.oracle, &mut site.replica, &mut self.touched, (number, page, access))
    }

    /// Takes the answer to the oldest registration of a node.
    pub fn registered(&mut self, number: usize) -> Option<Input> {
        let (extent, empty) = Rc::make_mut(&mut self.sites[number]).registering.pop_front()?;
        Some(Input::Shared { extent, empty })
    }

    /// Is a step of this node under way? Then it takes no input but the answer to a registration, as in a
    /// driver that holds a lock meanwhile. Its threads go on.
    #[must_use]
    pub fn is_busy(&self, number: usize) -> bool {
        !self.sites[number].outputs.is_empty()
    }

    /// Begins a step of a node, whose outputs are then to be carried out. The answer to a registration may
    /// come while a step is under way, and its outputs come after the others.
    ///
    /// # Errors
    /// If a step of the node is under way.
    pub fn begin(
        &mut self,
        number: usize,
        now: Microseconds,
        input: Input,
        pages: &[(PageNumber, Value)],
    ) -> Result<(), Violation> {
        let busy = self.is_busy(number);
        if busy && !matches!(input, Input::Shared { .. }) {
            return Err(nothing_rejected::broken(format!("node {number} is busy, and was given {input:?}")));
        }
        let site = Rc::make_mut(&mut self.sites[number]);
        let mut outputs = Vec::new();
        site.machine.step(now, input, &mut outputs);
        if !busy && !outputs.is_empty() {
            site.frame.extend_from_slice(pages);
            site.begun = now;
        }
        site.outputs.extend(outputs);
        Ok(())
    }

    /// Carries out the next output of the step of a node that is under way. A `hasty` thread has its access
    /// the moment that it can.
    ///
    /// # Errors
    /// When an invariant that concerns single outputs is broken.
    pub fn carry_out(
        &mut self,
        number: usize,
        hasty: Option<(PageNumber, Access)>,
    ) -> Result<Effects, Violation> {
        let hold = self.hold;
        let from =
            NodeId::new(number as u8).ok_or_else(|| nothing_rejected::broken("no such node".into()))?;
        let mut effects = Effects::default();
        let site = Rc::make_mut(&mut self.sites[number]);
        let Some(output) = site.outputs.pop_front() else { return Ok(effects) };
        if let Some((page, access)) = hasty {
            let thread = (number, page, access);
            let done = perform(&mut self.oracle, &mut site.replica, &mut self.touched, thread)?;
            effects.ran = done.is_some();
        }
        self.touched.extend(changed(&output));
        let now = site.begun;
        // Only the simulation, which has a clock, looks at this.
        let granted = if hold.is_some() { now.0 } else { 0 };
        let Replica { slots, native, retained } = &mut site.replica;
        match output {
            Output::Share { extent } => {
                native.remove(&extent);
                let empty = !slots.keys().any(|page| page.extent() == extent);
                site.registering.push_back((extent, empty));
                effects.registered = true;
            }
            Output::Native { extent } => {
                native.insert(extent);
                effects.woken = Some(extent.run());
            }
            Output::Send { to, lane, message, contents } => {
                let pages = site.replica.contents(number, &message, contents)?;
                effects.packet = Some(Packet { from, to, lane, message, pages });
            }
            Output::Install { run, access, marker } => {
                site.replica.install(run, &site.frame, (access, granted), marker)?;
                effects.woken = Some(run);
            }
            Output::Upgrade { run } => {
                site.replica.upgrade(run, granted, hasty.map(|(page, _)| page));
                effects.woken = Some(run);
            }
            Output::Downgrade { run } => {
                if let Some(hold) = hold {
                    minimum_hold::check(number, slots, run, now, hold)?;
                }
                for page in run.pages() {
                    if let Some(slot) = slots.get_mut(&page) {
                        slot.mapped = slot.mapped.map(|_| Access::Read);
                    }
                }
            }
            Output::Invalidate { run } => slots.retain(|page, _| !run.contains(*page)),
            Output::Wake { run, access } => {
                for page in run.pages() {
                    let slot = slots.entry(page).or_insert(Slot { value: 0, mapped: None, granted: 0 });
                    slot.mapped = Some(access);
                }
                effects.woken = Some(run);
            }
            Output::Retain { run, transaction } => {
                let pages = copy_is_final::read(number, slots, run)?;
                retained.insert((run.first.extent(), transaction), pages);
            }
            Output::Release { run, transaction } => {
                retained.remove(&(run.first.extent(), transaction));
            }
            Output::Acquired { token } => effects.acquired = Some(token),
            Output::Discarded { token } => effects.discarded = Some(token),
            Output::Reject { from, reason } => {
                return Err(nothing_rejected::broken(format!("node {number} rejected {from}: {reason}")));
            }
            Output::Fatal { reason } => {
                return Err(nothing_rejected::broken(format!("node {number} died: {reason}")));
            }
        }
        if site.outputs.is_empty() {
            site.frame.clear();
        }
        Ok(effects)
    }
}
