//! What a worker may not do: system call filter, file system rules, resource limits, namespaces.
//!
//! Each layer is applied on its own and says whether the kernel accepted it; nothing is assumed.
//! Not a policy: the caller says which groups of system calls the code needs. Not for the traps of
//! `banyan run`. Applies to the calling process for ever, so call it in a process made for the purpose.

mod filter;

pub(crate) use filter::{CallFilter, hide_clone3};

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use std::io;

/// Groups of system calls, as bits of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups(pub u32);

impl Groups {
    /// Opening and reading files.
    pub const FILES_READ: Self = Self(1);
    /// Creating, writing, renaming and removing files.
    pub const FILES_WRITE: Self = Self(2);
    /// Sockets.
    pub const NETWORK: Self = Self(4);
    /// Starting and signalling other processes.
    pub const PROCESSES: Self = Self(8);
    /// No filter at all.
    pub const EVERYTHING: Self = Self(16);

    /// Whether all groups of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Forbids new privileges, which the other layers need; also forbids dumping core.
///
/// # Errors
/// The kernel's.
pub(crate) fn forbid_privileges() -> io::Result<()> {
    // SAFETY: plain prctl requests on ourselves.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    limit(libc::RLIMIT_CORE, 0)
}

/// Denies the file system: everything without [`Groups::FILES_READ`], and changes without
/// [`Groups::FILES_WRITE`]. Files that are open stay open. Needs Landlock, as much of it as the kernel has.
///
/// # Errors
/// Why nothing is denied.
pub(crate) fn restrict_files(groups: Groups) -> io::Result<()> {
    /// The first version that knows every way to change a file; older kernels deny what they know.
    const VERSION: ABI = ABI::V3;
    if groups.has(Groups::FILES_WRITE) || groups.has(Groups::EVERYTHING) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the policy allows all files"));
    }
    let restrict = || -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.create()?;
        if groups.has(Groups::FILES_READ) {
            rules = rules.add_rules(path_beneath_rules(["/"], AccessFs::from_read(VERSION)))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    match restrict().map_err(io::Error::other)? {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no Landlock"))
        }
    }
}

/// Leaves the network and the System V objects of the machine behind, unless `groups` has the network.
///
/// # Errors
/// The kernel's; `EPERM` in many containers.
pub(crate) fn leave_namespaces(groups: Groups) -> io::Result<()> {
    let mut flags = libc::CLONE_NEWIPC;
    if !groups.has(Groups::NETWORK) && !groups.has(Groups::EVERYTHING) {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: affects only this process and its children.
    unsafe {
        if libc::unshare(flags) == 0 {
            return Ok(());
        }
        // Without privilege a user namespace gives the right to make the others. Identity stays
        // the same for files, but the numbers read as the overflow user; libraries seldom look.
        if libc::unshare(flags | libc::CLONE_NEWUSER) == 0 {
            return Ok(());
        }
    }
    Err(io::Error::last_os_error())
}

/// Limits one resource, hard.
///
/// # Errors
/// The kernel's.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads the struct.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Limits private memory to `bytes`, beside address space that is `reserved` and counts as such; descriptors
/// to 1024.
///
/// # Errors
/// The kernel's, of the first limit refused.
pub(crate) fn limit_resources(bytes: u64, reserved: u64) -> io::Result<()> {
    limit(libc::RLIMIT_DATA, bytes.saturating_add(reserved))?;
    limit(libc::RLIMIT_NOFILE, 1024)
}
