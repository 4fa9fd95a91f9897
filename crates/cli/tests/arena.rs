//! `banyan arena` from outside: each command, on sound and on damaged arenas, with good and with bad input.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use banyan_arena::noun::{Nouns, ToNoun};
use banyan_arena::{Arena, ArenaOptions};
use serde_json::Value;

/// The commands of one test run in a directory of its own.
struct Room {
    directory: tempfile::TempDir,
    /// The tests share one process, in which each of its arenas needs an address of its own.
    base: u64,
}

impl Room {
    fn new() -> Self {
        static ROOMS: AtomicU64 = AtomicU64::new(0);
        // Below where the kernel puts programs, from 0x5555_5555_4000 on.
        let base = 0x2000_0000_0000 + (ROOMS.fetch_add(1, Ordering::Relaxed) << 40);
        Self { directory: tempfile::tempdir().unwrap(), base }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.arg("arena").args(arguments).current_dir(self.directory.path()).output().unwrap()
    }
    /// Runs a command that must succeed; gives its standard output.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.good(arguments)).unwrap()
    }
    /// Runs a command that must fail with 125; gives its one line.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        text
    }
    /// An arena with two snapshots, a vector and a noun, and 200 dead nouns.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let options = ArenaOptions { base: self.base, reservation: 1 << 30, ..Default::default() };
        let mut arena = Arena::create(&path, options).unwrap();
        arena.vec::<u64>("numbers").unwrap().extend_from_slice(&[7; 4000]).unwrap();
        arena.snapshot("one", 1, 10).unwrap();
        arena.vec::<u64>("numbers").unwrap()[2000] = 8;
        arena.snapshot("two", 1, 11).unwrap();
        let mut nouns = Nouns::new(&mut arena);
        (0..200_u64).collect::<Vec<_>>().to_noun(&mut nouns).unwrap();
        let noun = (1_u64, 2_u64, 3_u64).to_noun(&mut nouns).unwrap();
        arena.set_root("state", noun.word());
        arena.commit(2, 12).unwrap();
        arena.fold().unwrap();
        path
    }
}

#[test]
fn an_arena_is_made_and_described() {
    let room = Room::new();
    room.good(&["create", "new.arena", "--base", "0x180000000000", "--size", "64GiB"]);
    let info = room.json(&["info", "new.arena", "--json"]);
    assert_eq!(info["base"], 0x1800_0000_0000_u64);
    assert_eq!(info["reservation_bytes"], 64_u64 << 30);
    assert_eq!(info["position"]["commit"], 0);
    let before = fs::read(room.path("new.arena")).unwrap();
    assert!(room.refused(&["create", "new.arena"]).contains("exists already"));
    assert_eq!(fs::read(room.path("new.arena")).unwrap(), before, "it was touched");
    room.fill("full.arena");
    let info = room.json(&["info", "full.arena", "--json"]);
    let keys: Vec<&String> = info.as_object().unwrap().keys().collect();
    let expected = [
        "base",
        "file_bytes",
        "format",
        "free_bytes",
        "log_records",
        "page_bytes",
        "position",
        "reservation_bytes",
        "snapshots",
        "uuid",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&info["position"]["epoch"], &info["position"]["event"]), (&2.into(), &12.into()));
    assert_eq!(info["snapshots"], serde_json::json!(["one", "two"]));
    let text = room.good(&["info", "full.arena"]);
    assert!(text.contains(&format!("heap        {:#x}, at most 1 GiB", room.base)), "{text}");
}

#[test]
fn bad_input_is_refused_with_a_remedy() {
    let room = Room::new();
    fs::write(room.path("text"), "no arena ".repeat(2000)).unwrap();
    fs::write(room.path("empty"), "").unwrap();
    let full = room.fill("full.arena");
    let bytes = fs::read(&full).unwrap();
    fs::write(room.path("short.arena"), &bytes[..bytes.len() / 2]).unwrap();
    let missing = room.refused(&["info", "missing.arena"]);
    assert_eq!(missing.matches("there is no such file").count(), 1, "{missing}");
    for command in ["info", "verify", "snapshots", "gc", "compact"] {
        assert!(room.refused(&[command, "missing"]).contains("no such file"), "{command}");
        assert!(room.refused(&[command, "text"]).contains("not an arena"), "{command}");
        assert!(room.refused(&[command, "short.arena"]).contains("truncated"), "{command}");
        room.refused(&[command, "empty"]);
        room.refused(&[command, "."]);
        room.refused(&[command]);
    }
    assert!(room.refused(&["diff", "full.arena", "none", "two"]).contains("no snapshot named \"none\""));
    assert!(room.refused(&["create", "x", "--size", "7"]).contains("2 MiB"));
    assert!(room.refused(&["create", "x", "--size", "7GB"]).contains("KiB, MiB, GiB"));
    assert!(room.refused(&["create", "x", "--base", "12"]).contains("0x"));
    assert!(room.refused(&["create", "no/such/place"]).contains("no such file"));
    assert!(room.refused(&["export", "full.arena", "full.arena"]).contains("not taken"));
    assert!(room.refused(&["export", "full.arena", "x", "--snapshot", "none"]).contains("\"none\""));
    assert!(room.refused(&["export", "full.arena", "x", "--jam", "none"]).contains("\"none\""));
    assert!(room.refused(&["import", "text", "x"]).contains("no exported arena"));
    assert!(room.refused(&["import", "text", "x", "--cue", "state"]).contains("no jammed noun"));
    assert!(room.refused(&["import", "missing", "x"]).contains("cannot read"));
    assert!(!room.path("x").exists(), "a command that failed left its output behind");
    assert_eq!(fs::read(&full).unwrap(), bytes, "the arena was touched");
}

