//! Every system call of x86-64 Linux and how it is handled: one exhaustive table, checked when it is
//! compiled.
//!
//! The filters, the trap handler, the deputies, the map of regions and `docs/reference/syscalls.md` are all
//! derived from it. A number that is not here (a newer kernel's) is refused with `ENOSYS`, on which programs
//! fall back, and mentioned once.
//!
//! A call becomes an emulated one by its row in `table`, a variant in `class` and the arms that the compiler
//! then asks for in the stub.
//!
//! Not here: how any call is done (`banyan-stub`, `banyan-core`'s regions).

mod class;
mod shape;
mod table;

pub use class::{
    Class, CreationForm, DescriptorArguments, Emulation, Handling, HomeCall, MaskPointer, MemoryCall, Notice,
    ThreadCall,
};
pub use shape::Argument;
use table::NAMES;
pub use table::TABLE;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall {
    /// The number in `rax`.
    pub number: u16,
    /// How it is handled.
    pub class: Class,
    /// Its arguments as far as they are not plain values.
    pub arguments: &'static [Argument],
}

impl SystemCall {
    /// The kernel's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES[INDEX[usize::from(self.number)] as usize]
    }
}

/// The highest number in the table plus one.
pub const NUMBERS: usize = TABLE[TABLE.len() - 1].number as usize + 1;

/// The row of a number.
#[must_use]
pub fn find(number: i64) -> Option<&'static SystemCall> {
    let index = *INDEX.get(usize::try_from(number).ok()?)?;
    TABLE.get(index as usize)
}

/// The memory call with this number, if it is one.
#[must_use]
pub fn memory_call(number: u64) -> Option<MemoryCall> {
    match find(i64::try_from(number).ok()?)?.class {
        Class::Emulate(Emulation::Memory(call)) => Some(call),
        _ => None,
    }
}

/// Row of each number, or `u16::MAX`.
static INDEX: [u16; NUMBERS] = {
    let mut index = [u16::MAX; NUMBERS];
    let mut row = 0;
    while row < TABLE.len() {
        index[TABLE[row].number as usize] = row as u16;
        row += 1;
    }
    index
};

/// x86-64 has calls 0 to 335, a hole, and 424 onward: each must have exactly one row, in order.
const _: () = {
    let mut row = 0;
    let mut expected = 0;
    while row < TABLE.len() {
        assert!(TABLE[row].number == expected, "a system call is missing or out of order");
        assert!(TABLE[row].arguments.len() <= 6);
        expected = if expected == 335 { 424 } else { expected + 1 };
        row += 1;
    }
};
