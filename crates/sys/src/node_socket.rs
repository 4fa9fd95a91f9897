//! Where the node of this machine keeps its state, and with it the socket at which processes of this machine
//! ask it: for the node, for commands, and for programs that find services through it.

use std::path::{Path, PathBuf};

/// Names the directory of the node's state.
pub const STATE_VARIABLE: &str = "BANYAN_STATE";

/// Where the state of this user's node is if nothing else is said.
#[must_use]
pub fn usual_directory() -> PathBuf {
    if let Some(named) = std::env::var_os(STATE_VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    if rustix::process::geteuid().is_root() {
        return "/var/lib/banyan".into();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state");
    state.unwrap_or_else(home).join("banyan")
}

/// The socket of the node that has a state.
#[must_use]
pub fn socket_of(directory: &Path) -> PathBuf {
    directory.join("socket")
}