#[test]
fn damage_is_found_and_named() {
    let room = Room::new();
    let path = room.fill("full.arena");
    let sound = room.json(&["verify", "full.arena", "--json"]);
    assert_eq!((&sound["ok"], &sound["damage"]), (&true.into(), &serde_json::json!([])));
    assert!(sound["pages"].as_u64().unwrap() > 8);
    let bytes = fs::read(&path).unwrap();
    // A byte of the vector: sevens are found nowhere else.
    let needle = 7_u64.to_le_bytes().repeat(8);
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let output = room.run(&["verify", "full.arena", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &report["damage"][0];
    let (offset, length) = (first["offset"].as_u64().unwrap(), first["length"].as_u64().unwrap());
    assert!((offset..offset + length).contains(&(at as u64)), "{at} is not in {report}");
    assert_eq!(report["damage"].as_array().unwrap().len(), 1);
    let output = room.run(&["verify", "full.arena"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("bytes {offset}..{}", offset + length)), "{text}");
    // Both metas: then it cannot even be opened, and that is said.
    damaged[100] ^= 1;
    damaged[4096 + 100] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let output = room.run(&["verify", "full.arena"]);
    assert!(matches!(output.status.code(), Some(1 | 125)), "{output:?}");
    assert!(!output.stderr.is_empty());
}

#[test]
fn snapshots_are_listed_and_compared() {
    let room = Room::new();
    room.fill("full.arena");
    let list = room.json(&["snapshots", "full.arena", "--json"]);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(list[1]["position"]["event"], 11);
    assert!(room.good(&["snapshots", "full.arena"]).lines().nth(2).unwrap().ends_with("  two"));
    let changed = room.json(&["diff", "full.arena", "one", "two", "--json"]);
    assert_eq!(changed["pages"], 1);
    assert_eq!(changed["ranges"][0]["bytes"], 4096);
    let line = room.good(&["diff", "full.arena", "one", "two"]);
    assert_eq!(line, format!("{:#x} 4096\n", changed["ranges"][0]["address"].as_u64().unwrap()));
}

#[test]
fn an_export_becomes_an_equal_arena() {
    let room = Room::new();
    room.fill("full.arena");
    room.good(&["export", "full.arena", "image"]);
    room.good(&["import", "image", "copy.arena"]);
    let position = |name: &str| room.json(&["info", name, "--json"])["position"]["roots"].clone();
    assert_eq!(position("full.arena"), position("copy.arena"));
    let mut copy = Arena::open(&room.path("copy.arena"), ArenaOptions::default()).unwrap();
    assert_eq!(copy.vec::<u64>("numbers").unwrap()[1999..2002], [7, 8, 7]);
    drop(copy);
    // A snapshot holds what was there then.
    room.good(&["export", "full.arena", "old-image", "--snapshot", "one"]);
    room.good(&["import", "old-image", "old.arena"]);
    let mut old = Arena::open(&room.path("old.arena"), ArenaOptions::default()).unwrap();
    assert_eq!(old.vec::<u64>("numbers").unwrap()[1999..2002], [7, 7, 7]);
    assert_eq!((old.position().epoch, old.position().event), (1, 10));
    drop(old);
    assert!(room.refused(&["import", "image", "copy.arena"]).contains("exists already"));
    // What changed since, by the commit that the export named.
    let named = room.run(&["backup", "full.arena", "whole"]).stderr;
    let named = String::from_utf8(named).unwrap();
    let (_, since) = named.split_once("--since ").unwrap();
    let since = since.split(' ').next().unwrap();
    let mut arena = Arena::open(&room.path("full.arena"), ArenaOptions::default()).unwrap();
    arena.vec::<u64>("numbers").unwrap()[0] = 9;
    arena.commit(2, 13).unwrap();
    room.good(&["export", "--since", since, "full.arena", "changed"]);
    drop(arena);
    room.good(&["import", "whole", "changed", "both.arena"]);
    let mut both = Arena::open(&room.path("both.arena"), ArenaOptions::default()).unwrap();
    assert_eq!(both.position().event, 13);
    assert_eq!(both.vec::<u64>("numbers").unwrap()[..2], [9, 7]);
    drop(both);
    assert!(room.refused(&["import", "changed", "x.arena"]).contains("whole export first"));
    assert!(room.refused(&["export", "--since", "999", "full.arena", "y"]).contains("\"999\""));
    assert!(room.refused(&["import", "image", "x.arena", "--base", "0x180000000000"]).contains("--jam"));
    // Any changed byte is found before the arena gets its name.
    let image = fs::read(room.path("image")).unwrap();
    for at in (0..image.len()).step_by(image.len() / 23) {
        let mut wrong = image.clone();
        wrong[at] ^= 0x40;
        fs::write(room.path("wrong"), &wrong).unwrap();
        room.refused(&["import", "wrong", "x.arena"]);
        fs::write(room.path("wrong"), &image[..at]).unwrap();
        room.refused(&["import", "wrong", "x.arena"]);
    }
    let names: Vec<String> = fs::read_dir(room.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with("x.arena")), "{names:?}");
}

#[test]
fn a_noun_moves_to_another_address() {
    let room = Room::new();
    room.fill("full.arena");
    room.good(&["export", "full.arena", "state.jam", "--jam", "state"]);
    // [1 2 3], as published.
    assert_eq!(fs::read(room.path("state.jam")).unwrap(), [0x71, 0x48, 0x34]);
    room.good(&["import", "state.jam", "moved.arena", "--cue", "state", "--base", "0x180000000000"]);
    let mut moved = Arena::open(&room.path("moved.arena"), ArenaOptions::default()).unwrap();
    let word = moved.root("state").unwrap();
    let mut nouns = Nouns::new(&mut moved);
    let noun = nouns.noun_of_word(word).unwrap();
    assert_eq!(nouns.jam(noun), [0x71, 0x48, 0x34]);
}

#[test]
fn dead_nouns_are_collected() {
    let room = Room::new();
    room.fill("full.arena");
    let report = room.json(&["gc", "full.arena", "--json"]);
    assert_eq!((&report["reached"], &report["live_bytes"]), (&2.into(), &64.into()));
    assert_eq!(report["freed_bytes"], 200 * 32);
    let again = room.json(&["gc", "full.arena", "--json"]);
    assert_eq!(again["freed_bytes"], 0);
    assert_eq!(room.json(&["verify", "full.arena", "--json"])["ok"], true);
    let mut arena = Arena::open(Path::new(&room.path("full.arena")), ArenaOptions::default()).unwrap();
    assert_eq!(arena.position().event, 12);
    assert_eq!(arena.vec::<u64>("numbers").unwrap().len(), 4000);
}

#[test]
fn a_compacted_arena_is_shorter_and_holds_the_same() {
    let room = Room::new();
    let path = room.fill("full.arena");
    let open = || Arena::open(&path, ArenaOptions::default()).unwrap();
    let mut arena = open();
    arena.vec::<u64>("large").unwrap().extend_from_slice(&[1; 4 << 20]).unwrap();
    arena.commit(2, 13).unwrap();
    arena.vec::<u64>("large").unwrap().delete();
    arena.commit(2, 14).unwrap();
    assert!(room.refused(&["compact", "full.arena"]).contains("open"), "it is in use");
    drop(arena);
    let before = fs::metadata(&path).unwrap().len();
    let report = room.json(&["compact", "full.arena", "--json"]);
    let after = fs::metadata(&path).unwrap().len();
    assert_eq!((&report["before_bytes"], &report["after_bytes"]), (&before.into(), &after.into()));
    assert!(before > 32 << 20 && after < 1 << 20, "{before} bytes became {after}");
    assert_eq!(room.json(&["verify", "full.arena", "--json"])["ok"], true);
    let mut arena = open();
    assert_eq!(arena.position().event, 14);
    assert_eq!(arena.vec::<u64>("numbers").unwrap()[..], {
        let mut numbers = [7; 4000];
        numbers[2000] = 8;
        numbers
    });
    for (name, eight) in [("one", 7), ("two", 8)] {
        let numbers = arena.reader(name).unwrap().vec::<u64>("numbers").unwrap().unwrap();
        assert_eq!(numbers[2000], eight, "{name}");
    }
    arena.commit(2, 15).unwrap();
}

#[test]
fn what_a_name_holds_is_printed() {
    let room = Room::new();
    let path = room.fill("full.arena");
    let mut arena = Arena::open(&path, ArenaOptions::default()).unwrap();
    let mut ages = arena.ordered::<str, i64>("ages").unwrap();
    for (name, age) in [("bob", 30), ("ada\u{1b}[31m", -36)] {
        ages.insert(name, &age).unwrap();
    }
    for number in 0..100_u32 {
        arena.map::<u32, f64>("halves").unwrap().insert(number, f64::from(number) / 2.0).unwrap();
    }
    arena.string("text").unwrap().push_str("two\nlines").unwrap();
    arena.commit(2, 13).unwrap();
    // Its writer has it open.
    assert_eq!(room.good(&["dump", "full.arena", "ages"]), "\"ada\\u{1b}[31m\": -36\n\"bob\": 30\n");
    assert_eq!(room.good(&["dump", "full.arena", "state"]), "[1 2 3]\n");
    assert_eq!(room.good(&["dump", "full.arena", "text"]), "\"two\\nlines\"\n");
    let numbers = room.json(&["dump", "full.arena", "numbers", "--json", "--limit", "2001"]);
    assert_eq!((&numbers["kind"], &numbers["length"]), (&"AVec<u64>".into(), &4000.into()));
    assert_eq!((&numbers["entries"][2000], &numbers["whole"]), (&8.into(), &false.into()));
    let old = room.json(&["dump", "full.arena", "numbers", "--json", "--limit", "4000", "--snapshot", "one"]);
    assert_eq!((&old["entries"][2000], &old["whole"]), (&7.into(), &true.into()));
    let halves = room.json(&["dump", "full.arena", "halves", "--json"]);
    assert_eq!(halves["entries"].as_array().unwrap().len(), 100);
    assert!(halves["entries"].as_array().unwrap().contains(&serde_json::json!([3, 1.5])), "{halves}");
    assert!(room.refused(&["dump", "full.arena", "nothing"]).contains("no root named"));
    assert!(room.refused(&["dump", "full.arena", "text", "--snapshot", "x"]).contains("no snapshot named"));
}

#[test]
fn only_nouns_move_to_a_larger_reservation() {
    let room = Room::new();
    let path = room.path("nouns.arena");
    let options = ArenaOptions { base: room.base, reservation: 64 << 20, ..Default::default() };
    let mut arena = Arena::create(&path, options).unwrap();
    let mut nouns = Nouns::new(&mut arena);
    let shared = (0..50_u64).collect::<Vec<_>>().to_noun(&mut nouns).unwrap();
    let first = nouns.cell(shared, shared).unwrap();
    arena.set_root("first", first.word());
    arena.set_root("second", shared.word());
    arena.set_root("third", 77);
    arena.commit(3, 4).unwrap();
    drop(arena);
    room.good(&["move", "nouns.arena", "moved.arena", "--base", "0x190000000000", "--size", "1GiB"]);
    let info = room.json(&["info", "moved.arena", "--json"]);
    assert_eq!(
        (&info["base"], &info["reservation_bytes"]),
        (&0x1900_0000_0000_u64.into(), &(1 << 30).into())
    );
    let mut moved = Arena::open(&room.path("moved.arena"), ArenaOptions::default()).unwrap();
    assert_eq!((moved.position().epoch, moved.position().event), (3, 4));
    let [first, second, third] = ["first", "second", "third"].map(|name| moved.root(name).unwrap());
    let nouns = Nouns::new(&mut moved);
    let (head, tail) = nouns.split(nouns.noun_of_word(first).unwrap()).unwrap();
    assert_eq!((head.word(), tail.word(), third), (second, second, 77), "what they share is one");
    drop(moved);
    let mut arena = Arena::open(&path, ArenaOptions::default()).unwrap();
    arena.boxed("a box", || 1_u64).unwrap();
    arena.commit(3, 5).unwrap();
    drop(arena);
    let refused = room.refused(&["move", "nouns.arena", "no.arena", "--size", "1GiB"]);
    assert!(refused.contains("stay at their addresses"), "{refused}");
    assert!(!room.path("no.arena").exists());
}

#[test]
fn nothing_but_data_goes_into_a_pipe() {
    let room = Room::new();
    room.fill("full.arena");
    for arguments in [&["info", "full.arena"][..], &["verify", "full.arena"], &["snapshots", "full.arena"]] {
        let output = room.run(arguments);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
    }
}
