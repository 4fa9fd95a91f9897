//! Companies of clusters that grow and shrink: every node has its part of seats, every company of slots, as
//! little moves as can, and every deliberate mistake is noticed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use banyan_core::companies::{
    COMPANIES_MAX, CompanyId, MUTATIONS, Mutation, SLOTS, SeatChange, Seats, Slot, Slots, companies, members,
};
use banyan_sim::random::Random;
use banyan_wire::cluster::MemberId;

const NODES_MAX: usize = 200;
const GIB: u64 = 1 << 30;

fn node(number: u64) -> MemberId {
    let mut bytes = [0; 10];
    // Ids are digests: their order says nothing about who came when.
    bytes[..8].copy_from_slice(&Random::new(number).next().to_be_bytes());
    MemberId(bytes)
}

/// What must be true of every table of seats. Gives how many each node has.
fn check(seats: &Seats, nodes: &[MemberId], companies: u8) -> Result<BTreeMap<MemberId, usize>, String> {
    let mut load: BTreeMap<MemberId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for company in (0..companies).map(CompanyId) {
        let seated = seats.members(company);
        if seated.len() != members(nodes.len()).min(nodes.len()) {
            return Err(format!("{company:?} has {} members of {} nodes", seated.len(), nodes.len()));
        }
        if !seated.is_sorted_by(|one, next| one < next) {
            return Err(format!("somebody sits twice in {company:?}"));
        }
        for member in seated {
            *load.get_mut(member).ok_or("somebody sits who is no node")? += 1;
        }
    }
    let (most, least) = (load.values().max(), load.values().min());
    if most.zip(least).is_some_and(|(most, least)| most - least > 1) {
        return Err(format!("seats are not even: {load:?}"));
    }
    Ok(load)
}

/// One history of nodes that come and go, each with its memory.
fn grow_and_shrink(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut seats = mutation.map_or_else(Seats::new, Seats::mutant);
    let gib_each = [8, 64, 600][random.below(3) as usize];
    let (mut nodes, mut next, mut count) = (Vec::new(), 0, 1);
    let mut load = BTreeMap::new();
    for step in 0..100 {
        let before = count;
        let was = nodes.len();
        let comes = nodes.len() < 2 || nodes.len() < NODES_MAX && random.percent(60);
        let left = if comes {
            nodes.push(node(next));
            next += 1;
            None
        } else {
            Some(nodes.swap_remove(random.below(nodes.len() as u64) as usize))
        };
        count = companies(count, nodes.len(), nodes.len() as u64 * gib_each * GIB);
        let changes = seats.reseat(&nodes, count);
        let wrong = |what: &str| format!("seed {seed}, step {step}, {} nodes: {what}", nodes.len());
        let after = check(&seats, &nodes, count).map_err(|what| wrong(&what))?;
        if count == before && members(was) == members(nodes.len()) {
            let moved = changes.len();
            let must = left.map_or(after.values().min().copied(), |left| load.get(&left).copied());
            check_moved(&changes, must.unwrap_or(0), left).map_err(|what| wrong(&what))?;
            if left.is_none() && moved > after.values().max().copied().unwrap_or(0) {
                return Err(wrong("a node that came moved more than its part"));
            }
        }
        load = after;
    }
    Ok(())
}

/// No seat moved that could stay.
fn check_moved(changes: &[SeatChange], must: usize, left: Option<MemberId>) -> Result<(), String> {
    let moved = changes.len();
    // A node with room for a leaver's seat may sit in that company already: then another seat moves.
    let may = if left.is_some() { must + must.div_ceil(4) } else { must + 1 };
    if moved < must || moved > may { Err(format!("{moved} seats moved, and {must} had to")) } else { Ok(()) }
}

#[test]
fn nodes_that_come_and_go_move_as_few_seats_as_can() {
    for seed in 0..100 {
        if let Err(failure) = grow_and_shrink(seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn every_number_of_nodes_is_seated_alone_and_one_after_another() {
    let mut grown = Seats::new();
    let (mut nodes, mut count) = (Vec::new(), 1);
    for number in 1..=NODES_MAX {
        nodes.push(node(number as u64));
        count = companies(count, number, number as u64 * 300 * GIB);
        let _ = grown.reseat(&nodes, count);
        check(&grown, &nodes, count).unwrap();
        if number > 20 && number % 9 != 0 {
            continue;
        }
        let mut alone = Seats::new();
        let _ = alone.reseat(&nodes, count);
        check(&alone, &nodes, count).unwrap();
        assert_eq!(alone.reseat(&nodes, count), [], "nothing changed, and a seat moved");
    }
    assert_eq!(count, COMPANIES_MAX);
}

/// Moves slots until each of the companies has its part. Gives how many moved.
fn settle(slots: &mut Slots, companies: u8) -> Result<usize, String> {
    let mut moved = 0;
    for _ in 0..=SLOTS {
        let moves = slots.moves(companies);
        if moves.is_empty() {
            return Ok(moved);
        }
        let mut pairs: Vec<_> = moves.iter().map(|one| (one.from, one.to)).collect();
        pairs.sort_unstable();
        if !pairs.is_sorted_by(|one, next| one < next) {
            return Err("two slots move at a time between two companies".into());
        }
        for one in moves {
            if slots.company(one.slot) != one.from || one.from == one.to {
                return Err(format!("{one:?} is no move"));
            }
            slots.assign(one);
            moved += 1;
        }
    }
    Err("slots move for ever".into())
}

fn resize(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut slots = mutation.map_or_else(Slots::default, Slots::mutant);
    let mut count = 1;
    for _ in 0..8 {
        let before = count;
        count = 1 + random.below(u64::from(COMPANIES_MAX)) as u8;
        let had = |slots: &Slots| {
            let mut had = vec![0_usize; 256];
            (0..SLOTS).for_each(|slot| had[usize::from(slots.company(Slot(slot)).0)] += 1);
            had
        };
        let old = had(&slots);
        let moved = settle(&mut slots, count)?;
        let new = had(&slots);
        let (most, least) = (new[..usize::from(count)].iter().max(), new[..usize::from(count)].iter().min());
        if most.zip(least).is_none_or(|(most, least)| most - least > 1) {
            return Err(format!("from {before} to {count} companies: {new:?}"));
        }
        let must: usize = old.iter().zip(&new).map(|(old, new)| old.saturating_sub(*new)).sum();
        let part = usize::from(SLOTS).div_ceil(usize::from(count));
        let least: usize = old.iter().take(usize::from(count)).map(|old| old.saturating_sub(part)).sum();
        let gone: usize = old[usize::from(count)..].iter().sum();
        if moved != must || must > least + gone + usize::from(count) {
            return Err(format!("from {before} to {count} companies: {moved} slots moved"));
        }
    }
    Ok(())
}

#[test]
fn slots_follow_the_number_of_companies_and_no_more_move_than_must() {
    for seed in 0..30 {
        if let Err(failure) = resize(seed, None) {
            panic!("seed {seed}: {failure}");
        }
    }
}

#[test]
fn every_mistake_is_noticed() {
    for mutation in MUTATIONS {
        let is_noticed =
            |seed| grow_and_shrink(seed, Some(mutation)).is_err() || resize(seed, Some(mutation)).is_err();
        assert!((0..50).any(is_noticed), "unnoticed: {mutation:?}");
    }
}
