//! Whether each decoder of foreign bytes has a target: a file that calls a decoder is in the table below,
//! with the targets that reach it, or with why its bytes are none of a stranger's.
//!
//! It knows decoders by the libraries' functions that they begin with. One that takes bytes apart by itself
//! is not found so, and is written down all the same: its author has to think of it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use banyan_fuzz::targets;

/// How decoding begins.
const DECODERS: &[&str] = &[
    "postcard::from_bytes",
    "postcard::take_from_bytes",
    "postcard::Deserializer::",
    "bounded::read",
    "frame::decode",
    "frame::body_bytes",
    "serde_json::from_",
    "toml::from_",
    "read_from_bytes(",
    "read_from_prefix(",
    "ref_from_bytes(",
    "ref_from_prefix(",
    "::from_der(",
    "KeyPair::from_pem(",
];

/// What is known of a file with a decoder.
#[derive(Clone, Copy)]
enum Known {
    /// These targets reach it.
    By(&'static [&'static str]),
    /// No target does, and why none is needed.
    No(&'static str),
}
use Known::{By, No};

/// Crates that read only what they have written themselves.
const LEFT_OUT: &[&str] = &["bench", "sim"];

const FILES: &[(&str, Known)] = &[
    ("actor-guest/src/address.rs", By(&["actor_message"])),
    ("actors/src/durable/budgets.rs", By(&["kept_budgets"])),
    ("actors/src/durable/outbox.rs", By(&["kept_records"])),
    ("actors/src/durable/records.rs", By(&["kept_pages", "kept_records", "kept_budgets"])),
    ("actors/src/durable/state.rs", By(&["kept_records"])),
    ("actors/src/durable/waking.rs", By(&["kept_records"])),
    ("actors/src/model/message.rs", By(&["actor_native", "kept_records"])),
    ("actors/src/router/frame.rs", By(&["actor_frame"])),
    ("actors/src/wasm/kept.rs", By(&["actor_state"])),
    ("actors/src/wasm/validator.rs", By(&["actor_module"])),
    ("arena/src/image.rs", By(&["arena_states"])),
    ("arena/src/inspect/transfer/import.rs", By(&["arena_image"])),
    ("arena/src/inspect/transfer/jam.rs", By(&["arena_image"])),
    ("arena/src/noun/cue.rs", By(&["arena_cue"])),
    ("calls/src/babysitter/prepare.rs", By(&["call_service"])),
    ("calls/src/caller/connection/open.rs", By(&["call_service"])),
    ("calls/src/caller/shim/mod.rs", By(&["call_service"])),
    ("calls/src/generate/exports.rs", By(&["call_library"])),
    ("calls/src/generate/header.rs", By(&["call_header"])),
    ("calls/src/generate/wrap.rs", By(&["call_policy"])),
    ("calls/src/monitor.rs", By(&["call_service"])),
    ("calls/src/rust/discovery/mod.rs", By(&["call_policy"])),
    ("calls/src/rust/isolated/value.rs", By(&["call_value"])),
    ("calls/src/shared/message.rs", By(&["call_request", "call_reply"])),
    ("calls/src/shared/service.rs", By(&["call_service"])),
    ("calls/src/stream/chunks.rs", By(&["stream_value"])),
    ("calls/src/stream/frame.rs", By(&["stream_frame"])),
    ("calls/src/stream/message.rs", By(&["stream_message"])),
    (
        "cli/src/actor/control.rs",
        No("JSON of one line between processes of one user, in a type of words only"),
    ),
    ("cli/src/arena/dump.rs", No("a number that the arena's own dump has written as text")),
    ("cli/src/demo/mod.rs", No("the summary of a run that the demonstration has begun itself")),
    ("core/src/companies/log/snapshot.rs", By(&["company_state"])),
    ("core/src/membership/token.rs", By(&["token"])),
    ("heap/src/allocator/mod.rs", By(&["heap_words"])),
    ("heap/src/layout.rs", By(&["heap_header", "heap_words"])),
    ("heap/src/roots.rs", By(&["heap_words"])),
    ("node/src/cluster/certificates.rs", By(&["certificate"])),
    ("node/src/cluster/company/commit.rs", By(&["company_store"])),
    ("node/src/cluster/company/machine.rs", By(&["company_snapshot", "company_store"])),
    ("node/src/cluster/company/message.rs", By(&["company"])),
    ("node/src/cluster/company/store.rs", By(&["company_store"])),
    ("node/src/cluster/local.rs", By(&["local_question", "local_json"])),
    ("node/src/cluster/local_nodes.rs", By(&["local_json"])),
    ("node/src/cluster/queries.rs", By(&["local_question"])),
    ("node/src/cluster/state.rs", By(&["local_json"])),
    ("node/src/detached.rs", By(&["local_json"])),
    ("node/src/job/again.rs", By(&["script"])),
    ("node/src/job/loader/elf.rs", By(&["program"])),
    ("node/src/observe/page/address.rs", By(&["token"])),
    ("node/src/observe/page/guard.rs", By(&["page_request"])),
    ("node/src/transport/greeting.rs", By(&["handshake"])),
    ("node/src/transport/message.rs", By(&["control", "cluster"])),
    ("node/src/transport/trust.rs", By(&["certificate"])),
    ("pages/src/store/fold.rs", By(&["arena_file", "arena_page"])),
    ("pages/src/store/format.rs", By(&["arena_file", "arena_page"])),
    ("pages/src/store/free_space.rs", By(&["arena_file", "arena_page"])),
    ("pages/src/store/tree.rs", By(&["arena_file", "arena_page"])),
    (
        "stub/src/remote/deputy.rs",
        No("a time whose length the table of system calls has checked; any bits are one"),
    ),
    ("stub/src/start/mod.rs", No("from the daemon that has started it, over a socket that it has made")),
    ("stub/src/thread/resume.rs", By(&["deputy"])),
    ("view/src/look.rs", By(&["view_row"])),
    ("wire/src/bounded.rs", By(&["actor_native", "call_value"])),
    ("wire/src/coherence/codec.rs", By(&["coherence"])),
    ("wire/src/coherence/directory.rs", By(&["coherence"])),
    ("wire/src/deputy.rs", By(&["deputy"])),
    ("wire/src/frame.rs", By(&["control", "cluster", "sql", "company", "company_state"])),
    ("wire/src/services.rs", By(&["services"])),
    ("wire/src/statistics.rs", By(&["statistics"])),
    ("wire/src/stub/actions.rs", By(&["stub"])),
    ("wire/src/stub/packet.rs", By(&["stub"])),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("crates")
}

