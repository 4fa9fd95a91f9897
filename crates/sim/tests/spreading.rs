//! Over how many nodes a process is spread: model programs on model machines. Each promise is a ratio to the
//! same program kept on one node, and every deliberate mistake breaks one.
#![forbid(unsafe_code)]

use banyan_core::placement::spreading::{MUTATIONS, Mutation, Pace, Spreading, Usage};
use banyan_sim::random::Random;

const MILLISECOND: u64 = 1_000_000;
/// A step of the model.
const PERIOD: u64 = 10 * MILLISECOND;

/// How a program of the model behaves while it is on several nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Its threads share nothing.
    Apart,
    /// They wait for pages of each other nearly all the time.
    Sharing,
    /// The same, and those that do not wait spin.
    Spinning,
    /// How long its memory takes to move first.
    Heavy(u64),
    /// It has one thread that runs.
    Serial,
}

/// A program: kinds one after the other, each for some work, in nanoseconds of processor time.
#[derive(Clone, Debug)]
struct Program {
    phases: Vec<(Kind, u64)>,
    threads: u64,
}

/// Machines: what part of a processor each gives, in thousandths, and whether they have more.
#[derive(Clone, Copy, Debug)]
struct Machines {
    nodes: u8,
    /// The number of nodes when the program begins; then one joins every [`BETWEEN_JOINS`].
    at_first: u8,
    quota: u64,
    have_more: bool,
}

const BETWEEN_JOINS: u64 = 3000 * MILLISECOND;

/// How a run went.
#[derive(Debug)]
struct Ran {
    nanoseconds: u64,
    changes: u64,
    most: u8,
    at_the_end: u8,
}

/// Runs a program to its end.
fn run(program: &Program, machines: Machines, spreading: &mut Spreading, random: &mut Random) -> Ran {
    let mut usage = vec![Usage::default(); usize::from(machines.nodes)];
    let mut nodes = machines.at_first;
    let mut ran = Ran { nanoseconds: 0, changes: 0, most: 1, at_the_end: 1 };
    let mut active = 1;
    let mut due = 0;
    // When each node came into use.
    let mut begun = vec![0; usize::from(machines.nodes)];
    'program: for &(kind, work) in &program.phases {
        let mut done = 0;
        while done < work {
            if ran.nanoseconds > 600_000 * MILLISECOND {
                break 'program;
            }
            ran.nanoseconds += PERIOD;
            let threads = if kind == Kind::Serial { 1 } else { program.threads };
            let (useful, mut rates) = rates(kind, threads, active, &begun, ran.nanoseconds, machines);
            done += useful * PERIOD / 1000;
            for (node, rate) in rates.iter_mut().enumerate() {
                // Nothing is measured exactly.
                let mut blur = |rate: u64| rate * (90 + random.below(21)) / 100 * PERIOD / 1000;
                usage[node].used += blur(rate.used);
                usage[node].waited += blur(rate.waited);
                usage[node].lost += blur(rate.lost);
                usage[node].spare += if machines.have_more { PERIOD } else { 0 };
            }
            if ran.nanoseconds < due {
                continue;
            }
            let joined = (ran.nanoseconds / BETWEEN_JOINS).min(machines.nodes.into()) as u8;
            let there = (machines.at_first + joined).min(machines.nodes);
            if there > nodes {
                nodes = there;
                spreading.grow(nodes);
            }
            let threads = program.threads as usize;
            let moving = usize::from(random.percent(10));
            let change = spreading.observe(ran.nanoseconds, &usage[..usize::from(nodes)], threads, moving);
            due = ran.nanoseconds + spreading.pace().interval();
            if let Some(next) = change.map(|change| change.nodes).filter(|&next| u64::from(next) != active) {
                begun[active as usize..].fill(ran.nanoseconds);
                active = u64::from(next);
                ran.changes += 1;
                ran.most = ran.most.max(next);
            }
        }
    }
    ran.at_the_end = active as u8;
    ran
}

