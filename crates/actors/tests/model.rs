//! The actor model: what an event may do, and that one that fails leaves nothing behind.

use std::sync::mpsc::channel;
use std::time::Duration;

use banyan_actors::probe::Probe;
use banyan_actors::simulation::{Ending, Simulation};
use banyan_actors::{
    Actor, Addr, AskError, Configuration, Context, Directive, End, Ended, Failed, Failure, Message, Quota,
    Resource, Revoke, Runtime, RuntimeOptions, Supervisor, Work, closure, native,
};
use serde::{Deserialize, Serialize};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Counting {
    Add(u64),
    AddThenFail(u64),
    AddThenPanic(u64),
    Read(Addr<u64>),
}

#[derive(Clone)]
struct Counter(u64);

impl Actor for Counter {
    type Message = Counting;
    fn receive(&self, message: &Counting, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Counting::Add(n) => work.become_next(Self(self.0 + n)),
            Counting::AddThenFail(n) => {
                work.become_next(Self(self.0 + n));
                let me = work.me();
                work.send(&me, Counting::Add(1000));
                work.create_actor(Self(0));
                return Err(Failure::because("on purpose"));
            }
            Counting::AddThenPanic(n) => {
                work.become_next(Self(self.0 + n));
                let me = work.me();
                work.send(&me, Counting::Add(1000));
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            Counting::Read(reply) => work.send(reply, self.0),
        }
        Ok(())
    }
}

fn simulation(seed: u64) -> Simulation {
    Simulation::new(seed, 3, Quota::AMPLE)
}

