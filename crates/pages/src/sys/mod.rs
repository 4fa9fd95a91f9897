//! What disks need of Linux and no library covers, behind safe interfaces.
//!
//! Not for what other crates need too: that is in `banyan-sys`.

pub(crate) mod notes;
