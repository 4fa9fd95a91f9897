//! Keeping one process's memory coherent over many nodes.
pub mod interface;
pub mod policy;
pub use interface::{Contents, Extents, Input, Lane, Output, Token};
pub use policy::Policy;
/// The most pages that one acquisition waits for.
pub const ACQUIRE_PAGES_MAX: u32 = 4096;
