//! The seccomp filters: which system calls of the program's code are trapped. Derived from the syscall table.
//!
//! A filter decides on the instruction pointer: only code in program memory is trapped, so the stub, the vDSO and
//! an executed child outside Banyan pass. At home plain calls pass too; on other nodes nearly nothing does.

use crate::daemon::settings::{self, SETTINGS};
use crate::kernel;
use crate::trap::AUDIT_ARCH_X86_64;
use banyan_sys::raw::Errno;
use banyan_wire::layout::{LOW_END, PROGRAM_END, PROGRAM_START};
use banyan_wire::syscalls::{self, Class, DescriptorArguments, Handling, HomeOnly};
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// `struct sock_filter`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const TRAP: u32 = 0x0003_0000;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const INSTRUCTION_LOW: u32 = 8;
const INSTRUCTION_HIGH: u32 = 12;
const ARGUMENT_0_LOW: u32 = 16;
const ARGUMENT_1_LOW: u32 = 24;

/// More than the longest program: two instructions for each change between passing and trapping.
const PROGRAM_MAX: usize = 1024;

struct Program {
    instructions: [Instruction; PROGRAM_MAX],
    length: usize,
}

impl Program {
    fn push(&mut self, code: u16, value: u32, if_true: u8, if_false: u8) {
        self.instructions[self.length] = Instruction { code, if_true, if_false, value };
        self.length += 1;
    }

    fn load(&mut self, offset: u32) {
        self.push(LOAD, offset, 0, 0);
    }

    fn result(&mut self, value: u32) {
        self.push(RETURN, value, 0, 0);
    }

    /// Returns `result` if the loaded word is not below `bound`... else goes on.
    fn result_if_at_least(&mut self, bound: u32, result: u32) {
        self.push(JUMP_AT_LEAST, bound, 0, 1);
        self.result(result);
    }

    fn result_if_equal(&mut self, value: u32, result: u32) {
        self.push(JUMP_EQUAL, value, 0, 1);
        self.result(result);
    }

    /// Returns `result` if the loaded word is below `bound`, else goes on.
    fn result_if_below(&mut self, bound: u32, result: u32) {
        self.push(JUMP_AT_LEAST, bound, 1, 0);
        self.result(result);
    }
}

/// Installs the filter of this replica's role for the calling thread and all that it creates.
///
/// # Errors
/// The kernel's.
pub fn install() -> Result<(), Errno> {
    const EMPTY: Instruction = Instruction { code: 0, if_true: 0, if_false: 0, value: 0 };
    let mut program = Program { instructions: [EMPTY; PROGRAM_MAX], length: 0 };
    program.load(INSTRUCTION_HIGH);
    // High part 0: the low range. Between the ranges and above: not the program.
    program.push(JUMP_EQUAL, 0, 0, 4);
    program.load(INSTRUCTION_LOW);
    program.push(JUMP_AT_LEAST, LOW_END as u32, 0, 1);
    program.result(ALLOW);
    program.push(JUMP, 4, 0, 0);
    program.result_if_below((PROGRAM_START >> 32) as u32, ALLOW);
    program.result_if_at_least((PROGRAM_END >> 32) as u32, ALLOW);
    // From here on the program's own calls. Another architecture's numbers mean other calls.
    program.load(ARCHITECTURE);
    program.push(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0);
    program.result(TRAP);
    program.load(NUMBER);
    if settings::is_home() {
        home(&mut program);
    } else {
        program.result_if_equal(linux::__NR_sched_yield, ALLOW);
    }
    program.result(TRAP);
    load_filter(&program)
}

fn home(program: &mut Program) {
    for row in syscalls::TABLE {
        if let Class::Deputy(handling) = row.class {
            handled(program, row.number.into(), handling);
        }
    }
    // Runs of numbers that are treated alike, from below.
    let mut passes = passes_at_home(0);
    for number in 1..=syscalls::NUMBERS as u32 {
        let next = passes_at_home(number);
        if next != passes {
            program.result_if_below(number, if passes { ALLOW } else { TRAP });
            passes = next;
        }
    }
}

/// Decides on calls that depend on their arguments, or that are trapped among others that pass.
fn handled(program: &mut Program, number: u32, handling: Handling) {
    match handling {
        Handling::Plain | Handling::Mask(_) => {}
        Handling::Link { .. } => program.result_if_equal(number, TRAP),
        Handling::Descriptors(DescriptorArguments::First) => {
            program.push(JUMP_EQUAL, number, 0, 4);
            result_if_hidden(program, ARGUMENT_0_LOW);
            program.result(ALLOW);
        }
        Handling::Descriptors(DescriptorArguments::FirstAndSecond) => {
            program.push(JUMP_EQUAL, number, 0, 7);
            result_if_hidden(program, ARGUMENT_0_LOW);
            result_if_hidden(program, ARGUMENT_1_LOW);
            program.result(ALLOW);
        }
        // One that is not private is made so: see `kernel::FUTEX_PRIVATE`.
        Handling::Futex => {
            program.push(JUMP_EQUAL, number, 0, 4);
            program.load(ARGUMENT_1_LOW);
            program.push(JUMP_IF_SET, kernel::FUTEX_PRIVATE as u32, 1, 0);
            program.result(TRAP);
            program.result(ALLOW);
        }
    }
}

/// Traps if the argument may be a descriptor that the stub hides. Three instructions.
fn result_if_hidden(program: &mut Program, argument: u32) {
    program.load(argument);
    program.result_if_at_least(SETTINGS.descriptor_floor.load(Ordering::Relaxed), TRAP);
}

/// Whether a home thread's call goes straight to the kernel, unless `handled` decided on it.
fn passes_at_home(number: u32) -> bool {
    let Some(row) = syscalls::find(i64::from(number)) else { return false };
    match row.class {
        Class::Local
        | Class::Deputy(
            Handling::Plain | Handling::Descriptors(_) | Handling::Link { .. } | Handling::Futex,
        )
        // The return from a handler is the kernel's business.
        | Class::GoHome(HomeOnly::Native) => true,
        Class::Deputy(Handling::Mask(_))
        | Class::Emulate(_)
        | Class::GoHome(HomeOnly::NotServed)
        | Class::Refuse { .. } => false,
    }
}

fn load_filter(program: &Program) -> Result<(), Errno> {
    const SECCOMP_SET_MODE_FILTER: u64 = 1;
    const SECCOMP_FILTER_FLAG_SPEC_ALLOW: u64 = 4;
    const PR_SET_NO_NEW_PRIVS: u64 = 38;
    let description = [program.length as u64, program.instructions.as_ptr() as u64];
    let arguments =
        [SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, description.as_ptr() as u64, 0, 0, 0];
    // Unprivileged users may install filters only when they give up set-user-id programs.
    if kernel::checked(linux::__NR_seccomp, arguments).is_ok() {
        return Ok(());
    }
    let _ = kernel::checked(linux::__NR_prctl, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0])?;
    kernel::checked(linux::__NR_seccomp, arguments).map(drop)
}
