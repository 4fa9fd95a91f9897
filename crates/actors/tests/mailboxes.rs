//! Configurations that take so many events and no more: who sends waits, fails, or is not heard, and nothing
//! else is lost or out of order.

mod simulated;

use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::{
    Actor, Addr, Configuration, Context, Directive, Failure, MailboxFull, Quota, Runtime, RuntimeOptions,
    Simulation, WhenFull, Work, closure,
};

use simulated::{listener, run};

/// Passes on what it gets, to a configuration of its own.
fn bounded(simulation: &Simulation, values: Addr<u32>, events: usize, when: WhenFull) -> Addr<u32> {
    let passing = closure(values, |values, number: &u32, context: &mut Context<'_>| {
        context.send(values, *number);
        Ok(())
    });
    let seed = Configuration::new("bounded").mailbox(events, when).with_behaviour(passing);
    simulation.create(seed).typed()
}

/// Sends one number with each event, up to a last one.
struct Counting {
    target: Addr<u32>,
    each: u32,
}

impl Actor for Counting {
    type Message = u32;
    fn receive(&self, number: &u32, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        for one in 0..self.each {
            work.send(&self.target, number * self.each + one);
        }
        Ok(())
    }
}

/// Whatever the interleaving: each number comes once and in order, although senders are undone now and then.
#[test]
fn senders_wait_for_room_and_lose_nothing() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed, 3, Quota::AMPLE);
        let (values, received) = listener::<u32>(&simulation);
        let target = bounded(&simulation, values, 4, WhenFull::Wait);
        let sending = Counting { target, each: 3 };
        let sending: Addr<u32> = simulation.create(Configuration::new("sending").with_actor(sending)).typed();
        for number in 0..50 {
            simulation.send(&sending, number);
        }
        assert_eq!(simulation.run(100_000), Ending::Drained, "seed {seed}");
        assert_eq!(received.try_iter().collect::<Vec<_>>(), (0..150).collect::<Vec<_>>(), "seed {seed}");
        assert!(simulation.is_conserved());
        let undone = simulation.configurations().iter().map(|one| one.failures).sum::<u64>();
        assert_eq!((undone, simulation.dead_letters()), (0, 0));
    }
}

/// An event that sends more than a mailbox takes never finds room, and its actor waits; the others do not.
#[test]
fn what_is_undone_does_not_count() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let target = bounded(&simulation, values, 4, WhenFull::Fail);
    for each in [5, 4, 4] {
        let sending = Counting { target: target.clone(), each };
        let sending: Addr<u32> = simulation.create(Configuration::new("sending").with_actor(sending)).typed();
        simulation.send(&sending, 0);
        assert_eq!(simulation.run(100_000), Ending::Drained);
    }
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1, 2, 3]);
    let failures: u64 = simulation.configurations().iter().map(|one| one.failures).sum();
    assert_eq!((failures, simulation.dead_letters()), (1, 0));
    let words = "has as many events as it takes";
    assert!(simulation.log_lines().iter().any(|line| line.contains(words)), "{:?}", simulation.log_lines());
}

#[test]
fn what_is_dropped_is_counted() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let target = bounded(&simulation, values, 4, WhenFull::Drop);
    let sending = Counting { target: target.clone(), each: 10 };
    let sending: Addr<u32> = simulation.create(Configuration::new("sending").with_actor(sending)).typed();
    simulation.send(&sending, 0);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(simulation.dead_letters(), 6);
    for number in 0..6 {
        assert_eq!(simulation.try_send(&target, number), if number < 4 { Ok(()) } else { Err(MailboxFull) });
    }
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// Events keep their room wherever they wait: with an actor that is held, or with their sponsor; and give it
/// back whatever becomes of them.
#[test]
fn an_event_counts_until_it_is_handled() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<u32>(&simulation);
    let target = bounded(&simulation, values, 2, WhenFull::Drop);
    let poor = simulation.sponsor("poor", Quota { memory: 1 << 12, cycles: 1 << 20, events: 1 }).unwrap();
    for number in 0..2 {
        simulation.send_under(&poor, &target, number);
    }
    assert_eq!(simulation.run(100_000), Ending::Drained);
    // One was handled, and one waits for its sponsor.
    assert_eq!(
        (simulation.try_send(&target, 7), simulation.try_send(&target, 8)),
        (Ok(()), Err(MailboxFull))
    );
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let poor_too = poor.clone();
    run(&mut simulation, move |context| {
        context.stop_sponsor(&poor_too);
        Ok(())
    });
    assert_eq!((simulation.try_send(&target, 9), simulation.try_send(&target, 10)), (Ok(()), Ok(())));
    assert_eq!(simulation.run(100_000), Ending::Drained);
    // What came of the first was the poor sponsor's too.
    assert_eq!(received.try_iter().collect::<Vec<_>>(), [7, 9, 10]);
}

/// Who waits for room goes on when the configuration is removed.
#[test]
fn nobody_waits_for_a_configuration_that_is_gone() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let (values, _) = listener::<u32>(&simulation);
        let (done, is_done) = listener::<u32>(&simulation);
        let target = bounded(&simulation, values, 1, WhenFull::Wait);
        let number = simulation.configurations().iter().find(|one| one.name == "bounded").unwrap().number;
        let sending = closure(target, move |target, number: &u32, context: &mut Context<'_>| {
            // Two never find room together.
            context.send(target, *number);
            context.send(target, *number);
            context.send(&done, *number);
            Ok(())
        });
        let sending: Addr<u32> =
            simulation.create(Configuration::new("sending").with_behaviour(sending)).typed();
        simulation.send(&sending, 1);
        simulation.run(1_000);
        assert_eq!(is_done.try_iter().count(), 0);
        simulation.remove(number);
        assert_eq!(simulation.run(100_000), Ending::Drained);
        assert_eq!(is_done.try_iter().count(), 1, "seed {seed}");
    }
}

/// On threads: threads outside wait as actors do, and all that was sent comes.
#[test]
fn threads_and_actors_wait_beside_each_other() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    let slow = closure(heard, |heard, number: &u32, _: &mut Context<'_>| {
        std::thread::yield_now();
        heard.send(*number).map_err(|error| Failure::because(error.to_string()))
    });
    let seed = Configuration::new("slow").mailbox(3, WhenFull::Wait).default_directive(Directive::Resume);
    let slow: Addr<u32> = runtime.create(seed.with_behaviour(slow)).typed();
    let sending = Counting { target: slow.clone(), each: 2 };
    let sending: Addr<u32> = runtime.create(Configuration::new("sending").with_actor(sending)).typed();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (handle, slow) = ((*runtime).clone(), slow.clone());
            std::thread::spawn(move || (0..500).for_each(|number| handle.send(&slow, number)))
        })
        .collect();
    for number in 0..500 {
        runtime.send(&sending, number);
    }
    let mut sum = 0_u64;
    for _ in 0..2_500 {
        sum += u64::from(hears.recv_timeout(Duration::from_secs(60)).unwrap());
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sum, 3 * (0..500).sum::<u64>() + (0..1000).sum::<u64>());
}