/// In thousandths: what of the program's work is done, and what each node's threads do.
fn rates(
    kind: Kind,
    threads: u64,
    active: u64,
    begun: &[u64],
    now: u64,
    machines: Machines,
) -> (u64, Vec<Usage>) {
    let mut rates = vec![Usage::default(); usize::from(machines.nodes)];
    let mut useful = 0;
    for node in 0..active {
        let here = (threads / active + u64::from(node < threads % active)) * 1000;
        let moves = match kind {
            Kind::Heavy(time) => active > 1 && node > 0 && now < begun[node as usize] + time,
            _ => false,
        };
        let lost = match kind {
            Kind::Sharing | Kind::Spinning if active > 1 => here * 8 / 10,
            _ if moves => here * 95 / 100,
            _ => 0,
        };
        let used = (here - lost).min(machines.quota);
        let waited = here - lost - used;
        rates[node as usize] = Usage { used, waited, lost, spare: 0 };
        useful += match kind {
            Kind::Spinning if active > 1 => used / 20,
            // Messages and stolen pages: what is used is not all of use.
            Kind::Sharing if active > 1 => used / 5,
            _ => used,
        };
    }
    (useful.max(1), rates)
}

/// How long a program takes on one node.
fn alone(program: &Program, machines: Machines) -> u64 {
    let machines = Machines { nodes: 1, at_first: 1, ..machines };
    run(program, machines, &mut Spreading::new(1), &mut Random::new(0)).nanoseconds
}

fn of(nodes: u8, mutation: Option<Mutation>) -> Spreading {
    mutation.map_or_else(|| Spreading::new(nodes), |mutation| Spreading::mutant(nodes, mutation))
}

/// What must hold whatever the program is. Returns what does not.
fn check(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let nodes = 2 + random.below(7) as u8;
    let machines = Machines {
        nodes,
        at_first: if random.percent(50) { nodes } else { 1 + random.below(nodes.into()) as u8 },
        quota: 100 + random.below(3900),
        have_more: random.percent(80),
    };
    let kinds = [Kind::Apart, Kind::Sharing, Kind::Spinning, Kind::Heavy(400 * MILLISECOND), Kind::Serial];
    let kind = kinds[random.below(kinds.len() as u64) as usize];
    let threads = 2 + random.below(16);
    let work = machines.quota * (20 + random.below(8000)) * MILLISECOND / 1000;
    let program = Program { phases: vec![(kind, work)], threads };
    let one = alone(&program, machines);
    let ran = run(&program, machines, &mut of(machines.at_first, mutation), &mut random);
    let told = format!("seed {seed}: {kind:?}, {threads} threads, {machines:?}, alone {one}: {ran:?}");
    // Young programs are left alone.
    if one < 40 * MILLISECOND && ran.changes > 0 {
        return Err(format!("{told}: was not left alone"));
    }
    let slow = ran.nanoseconds * 100 > one * 111;
    // One trial may fall into a run that is not much longer than it.
    if slow && one > 700 * MILLISECOND {
        return Err(format!("{told}: worse than on one node"));
    }
    let may_gain = machines.have_more && threads * 1000 > machines.quota;
    if !may_gain && ran.changes > 0 {
        return Err(format!("{told}: there was nothing to gain"));
    }
    if kind == Kind::Serial && ran.changes > 0 {
        return Err(format!("{told}: one thread cannot be spread"));
    }
    // In a second there is one trial that does not pay at first, and ever fewer.
    if matches!(kind, Kind::Sharing | Kind::Spinning)
        && ran.changes > 4 + ran.nanoseconds / (500 * MILLISECOND)
    {
        return Err(format!("{told}: no patience"));
    }
    Ok(())
}

/// A program that shares nothing is on all nodes soon.
fn check_growth(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let machines = Machines { nodes: 8, at_first: 8, quota: 100 + random.below(100), have_more: true };
    let program = Program { phases: vec![(Kind::Apart, 8000 * MILLISECOND)], threads: 16 };
    let one = alone(&program, machines);
    let ran = run(&program, machines, &mut of(8, mutation), &mut random);
    if ran.at_the_end != 8 || ran.nanoseconds * 7 > one {
        return Err(format!("seed {seed}: alone {one}, on eight nodes {ran:?}"));
    }
    Ok(())
}

