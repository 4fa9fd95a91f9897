//! Connections between nodes: greeting, lanes, and the mesh of all nodes of a run.
//!
//! Every pair of nodes has three lanes: urgent and bulk carry coherence messages, control the rest. A connection that
//! brings something malformed is closed with a logged reason; the other connections do not notice.

mod control;
mod lane;
mod mesh;

pub use control::read_control;
pub use lane::Lane;
pub use mesh::{Lanes, Mesh, MeshError, dial, dial_deputy, greet};
