//! Every system call of x86-64 Linux and what becomes of it: one exhaustive table, checked when it is compiled.
//!
//! The filters, the trap handler, the deputies and `docs/reference/syscalls.md` are all derived from it. A number
//! that is not here (a newer kernel's) is refused with `ENOSYS`, on which programs fall back, and said once.

mod class;
mod shape;
mod table;

pub use class::Class;
pub use shape::Argument;
pub use table::TABLE;

/// Calls that take a descriptor in their first argument and could harm the descriptors that the stub hides.
pub const GUARDED: [u16; 4] = [3, 33, 72, 292];

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall {
    /// The number in `rax`.
    pub number: u16,
    /// The kernel's name.
    pub name: &'static str,
    /// What becomes of it.
    pub class: Class,
    /// Its arguments as far as they are not plain values.
    pub arguments: &'static [Argument],
}

/// The highest number in the table plus one.
pub const NUMBERS: usize = TABLE[TABLE.len() - 1].number as usize + 1;

/// The row of a number.
#[must_use]
pub fn find(number: i64) -> Option<&'static SystemCall> {
    let index = *INDEX.get(usize::try_from(number).ok()?)?;
    TABLE.get(index as usize)
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

/// The name of a call, given the name of the constant that is its number.
const fn name_of(constant: &'static str) -> &'static str {
    let (prefix, name) = constant.split_at("__NR_".len());
    assert!(matches!(prefix.as_bytes(), b"__NR_"));
    name
}