/// A configuration with an actor that hands on what it gets, and where it arrives.
fn listener<M: banyan_actors::Payload + Clone>(
    simulation: &Simulation,
) -> (Addr<M>, std::sync::mpsc::Receiver<M>) {
    let (sender, receiver) = channel();
    let behaviour = closure(sender, |sender, message: &M, _| {
        sender.send(message.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let address = simulation.create(Configuration::new("listener").with_behaviour(behaviour));
    (address.typed(), receiver)
}

#[test]
fn an_event_that_fails_leaves_nothing_behind() {
    for failing in [Counting::AddThenFail(5), Counting::AddThenPanic(5)] {
        let mut probe = Probe::new(Quota::AMPLE);
        let counter = probe.create(native(Counter(1)));
        let before = probe.left;
        probe.send(&counter, Message::new(failing));
        let step = probe.step().unwrap();
        assert!(step.failure.unwrap().to_string().contains("on purpose"));
        assert_eq!(probe.queued(), 0, "what it sent is gone");
        assert_eq!(probe.actors(), 1, "what it created is gone");
        assert_eq!(probe.left.memory, before.memory, "and is not charged");
        assert_eq!(probe.left.events, before.events - 1, "the delivery was begun");
        let (reader, receiver) = channel();
        let reader = probe.create(closure(reader, |reader, value: &u64, _: &mut Context<'_>| {
            reader.send(*value).map_err(|error| Failure::because(error.to_string()))
        }));
        probe.send(&counter, Message::new(Counting::Read(reader.typed())));
        while probe.step().is_some() {}
        assert_eq!(receiver.recv().unwrap(), 1, "it became nothing");
    }
}

#[test]
fn an_event_that_cannot_be_paid_for_is_undone_and_can_come_again() {
    let mut probe = Probe::new(Quota { memory: 500, ..Quota::AMPLE });
    // A message bomb: cut off where it cannot be paid for.
    let bomb = probe.create(closure((), |(), _: &u64, context| {
        let me: Addr<u64> = context.this().typed();
        loop {
            context.send(&me, 1);
        }
    }));
    probe.send(&bomb, Message::new(1_u64));
    for _ in 0..3 {
        let step = probe.step().unwrap();
        assert_eq!(step.failure.unwrap(), Failure::Exhausted(banyan_actors::Exhausted(Resource::Memory)));
        assert_eq!(probe.queued(), 1, "the event waits, and nothing that it sent is there");
        assert_eq!(probe.left.memory, 500);
    }
}

#[test]
fn stepping_dispatches_one_event_and_says_when_there_is_none() {
    let mut probe = Probe::new(Quota::AMPLE);
    assert!(probe.step().is_none());
    let counter = probe.create(native(Counter(0)));
    for n in 0..3 {
        probe.send(&counter, Message::new(Counting::Add(n)));
    }
    assert!(probe.step().unwrap().failure.is_none());
    assert_eq!(probe.queued(), 2);
}

#[test]
fn a_message_of_another_type_is_a_failed_event_and_the_actor_lives() {
    let mut probe = Probe::new(Quota::AMPLE);
    let counter = probe.create(native(Counter(0)));
    probe.send(&counter, Message::new("no such message".to_owned()));
    assert!(matches!(probe.step().unwrap().failure, Some(Failure::NotUnderstood(_))));
    probe.send(&counter, Message::new(Counting::Add(1)));
    assert!(probe.step().unwrap().failure.is_none());
}

#[test]
fn bytes_are_a_message_or_an_error() {
    let mut probe = Probe::new(Quota::AMPLE);
    let counter = probe.create(native(Counter(0)));
    let good = Message::new(Counting::Read(counter.clone().typed())).to_packet().unwrap();
    assert_eq!(good.addresses.first(), Some(&counter));
    probe.send(&counter, Message::from_packet(good.clone()));
    assert!(probe.step().unwrap().failure.is_none());
    // An index into an empty table, and every truncation: errors, no addresses out of thin air.
    let mut bad = good.clone();
    bad.addresses.clear();
    probe.step();
    probe.send(&counter, Message::from_packet(bad));
    assert!(matches!(probe.step().unwrap().failure, Some(Failure::NotUnderstood(_))));
    for length in 0..good.bytes.len() {
        let mut cut = good.clone();
        cut.bytes.truncate(length);
        probe.send(&counter, Message::from_packet(cut));
        assert!(probe.step().unwrap().failure.is_some());
    }
}

#[test]
fn messages_between_two_actors_keep_their_order() {
    for seed in 0..50 {
        let mut simulation = simulation(seed);
        let (listener, receiver) = listener::<(u32, u32)>(&simulation);
        for from in 0..4_u32 {
            let target = listener.clone();
            let sender = closure(0_u32, move |count, _: &(), context| {
                for _ in 0..3 {
                    context.send(&target, (from, *count));
                    *count += 1;
                }
                let me: Addr<()> = context.this().typed();
                if *count < 30 {
                    context.send(&me, ());
                }
                Ok(())
            });
            let address = simulation.create(Configuration::new("sender").with_behaviour(sender));
            simulation.send(&address.typed(), ());
        }
        assert_eq!(simulation.run(100_000), Ending::Drained);
        let all: Vec<(u32, u32)> = receiver.try_iter().collect();
        assert_eq!(all.len(), 120);
        for from in 0..4 {
            let order: Vec<u32> =
                all.iter().filter(|(one, _)| *one == from).map(|(_, count)| *count).collect();
            assert!(order.is_sorted(), "seed {seed}: {order:?}");
        }
    }
}

#[test]
fn a_configuration_gets_as_many_events_a_turn_as_it_weighs() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (listener, receiver) = listener::<u32>(&simulation);
    for (which, weight) in [(0_u32, 1), (1, 3)] {
        let target = listener.clone();
        let busy = closure(0_u32, move |count, _: &(), context| {
            context.send(&target, which);
            *count += 1;
            let me: Addr<()> = context.this().typed();
            if *count < 300 {
                context.send(&me, ());
            }
            Ok(())
        });
        let seed = Configuration::new("busy").weight(weight).with_behaviour(busy);
        let address = simulation.create(seed);
        simulation.send(&address.typed(), ());
    }
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let order: Vec<u32> = receiver.try_iter().collect();
    // While both are busy, the heavier has three events for each of the lighter.
    let early = &order[20..220];
    let heavy = early.iter().filter(|which| **which == 1).count();
    assert!((145..=155).contains(&heavy), "{heavy} of 200");
}

#[test]
fn supervisors_restart_resume_stop_and_escalate() {
    for (directive, expected) in [
        (Directive::Resume, Some(7_u64)),
        (Directive::Restart, Some(2)),
        (Directive::Stop, None),
        (Directive::Escalate, None),
    ] {
        for seed in 0..20 {
            let mut simulation = simulation(seed);
            let (values, receiver) = listener::<u64>(&simulation);
            let (ends, ended) = listener::<Ended>(&simulation);
            let (overseer, overseen) = listener::<Failed>(&simulation);
            let directive = directive.clone();
            let given = directive.clone();
            let root = closure((), move |(), _: &(), context| {
                let supervisor = context.create_actor(Supervisor::new(given.clone(), 3));
                let child = context.create_supervised(&supervisor, || native(Counter(1)))?;
                context.monitor(&child, &ends);
                let child: Addr<Counting> = child.typed();
                context.send(&child, Counting::Add(5));
                context.send(&child, Counting::AddThenFail(100));
                context.send(&child, Counting::Add(1));
                context.send(&child, Counting::Read(values.clone()));
                Ok(())
            });
            let seed_of = Configuration::new("family").overseer(&overseer).with_behaviour(root);
            let root = simulation.create(seed_of);
            simulation.send(&root.typed(), ());
            assert_eq!(simulation.run(100_000), Ending::Drained);
            assert_eq!(receiver.try_iter().next(), expected, "{directive:?}");
            let how = ended.try_iter().next().map(|ended| ended.how);
            assert_eq!(how, expected.is_none().then(|| End::Failed("on purpose".into())), "{directive:?}");
            assert_eq!(overseen.try_iter().count(), usize::from(directive == Directive::Escalate));
        }
    }
}

#[test]
fn linked_actors_end_together_and_a_stop_ends_nobody_else() {
    let mut simulation = simulation(3);
    let (ends, ended) = listener::<Ended>(&simulation);
    let family = closure((), move |(), _: &(), context| {
        let supervisor = context.create_actor(Supervisor::new(Directive::Stop, 9));
        let failing = context.create_supervised(&supervisor, || native(Counter(0)))?;
        let linked = context.create(closure(failing.clone(), |other, _: &(), context| {
            context.link(other);
            Ok(())
        }))?;
        let stopping: Addr<()> = context
            .create(closure((), |(), _: &(), context| {
                context.stop();
                Ok(())
            }))?
            .typed();
        for actor in [&failing, &linked, stopping.address()] {
            context.monitor(actor, &ends);
        }
        context.send(&linked.typed(), ());
        context.send(&stopping, ());
        context.send(&failing.typed(), Counting::AddThenFail(1));
        Ok(())
    });
    let root = simulation.create(Configuration::new("family").with_behaviour(family));
    simulation.send(&root.typed(), ());
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let how: Vec<End> = ended.try_iter().map(|ended| ended.how).collect();
    let failed = || End::Failed("on purpose".into());
    assert_eq!(how, [End::Stopped, failed(), failed()]);
}

#[test]
fn a_question_is_answered_or_dropped_or_its_deadline_passes() {
    #[derive(Clone)]
    struct Asking(Addr<Counting>, Addr<Result<u64, AskError>>);
    impl Actor for Asking {
        type Message = Option<Result<u64, AskError>>;
        fn receive(&self, message: &Self::Message, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            match message {
                None => {
                    let target = self.0.clone();
                    work.ask(&target, Duration::from_millis(5), Counting::Read, Some);
                }
                Some(answer) => work.send(&self.1, answer.clone()),
            }
            Ok(())
        }
    }
    for seed in 0..20 {
        let mut simulation = simulation(seed);
        let (listener, receiver) = listener::<Result<u64, AskError>>(&simulation);
        let counter = simulation.create(Configuration::new("counter").with_actor(Counter(42)));
        let mute = simulation
            .create(Configuration::new("mute").with_behaviour(closure((), |(), _: &Counting, _| Ok(()))));
        let failing = closure((), |(), _: &Counting, _| Err(Failure::because("on purpose")));
        let failing = simulation.create(Configuration::new("failing").with_behaviour(failing));
        // It keeps the address for the answer.
        let keeping = simulation.create(Configuration::new("keeping").with_behaviour(closure(
            None::<Addr<u64>>,
            |kept, message: &Counting, _| {
                if let Counting::Read(reply) = message {
                    *kept = Some(reply.clone());
                }
                Ok(())
            },
        )));
        // The work that has the address panics.
        let panicking = closure((), |(), message: &Counting, context: &mut Context<'_>| {
            if let Counting::Read(reply) = message {
                context.blocking(reply, || -> u64 { panic!("on purpose") })?;
            }
            Ok(())
        });
        let panicking = simulation.create(Configuration::new("panicking").with_behaviour(panicking));
        for target in [counter, mute, failing, panicking, keeping] {
            let asking = Asking(target.typed(), listener.clone());
            let asking = simulation.create(Configuration::new("asking").with_actor(asking));
            simulation.send(&asking.typed(), None::<Result<u64, AskError>>);
        }
        assert_eq!(simulation.run(100_000), Ending::Drained);
        let mut answers: Vec<_> = receiver.try_iter().collect();
        answers.sort_by_key(|answer| (answer.is_err(), *answer == Err(AskError::Deadline)));
        let dropped = Err(AskError::Dropped);
        let late = Err(AskError::Deadline);
        assert_eq!(answers, [Ok(42), dropped.clone(), dropped.clone(), dropped, late], "seed {seed}");
    }
}

