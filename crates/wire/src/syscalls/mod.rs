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
pub mod futex;
mod shape;
mod table;

pub use class::{
    Class, CreationForm, DescriptorArguments, Emulation, Handling, HomeCall, MaskPointer, MemoryCall, Notice,
    ThreadCall,
};
pub use shape::Argument;
use table::{ARGUMENTS, NAMES, ROWS, ROWS_THAT_DIFFER, SAME_AS};

use core::ops::Range;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall {
    /// The number in `rax`.
    pub number: u16,
    /// How it is handled.
    pub class: Class,
    /// Where its arguments begin in [`ARGUMENTS`].
    first_argument: u8,
    /// How many are there.
    arguments: u8,
}

/// What a row says: all but its number, which is its place.
#[derive(Clone, Copy)]
struct Said {
    class: Class,
    first_argument: u8,
    arguments: u8,
}

impl SystemCall {
    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[row(self.number.into())]
    }

    /// Its arguments as far as they are not plain values.
    #[must_use]
    pub fn arguments(self) -> &'static [Argument] {
        let first = usize::from(self.first_argument);
        // The table is made so that they are there.
        ARGUMENTS.get(first..first + usize::from(self.arguments)).unwrap_or_default()
    }
}

/// All rows, by number.
pub fn table() -> impl Iterator<Item = SystemCall> {
    (0..NUMBERS as i64).filter_map(find)
}

/// The highest number in the table plus one.
pub const NUMBERS: usize = number(ROWS - 1) + 1;

/// The row of a number.
#[must_use]
pub fn find(number: i64) -> Option<SystemCall> {
    let place = usize::try_from(number).ok().filter(|number| !HOLE.contains(number)).map(row)?;
    let Said { class, first_argument, arguments } = ROWS_THAT_DIFFER[usize::from(*SAME_AS.get(place)?)];
    Some(SystemCall { number: number as u16, class, first_argument, arguments })
}

/// Which calls of a home thread never pass the filter, and return nothing that is their own number: a bit for
/// each.
pub const ALWAYS_TRAPPED: [u64; 8] = {
    let mut bits = [0; 8];
    let mut place = 0;
    while place < SAME_AS.len() {
        let class = ROWS_THAT_DIFFER[SAME_AS[place] as usize].class;
        if matches!(class, Class::Emulate(_) | Class::Deputy(Handling::Mask(_))) {
            bits[number(place) / 64] |= 1 << (number(place) % 64);
        }
        place += 1;
    }
    bits
};

/// Where in the table the row of a number is that has one.
const fn row(number: usize) -> usize {
    if number < HOLE.start { number } else { number - (HOLE.end - HOLE.start) }
}

/// The number of the row at this place.
const fn number(row: usize) -> usize {
    if row < HOLE.start { row } else { row + (HOLE.end - HOLE.start) }
}

/// Numbers that no call has.
const HOLE: Range<usize> = 336..424;

/// The argument of a call that its row names.
#[must_use]
pub fn argument(arguments: &[u64; 6], index: u8) -> u64 {
    // The table's tests see to it that there is one.
    arguments.get(usize::from(index)).copied().unwrap_or_default()
}

/// The memory call with this number, if it is one.
#[must_use]
pub fn memory_call(number: u64) -> Option<MemoryCall> {
    match find(i64::try_from(number).ok()?)?.class {
        Class::Emulate(Emulation::Memory(call)) => Some(call),
        _ => None,
    }
}
