//! Support among nodes whose clocks differ, whose messages are lost, repeated and late, and that pause, crash
//! at every step and have disks that stand still: what an asker takes for support is a promise that its
//! giver keeps, nobody acts whose work was passed on, and every deliberate mistake is noticed.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use banyan_core::ids::Microseconds;
use banyan_core::support::{
    Asker, AskerRecord, Effect, Footing, Giver, GiverRecord, MUTATIONS, Mutation, Standing, SupportEpoch,
    SupportMessage, Terms,
};
use banyan_sim::random::Random;
use banyan_wire::cluster::MemberId;

const MILLISECOND: u64 = 1000;
const SECOND: u64 = 1_000_000;
/// Accidents happen until then.
const CHAOS: u64 = 30 * SECOND;
/// After this time without accidents every node is supported by all and one of them acts.
const CALM: u64 = 12 * SECOND;
/// By how much clocks differ: as much as the terms allow.
const DRIFT_PERMILLE: u64 = 5;
const DELAY_MAX: u64 = 3 * SECOND;

type Index = usize;

fn name(index: Index) -> MemberId {
    MemberId([index as u8; 10])
}

fn index(member: MemberId) -> Index {
    Index::from(member.0[0])
}

/// A clock: what it showed at a moment, and how fast it goes since.
#[derive(Clone, Copy, Debug)]
struct Clock {
    at: u64,
    showed: u64,
    permille: u64,
}

impl Clock {
    fn read(self, now: u64) -> Microseconds {
        Microseconds(self.showed + (now - self.at) * self.permille / 1000)
    }
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Giver(u64, GiverRecord),
    Asker(u64, AskerRecord),
}

/// What survives a crash, and what is on its way there.
#[derive(Debug, Default)]
struct Disk {
    promises: BTreeMap<MemberId, GiverRecord>,
    asker: AskerRecord,
    writes: VecDeque<Write>,
    /// It stands still until then, since then.
    stands: (u64, u64),
}

impl Disk {
    fn complete(&mut self) -> Option<Write> {
        let write = self.writes.pop_front()?;
        match write {
            Write::Giver(_, record) => {
                self.promises.insert(record.asker, record);
            }
            Write::Asker(_, record) => self.asker = record,
        }
        Some(write)
    }
}

#[derive(Debug)]
struct Node {
    clock: Clock,
    disk: Disk,
    machines: Option<(Giver, Asker)>,
    /// How often it started: what was meant for an earlier life is dropped.
    life: u32,
    paused_until: u64,
    /// What it has been told to act on.
    told: Option<(u64, Footing)>,
    /// What it has said of others: support below is over.
    said: BTreeMap<Index, SupportEpoch>,
}

#[derive(Clone, Debug)]
enum Event {
    Wake(Index),
    DiskDone(Index, u32),
    Deliver(Index, Index, SupportMessage),
    /// The authority's own: what it hears of others, and what it tells.
    Said(Index, Index, SupportEpoch),
    Offer(Index, Footing, Claim),
    Told(Index, u64, Footing),
    Accident,
    Start(Index),
}

/// What a node that offers itself says of what it did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It knows of nothing that it has.
    Fresh,
    /// It goes on with what it has.
    GoesOn(u64),
}

/// How the authority takes a newer footing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// As it should.
    Merged,
    /// In place of the old one, on which the node may still stand.
    Replaced,
}

/// Who acts: a model of what a company agrees on. One node at a time, on its footing.
#[derive(Debug, Default)]
struct Authority {
    generation: u64,
    owner: Option<(Index, Footing)>,
    below: BTreeMap<(Index, Index), SupportEpoch>,
}

struct World {
    random: Random,
    now: u64,
    nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    sequence: u64,
    authority: Authority,
    cut: Vec<Vec<bool>>,
    is_calm: bool,
    mutation: Option<Mutation>,
    renewal: Renewal,
    /// What a hundred messages lose, and what a hundred are said twice.
    loss: u64,
    repeats: u64,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed_on: u64,
    over: u64,
    crashes: u64,
    acts: u64,
}

