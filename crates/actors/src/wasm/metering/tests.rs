//! Counts against the engine's own: programs of every shape, with random paths through them, must do and cost
//! the same.

use std::fmt::Write;
use std::time::Duration;

use crate::sys::guest_memory::Image;
use proptest::prelude::*;
use wasmtime::{Config, Linker, Module as Compiled, OperatorCost, Store, Trap};

use crate::wasm::engine::{Engine, EngineOptions, Module};
use crate::wasm::instance::{Instance, Restore};
use crate::wasm::metering::Metering;

/// More than the kernels need, and what a random program may use.
const FUEL: i64 = 1 << 24;
const KERNELS: &[u8] = include_bytes!("../../../../../examples/guests/prebuilt/kernels.wasm");

fn fresh(module: &Module) -> (Image, Instance) {
    let mut image = module.0.engine.windows().file().image().unwrap();
    module.0.data.iter().for_each(|(offset, bytes)| image.write(*offset, bytes));
    let restore = Restore { image: &image, memory: module.memory_bytes(), globals: None };
    let instance = Instance::new(module, &restore).unwrap();
    (image, instance)
}

/// The memory that a call leaves behind, and the fuel that it costs if that is counted.
fn ours(metering: Metering, binary: &[u8], message: (u32, u32, u32)) -> (Vec<u8>, i64) {
    let options = EngineOptions { metering, actors: 4, ..EngineOptions::default() };
    let module = Engine::new(options).unwrap().compile(binary).unwrap();
    let (_image, mut instance) = fresh(&module);
    instance.store.data_mut().fuel = FUEL;
    instance.run(Duration::from_secs(60), |running| running.receive(message)).unwrap();
    let memory = instance.store.data().memory.unwrap();
    let fuel = FUEL - instance.store.data().fuel;
    (memory.data(&instance.store).to_vec(), fuel)
}

/// The same by the engine's own means. It counts one for each function that is entered; so calls count
/// nothing here, and the call from outside is too much. `None` if the fuel does not suffice.
fn theirs(binary: &[u8], message: (u32, u32, u32)) -> Option<(Vec<u8>, i64)> {
    let mut config = Config::new();
    config.consume_fuel(true);
    let mut cost = OperatorCost::new();
    (cost.Call, cost.CallIndirect, cost.ReturnCall, cost.ReturnCallIndirect) = (0, 0, 0, 0);
    config.operator_cost(cost);
    let engine = wasmtime::Engine::new(&config).unwrap();
    let module = Compiled::new(&engine, binary).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_fuel(FUEL as u64).unwrap();
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&module).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let receive = instance.get_typed_func::<(u32, u32, u32), ()>(&mut store, "banyan_receive").unwrap();
    if let Err(error) = receive.call(&mut store, message) {
        assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel));
        return None;
    }
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let fuel = FUEL - store.get_fuel().unwrap() as i64;
    Some((memory.data(&store).to_vec(), fuel - 1))
}

fn compare(binary: &[u8], message: (u32, u32, u32)) {
    let Some((memory, fuel)) = theirs(binary, message) else { return };
    let (counted_memory, counted) = ours(Metering::Fuel, binary, message);
    assert!(counted_memory == memory, "it computes something else when it counts");
    assert_eq!(counted, fuel);
    assert!(ours(Metering::Epoch, binary, message).0 == memory, "it computes something else");
}

#[test]
fn the_kernels_cost_what_the_engine_counts() {
    for (behaviour, amount) in [(0, 1), (1, 1), (2, 1), (3, 10), (4, 1), (5, 1), (6, 3)] {
        compare(KERNELS, (behaviour, amount, 0));
    }
}

/// Writes a module of some functions, each of which may call those after it, with nested blocks, loops of a
/// few turns, choices and branches to any label around them. Where it goes depends on numbers that are
/// computed on the way.
struct Author {
    random: u64,
    text: String,
    function: usize,
    /// Labels around, innermost last, and whether a branch to it carries a number.
    labels: Vec<bool>,
    loops: usize,
    /// Statements that may still be written.
    left: usize,
}

const FUNCTIONS: usize = 4;
/// Loops have their counters in variables of their own.
const COUNTERS: usize = 6;

impl Author {
    fn below(&mut self, bound: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % bound
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").unwrap();
    }

    /// Changes the number that decides on paths.
    fn step(&mut self) {
        let (factor, summand) = (self.below(1 << 20) * 2 + 1, self.below(1 << 20));
        self.line(&format!(
            "(global.set $x (i32.add (i32.mul (i32.rotl (global.get $x) (i32.const 7)) (i32.const {factor})) (i32.const {summand})))"
        ));
    }

    fn condition(&mut self) -> String {
        let (shift, mask) = (self.below(20), [1, 1, 3, 7][self.below(4)]);
        format!("(i32.and (i32.shr_u (global.get $x) (i32.const {shift})) (i32.const {mask}))")
    }

    /// A label that a branch without a number can go to, as a depth.
    fn plain_label(&mut self) -> Option<usize> {
        let depths: Vec<usize> =
            (0..self.labels.len()).filter(|depth| !self.labels[self.labels.len() - 1 - depth]).collect();
        if depths.is_empty() { None } else { Some(depths[self.below(depths.len())]) }
    }