/// A program that shares nothing is on every machine soon after it has joined, whatever did not pay before.
fn check_joins(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let (nodes, at_first) = (4, 1 + random.below(3) as u8);
    let machines = Machines { nodes, at_first, quota: 100 + random.below(400), have_more: true };
    let first = [Kind::Sharing, Kind::Apart][random.below(2) as usize];
    let until_all = u64::from(nodes - at_first) * BETWEEN_JOINS;
    let work = |time: u64| machines.quota * time / 1000;
    // What is left when all have joined is for all of them.
    let phases =
        vec![(first, work(until_all * 7 / 10)), (Kind::Apart, work(until_all * 4 + 4000 * MILLISECOND))];
    let program = Program { phases, threads: 16 };
    let ran = run(&program, machines, &mut of(at_first, mutation), &mut random);
    if ran.at_the_end != nodes {
        return Err(format!("seed {seed}: from {at_first} on, first {first:?}: {ran:?}"));
    }
    Ok(())
}

/// Memory that has to move first pays in a later trial, which is longer.
fn check_heavy(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let machines = Machines { nodes: 4, at_first: 4, quota: 200, have_more: true };
    let kind = Kind::Heavy((200 + random.below(400)) * MILLISECOND);
    let program = Program { phases: vec![(kind, 40_000 * MILLISECOND)], threads: 8 };
    let one = alone(&program, machines);
    let ran = run(&program, machines, &mut of(4, mutation), &mut random);
    if ran.at_the_end != 4 || ran.nanoseconds * 2 > one {
        return Err(format!("seed {seed}: {kind:?}, alone {one}, {ran:?}"));
    }
    Ok(())
}

/// What was spread with right is brought together when the program comes to share, or to be serial.
fn check_phases(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let machines = Machines { nodes: 4, at_first: 4, quota: 500, have_more: true };
    let next = [Kind::Sharing, Kind::Spinning, Kind::Serial][random.below(3) as usize];
    let phases = vec![(Kind::Apart, 20_000 * MILLISECOND), (next, 5000 * MILLISECOND)];
    let program = Program { phases, threads: 8 };
    let ran = run(&program, machines, &mut of(4, mutation), &mut random);
    let ends = ran.nanoseconds < 600_000 * MILLISECOND;
    if ran.most != 4 || !ends || ran.at_the_end != 1 && next == Kind::Serial {
        return Err(format!("seed {seed}: then {next:?}: {ran:?}"));
    }
    let one = alone(&Program { phases: vec![program.phases[1]], ..program.clone() }, machines);
    let apart = alone(&Program { phases: vec![program.phases[0]], ..program.clone() }, machines) / 3;
    if ran.nanoseconds > (one + apart) * 115 / 100 {
        return Err(format!("seed {seed}: then {next:?}: {ran:?}, and {} would be right", one + apart));
    }
    Ok(())
}

/// One model program and machines by a seed, with or without a mistake.
type Check = fn(u64, Option<Mutation>) -> Result<(), String>;

const CHECKS: [Check; 5] = [check, check_growth, check_joins, check_heavy, check_phases];

#[test]
fn nobody_is_worse_off_and_what_pays_grows() {
    for seed in 0..500 {
        for check in CHECKS {
            if let Err(failure) = check(seed, None) {
                panic!("{failure}");
            }
        }
    }
}

#[test]
fn who_sleeps_is_looked_at_rarely_and_who_wants_more_soon() {
    let mut spreading = Spreading::new(2);
    let mut usage = vec![Usage::default(); 2];
    // Those that are young are left alone.
    let mut now = 100 * MILLISECOND;
    let mut look = |used: u64, waited: u64| {
        now += 10 * MILLISECOND;
        usage[0].used += used * MILLISECOND;
        usage[0].waited += waited * MILLISECOND;
        let _ = spreading.observe(now, &usage, 4, 0);
        spreading.pace()
    };
    assert_eq!(look(0, 0), Pace::Later, "nothing is known yet");
    assert_eq!(look(0, 0), Pace::Rarely);
    assert_eq!(look(10, 0), Pace::Later);
    assert_eq!(look(10, 20), Pace::Soon);
    assert!(
        Pace::Soon.interval() < Pace::Later.interval() && Pace::Later.interval() < Pace::Rarely.interval()
    );
}

#[test]
fn every_mistake_is_noticed() {
    for mutation in MUTATIONS {
        let is_noticed = |seed| CHECKS.iter().any(|check| check(seed, Some(mutation)).is_err());
        assert!((0..400).any(is_noticed), "unnoticed: {mutation:?}");
    }
}
