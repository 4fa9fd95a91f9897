//! What the daemon said about this replica when it started.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// What the daemon told this replica at the start. Written before any thread is started, and again in a copy
/// of the process.
pub struct Settings {
    /// The request socket.
    pub requests: AtomicI32,
    /// The command socket; -1 in a copy of the process, which has no service thread.
    pub commands: AtomicI32,
    /// The memory file.
    pub memory: AtomicI32,
    /// The userfaultfd.
    pub faults: AtomicI32,
    /// Descriptors from here on are the stub's and hidden from the program.
    pub descriptor_floor: AtomicU32,
    /// This node; 0 is home.
    pub node: AtomicU32,
    /// Nodes of the run.
    pub nodes: AtomicU32,
    /// Whether what children execute may be a run, too, as the daemon then says: 1, or 0.
    pub asks_for_children: AtomicU32,
}

/// The one copy of them.
pub static SETTINGS: Settings = Settings {
    requests: AtomicI32::new(-1),
    commands: AtomicI32::new(-1),
    memory: AtomicI32::new(-1),
    faults: AtomicI32::new(-1),
    descriptor_floor: AtomicU32::new(0),
    node: AtomicU32::new(0),
    nodes: AtomicU32::new(1),
    asks_for_children: AtomicU32::new(0),
};

/// Whether this is the home replica.
pub fn is_home() -> bool {
    SETTINGS.node.load(Ordering::Relaxed) == 0
}

/// Whether the run has this node only.
pub fn is_alone() -> bool {
    SETTINGS.nodes.load(Ordering::Relaxed) == 1
}

/// Whether this process is a copy of the one that the run began with: see `thread::fork`.
pub fn is_copy() -> bool {
    SETTINGS.commands.load(Ordering::Relaxed) < 0
}

/// Whether the daemon says how children of the program execute others.
pub fn asks_for_children() -> bool {
    SETTINGS.asks_for_children.load(Ordering::Relaxed) != 0
}

/// This replica's node.
pub fn node() -> u8 {
    SETTINGS.node.load(Ordering::Relaxed) as u8
}
