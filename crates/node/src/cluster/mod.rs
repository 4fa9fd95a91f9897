//! What concerns a machine and its neighbours rather than one run: who decides about memory.

pub(crate) mod authority;