#[test]
fn timers_come_in_their_order_unless_cancelled() {
    let mut simulation = simulation(9);
    let (listener, receiver) = listener::<u32>(&simulation);
    let setting = closure((), move |(), _: &(), context| {
        for n in [3_u32, 1, 2] {
            context.send_after(Duration::from_millis(u64::from(n)), &listener, n)?;
        }
        let cancelled = context.send_after(Duration::from_millis(1), &listener, 99)?;
        context.cancel(cancelled);
        Ok(())
    });
    let setting = simulation.create(Configuration::new("timers").with_behaviour(setting));
    simulation.send(&setting.typed(), ());
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_revoked_address_leads_nowhere() {
    let mut simulation = simulation(5);
    let (listener, receiver) = listener::<u32>(&simulation);
    let root = closure(None, move |kept: &mut Option<(Addr<u32>, Addr<Revoke>)>, _: &(), context| {
        match kept {
            None => {
                let (address, revoker) = context.revocable(listener.address())?;
                let address: Addr<u32> = address.typed();
                context.send(&address, 1);
                context.send(&revoker, Revoke);
                *kept = Some((address, revoker));
            }
            Some((address, _)) => context.send(address, 2),
        }
        Ok(())
    });
    let root: Addr<()> = simulation.create(Configuration::new("root").with_behaviour(root)).typed();
    for _ in 0..2 {
        simulation.send(&root, ());
        assert_eq!(simulation.run(100_000), Ending::Drained);
    }
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(simulation.dead_letters(), 1);
}

#[test]
fn a_name_is_given_once_and_taken_back_if_the_event_fails() {
    let mut simulation = simulation(5);
    let naming = closure((), |(), fail: &bool, context| {
        let me = context.this();
        context.register("the one", &me).map_err(|error| Failure::because(error.to_string()))?;
        if *fail { Err(Failure::because("after all")) } else { Ok(()) }
    });
    let naming: Addr<bool> = simulation.create(Configuration::new("naming").with_behaviour(naming)).typed();
    for (fail, known) in [(true, false), (false, true), (false, true)] {
        simulation.send(&naming, fail);
        assert_eq!(simulation.run(1000), Ending::Drained);
        assert_eq!(simulation.lookup("the one").is_some(), known);
    }
    assert!(simulation.log_lines().last().unwrap().contains("the name the one is taken"));
    assert!(simulation.register("the one", naming.address()).is_err());
}

#[test]
fn a_configuration_is_made_by_the_host_after_the_event() {
    let mut simulation = simulation(5);
    let (listener, receiver) = listener::<u32>(&simulation);
    let root = closure((), move |(), depth: &u32, context| {
        let target = listener.clone();
        let inner = closure((), move |(), n: &u32, context| {
            context.send(&target, *n);
            Ok(())
        });
        let inner = context.ask_host(Configuration::new("inner").with_behaviour(inner))?;
        context.send(&inner.typed(), *depth);
        Ok(())
    });
    let root = simulation.create(Configuration::new("outer").with_behaviour(root));
    simulation.send(&root.typed(), 7_u32);
    assert_eq!(simulation.run(1000), Ending::Drained);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [7]);
    assert_eq!(simulation.configurations().len(), 3);
}

