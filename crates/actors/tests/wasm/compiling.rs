//! Compiling is done on a thread of the pool, and paid for.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use banyan_actors::simulation::Ending;
use banyan_actors::wasm::{CompileError, Compiled};
use banyan_actors::{Actor, Addr, Configuration, Context, Failure, Packet, Quota, Simulation, Work, closure};
use serde::{Deserialize, Serialize};

use super::{COUNTER, binary, engine};

#[derive(Serialize, Deserialize)]
enum Order {
    Compile(Vec<u8>),
    /// The wrong way: in the event.
    CompileNow(Vec<u8>),
    Is(Result<Compiled, CompileError>),
}

struct Compiler(Addr<String>);

impl Actor for Compiler {
    type Message = Order;
    fn receive(&self, order: &Order, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match order {
            Order::Compile(bytes) => {
                work.compile(engine(), bytes.clone(), Duration::from_secs(60), Order::Is);
            }
            Order::CompileNow(bytes) => {
                engine().compile(bytes).map_err(|error| Failure::because(error.to_string()))?;
            }
            Order::Is(Ok(compiled)) => {
                let module = engine().module(*compiled).ok_or_else(|| Failure::because("it is not there"))?;
                work.create(module.actor(0, Packet::default()))?;
                work.send(&self.0, module.digest().to_owned());
            }
            Order::Is(Err(error)) => work.send(&self.0, error.to_string()),
        }
        Ok(())
    }
}

fn stage() -> (Simulation, Addr<Order>, Receiver<String>) {
    let (sender, said) = channel();
    let listener = closure(sender, |sender, words: &String, _: &mut Context<'_>| {
        sender.send(words.clone()).map_err(|error| Failure::because(error.to_string()))
    });
    let simulation = Simulation::new(1, 1, Quota::AMPLE);
    let listener = simulation.create(Configuration::new("listener").with_behaviour(listener));
    let compiler = Configuration::new("compiler").with_actor(Compiler(listener.typed()));
    let compiler = simulation.create(compiler).typed();
    (simulation, compiler, said)
}

#[test]
fn an_actor_hears_of_its_module_or_of_what_is_wrong_with_it() {
    let (mut simulation, compiler, said) = stage();
    simulation.send(&compiler, Order::Compile(binary(COUNTER)));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let digest = engine().compile(&binary(COUNTER)).unwrap().digest().to_owned();
    assert_eq!(said.try_iter().collect::<Vec<_>>(), [digest]);
    simulation.send(&compiler, Order::Compile(b"no module".to_vec()));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let words = said.try_iter().next().unwrap();
    assert!(words.contains("not valid WebAssembly"), "{words}");
}

#[test]
fn an_event_compiles_nothing_itself() {
    let (mut simulation, compiler, _said) = stage();
    simulation.send(&compiler, Order::CompileNow(binary(COUNTER)));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let line = simulation.log_lines().pop().unwrap();
    assert!(line.contains("a module is not compiled inside an event"), "{line}");
}

#[test]
fn who_cannot_pay_for_compiling_has_nothing_compiled() {
    let (mut simulation, compiler, said) = stage();
    let module = binary(COUNTER);
    let cost = 10_000 * module.len() as u64;
    // Events have their cost too.
    let poor = Quota { memory: 1 << 20, cycles: cost + 5_000, events: 100 };
    let poor = simulation.sponsor("poor", poor).unwrap();
    simulation.send_under(&poor, &compiler, Order::Compile(module.clone()));
    simulation.send_under(&poor, &compiler, Order::Compile(module));
    assert_eq!(simulation.run(10_000), Ending::Drained);
    let states: Vec<_> = simulation.sponsors().into_iter().map(|one| (one.name, one.state)).collect();
    assert!(states.contains(&("poor".to_owned(), "no cycles left".to_owned())), "{states:?}");
    simulation.grant(&poor, Quota { cycles: cost, ..Quota::ZERO });
    assert_eq!(simulation.run(10_000), Ending::Drained);
    assert_eq!(said.try_iter().count(), 2);
    assert!(simulation.is_conserved());
}
