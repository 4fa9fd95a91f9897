//! Two channels of one caller and one worker, over a memory of a few pages, each of which is one number. All
//! that happens is by chance, from a seed. Whatever the worker reads must be what the program has there, and
//! whatever it wrote must be what the program finds.

use super::*;
use std::collections::BTreeMap;

/// The decisions, each of which a mistake replaces.
#[derive(Clone, Copy)]
struct Rules {
    settled: fn(Touched, u32, u32) -> u32,
    told: fn(u64, u64, u64) -> Keeping,
    to_bring: fn(u64, usize, &[u64]) -> ToBring,
    may_stay: fn(bool, usize, bool) -> bool,
    renewed: fn(Keeping, u64, u64, usize) -> Renewal,
}

const FAITHFUL: Rules = Rules {
    settled,
    told,
    to_bring: |address, wanted, kept| to_bring(address, wanted, kept.iter().copied()),
    may_stay,
    renewed,
};

/// Rules that are wrong in one thing, by its name.
const MISTAKES: &[(&str, Rules)] = &[
    ("pages count as kept that the worker gave up", Rules { settled: |_, _, granted| granted, ..FAITHFUL }),
    (
        "more are kept than there are numbers for",
        Rules {
            settled: |touched, _, granted| if touched.keeps { granted } else { 0 },
            may_stay: |alone, granted, _| alone && granted > 0,
            ..FAITHFUL
        },
    ),
    ("what the program changed is not told", Rules { told: |had, kept, _| told(had, kept, 0), ..FAITHFUL }),
    (
        "what is to be forgotten is not told",
        Rules { told: |had, _, changed| told(had, had, changed), ..FAITHFUL },
    ),
    ("nothing is said to a worker that has pages", Rules { told: |_, _, _| Keeping::All, ..FAITHFUL }),
    (
        "pages are copied that were kept",
        Rules { to_bring: |_, wanted, _| ToBring { pages: wanted, has_lost: false }, ..FAITHFUL },
    ),
    (
        "a page that it lost is not brought",
        Rules {
            to_bring: |address, wanted, kept| {
                let bring = to_bring(address, wanted, kept.iter().copied());
                if bring.has_lost { ToBring { pages: 0, ..bring } } else { bring }
            },
            ..FAITHFUL
        },
    ),
    (
        "pages stay of a call that was beside another",
        Rules { may_stay: |_, granted, threads| may_stay(true, granted, threads), ..FAITHFUL },
    ),
    (
        "none are forgotten when nothing is kept",
        Rules {
            renewed: |keeping, kept, changed, granted| match keeping {
                Keeping::None => Renewal { forgotten: 0, granted, changed: 0 },
                _ => renewed(keeping, kept, changed, granted),
            },
            ..FAITHFUL
        },
    ),
    (
        "numbers stay taken",
        Rules {
            renewed: |keeping, kept, changed, granted| Renewal {
                granted,
                ..renewed(keeping, kept, changed, granted)
            },
            ..FAITHFUL
        },
    ),
    (
        "pages stay that were given up",
        Rules {
            renewed: |keeping, kept, changed, granted| Renewal {
                forgotten: 0,
                ..renewed(keeping, kept, changed, granted)
            },
            ..FAITHFUL
        },
    ),
    (
        "new contents are not taken over",
        Rules {
            renewed: |keeping, kept, changed, granted| Renewal {
                changed: 0,
                ..renewed(keeping, kept, changed, granted)
            },
            ..FAITHFUL
        },
    ),
];

/// What one channel's ends know.
#[derive(Default)]
struct ChannelModel {
    /// The caller's: pages by number, 0 for one given up; how many were kept; for how long none are.
    grants: Vec<u64>,
    before: usize,
    paused: u32,
    /// Copies of the pages, by number, that both ends use.
    copies: Vec<u8>,
    /// The worker's: pages by number, 0 for one that it has not.
    fetched: Vec<u64>,
}

/// Pages of the program.
const PAGES: u64 = KEPT_MAX as u64 + 20;

/// What went wrong.
type Wrong = String;

struct Model {
    rules: Rules,
    state: u64,
    program: BTreeMap<u64, u8>,
    /// As it would be if both were one process.
    ideal: BTreeMap<u64, u8>,
    worker: BTreeMap<u64, u8>,
    owner: Option<usize>,
    channels: [ChannelModel; 2],
}