#[test]
fn hosts_on_threads_do_the_same_and_blocking_work_comes_back_as_an_event() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let counter: Addr<Counting> =
        runtime.create(Configuration::new("counter").with_actor(Counter(0))).typed();
    for _ in 0..1000 {
        runtime.send(&counter, Counting::Add(1));
    }
    assert_eq!(runtime.ask(&counter, DEADLINE, Counting::Read), Ok(1000));

    let blocking = closure((), |(), reply: &Addr<u64>, context| {
        context.blocking(reply, || {
            std::thread::sleep(Duration::from_millis(5));
            11_u64
        })?;
        Ok(())
    });
    let blocking: Addr<Addr<u64>> =
        runtime.create(Configuration::new("blocking").with_behaviour(blocking)).typed();
    assert_eq!(runtime.ask(&blocking, DEADLINE, |reply: Addr<u64>| reply), Ok(11));
    assert!(runtime.is_conserved());
}

#[test]
fn nobody_waits_inside_an_event() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let counter: Addr<Counting> =
        runtime.create(Configuration::new("counter").with_actor(Counter(0))).typed();
    let handle = (*runtime).clone();
    let nesting = closure((), move |(), reply: &Addr<u64>, context| {
        // Would run another event inside this one, or block the host: refused.
        let answer = handle.ask(&counter, DEADLINE, Counting::Read).unwrap_or(0);
        context.send(reply, answer);
        Ok(())
    });
    let nesting: Addr<Addr<u64>> =
        runtime.create(Configuration::new("nesting").with_behaviour(nesting)).typed();
    let answer = runtime.ask(&nesting, DEADLINE, |reply: Addr<u64>| reply);
    assert_eq!(answer, Err(AskError::Dropped));
    assert!(runtime.log_lines().iter().any(|line| line.contains("cannot dispatch another")));
}

