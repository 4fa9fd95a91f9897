//! Hostile modules: each event ends, by itself or stopped, and each module is compiled or refused. What they
//! cost their host is printed and asserted nowhere: `make hostile` shows it, and
//! `docs/reference/hostile-modules.md` has the table.

use std::time::Duration;

use banyan_actors::wasm::{Engine, EngineOptions};
use banyan_actors::{Packet, Quota};

use self::End::{Fails, MayComplete};
use super::{Stage, binary, packet, receive, wide};

const AMPLE: Quota = Quota { memory: 1 << 50, cycles: 1 << 60, events: 1 << 40 };

/// How an event ends, on a machine of any speed.
enum End {
    /// It is stopped, or stops itself.
    Fails,
    /// It completes, where the time that it may take is enough.
    MayComplete,
}

/// What one event of each does: its body, the pages of its memory at the start, and how it ends.
const EVENTS: &[(&str, &str, usize, End)] = &[
    ("an endless loop", "(loop $again (br $again))", 2, Fails),
    (
        "fills 64 MiB in one instruction",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864))",
        1024,
        MayComplete,
    ),
    (
        "writes a byte of each page of 64 MiB",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))",
        1024,
        MayComplete,
    ),
    (
        "writes a byte of each page of 64 MiB, and fails",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))
            unreachable",
        1024,
        Fails,
    ),
    (
        "reads a byte of each page of 64 MiB",
        "(loop $again (local.set $k (i32.load8_u (local.get $i)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))",
        1024,
        MayComplete,
    ),
    (
        "fills 8 MiB",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 8388608))))",
        1024,
        MayComplete,
    ),
    (
        "touches the pages of 16 MiB, and completes if there is time",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 16777216))))",
        1024,
        MayComplete,
    ),
    (
        "grows to 64 MiB and touches its pages",
        "(drop (memory.grow (i32.const 1022)))
        (loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 67108864))))",
        2,
        MayComplete,
    ),
    (
        "fills 8 MiB, and fails",
        "(loop $again (i32.store8 (local.get $i) (i32.const 1))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.const 8388608))))
            unreachable",
        1024,
        Fails,
    ),
    (
        "grows page by page to 64 MiB",
        "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))",
        2,
        MayComplete,
    ),
    (
        "grows page by page to 64 MiB, and fails",
        "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable",
        2,
        Fails,
    ),
    ("grows to 64 MiB at once", "(drop (memory.grow (i32.const 1022)))", 2, MayComplete),
    (
        "copies without end",
        "(loop $again (memory.copy (i32.const 1) (i32.const 0) (i32.const 67108863)) (br $again))",
        1024,
        Fails,
    ),
    (
        "copies a message without end",
        "(loop $again (call $message_read (i32.const 0) (i32.const 0) (i32.const 1000000)) (br $again))",
        1024,
        Fails,
    ),
    (
        "writes the log without end",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 4096))
        (loop $again (call $log (i32.const 3) (i32.const 0) (i32.const 4096)) (br $again))",
        2,
        Fails,
    ),
    (
        "sends without end",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (br $again))",
        2,
        Fails,
    ),
    (
        "sends a mebibyte without end",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 1048576) (i32.const 0) (i32.const 0)) (br $again))",
        1024,
        Fails,
    ),
    (
        "sends 60,000 times",
        "(loop $again (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
        MayComplete,
    ),
    (
        "creates 60,000 actors",
        "(loop $again
            (call $release (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
        MayComplete,
    ),
    (
        "creates 60,000 actors, and fails",
        "(loop $again
            (call $release (call $create (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))
            unreachable",
        2,
        Fails,
    ),
    (
        "takes 60,000 handles",
        "(loop $again (drop (call $message_address (i32.const 0)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60000))))",
        2,
        MayComplete,
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
fn every_event_ends() {
    let engine = Engine::new(EngineOptions { actors: 64, ..EngineOptions::default() }).unwrap();
    let data = "x".repeat(4 << 20);
    let with_data = format!("(data (i32.const 0) \"{data}\") {}", receive(""));
    let module = engine.compile(&wide(&with_data, 1024)).unwrap();
    let mut first = Duration::ZERO;
    for _ in 0..5 {
        let mut stage = Stage::with(module.actor(0, Packet::default()), AMPLE);
        stage.probe.send(&stage.actor, packet(&[], &[]));
        let begun = used();
        assert!(stage.probe.step().unwrap().failure.is_none());
        first = first.max(used() - begun);
    }
    println!("{:8.1} ms  a first event, with 4 MiB of data", milliseconds(first));
    let module =
        engine.compile(&wide(&with_data.replace(&receive(""), &receive("(loop $again (br $again))")), 1024));
    let module = module.unwrap();
    let mut first = Duration::ZERO;
    for _ in 0..5 {
        let mut stage = Stage::with(module.actor(0, Packet::default()), AMPLE);
        stage.probe.send(&stage.actor, packet(&[], &[]));
        let begun = used();
        assert!(stage.probe.step().unwrap().failure.is_some());
        first = first.max(used() - begun);
    }
    println!("{:8.1} ms  a first event without end, with 4 MiB of data", milliseconds(first));
    for (name, code, pages, end) in EVENTS {
        let module = engine.compile(&wide(&receive(code), *pages)).unwrap();
        let mut worst = Duration::ZERO;
        let mut last = String::new();
        for _ in 0..5 {
            let mut stage = Stage::with(module.actor(0, Packet::default()), AMPLE);
            stage.probe.send(&stage.actor, packet(&[7; 1_000_000], &[&stage.collector]));
            let begun = used();
            let step = stage.probe.step().unwrap();
            worst = worst.max(used() - begun);
            assert!(step.failure.is_some() || matches!(end, MayComplete), "{name}");
            last = step.failure.map_or_else(|| "completes".to_owned(), |failure| failure.to_string());
            let begun = used();
            drop(stage);
            worst = worst.max(used() - begun);
        }
        println!("{:8.1} ms  {name}: {last}", milliseconds(worst));
    }
}

/// Pages that an event has written are copied when it completes, and that takes time: where there is not
/// enough of it left, the event fails as if it had been cut off, and leaves nothing.
#[test]
fn an_event_that_leaves_too_much_to_be_done_is_undone() {
    // Less than is set aside for the 16,384 pages.
    let event_time = Duration::from_millis(16);
    let engine = Engine::new(EngineOptions { event_time, actors: 4, ..EngineOptions::default() }).unwrap();
    let body = receive(
        "(if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (call $message_read (i32.const 0) (i32.const 0) (i32.const 4))
        (local.set $k (i32.load (i32.const 0)))
        (loop $again
            (i32.store8 offset=64 (local.get $i) (i32.const 1))
            (br_if $again
                (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (local.get $k))))",
    );
    let module = engine.compile(&wide(&body, 1024)).unwrap();
    let mut stage = Stage::with(module.actor(0, Packet::default()), AMPLE);
    for _ in 0..3 {
        let failure = stage.tell(&(64_u32 << 20).to_le_bytes()).unwrap_err().to_string();
        assert!(failure.contains("ran for longer than 16ms"), "{failure}");
    }
    // It has written nothing: else this would be unreachable.
    assert_eq!(stage.tell(&(64_u32 << 10).to_le_bytes()), Ok(()));
    assert!(stage.tell(&4_u32.to_le_bytes()).unwrap_err().to_string().contains("unreachable"));
}

/// So many KiB the process has, or has had at most.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|one| one.strip_prefix(line)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Modules that take long to compile, of about so many bytes in one function.
fn heavy(bytes: usize) -> [(&'static str, String); 7] {
    let deep = "(block (br_if 0 (local.get $i)) (local.set $k (i32.const 7))".repeat(900) + &")".repeat(900);
    let sum = "(i32.add (local.get $k) ".repeat(800) + "(local.get $i)" + &")".repeat(800);
    [
        (
            "conditions",
            "(if (local.get $i) (then (local.set $k (i32.add (local.get $k) (local.get $i)))))"
                .repeat(bytes / 13),
        ),
        ("blocks in blocks", deep.repeat(bytes / 9_900)),
        ("stores", "(i32.store (local.get $i) (i32.mul (local.get $k) (local.get $i)))".repeat(bytes / 10)),
        ("calls of the host", "(call $become (local.get $i))".repeat(bytes / 4)),
        ("long sums", format!("(local.set $k {sum})").repeat(bytes / 2_400)),
        (
            "sums of loads",
            "(local.set $k (i32.add (local.get $k) (i32.load (local.get $i))))".repeat(bytes / 10),
        ),
        ("a table of jumps", format!("(block (br_table {} (local.get $i)))", "0 ".repeat(bytes / 2))),
    ]
}

/// The largest function that is allowed is compiled, and one that is larger is refused.
#[test]
fn every_module_is_compiled_or_refused() {
    let engine = Engine::new(EngineOptions { actors: 64, ..EngineOptions::default() }).unwrap();
    for (name, body) in heavy(120_000) {
        let module = binary(&receive(&body));
        // Forgets the peak (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let (before, begun) = (resident("VmRSS:"), used());
        engine.compile(&module).unwrap();
        let (seconds, more) =
            ((used() - begun).as_secs_f64(), resident("VmHWM:").saturating_sub(before) >> 10);
        println!("{name}: {} bytes, {seconds:.2} s, {more} MiB more", module.len());
    }
    for (name, body) in heavy(400_000) {
        let refused = engine.compile(&binary(&receive(&body))).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("131072 are allowed"), "{name}: {refused}");
    }
}