    fn body(&mut self) {
        for _ in 0..1 + self.below(4) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.statement();
        }
    }

    fn within(&mut self, carries: bool) {
        self.labels.push(carries);
        self.body();
        self.labels.pop();
    }

    fn statement(&mut self) {
        match self.below(17) {
            0 | 1 => self.step(),
            2 => {
                self.line("(block");
                self.within(false);
                self.line(")");
            }
            3 | 4 if self.loops < COUNTERS => {
                let (counter, turns) = (self.loops, 1 + self.below(3));
                self.loops += 1;
                self.line(&format!("(local.set $turn{counter} (i32.const {turns})) (block (loop"));
                self.line(&format!("(br_if 1 (i32.eqz (local.get $turn{counter})))"));
                self.line(&format!(
                    "(local.set $turn{counter} (i32.sub (local.get $turn{counter}) (i32.const 1)))"
                ));
                self.labels.push(false);
                self.within(false);
                self.labels.pop();
                self.step();
                self.line("(br 0)))");
            }
            5 | 6 => {
                let condition = self.condition();
                self.line(&format!("(if {condition} (then"));
                self.within(false);
                self.line(") (else");
                self.within(false);
                self.line("))");
            }
            7 => {
                let condition = self.condition();
                self.line(&format!("(if {condition} (then"));
                self.within(false);
                self.line("))");
            }
            8 | 9 => {
                if let Some(depth) = self.plain_label() {
                    let condition = self.condition();
                    self.line(&format!("(br_if {depth} {condition})"));
                }
            }
            10 => self.branch_by_table(),
            11 => {
                // A block that gives a number, by a branch or at its end, with something below it on the
                // stack.
                let condition = self.condition();
                self.line("(global.set $x (i32.xor (global.get $x) (block (result i32)");
                self.within(true);
                let depth = 0;
                self.line(&format!("(br_if {depth} (i32.const {}) {condition})", self.loops));
                self.line("(i32.const 77) (i32.add))))");
            }
            12 if self.function + 1 < FUNCTIONS => {
                let callee = self.function + 1 + self.below(FUNCTIONS - self.function - 1);
                self.line(&format!(
                    "(global.set $x (i32.xor (call $f{callee} (global.get $x)) (global.get $x)))"
                ));
            }
            13 if self.function + 1 < FUNCTIONS => {
                let callee = self.function + 1 + self.below(FUNCTIONS - self.function - 1);
                self.line(&format!(
                    "(global.set $x (call_indirect (param i32) (result i32) (global.get $x) (i32.const {callee})))"
                ));
            }
            14 => {
                let condition = self.condition();
                let leave = match self.below(4) {
                    0 if self.function + 1 < FUNCTIONS => {
                        format!("(return_call $f{} (i32.const 3))", self.function + 1)
                    }
                    1 if self.function + 1 < FUNCTIONS => format!(
                        "(return_call_indirect (param i32) (result i32) (i32.const 3) (i32.const {}))",
                        FUNCTIONS - 1
                    ),
                    _ => "(return (i32.const 9))".to_owned(),
                };
                // What comes after it is never reached, and must be written all the same.
                self.line(&format!("(if {condition} (then {leave}"));
                self.within(false);
                self.line("))");
            }
            15 => {
                let length = self.condition();
                self.line(&format!("(memory.fill (i32.const 16) (global.get $x) {length})"));
            }
            _ => {
                let length = self.condition();
                self.line(&format!("(memory.copy (i32.const 40) (i32.const 14) {length})"));
            }
        }
    }

    fn branch_by_table(&mut self) {
        if let (Some(one), Some(other), Some(third)) =
            (self.plain_label(), self.plain_label(), self.plain_label())
        {
            let condition = self.condition();
            let condition_too = self.condition();
            self.line(&format!(
                "(if {condition} (then (br_table {} {} {} {condition_too})))",
                one + 1,
                other + 1,
                third + 1
            ));
        }
    }

    fn module(seed: u64) -> String {
        let text = String::new();
        let mut author = Self { random: seed, text, function: 0, labels: Vec::new(), loops: 0, left: 0 };
        author.line("(module (memory (export \"memory\") 1) (global $x (mut i32) (i32.const 1))");
        author.line("(func (export \"banyan_abi_1\"))");
        for function in 0..FUNCTIONS {
            (author.function, author.loops, author.left) = (function, 0, 24);
            author.line(&format!("(func $f{function} (param i32) (result i32)"));
            (0..COUNTERS).for_each(|counter| author.line(&format!("(local $turn{counter} i32)")));
            // The function's own label carries its result.
            author.within(true);
            author.line("(i32.add (local.get 0) (global.get $x)))");
        }
        author.line("(table funcref (elem $f0 $f1 $f2 $f3))");
        author.line("(func (export \"banyan_receive\") (param i32 i32 i32)");
        author.line("(global.set $x (local.get 0))");
        author.line(
            "(i32.store (i32.const 0) (call $f0 (local.get 1))) (i32.store (i32.const 4) (global.get $x))))",
        );
        author.text
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn any_program_does_and_costs_the_same(seed in any::<u64>(), first in any::<u32>(), second in 0..9u32) {
        let text = Author::module(seed);
        let binary = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        compare(&binary, (first, second, 0));
    }
}