#[test]
fn idle_hosts_take_configurations_from_busy_ones() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let (sender, receiver) = channel();
    for _ in 0..8 {
        let busy = closure((0_u64, sender.clone()), |(count, sender), _: &(), context| {
            *count += 1;
            let me: Addr<()> = context.this().typed();
            let end = std::time::Instant::now() + Duration::from_micros(20);
            while std::time::Instant::now() < end {}
            if *count < 2000 {
                context.send(&me, ());
            } else {
                let _ = sender.send(std::thread::current().name().map(str::to_owned));
            }
            Ok(())
        });
        let address = runtime.create(Configuration::new("busy").on_host(0).with_behaviour(busy));
        runtime.send(&address.typed(), ());
    }
    let mut hosts: Vec<_> = (0..8).map(|_| receiver.recv_timeout(DEADLINE).unwrap()).collect();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 2, "both hosts have worked");
}

/// One that has its turn is as much to do as one that waits for it: of two, an idle host gets one, and it
/// stays there.
#[test]
fn an_idle_host_takes_one_of_two_that_talk() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let counter = Configuration::new("counter").on_host(0).with_actor(Counter(0));
        let counter: Addr<Counting> = simulation.create(counter).typed();
        let producer = closure(counter, |counter, _: &(), context| {
            context.send(counter, Counting::Add(1));
            let me: Addr<()> = context.this().typed();
            context.send(&me, ());
            Ok(())
        });
        let producer = simulation.create(Configuration::new("producer").on_host(0).with_behaviour(producer));
        simulation.send(&producer.typed(), ());
        assert_eq!(simulation.run(1000), Ending::NotDrained);
        let homes: Vec<usize> = simulation.configurations().iter().map(|one| one.host).collect();
        assert_ne!(homes[0], homes[1], "seed {seed}");
    }
}

#[test]
fn a_configuration_that_is_removed_takes_no_more_messages() {
    let mut simulation = simulation(5);
    let counter: Addr<Counting> =
        simulation.create(Configuration::new("counter").with_actor(Counter(0))).typed();
    let forward = closure(counter.clone(), |counter, n: &u64, context| {
        context.send(counter, Counting::Add(*n));
        Ok(())
    });
    let forward: Addr<u64> = simulation.create(Configuration::new("forward").with_behaviour(forward)).typed();
    simulation.send(&forward, 1_u64);
    assert_eq!(simulation.run(1000), Ending::Drained);
    let number = simulation.configurations().iter().find(|one| one.name == "counter").unwrap().number;
    simulation.remove(number);
    simulation.send(&forward, 2_u64);
    simulation.send(&counter, Counting::Add(3));
    assert_eq!(simulation.run(1000), Ending::Drained);
    assert_eq!(simulation.configurations().len(), 1);
    assert_eq!(simulation.dead_letters(), 2);
}