fn terms() -> Terms {
    Terms { drift_permille: DRIFT_PERMILLE, ..Terms::default() }
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>, renewal: Renewal) -> Self {
        let mut random = Random::new(seed);
        let count = 3 + random.below(3) as usize;
        let node = |random: &mut Random| Node {
            clock: Clock { at: 0, showed: random.below(100 * SECOND), permille: speed(random) },
            disk: Disk::default(),
            machines: None,
            life: 0,
            paused_until: 0,
            told: None,
            said: BTreeMap::new(),
        };
        let nodes: Vec<Node> = (0..count).map(|_| node(&mut random)).collect();
        let (loss, repeats) = (random.below(20), random.below(20));
        let mut world = Self {
            random,
            now: 0,
            nodes,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            sequence: 0,
            authority: Authority::default(),
            cut: vec![vec![false; count]; count],
            is_calm: false,
            mutation,
            renewal,
            loss,
            repeats,
            tally: Tally::default(),
        };
        for index in 0..count {
            world.after(0, Event::Start(index));
        }
        world.after(SECOND, Event::Accident);
        world
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + delay, self.sequence)));
        self.bodies.insert(self.sequence, event);
    }

    fn members(&self) -> Vec<MemberId> {
        (0..self.nodes.len()).map(name).collect()
    }

    fn delay(&mut self) -> u64 {
        if !self.is_calm && self.random.percent(3) {
            self.random.below(DELAY_MAX)
        } else {
            200 + self.random.below(5 * MILLISECOND)
        }
    }

    fn send(&mut self, from: Index, to: Index, message: SupportMessage) {
        if self.cut[from][to] || !self.is_calm && self.random.percent(self.loss) {
            return;
        }
        let copies = 1 + u32::from(!self.is_calm && self.random.percent(self.repeats));
        for _ in 0..copies {
            let delay = self.delay();
            self.after(delay, Event::Deliver(from, to, message));
        }
    }

    fn write(&mut self, at: Index, write: Write) {
        let node = &mut self.nodes[at];
        node.disk.writes.push_back(write);
        let (life, stands) = (node.life, node.disk.stands.1.saturating_sub(self.now));
        let delay = stands + 100 + self.random.below(3 * MILLISECOND);
        self.after(delay, Event::DiskDone(at, life));
    }

    fn give(&mut self, at: Index, effects: Vec<Effect<GiverRecord>>) {
        for effect in effects {
            match effect {
                Effect::Persist { write, record } => self.write(at, Write::Giver(write, record)),
                Effect::Send { to, message } => self.send(at, index(to), message),
                Effect::Over { asker, below } => {
                    let said = self.nodes[at].said.entry(index(asker)).or_default();
                    *said = below.max(*said);
                    self.tally.over += 1;
                    let delay = self.delay();
                    self.after(delay, Event::Said(at, index(asker), below));
                }
            }
        }
    }

    fn ask(&mut self, at: Index, effects: Vec<Effect<AskerRecord>>) {
        for effect in effects {
            match effect {
                Effect::Persist { write, record } => self.write(at, Write::Asker(write, record)),
                Effect::Send { to, message } => self.send(at, index(to), message),
                Effect::Over { .. } => {}
            }
        }
    }

    fn start(&mut self, at: Index) {
        let (now, members) = (self.nodes[at].clock.read(self.now), self.members());
        let node = &mut self.nodes[at];
        if node.machines.is_some() {
            return;
        }
        node.life += 1;
        let records: Vec<GiverRecord> = node.disk.promises.values().copied().collect();
        let (giver, effects) = Giver::new(terms(), now, records, self.mutation);
        let mut asker = Asker::new(terms(), node.disk.asker, self.mutation);
        asker.ask_of(&members);
        node.machines = Some((giver, asker));
        self.give(at, effects);
        self.after(0, Event::Wake(at));
    }

    /// Of the writes under way the first ones survive, any number of them. The clock goes on, or the machine
    /// starts again too, and it shows anything.
    fn crash(&mut self, at: Index) {
        let now = self.now;
        self.tally.crashes += 1;
        let survive = self.random.below(self.nodes[at].disk.writes.len() as u64 + 1);
        let (reboots, showed, speed) =
            (self.random.percent(50), self.random.below(4 * SECOND), speed(&mut self.random));
        let node = &mut self.nodes[at];
        for _ in 0..survive {
            let _ = node.disk.complete();
        }
        node.disk.writes.clear();
        node.disk.stands = (0, 0);
        node.machines = None;
        node.told = None;
        node.paused_until = 0;
        if reboots {
            // Not far from what it showed: old times must not do harm because they look right.
            let showed = node.clock.read(now).0.saturating_sub(2 * SECOND) + showed;
            node.clock = Clock { at: now, showed, permille: speed };
        }
        let delay = self.random.below(4 * SECOND);
        self.after(delay, Event::Start(at));
    }

    fn accident(&mut self) {
        let at = self.random.below(self.nodes.len() as u64) as usize;
        let now = self.now;
        let length = self.random.below(6 * SECOND);
        match self.random.below(10) {
            0..=2 if self.nodes[at].machines.is_some() => self.crash(at),
            3 | 4 => self.nodes[at].paused_until = now + length,
            5 => self.nodes[at].disk.stands = (now, now + length),
            6 => {
                let clock = &mut self.nodes[at].clock;
                *clock = Clock { at: now, showed: clock.read(now).0, permille: speed(&mut self.random) };
            }
            7 | 8 => {
                let other = self.random.below(self.nodes.len() as u64) as usize;
                self.cut[at][other] = !self.cut[at][other] && at != other;
            }
            _ => self.cut.iter_mut().for_each(|row| row.fill(false)),
        }
        if self.now < CHAOS {
            let next = 50 * MILLISECOND + self.random.below(900 * MILLISECOND);
            self.after(next, Event::Accident);
        } else {
            self.is_calm = true;
            self.cut.iter_mut().for_each(|row| row.fill(false));
        }
    }

    /// A node looks at its clock.
    fn wake(&mut self, at: Index) {
        let now = self.nodes[at].clock.read(self.now);
        let members = self.members();
        let Some((giver, asker)) = &mut self.nodes[at].machines else { return };
        let (given, asked) = (giver.tick(now), asker.tick(now));
        let next = giver.next_tick().into_iter().chain([asker.next_tick()]).min().map_or(0, |next| next.0);
        let footing = Footing::new(asker, &members, now);
        self.give(at, given);
        self.ask(at, asked);
        // A late timer, and one that goes off too early by a clock that is slow.
        let wait = next.saturating_sub(now.0).clamp(MILLISECOND, 100 * MILLISECOND);
        let late = self.random.below(10 * MILLISECOND);
        self.after(wait + late, Event::Wake(at));
        if let Some(footing) = footing
            && self.random.percent(20)
        {
            let told = self.nodes[at].told.as_ref();
            let claim = told.map_or(Claim::Fresh, |(generation, _)| Claim::GoesOn(*generation));
            let delay = self.delay();
            self.after(delay, Event::Offer(at, footing, claim));
        }
    }

    /// Takes the offer, if the node that had the work can never act on it again; or renews its footing.
    fn offer(&mut self, from: Index, mut footing: Footing, claim: Claim) {
        let below = |asker: Index| {
            let below = &self.authority.below;
            move |giver: MemberId| below.get(&(index(giver), asker)).copied().unwrap_or_default()
        };
        let is_free =
            self.authority.owner.as_ref().is_none_or(|(owner, footing)| footing.is_over(below(*owner)));
        match &self.authority.owner {
            _ if is_free => {
                self.authority.generation += 1;
                self.tally.passed_on += 1;
            }
            Some((owner, old)) if *owner == from && claim == Claim::GoesOn(self.authority.generation) => {
                let mut renewed = old.clone();
                if renewed.renew(&footing).is_err() || renewed == *old {
                    return;
                }
                if self.renewal == Renewal::Merged {
                    footing = renewed;
                }
            }
            _ => return,
        }
        self.authority.owner = Some((from, footing.clone()));
        let (delay, generation) = (self.delay(), self.authority.generation);
        self.after(delay, Event::Told(from, generation, footing));
    }

    fn happen(&mut self, event: Event) {
        let receiver = match &event {
            Event::Wake(at) | Event::DiskDone(at, _) | Event::Deliver(_, at, _) | Event::Told(at, ..) => {
                Some(*at)
            }
            _ => None,
        };
        if let Some(at) = receiver
            && self.nodes[at].paused_until > self.now
        {
            let wait = self.nodes[at].paused_until - self.now;
            // All that waited comes in any order.
            let late = self.random.below(2 * MILLISECOND);
            return self.after(wait + late, event);
        }
        match event {
            Event::Wake(at) => self.wake(at),
            Event::Start(at) => self.start(at),
            Event::DiskDone(at, life) => self.disk_done(at, life),
            Event::Deliver(from, to, message) => self.deliver(from, to, message),
            Event::Said(giver, asker, below) => {
                let known = self.authority.below.entry((giver, asker)).or_default();
                *known = below.max(*known);
            }
            Event::Offer(from, footing, claim) => self.offer(from, footing, claim),
            Event::Told(at, generation, footing) => {
                let node = &mut self.nodes[at];
                if node.machines.is_some() {
                    match &mut node.told {
                        Some((told, old)) if *told == generation => {
                            let _ = old.renew(&footing);
                        }
                        Some((told, _)) if *told > generation => {}
                        told => *told = Some((generation, footing)),
                    }
                }
            }
            Event::Accident => self.accident(),
        }
    }

    fn disk_done(&mut self, at: Index, life: u32) {
        let now = self.nodes[at].clock.read(self.now);
        let node = &mut self.nodes[at];
        if node.life != life || node.machines.is_none() {
            return;
        }
        if node.disk.stands.1 > self.now {
            let wait = node.disk.stands.1 - self.now;
            return self.after(wait, Event::DiskDone(at, life));
        }
        let (Some(write), Some((giver, asker))) = (node.disk.complete(), &mut node.machines) else { return };
        match write {
            Write::Giver(write, _) => {
                let effects = giver.persisted(write);
                self.give(at, effects);
            }
            Write::Asker(write, _) => {
                let effects = asker.persisted(write, now);
                self.ask(at, effects);
            }
        }
    }

    fn deliver(&mut self, from: Index, to: Index, message: SupportMessage) {
        let now = self.nodes[to].clock.read(self.now);
        let Some((giver, asker)) = &mut self.nodes[to].machines else { return };
        if let SupportMessage::Ask { epoch, asked_us } = message {
            let effects = giver.hear(now, name(from), epoch, asked_us);
            self.give(to, effects);
        } else {
            asker.hear(now, name(from), message);
        }
    }

    /// The epoch at which a giver keeps a promise, up or down.
    fn promised(&self, giver: Index, asker: Index) -> Option<SupportEpoch> {
        let node = &self.nodes[giver];
        if let Some((giver, _)) = &node.machines {
            return giver.promised(name(asker));
        }
        let record = node.disk.promises.get(&name(asker))?;
        (record.standing == Standing::Given).then_some(record.epoch)
    }

    /// Support and work only get less between two events, so that here is where to look.
    fn check(&mut self) -> Result<(), String> {
        let mut acting = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            let Some((_, asker)) = &node.machines else { continue };
            let now = node.clock.read(self.now);
            for giver in 0..self.nodes.len() {
                let Some(epoch) = asker.supported(name(giver), now) else { continue };
                let promised = self.promised(giver, at);
                if promised != Some(epoch) {
                    return Err(format!(
                        "{at} has support of {giver} at {epoch:?}: promised is {promised:?}"
                    ));
                }
                let said = self.nodes[giver].said.get(&at).copied().unwrap_or_default();
                if epoch < said {
                    return Err(format!("{at} has support of {giver} at {epoch:?}: over below {said:?}"));
                }
                let (since, until) = node.disk.stands;
                // Questions that were on their way may be late, and answers too.
                let longest = terms().term.0 * 1010 / 1000 + MILLISECOND;
                if self.now < until && self.now > since + longest {
                    return Err(format!("{at} has support although its disk stands still"));
                }
            }
            let Some((generation, footing)) = &node.told else { continue };
            if footing.holds(asker, now) {
                acting += 1;
                self.tally.acts += 1;
                if *generation != self.authority.generation {
                    return Err(format!("{at} acts, and its work was passed on"));
                }
            }
        }
        if acting > 1 { Err(format!("{acting} nodes act")) } else { Ok(()) }
    }

    /// At the end of a calm time.
    fn check_progress(&self) -> Result<(), String> {
        let mut acting = false;
        for (at, node) in self.nodes.iter().enumerate() {
            let (_, asker) = node.machines.as_ref().ok_or("a node is down")?;
            let now = node.clock.read(self.now);
            if let Some(giver) =
                (0..self.nodes.len()).find(|giver| asker.supported(name(*giver), now).is_none())
            {
                return Err(format!("{at} is not supported by {giver} in calm times"));
            }
            acting |= node.told.as_ref().is_some_and(|(_, footing)| footing.holds(asker, now));
        }
        if acting { Ok(()) } else { Err("nobody acts in calm times".into()) }
    }
}