/// The code of a file, without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_for_tests = name == "fuzz" || name.ends_with("tests");
        if path.is_dir() && !is_for_tests {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_for_tests {
            found.push(path);
        }
    }
}

#[test]
fn each_file_with_a_decoder_is_known() {
    let known: BTreeMap<&str, Known> = FILES.iter().copied().collect();
    assert_eq!(known.len(), FILES.len(), "a file is twice in the table");
    let mut files = Vec::new();
    for entry in crates().read_dir().unwrap() {
        let path = entry.unwrap().path();
        if !LEFT_OUT.contains(&path.file_name().unwrap().to_str().unwrap()) {
            sources(&path.join("src"), &mut files);
        }
    }
    let mut unknown = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(crates()).unwrap().to_str().unwrap();
        let text = code(&file);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found: BTreeSet<&str> = lines
            .flat_map(|line| DECODERS.iter().filter(move |decoder| line.contains(**decoder)))
            .copied()
            .collect();
        if !found.is_empty() && !known.contains_key(name) {
            unknown.insert(name.to_owned(), found);
        }
    }
    assert!(
        unknown.is_empty(),
        "these decode something; give each a target, and both a line in the table of fuzz/tests/decoders.rs: \
         {unknown:#?}"
    );
}

#[test]
fn each_line_of_the_table_is_of_a_file_and_of_targets_that_are_there() {
    let all = targets();
    for (file, known) in FILES {
        assert!(crates().join(file).is_file(), "{file} is in the table and nowhere else");
        match known {
            By(names) => {
                assert!(!names.is_empty());
                for name in *names {
                    assert!(
                        all.iter().any(|target| target.name == *name),
                        "{file}: no target is called {name}"
                    );
                }
            }
            No(reason) => assert!(reason.len() > 20, "{file}: say why it needs none"),
        }
    }
}
