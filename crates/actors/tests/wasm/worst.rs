//! What hostile modules can cost their host at most, measured: `docs/reference/hostile-modules.md` has the
//! table. A measurement is no assertion: run it by name, with `--ignored --nocapture`.

use std::time::Duration;

use banyan_actors::wasm::{Engine, EngineOptions};
use banyan_actors::{Packet, Quota};

use super::{Stage, packet, receive, wide};

const AMPLE: Quota = Quota { memory: 1 << 50, cycles: 1 << 60, events: 1 << 40 };

/// What one event of each does: its body, and the pages of its memory at the start.
const EVENTS: &[(&str, &str, usize)] = &[
    ("an endless loop", "(loop $again (br $again))", 2),
    ("fills 64 MiB in one instruction", "(memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864))", 1024),
    (
        "writes a byte of each page of 64 MiB",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))",
        1024,
    ),
    (
        "writes a byte of each page of 64 MiB, and fails",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))
            unreachable",
        1024,
    ),
    (
        "reads a byte of each page of 64 MiB",
        "(loop $again (local.set $k (i32.load8_u (local.get $i)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))",
        1024,
    ),
    (
        "fills 8 MiB",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 8388608))))",
        1024,
    ),
    (
        "fills 8 MiB, and fails",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 8388608))))
            unreachable",
        1024,
    ),
    ("grows page by page to 64 MiB", "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))", 2),
    (
        "grows page by page to 64 MiB, and fails",
        "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable",
        2,
    ),
    ("grows to 64 MiB at once", "(drop (memory.grow (i32.const 1022)))", 2),
    (
        "copies without end",
        "(loop $again (memory.copy (i32.const 1) (i32.const 0) (i32.const 67108863)) (br $again))",
        1024,
    ),
    (
        "copies a message without end",
        "(loop $again (call $message_read (i32.const 0) (i32.const 0) (i32.const 1000000)) (br $again))",
        1024,
    ),
    (
        "writes the log without end",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 4096))
        (loop $again (call $log (i32.const 3) (i32.const 0) (i32.const 4096)) (br $again))",
        2,
    ),
    (
        "sends without end",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))",
        2,
    ),
    (
        "sends a mebibyte without end",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 1048576) (i32.const 0) (i32.const 0)) (br $again))",
        1024,
    ),
    (
        "sends 60,000 times",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
    ),
    (
        "creates 60,000 actors",
        "(loop $again
            (call $release (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
    ),
    (
        "takes 60,000 handles",
        "(loop $again (drop (call $message_address (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
    ),
];

/// Processor time of this thread: the machine may be busy.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[test]
#[ignore = "a measurement"]
fn events() {
    let engine = Engine::new(EngineOptions { actors: 64, ..EngineOptions::default() }).unwrap();
    for (name, code, pages) in EVENTS {
        let module = engine.compile(&wide(&receive(code), *pages)).unwrap();
        let mut worst = Duration::ZERO;
        let mut last = String::new();
        for _ in 0..5 {
            let mut stage = Stage::with(module.actor(0, Packet::default()), AMPLE);
            stage.probe.send(&stage.actor, packet(&[7; 1_000_000], &[&stage.collector]));
            let begun = used();
            let step = stage.probe.step().unwrap();
            worst = worst.max(used() - begun);
            last = step.failure.map_or_else(|| "completes".to_owned(), |failure| failure.to_string());
            let begun = used();
            drop(stage);
            worst = worst.max(used() - begun);
        }
        println!("{:8.1} ms  {name}: {last}", milliseconds(worst));
    }
}

/// The most that the process has taken.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Modules that take long to compile, of about so many bytes in one function, or in many.
fn heavy(bytes: usize, how: &str) -> Vec<u8> {
    let body = match how {
        "ifs" => "(if (local.get $i) (then (local.set $k (i32.add (local.get $k) (local.get $i)))))"
            .repeat(bytes / 13),
        "blocks" => {
            let deep = bytes / 9;
            format!(
                "{}{}",
                "(block (br_if 0 (local.get $i)) (local.set $k (i32.const 7))".repeat(deep.min(900)),
                ")".repeat(deep.min(900))
            )
            .repeat(deep / 900 + 1)
        }
        "stores" => "(i32.store (local.get $i) (i32.mul (local.get $k) (local.get $i)))".repeat(bytes / 10),
        "calls" => "(call $become (local.get $i))".repeat(bytes / 4),
        "adds" => format!(
            "(local.set $k {}(local.get $i){})",
            "(i32.add (local.get $k) ".repeat(800),
            ")".repeat(800)
        )
        .repeat(bytes / 2_400),
        "sums" => "(local.set $k (i32.add (local.get $k) (i32.load (local.get $i))))".repeat(bytes / 10),
        "table" => {
            let labels = "0 ".repeat(bytes / 2);
            format!("(block (br_table {labels} (local.get $i)))")
        }
        other => panic!("{other}"),
    };
    super::binary(&receive(&body))
}

#[test]
#[ignore = "a measurement"]
fn compiling() {
    let engine = Engine::new(EngineOptions { actors: 64, ..EngineOptions::default() }).unwrap();
    let how = std::env::var("BANYAN_TEST_MODULE").unwrap_or_else(|_| "ifs".to_owned());
    let size = std::env::var("BANYAN_TEST_BYTES").map_or(384 << 10, |bytes| bytes.parse().unwrap());
    let module = heavy(size, &how);
    let before = peak();
    let begun = used();
    let result = engine.compile(&module).map(|_| ()).map_err(|error| error.to_string());
    println!(
        "{how}: {} bytes, {:.2} s, {} MiB more: {result:?}",
        module.len(),
        (used() - begun).as_secs_f64(),
        peak() - before
    );
}