fn speed(random: &mut Random) -> u64 {
    1000 - DRIFT_PERMILLE + random.below(2 * DRIFT_PERMILLE + 1)
}

fn run(seed: u64, mutation: Option<Mutation>, renewal: Renewal) -> Result<Tally, String> {
    let mut world = World::new(seed, mutation, renewal);
    let wrong = |world: &World, what: &str| format!("seed {seed}, {} us: {what}", world.now);
    while let Some(Reverse((time, number))) = world.events.pop() {
        if time > CHAOS + SECOND + CALM {
            break;
        }
        world.now = time;
        if let Some(event) = world.bodies.remove(&number) {
            world.happen(event);
        }
        world.check().map_err(|what| wrong(&world, &what))?;
    }
    world.check_progress().map_err(|what| wrong(&world, &what))?;
    Ok(world.tally)
}

#[test]
fn nobody_acts_on_support_that_was_taken_back() {
    let (mut total, seeds) = (Tally::default(), seeds());
    for seed in 0..seeds {
        match run(seed, None, Renewal::Merged) {
            Ok(tally) => {
                total.passed_on += tally.passed_on;
                total.over += tally.over;
                total.crashes += tally.crashes;
                total.acts += tally.acts;
            }
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{seeds} seeds: {total:?}");
    // A model in which nothing happens proves nothing.
    assert!(total.passed_on > seeds && total.over > 10 * seeds && total.acts > 100 * seeds, "{total:?}");
}

/// How many histories: more if `BANYAN_SEEDS` says so.
fn seeds() -> u64 {
    std::env::var("BANYAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[test]
fn every_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutation in MUTATIONS {
        let found = (0..400).find_map(|seed| run(seed, Some(mutation), Renewal::Merged).err());
        println!("{mutation:?}: {found:?}");
        if found.is_none() {
            unnoticed.push(mutation);
        }
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

#[test]
fn a_footing_must_be_renewed_and_not_replaced() {
    assert!((0..1000).any(|seed| run(seed, None, Renewal::Replaced).is_err()), "nobody noticed");
}
