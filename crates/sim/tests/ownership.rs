//! What companies agree on, against a model that knows of every extent who owns it: nodes join, restart, die
//! and are fenced, slots move between companies, entries arrive again at any later time, members go on from
//! snapshots. Every deliberate mistake is noticed.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use banyan_core::companies::log::{
    Applied, Company, Entry, Evidence, ExtentRun, MUTATIONS, Mutation, Owner, SlotTable,
};
use banyan_core::companies::{CompanyId, Slot};
use banyan_core::ids::{Epoch, ExtentNumber, JobId, Microseconds};
use banyan_core::support::{Asker, AskerRecord, Footing, Incarnation, SupportEpoch, SupportMessage, Terms};
use banyan_sim::random::Random;
use banyan_wire::cluster::MemberId;

const GIVERS: usize = 3;
const NODES: u64 = 4;
const COMPANIES: u64 = 3;
const STEPS: u64 = 300;
/// Extents of each stretch that are used: its first ones.
const EXTENTS: u64 = 12;

fn giver(number: usize) -> MemberId {
    MemberId([200 + number as u8; 10])
}

/// One node: what is true of it, whatever companies believe.
#[derive(Debug)]
struct Node {
    incarnation: u64,
    /// It can never act again as this incarnation.
    is_dead: bool,
    /// Of each giver the epoch at which it supports the node now.
    epochs: [u64; GIVERS],
}

impl Node {
    fn footing(&self) -> Result<Footing, String> {
        let now = Microseconds(1);
        let mut asker = Asker::new(Terms::default(), AskerRecord::default(), None);
        let givers: Vec<MemberId> = (0..GIVERS).map(giver).collect();
        asker.ask_of(&givers);
        for (giver, epoch) in givers.iter().zip(self.epochs) {
            let epoch = SupportEpoch(epoch);
            asker.hear(now, *giver, SupportMessage::Over { epoch });
            asker.hear(now, *giver, SupportMessage::Given { epoch, asked_us: 0 });
        }
        Footing::new(&asker, &givers, now).ok_or_else(|| "supported by all, and no footing".into())
    }
}

type Extent = (JobId, u64);

