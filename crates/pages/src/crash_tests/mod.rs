//! The crash tests: every state that a power cut could leave is built and recovered from.
//!
//! `recording` keeps what is durable apart from what is only written; `crash_disk` chooses lazily
//! what became of each unsynced sector; `model` is the oracle; `explore` drives them all.

mod compaction;
mod crash_disk;
mod damage;
mod errors;
mod explore;
mod full;
mod model;
mod mutants;
mod recording;
mod wounds;
