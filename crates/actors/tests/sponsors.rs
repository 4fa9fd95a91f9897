//! Sponsors: the rules of uFork, and the bombs of native code.

use std::sync::mpsc::{Receiver, channel};

use banyan_actor_examples::zoo;
use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::{
    Actor, Addr, Configuration, Context, Failure, Payload, Quota, Resource, Runtime, RuntimeOptions, Signal,
    Sponsor, Work, closure,
};

fn simulation(seed: u64) -> Simulation {
    Simulation::new(seed, 3, Quota::AMPLE)
}

fn listener<M: Payload + Clone>(simulation: &Simulation) -> (Addr<M>, Receiver<M>) {
    let (sender, receiver) = channel();
    let behaviour = closure(sender, |sender, message: &M, _| {
        sender.send(message.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let address = simulation.create(Configuration::new("listener").with_behaviour(behaviour));
    (address.typed(), receiver)
}

const SMALL: Quota = Quota { memory: 20_000, cycles: 20_000, events: 100 };

/// Makes a sponsor, starts it, and sends a bomb its first message on the sponsor's account.
#[derive(Clone)]
struct Owner {
    bomb: Addr<()>,
    quota: Quota,
    signals: Addr<Signal>,
    sponsor: Option<Sponsor>,
    refill: Option<Quota>,
}

impl Actor for Owner {
    type Message = u8;
    fn receive(&self, what: &u8, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match (what, &self.sponsor) {
            (0, _) => {
                let sponsor = work.new_sponsor("bomb")?;
                work.transfer(&sponsor, self.quota)?;
                work.start(&sponsor, &self.signals)?;
                work.send_under(&sponsor, &self.bomb, ())?;
                work.become_next(Self { sponsor: Some(sponsor), ..self.clone() });
            }
            (1, Some(sponsor)) => {
                work.transfer(sponsor, self.refill.unwrap_or_default())?;
                work.start(sponsor, &self.signals)?;
            }
            (_, Some(sponsor)) => work.stop_sponsor(sponsor),
            _ => {}
        }
        Ok(())
    }
}

type Bomb = fn(&mut (), &(), &mut Context<'_>) -> Result<(), Failure>;

fn event_bomb((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    context.send(&me, ());
    Ok(())
}

fn message_bomb((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    context.send(&me, ());
    context.send(&me, ());
    Ok(())
}

fn endless_sends((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    let me: Addr<()> = context.this().typed();
    loop {
        context.send(&me, ());
    }
}

fn fork_bomb((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    for _ in 0..2 {
        let child: Addr<()> = context.create(closure((), fork_bomb as Bomb))?.typed();
        context.send(&child, ());
    }
    Ok(())
}

fn allocation_bomb((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    context.charge_memory(8000)?;
    event_bomb(&mut (), &(), context)
}

fn cycle_bomb((): &mut (), (): &(), context: &mut Context<'_>) -> Result<(), Failure> {
    context.charge_cycles(3000)?;
    event_bomb(&mut (), &(), context)
}

#[test]
fn every_bomb_is_contained_its_controller_told_once_and_neighbours_unharmed() {
    let bombs: [(&str, Bomb, &[Resource]); 6] = [
        ("events", event_bomb, &[Resource::Events]),
        ("messages", message_bomb, &[Resource::Memory, Resource::Events, Resource::Cycles]),
        ("endless sends", endless_sends, &[Resource::Memory]),
        ("forks", fork_bomb, &[Resource::Memory, Resource::Events, Resource::Cycles]),
        ("allocation", allocation_bomb, &[Resource::Memory]),
        ("cycles", cycle_bomb, &[Resource::Cycles]),
    ];
    for (name, bomb, shorts) in bombs {
        for seed in 0..20 {
            let mut simulation = simulation(seed);
            let (signals, told) = listener::<Signal>(&simulation);
            let (neighbour, heard) = listener::<u32>(&simulation);
            let bomb = simulation.create(Configuration::new("bomb").with_behaviour(closure((), bomb)));
            let owner = Owner { bomb: bomb.typed(), quota: SMALL, signals, sponsor: None, refill: None };
            let owner = simulation.create(Configuration::new("owner").with_actor(owner));
            simulation.send(&owner.typed(), 0_u8);
            for n in 0..100_u32 {
                simulation.send(&neighbour, n);
            }
            assert_eq!(simulation.run(200_000), Ending::Drained, "{name}");
            let signals: Vec<Signal> = told.try_iter().collect();
            assert_eq!(signals.len(), 1, "{name}: told once");
            assert!(shorts.contains(&signals[0].resource), "{name}: {signals:?}");
            assert_eq!(heard.try_iter().count(), 100, "{name}: the neighbour is served");
            assert!(simulation.is_conserved(), "{name}");
            let status = simulation.sponsors();
            let status = status.iter().find(|one| one.name == "bomb").unwrap();
            assert!(status.waiting > 0, "{name}: what cannot be paid for waits");
            for (used, most) in status.consumed.iter().zip([SMALL.memory, SMALL.cycles, SMALL.events]) {
                assert!(*used <= most, "{name}: spends no more than it was given: {status:?}");
            }
        }
    }
}

/// Quotas of one kind after the other run out; each refill goes on exactly where it stopped.
#[test]
fn recovers_from_exhaustion_of_each_resource_in_turn() {
    for seed in 0..20 {
        let mut simulation = simulation(seed);
        let (signals, told) = listener::<Signal>(&simulation);
        let (counts, counted) = channel();
        let counting = closure((0_u32, counts), |(count, counts), _: &(), context| {
            context.charge_cycles(1000)?;
            context.charge_memory(1000)?;
            *count += 1;
            let me: Addr<()> = context.this().typed();
            if *count < 30 {
                context.send(&me, ());
            }
            // Nothing fails after this, so it is not undone and done again.
            counts.send(*count).map_err(|error| Failure::because(error.to_string()))
        });
        let bomb = simulation.create(Configuration::new("counting").with_behaviour(counting));
        let quota = Quota { memory: 8000, cycles: 10_000, events: 20 };
        let refill = Some(Quota { memory: 20_000, cycles: 5500, events: 1 });
        let owner = Owner { bomb: bomb.typed(), quota, signals, sponsor: None, refill };
        let owner: Addr<u8> = simulation.create(Configuration::new("owner").with_actor(owner)).typed();
        simulation.send(&owner, 0);
        let mut shorts = Vec::new();
        for _ in 0..20 {
            assert_eq!(simulation.run(100_000), Ending::Drained);
            let Ok(signal) = told.try_recv() else { break };
            assert!(told.try_recv().is_err(), "told once");
            shorts.push(signal.resource);
            simulation.send(&owner, 1);
        }
        assert_eq!(shorts[..2], [Resource::Memory, Resource::Cycles], "seed {seed}");
        assert!(shorts.contains(&Resource::Events), "seed {seed}: {shorts:?}");
        assert_eq!(counted.try_iter().collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>(), "each count once");
        assert!(simulation.is_conserved());
    }
}

/// However many events wait for a sponsor, all are there when it is started again, in their order.
#[test]
fn all_events_that_wait_are_tried_again() {
    for seed in 0..20 {
        let mut simulation = simulation(seed);
        let (numbers, heard) = listener::<u32>(&simulation);
        let poor = Quota { memory: 1 << 20, cycles: 1 << 20, events: 3 };
        let sponsor = simulation.sponsor("poor", poor).unwrap();
        for number in 0..10 {
            simulation.send_under(&sponsor, &numbers, number);
        }
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [0, 1, 2], "seed {seed}");
        let waiting = simulation.sponsors().iter().find(|one| one.name == "poor").unwrap().waiting;
        assert_eq!(waiting, 7, "seed {seed}");
        simulation.grant(&sponsor, Quota { events: 100, ..Quota::ZERO });
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), (3..10).collect::<Vec<_>>(), "seed {seed}");
        assert!(simulation.is_conserved());
    }
}

/// A signal is paid for once: a sponsor that somebody else starts again without a controller has none.
#[test]
fn a_controller_that_was_told_is_not_told_again_unless_it_is_named_again() {
    let mut simulation = simulation(5);
    let (signals, told) = listener::<Signal>(&simulation);
    let worker = closure((), |(), (): &(), _| Ok(()));
    let worker: Addr<()> = simulation.create(Configuration::new("worker").with_behaviour(worker)).typed();
    let quota = Quota { memory: 1 << 20, cycles: 1 << 20, events: 1 };
    let owner = Owner { bomb: worker.clone(), quota, signals, sponsor: None, refill: None };
    let owner: Addr<u8> = simulation.create(Configuration::new("owner").with_actor(owner)).typed();
    simulation.send(&owner, 0);
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let sponsor = simulation.find_sponsor("bomb").unwrap();
    for round in 0..3 {
        simulation.send_under(&sponsor, &worker, ());
        assert_eq!(simulation.run(10_000), Ending::Drained);
        assert_eq!(told.try_iter().count(), usize::from(round == 0), "round {round}");
        let complaints = simulation.log_lines().iter().filter(|line| line.contains("no controller")).count();
        assert_eq!(complaints, round);
        simulation.grant(&sponsor, Quota { events: 1, ..Quota::ZERO });
        assert_eq!(simulation.run(10_000), Ending::Drained);
    }
    assert!(simulation.is_conserved());
}

#[test]
fn a_stopped_sponsor_gives_back_what_it_has_and_its_events_are_dropped() {
    let mut simulation = simulation(4);
    let (signals, told) = listener::<Signal>(&simulation);
    let bomb = simulation.create(Configuration::new("bomb").with_behaviour(closure((), event_bomb as Bomb)));
    let quota = Quota { memory: 1 << 20, cycles: 1 << 30, events: 1 << 30 };
    let owner = Owner { bomb: bomb.typed(), quota, signals, sponsor: None, refill: None };
    let owner: Addr<u8> = simulation.create(Configuration::new("owner").with_actor(owner)).typed();
    simulation.send(&owner, 0);
    assert_eq!(simulation.run(500), Ending::NotDrained);
    simulation.send(&owner, 2);
    assert_eq!(simulation.run(200_000), Ending::Drained, "the bomb's events are dropped");
    assert_eq!(told.try_iter().count(), 0);
    assert_eq!(simulation.sponsors().len(), 1, "only the root is left");
    let root = &simulation.sponsors()[0];
    assert_eq!(root.left[2], Quota::AMPLE.events - root.consumed[2] - bombs_events(&simulation));
    assert!(simulation.is_conserved());
}

/// What the bomb had consumed is not on any account any more: what is missing from the root.
fn bombs_events(simulation: &Simulation) -> u64 {
    let root = &simulation.sponsors()[0];
    Quota::AMPLE.events - root.left[2] - root.consumed[2]
}

#[test]
fn a_transfer_that_would_leave_nothing_exhausts_the_donor() {
    let mut simulation = simulation(4);
    let greedy = closure((), |(), _: &(), context| {
        let sponsor = context.new_sponsor("greedy")?;
        context.transfer(&sponsor, Quota { memory: u64::MAX / 2, cycles: 0, events: 0 })?;
        Ok(())
    });
    let sponsor = simulation.sponsor("donor", SMALL).unwrap();
    let greedy: Addr<()> = simulation.create(Configuration::new("greedy").with_behaviour(greedy)).typed();
    simulation.send_under(&sponsor, &greedy, ());
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let sponsors = simulation.sponsors();
    assert_eq!(sponsors.len(), 2, "the one that was made is unmade: {sponsors:?}");
    assert_eq!((sponsors[1].state.as_str(), sponsors[1].waiting), ("no memory left", 1));
    assert!(simulation.is_conserved());
}

/// The example: every bomb is stopped, by its sponsor or with its event, and the neighbour answers all the
/// while.
#[test]
fn every_bomb_of_the_zoo_is_stopped() {
    let options = RuntimeOptions { hosts: 2, ..RuntimeOptions::default() };
    let runtime = Runtime::start(options).unwrap();
    let shown = zoo::show(&runtime, |_| {}).unwrap();
    let stopped = |caged: &&zoo::Caged| caged.exhausted.is_some();
    let bombs = &shown[1..];
    assert_eq!(bombs.iter().filter(stopped).count(), bombs.len(), "{shown:?}");
    assert_eq!(bombs.len(), if cfg!(feature = "wasm") { 11 } else { 5 });
    assert!(runtime.is_conserved());
}

/// What comes from outside is paid for when it is begun: only so much of it waits for that.
#[test]
fn what_nobody_has_paid_for_waits_within_bounds() {
    const COUNT: u32 = 1000;
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (heard, hears) = channel();
    let texts = closure(heard, |heard, text: &(u32, String), _: &mut Context<'_>| {
        heard.send(text.0).map_err(|error| Failure::because(error.to_string()))
    });
    let texts: Addr<(u32, String)> =
        simulation.create(Configuration::new("texts").with_behaviour(texts)).typed();
    let poor = simulation.sponsor("poor", Quota { memory: 1 << 30, cycles: 1 << 30, events: 1 }).unwrap();
    for number in 0..COUNT {
        simulation.send_under(&poor, &texts, (number, "x".repeat(100_000)));
        assert_eq!(simulation.run(10_000), Ending::Drained);
    }
    let waiting = simulation.sponsors().iter().map(|sponsor| sponsor.waiting).sum::<usize>();
    assert!((1..=168).contains(&waiting), "{waiting} wait, of 100 kB each");
    assert_eq!(simulation.dead_letters(), u64::from(COUNT) - 1 - waiting as u64);
    simulation.grant(&poor, Quota { memory: 0, cycles: 0, events: 1 << 20 });
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), (0..=waiting as u32).collect::<Vec<_>>());
    assert!(simulation.is_conserved());
}
