//! The arguments of a call of the program, as another type than any six numbers: a safe function that has
//! the kernel make a call with them asks for this.
//!
//! Which calls may be made so is the table's to say: those by which the program does to its own memory what
//! it could do itself, or which touch no memory.

use core::ops::Deref;

/// What the program gave its call.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct ProgramArguments([u64; 6]);

impl ProgramArguments {
    /// Of a trapped call, here or where its carrier is.
    ///
    /// # Safety
    /// The program gave them. If one is a pointer and not the program's own, it is to memory that lives
    /// across the call and is as long as the call says.
    pub const unsafe fn new(given: [u64; 6]) -> Self {
        Self(given)
    }
}

impl Deref for ProgramArguments {
    type Target = [u64; 6];

    fn deref(&self) -> &[u64; 6] {
        &self.0
    }
}
