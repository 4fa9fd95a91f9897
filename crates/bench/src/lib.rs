//! Every bench of Banyan, and what each is compared with: a run over nodes, the arena, calls and actors.
//!
//! Each measures what is promised in SPECIFICATION.md beside what others would use, in the same run. Not for tests.

pub mod actor;
pub mod arena;
pub mod call;
pub mod run;