struct World {
    random: Random,
    nodes: Vec<Node>,
    companies: Vec<Company>,
    /// Every entry that was proposed to each.
    proposed: Vec<(usize, Entry)>,
    stretches: Vec<(JobId, u64)>,
    owners: BTreeMap<Extent, (Owner, Epoch)>,
    /// On what a node stands in each company that it has joined.
    footings: BTreeMap<(usize, MemberId), (Incarnation, Footing)>,
    /// What was fenced by a company.
    fenced: BTreeSet<(usize, MemberId, Incarnation)>,
    /// Who ever owned an extent at an epoch.
    ever: BTreeMap<(JobId, u64, Epoch), Owner>,
    tally: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut random = Random::new(seed);
        let companies = (0..COMPANIES).map(|company| {
            let company = if company == 0 { Company::root() } else { Company::new() };
            mutation.map_or(company.clone(), |mutation| company.mutant(mutation))
        });
        let stretches = (0..4).map(|number| (JobId(number % 2), 0x80_0000 + 512 * random.below(1 << 20)));
        Self {
            nodes: (0..NODES).map(|_| Node { incarnation: 1, is_dead: false, epochs: [2; GIVERS] }).collect(),
            companies: companies.collect(),
            proposed: Vec::new(),
            stretches: stretches.collect(),
            owners: BTreeMap::new(),
            footings: BTreeMap::new(),
            fenced: BTreeSet::new(),
            ever: BTreeMap::new(),
            tally: BTreeMap::new(),
            random,
        }
    }

    fn below(&mut self, end: u64) -> usize {
        self.random.below(end) as usize
    }

    fn owner(&self, node: usize) -> Owner {
        let incarnation = Incarnation(self.nodes[node].incarnation);
        Owner { node: MemberId([node as u8; 10]), incarnation }
    }

    /// Now and then one that has been.
    fn some_owner(&mut self) -> Owner {
        let node = self.below(NODES);
        let mut owner = self.owner(node);
        if self.random.percent(10) {
            owner.incarnation.0 = owner.incarnation.0.saturating_sub(1);
        }
        owner
    }

    /// It stands in every company that it has joined.
    fn may_act(&self, owner: Owner) -> bool {
        let node = &self.nodes[usize::from(owner.node.0[0])];
        let below = |giver: MemberId| SupportEpoch(node.epochs[usize::from(giver.0[0]) - 200]);
        let is_over =
            |((_, other), (incarnation, footing)): (&(usize, MemberId), &(Incarnation, Footing))| {
                (*other, *incarnation) == (owner.node, owner.incarnation) && footing.is_over(below)
            };
        !node.is_dead && node.incarnation == owner.incarnation.0 && !self.footings.iter().any(is_over)
    }

    fn some_extents(&mut self) -> ExtentRun {
        let at = self.below(self.stretches.len() as u64);
        let (job, first) = self.stretches[at];
        let offset = self.random.below(EXTENTS);
        let count = 1 + self.random.below(EXTENTS - offset) as u32;
        ExtentRun { job, first: ExtentNumber(first + offset), count }
    }

    /// The extents of a lease that there is, or some of them.
    fn owned_extents(&mut self) -> Option<(Owner, ExtentRun)> {
        let at = self.below(self.owners.len().max(1) as u64);
        let (&(job, first), &(owner, _)) = self.owners.iter().nth(at)?;
        let count = 1 + self.random.below(4);
        let is_same =
            |extent: &u64| self.owners.get(&(job, *extent)).is_some_and(|(other, _)| *other == owner);
        let count = (first..first + count).take_while(is_same).count();
        Some((owner, ExtentRun { job, first: ExtentNumber(first), count: count as u32 }))
    }

    fn some_slot(&mut self) -> Slot {
        let at = self.below(self.stretches.len() as u64);
        let (job, first) = self.stretches[at];
        Slot::of(job, ExtentNumber(first))
    }

    fn evidence(&mut self, node: usize) -> Evidence {
        if self.random.percent(30) {
            return Evidence::Restarted(Incarnation(self.nodes[node].incarnation));
        }
        let Node { is_dead, epochs, .. } = &self.nodes[node];
        // All of the living's support but one giver's is as it is.
        let below = |at: usize| SupportEpoch(epochs[at] + u64::from(*is_dead && at > 0));
        Evidence::Over((0..GIVERS).map(|at| (giver(at), below(at))).collect())
    }

    /// Something happens to a node.
    fn live(&mut self) {
        let node = self.below(NODES);
        let (accident, at) = (self.random.below(4), self.below(GIVERS as u64));
        let node = &mut self.nodes[node];
        match accident {
            0 => {
                node.incarnation += 1;
                node.is_dead = false;
                node.epochs.iter_mut().for_each(|epoch| *epoch += 10);
            }
            1 => node.is_dead = true,
            // One giver took its support back and gave it anew.
            _ if !node.is_dead => node.epochs[at] += 1,
            _ => {}
        }
    }

    fn entry(&mut self, company: usize) -> Result<Entry, String> {
        let owner = self.some_owner();
        let node = usize::from(owner.node.0[0]);
        let extents = self.some_extents();
        let chosen = self.random.below(100);
        Ok(match chosen {
            0..=24 => Entry::Join { owner, footing: self.nodes[node].footing()? },
            25..=44 => Entry::Allocate { owner, extents },
            45..=54 => match self.owned_extents() {
                Some((owner, extents)) => Entry::Free { owner, extents },
                None => Entry::Free { owner, extents },
            },
            55..=57 => Entry::Free { owner, extents },
            58..=67 => {
                let (owner, extents) = self.owned_extents().unwrap_or((owner, extents));
                Entry::Lease { owner, extents, to: self.some_owner() }
            }
            68..=82 => {
                let live = self.companies[company].live(owner.node);
                let incarnation = live.unwrap_or(owner.incarnation);
                let owner = Owner { incarnation, ..owner };
                Entry::Fence { owner, evidence: self.evidence(node), heir: self.some_heir(company) }
            }
            83..=87 => {
                let to = (company as u64 + 1 + self.random.below(COMPANIES - 1)) % COMPANIES;
                Entry::Seal { slot: self.some_slot(), to: CompanyId(to as u8) }
            }
            88 => Entry::Leave { owner },
            _ => Entry::Renew { owner, footing: self.nodes[node].footing()? },
        })
    }

    /// A node that takes part, if there is one.
    fn some_heir(&mut self, company: usize) -> Owner {
        let live: Vec<Owner> = (0..NODES as u8)
            .filter_map(|node| {
                let node = MemberId([node; 10]);
                let incarnation = self.companies[company].live(node)?;
                Some(Owner { node, incarnation })
            })
            .collect();
        let at = self.below(live.len().max(1) as u64);
        live.get(at).copied().unwrap_or(self.owner(0))
    }

    /// What comes next for a slot that is on its way.
    fn move_on(&mut self) -> Option<(usize, Entry)> {
        let slot = self.some_slot();
        let sealed = |at: &usize| Some(usize::from(self.companies[*at].sealed(slot)?.0));
        let from = (0..COMPANIES as usize).find(|at| sealed(at).is_some())?;
        let (to, table) = (sealed(&from)?, self.companies[from].table(slot)?.clone());
        let has_it = self.companies[to].table(slot).is_some_and(|there| there.moves() >= table.moves());
        if has_it {
            return Some((from, Entry::Release { slot }));
        }
        Some((to, Entry::Adopt { slot, table, heir: self.some_heir(to) }))
    }

    fn step(&mut self) -> Result<(), String> {
        if self.random.percent(10) {
            self.live();
        }
        let (company, entry) = if self.random.percent(15) && !self.proposed.is_empty() {
            let at = self.below(self.proposed.len() as u64);
            self.proposed[at].clone()
        } else if let Some(next) = self.move_on().filter(|_| self.random.percent(30)) {
            next
        } else {
            let company = if self.random.percent(50) { 0 } else { self.below(COMPANIES) };
            (company, self.entry(company)?)
        };
        // Releasing again what was adopted back would lose it: the root does not say so twice.
        let is_release = matches!(entry, Entry::Release { .. });
        let before = self.random.percent(10).then(|| self.companies[company].clone());
        match self.companies[company].apply(&entry) {
            Ok(applied) => self.applied(company, &entry, applied)?,
            Err(_) if before.is_none_or(|before| before == self.companies[company]) => {}
            Err(refusal) => return Err(format!("{entry:?} was refused, {refusal}, and changed something")),
        }
        if !is_release {
            self.proposed.push((company, entry));
        }
        if self.random.percent(5) {
            self.check_snapshot(company)?;
        }
        self.check()
    }

    fn own(&mut self, extents: ExtentRun, owner: Owner, epoch: Epoch) -> Result<(), String> {
        for extent in (extents.first.0..).take(extents.count as usize) {
            let key = (extents.job, extent);
            let last =
                self.ever.range((key.0, key.1, Epoch(0))..=(key.0, key.1, Epoch(u64::MAX))).next_back();
            if last.is_some_and(|((_, _, last), _)| *last >= epoch) {
                return Err(format!("{extent:#x} has a new owner at {epoch:?}, and had {last:?}"));
            }
            self.ever.insert((key.0, key.1, epoch), owner);
            self.owners.insert(key, (owner, epoch));
        }
        Ok(())
    }

    fn own_of(&self, extents: ExtentRun) -> BTreeSet<Option<Owner>> {
        let extent = |extent| self.owners.get(&(extents.job, extent)).map(|(owner, _)| *owner);
        (extents.first.0..).take(extents.count as usize).map(extent).collect()
    }

    fn applied(&mut self, company: usize, entry: &Entry, applied: Applied) -> Result<(), String> {
        let mut count = |what| *self.tally.entry(what).or_default() += 1;
        match (entry, applied) {
            (Entry::Allocate { owner, extents }, Applied::Owned(epoch)) => {
                count("allocate");
                if self.own_of(*extents) != BTreeSet::from([None]) {
                    return Err(format!("{extents:?} were allocated, and had an owner"));
                }
                self.own(*extents, *owner, epoch)
            }
            (Entry::Free { owner, extents }, _) => {
                count("free");
                if self.own_of(*extents) != BTreeSet::from([Some(*owner)]) {
                    return Err(format!("{owner:?} freed {extents:?} of others"));
                }
                (extents.first.0..).take(extents.count as usize).for_each(|extent| {
                    self.owners.remove(&(extents.job, extent));
                });
                Ok(())
            }
            (Entry::Lease { owner, extents, to }, Applied::Owned(epoch)) => {
                count("lease");
                if self.own_of(*extents) != BTreeSet::from([Some(*owner)]) {
                    return Err(format!("{owner:?} gave {extents:?} of others away"));
                }
                self.own(*extents, *to, epoch)
            }
            (Entry::Fence { owner, heir, .. }, Applied::Inherited(extents)) => {
                count("fence");
                if self.may_act(*owner) {
                    return Err(format!("{owner:?} was fenced, and may act"));
                }
                self.fenced.insert((company, owner.node, owner.incarnation));
                let slots: Vec<Slot> = self.slots_open(company);
                self.inherit(*heir, extents, &slots, |other| other == *owner)
            }
            (Entry::Adopt { slot, heir, .. }, Applied::Inherited(extents)) => {
                count("adopt");
                let is_live = |node| (node, self.companies[company].live(MemberId([node; 10])));
                let live: BTreeMap<u8, _> = (0..NODES as u8).map(is_live).collect();
                self.inherit(*heir, extents, &[*slot], |owner| {
                    live[&owner.node.0[0]] != Some(owner.incarnation)
                })
            }
            (Entry::Join { owner, footing }, _) => {
                count("join");
                if self.fenced.contains(&(company, owner.node, owner.incarnation)) {
                    return Err(format!("{owner:?} was fenced, and joins"));
                }
                self.footings.insert((company, owner.node), (owner.incarnation, footing.clone()));
                let owns = self.slots_open(company).iter().any(|slot| {
                    let table = self.companies[company].table(*slot);
                    table.is_some_and(|table| table.leases().any(|lease| lease.owner == *owner))
                });
                if owns { Err(format!("{owner:?} joins, and owns something already")) } else { Ok(()) }
            }
            (Entry::Renew { owner, footing }, _) => {
                count("renew");
                let old = self.footings.get_mut(&(company, owner.node)).ok_or("nobody renews")?;
                old.1.renew(footing).map_err(|error| error.to_string())
            }
            (Entry::Leave { owner }, _) => {
                count("leave");
                self.footings.remove(&(company, owner.node));
                Ok(())
            }
            (Entry::Seal { .. }, _) => {
                count("seal");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn slots_open(&self, company: usize) -> Vec<Slot> {
        let slots = self.stretches.iter().map(|(job, first)| Slot::of(*job, ExtentNumber(*first)));
        let company = &self.companies[company];
        slots.filter(|slot| company.table(*slot).is_some() && company.sealed(*slot).is_none()).collect()
    }

    fn inherit(
        &mut self,
        heir: Owner,
        extents: u64,
        slots: &[Slot],
        is_over: impl Fn(Owner) -> bool,
    ) -> Result<(), String> {
        let slot = |extent: &Extent| Slot::of(extent.0, ExtentNumber(extent.1));
        let owners = self
            .owners
            .iter()
            .filter(|(extent, (owner, _))| slots.contains(&slot(extent)) && is_over(*owner));
        let over: Vec<(Extent, (Owner, Epoch))> = owners.map(|(extent, owner)| (*extent, *owner)).collect();
        if over.len() as u64 != extents {
            return Err(format!("{extents} extents were inherited, and {} had to be", over.len()));
        }
        for ((job, first), (owner, epoch)) in over {
            if self.may_act(owner) {
                return Err(format!("{owner:?} may act, and {heir:?} inherits from it"));
            }
            let extents = ExtentRun { job, first: ExtentNumber(first), count: 1 };
            self.own(extents, heir, Epoch(epoch.0 + 1))?;
        }
        Ok(())
    }

    fn check_snapshot(&self, company: usize) -> Result<(), String> {
        let company = &self.companies[company];
        let again = Company::from_bytes(&company.to_bytes()).map_err(|error| error.to_string())?;
        // A mutant's snapshot is that of a right one.
        if again.to_bytes() == company.to_bytes() {
            Ok(())
        } else {
            Err("a snapshot says something else".into())
        }
    }

    /// All companies together say what the model says.
    fn check(&self) -> Result<(), String> {
        let mut found = BTreeMap::new();
        let slots: BTreeSet<Slot> =
            self.stretches.iter().map(|(job, first)| Slot::of(*job, ExtentNumber(*first))).collect();
        for slot in slots {
            let open = |company: &&Company| company.table(slot).is_some() && company.sealed(slot).is_none();
            if self.companies.iter().filter(open).count() > 1 {
                return Err(format!("{slot:?} is in two companies"));
            }
            let open = self.companies.iter().find(open).and_then(|company| company.table(slot));
            let tables = self.companies.iter().filter_map(|company| company.table(slot));
            let table = open.or_else(|| tables.max_by_key(|table| table.moves()));
            let leases = table.into_iter().flat_map(SlotTable::leases);
            for lease in leases {
                for extent in (lease.extents.first.0..).take(lease.extents.count as usize) {
                    if found.insert((lease.extents.job, extent), (lease.owner, lease.epoch)).is_some() {
                        return Err(format!("{extent:#x} has two owners"));
                    }
                }
            }
        }
        let differs = found.iter().find(|(extent, owner)| self.owners.get(extent) != Some(owner));
        let lost = self.owners.iter().find(|(extent, _)| !found.contains_key(extent));
        match differs
            .map(|(extent, owner)| (*extent, *owner))
            .or(lost.map(|(extent, owner)| (*extent, *owner)))
        {
            Some((extent, owner)) => {
                Err(format!("{extent:?} {owner:?}: the model has {:?}", self.owners.get(&extent)))
            }
            None => Ok(()),
        }
    }
}

fn run(seed: u64, mutation: Option<Mutation>) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut world = World::new(seed, mutation);
    for step in 0..STEPS {
        world.step().map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    Ok(world.tally)
}

/// How many histories: others if `BANYAN_SEEDS` says so.
fn seeds() -> u64 {
    std::env::var("BANYAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[test]
fn an_extent_has_one_owner_at_an_epoch_and_no_allocation_is_lost() {
    let (mut total, seeds) = (BTreeMap::new(), seeds());
    for seed in 0..seeds {
        match run(seed, None) {
            Ok(tally) => tally.into_iter().for_each(|(what, count)| *total.entry(what).or_insert(0) += count),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{seeds} seeds: {total:?}");
    // A model in which nothing happens proves nothing.
    for what in ["allocate", "free", "lease", "join", "renew", "fence", "seal", "adopt", "leave"] {
        assert!(total.get(what).is_some_and(|count| 2 * *count >= seeds), "{what}: {total:?}");
    }
}

#[test]
fn every_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutation in MUTATIONS {
        let found = (0..1000).find_map(|seed| run(seed, Some(mutation)).err());
        println!("{mutation:?}: {found:?}");
        if found.is_none() {
            unnoticed.push(mutation);
        }
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}
