//! Untrusted actors: WebAssembly modules.

pub mod abi;
mod instrument;
mod limits;
mod validator;

pub use limits::Limits;
pub use validator::ModuleError;
