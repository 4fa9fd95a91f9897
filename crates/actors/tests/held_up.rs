//! Work that takes long holds up itself alone: a job that panics is heard of at once, and what waits behind a
//! long event on one host is done by another.

mod simulated;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use banyan_actors::ask::AskError;
use banyan_actors::{
    Actor, Addr, Configuration, Context, Failure, Quota, Runtime, RuntimeOptions, Simulation, Work, closure,
};

use simulated::{listener, run};

const PATIENCE: Duration = Duration::from_secs(60);

type Answered = Result<u64, AskError>;

/// Asks the pool for the double of a number, but not for that of 0.
struct Doubling(Addr<(u64, Answered)>);

#[derive(serde::Serialize, serde::Deserialize)]
enum Double {
    Of(u64),
    Is(u64, Answered),
}

impl Actor for Doubling {
    type Message = Double;
    fn receive(&self, message: &Double, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            Double::Of(number) => {
                let number = *number;
                let double = move || {
                    assert!(number > 0, "nothing cannot be doubled");
                    2 * number
                };
                work.ask_pool(PATIENCE, double, move |answer| Double::Is(number, answer));
            }
            Double::Is(number, answer) => work.send(&self.0, (*number, answer.clone())),
        }
        Ok(())
    }
}

#[test]
fn work_that_panics_is_an_answer() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed, 2, Quota::AMPLE);
        let (answers, answered) = listener(&simulation);
        run(&mut simulation, move |context| {
            let doubling = context.create_actor(Doubling(answers.clone()));
            for number in [0, 21] {
                context.send(&doubling, Double::Of(number));
            }
            Ok(())
        });
        let mut answers: Vec<(u64, Answered)> = answered.try_iter().collect();
        answers.sort_by_key(|(number, _)| *number);
        assert_eq!(answers, [(0, Err(AskError::Dropped)), (21, Ok(42))]);
        assert!(simulation.log_lines().iter().any(|line| line.contains("nothing cannot be doubled")));
        assert!(simulation.is_conserved());
    }
}

/// An event that does not end until the door is opened, on a host where it stays.
fn blocked(runtime: &Runtime) -> std::sync::mpsc::Sender<()> {
    let (begun, begins) = channel();
    let (door, opened) = channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let slow = Slow { begun, opened };
    let slow = runtime.create(Configuration::new("slow").stay_on_host(0).with_actor(slow));
    runtime.send(&slow.typed(), ());
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(()));
    door
}

struct Slow {
    begun: std::sync::mpsc::Sender<()>,
    opened: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Actor for Slow {
    type Message = ();
    fn receive(&self, (): &(), _: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let _ = self.begun.send(());
        if let Ok(opened) = self.opened.lock() {
            // It opens by being dropped.
            let _ = opened.recv();
        }
        Ok(())
    }
}

#[test]
fn what_is_sent_to_a_host_with_a_long_event_is_done_by_another() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let others: Vec<Addr<Addr<u64>>> = (0..20)
        .map(|number| {
            let other = closure((), move |(), reply: &Addr<u64>, context: &mut Context<'_>| {
                context.send(reply, number);
                Ok(())
            });
            runtime.create(Configuration::new("other").on_host(0).with_behaviour(other)).typed()
        })
        .collect();
    for round in 0..5 {
        let door = blocked(&runtime);
        for (number, other) in others.iter().enumerate() {
            let answer = runtime.ask(other, PATIENCE, |reply| reply);
            assert_eq!(answer, Ok(number as u64), "round {round}");
        }
        drop(door);
    }
}

/// Those that were taking turns beside it when it began.
#[test]
fn what_takes_turns_beside_a_long_event_goes_on() {
    let runtime = Runtime::start(RuntimeOptions { hosts: 2, ..RuntimeOptions::default() }).unwrap();
    let counts: Vec<Arc<AtomicU64>> = (0..20)
        .map(|_| {
            let count = Arc::new(AtomicU64::new(0));
            let counted = count.clone();
            let busy = closure((), move |(), (): &(), context: &mut Context<'_>| {
                counted.fetch_add(1, Ordering::Relaxed);
                let me = context.this().typed();
                context.send(&me, ());
                Ok(())
            });
            let busy = runtime.create(Configuration::new("busy").on_host(0).with_behaviour(busy));
            runtime.send(&busy.typed(), ());
            count
        })
        .collect();
    for round in 0..5 {
        let door = blocked(&runtime);
        let until = Instant::now() + PATIENCE;
        for count in &counts {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) == before {
                assert!(Instant::now() < until, "round {round}: one does not go on");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(door);
    }
}