impl Model {
    fn new(rules: Rules, seed: u64) -> Self {
        let channels = [ChannelModel::default(), ChannelModel::default()];
        let program: BTreeMap<u64, u8> = (1..=PAGES).map(|page| (page * PAGE, 0)).collect();
        let (ideal, worker) = (program.clone(), BTreeMap::new());
        Self { rules, state: seed, program, ideal, worker, owner: None, channels }
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn page(&mut self) -> u64 {
        // Mostly one of a few.
        let pages = if self.chance(40) == 0 { PAGES } else { 5 };
        (1 + self.chance(pages)) * PAGE
    }

    /// The caller, before the worker runs: what it says.
    fn refresh(&mut self, index: usize) -> (Keeping, u64, u64) {
        let (mut had, mut kept, mut changed) = (0_u64, 0_u64, 0_u64);
        for number in 0..self.channels[index].grants.len().min(KEPT_MAX) {
            let page = self.channels[index].grants[number];
            if page == 0 {
                continue;
            }
            had |= 1 << number;
            // It is not worth keeping, or is not there any more.
            let is_over = self.chance(6) == 0;
            let Some(&now) = self.program.get(&page).filter(|_| !is_over) else {
                self.channels[index].grants[number] = 0;
                continue;
            };
            kept |= 1 << number;
            if self.channels[index].copies[number] != now {
                self.channels[index].copies[number] = now;
                changed |= 1 << number;
            }
        }
        let channel = &mut self.channels[index];
        channel.grants.truncate(taken(kept));
        channel.before = channel.grants.len();
        ((self.rules.told)(had, kept, changed), kept, changed)
    }

    fn forget(&mut self, index: usize, numbers: u64) {
        for number in (0..self.channels[index].fetched.len().min(KEPT_MAX)).filter(|n| numbers >> n & 1 != 0)
        {
            let page = std::mem::take(&mut self.channels[index].fetched[number]);
            self.worker.remove(&page);
        }
    }

    /// The worker, before it runs.
    fn renew(&mut self, index: usize, (keeping, kept, changed): (Keeping, u64, u64)) {
        if self.channels[index].fetched.is_empty() {
            return;
        }
        let renewal = (self.rules.renewed)(keeping, kept, changed, self.channels[index].fetched.len());
        self.forget(index, renewal.forgotten);
        self.channels[index].fetched.truncate(renewal.granted);
        let channel = &self.channels[index];
        for (number, &page) in channel.fetched.iter().enumerate().take(KEPT_MAX) {
            if page != 0 && renewal.changed >> number & 1 != 0 {
                self.worker.insert(page, channel.copies[number]);
            }
        }
    }

    /// The worker needs a page. Returns whether the program has it.
    fn fetch(&mut self, index: usize, address: u64) -> Result<bool, Wrong> {
        let wanted = 1 + self.chance(4) as usize;
        let channel = &mut self.channels[index];
        let kept = channel.grants[..channel.before.min(channel.grants.len())].to_vec();
        let bring = (self.rules.to_bring)(address, wanted, &kept);
        if bring.has_lost {
            channel.paused = 3;
        }
        let mut came = 0;
        for page in (0..bring.pages as u64).map(|offset| address + offset * PAGE) {
            let Some(&now) = self.program.get(&page) else { break };
            if channel.fetched.len() != channel.grants.len() {
                return Err("the ends number pages differently".into());
            }
            if channel.fetched.iter().take(channel.before).any(|&kept| kept == page) {
                return Err(format!("page {page:#x}, which was kept, is copied once more"));
            }
            channel.grants.push(page);
            channel.copies.truncate(channel.grants.len() - 1);
            channel.copies.push(now);
            // A page that is there stays as it is.
            let is_new = !self.worker.contains_key(&page);
            channel.fetched.push(if is_new { page } else { 0 });
            if is_new {
                self.worker.insert(page, now);
            }
            came += 1;
        }
        if came == 0 && self.program.contains_key(&address) {
            return Err("a page did not come".into());
        }
        Ok(came > 0)
    }

    /// One call, alone or beside another, which it may interrupt.
    fn call(&mut self, index: usize, alone: bool, interrupts: bool) -> Result<(), Wrong> {
        let said = self.refresh(index);
        if let Some(owner) = self.owner.take().filter(|&owner| owner != index) {
            self.forget(owner, u64::MAX);
        }
        self.renew(index, said);
        // Sometimes more than can be kept.
        let is_long = self.chance(20) == 0;
        for _ in 0..self.chance(if is_long { 300 } else { 4 }) {
            let page = if is_long { (1 + self.chance(PAGES)) * PAGE } else { self.page() };
            if !self.worker.contains_key(&page) && !self.fetch(index, page)? {
                continue;
            }
            let (there, here) = (self.worker[&page], self.ideal.get(&page).copied());
            if Some(there) != here {
                return Err(format!("the worker reads {there} where the program has {here:?}"));
            }
            if self.chance(2) == 0 {
                let new = there.wrapping_add(1);
                self.worker.insert(page, new);
                self.ideal.insert(page, new);
            }
            if !interrupts && self.chance(6) == 0 {
                self.call(1 - index, false, true)?;
            }
        }
        self.flush(index, alone)?;
        let is_right = interrupts || self.program == self.ideal;
        if is_right { Ok(()) } else { Err("what the worker wrote is not what the program finds".into()) }
    }

    /// The worker gives control back, and the caller writes back.
    fn flush(&mut self, index: usize, alone: bool) -> Result<(), Wrong> {
        let granted = self.channels[index].fetched.len();
        let mut written = BTreeMap::new();
        for (number, &page) in self.channels[index].fetched.iter().enumerate() {
            if page != 0 && self.worker[&page] != self.channels[index].copies[number] {
                written.insert(number, self.worker[&page]);
            }
        }
        let keeps = (self.rules.may_stay)(alone, granted, false);
        if keeps {
            self.owner = Some(index);
        } else {
            for page in std::mem::take(&mut self.channels[index].fetched) {
                self.worker.remove(&page);
            }
        }
        let channel = &mut self.channels[index];
        for (number, value) in written {
            channel.copies[number] = value;
            let Some(page) = channel.grants.get(number).copied().filter(|&page| page != 0) else {
                return Err("a page is written back that the caller did not give".into());
            };
            self.program.insert(page, value);
        }
        if granted > 0 {
            let touched = Touched { changed: 0, keeps };
            let granted = (self.rules.settled)(touched, channel.paused, channel.grants.len() as u32);
            channel.paused = channel.paused.saturating_sub(1);
            channel.grants.truncate(granted as usize);
        }
        Ok(())
    }

    /// Anything that may happen.
    fn step(&mut self) -> Result<(), Wrong> {
        match self.chance(8) {
            0 => {
                let page = self.page();
                self.program.remove(&page);
                self.ideal.remove(&page);
            }
            1..4 => {
                let (page, value) = (self.page(), self.chance(200) as u8);
                self.program.insert(page, value);
                self.ideal.insert(page, value);
            }
            _ => {
                let (index, alone) = (self.chance(2) as usize, self.chance(4) != 0);
                self.call(index, alone, false)?;
            }
        }
        Ok(())
    }
}

/// The first thing that goes wrong in histories from this many seeds.
fn found(rules: Rules, seeds: u64) -> Option<Wrong> {
    (0..seeds).find_map(|seed| {
        let mut model = Model::new(rules, seed);
        (0..400).find_map(|_| model.step().err())
    })
}

#[test]
fn both_ends_see_one_memory() {
    assert_eq!(found(FAITHFUL, 400), None);
}

#[test]
fn each_mistake_is_noticed() {
    for (name, rules) in MISTAKES {
        assert!(found(*rules, 400).is_some(), "{name}");
    }
}

#[test]
fn pages_are_brought_up_to_the_next_that_is_kept() {
    let bring = |wanted, kept: &[u64]| to_bring(8 * PAGE, wanted, kept.iter().map(|page| page * PAGE));
    assert_eq!(bring(4, &[]), ToBring { pages: 4, has_lost: false });
    assert_eq!(bring(4, &[10, 7, 12]), ToBring { pages: 2, has_lost: false });
    assert_eq!(bring(4, &[11, 8, 9]), ToBring { pages: 1, has_lost: true });
}
