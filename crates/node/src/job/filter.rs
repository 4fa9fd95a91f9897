//! The seccomp filters: which system calls of the program's code are trapped. Derived from the syscall table.
//!
//! A filter decides on the instruction pointer: only code in program memory is trapped, so the stub, the vDSO
//! and an executed child outside Banyan pass. At home plain calls pass too; on other nodes nearly nothing
//! does. The stub of each replica asks for its filter and installs it.

use banyan_wire::address_space::{LOW, PROGRAM_CODE};
use banyan_wire::stub::{FILTER_MAX, Filter, LowCode};
use banyan_wire::syscalls::{self, Class, DescriptorArguments, Handling, futex};
use linux_raw_sys::general as linux;
use linux_raw_sys::ptrace as bpf;
use linux_raw_sys::ptrace::{AUDIT_ARCH_X86_64, seccomp_data};
use std::mem::offset_of;
use zerocopy::{Immutable, IntoBytes};

/// `struct sock_filter`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const LOAD: u16 = (bpf::BPF_LD | bpf::BPF_W | bpf::BPF_ABS) as u16;
const JUMP: u16 = (bpf::BPF_JMP | bpf::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (bpf::BPF_JMP | bpf::BPF_JEQ | bpf::BPF_K) as u16;
const JUMP_AT_LEAST: u16 = (bpf::BPF_JMP | bpf::BPF_JGE | bpf::BPF_K) as u16;
const JUMP_IF_SET: u16 = (bpf::BPF_JMP | bpf::BPF_JSET | bpf::BPF_K) as u16;
const AND: u16 = (bpf::BPF_ALU | bpf::BPF_AND | bpf::BPF_K) as u16;
const RETURN: u16 = (bpf::BPF_RET | bpf::BPF_K) as u16;
const ALLOW: u32 = bpf::SECCOMP_RET_ALLOW;
const TRAP: u32 = bpf::SECCOMP_RET_TRAP;
const NUMBER: u32 = offset_of!(seccomp_data, nr) as u32;
const ARCHITECTURE: u32 = offset_of!(seccomp_data, arch) as u32;
// The lower half of a word of 64 bits comes first.
const INSTRUCTION_LOW: u32 = offset_of!(seccomp_data, instruction_pointer) as u32;
const INSTRUCTION_HIGH: u32 = INSTRUCTION_LOW + 4;
const ARGUMENT_0_LOW: u32 = offset_of!(seccomp_data, args) as u32;
const ARGUMENT_1_LOW: u32 = ARGUMENT_0_LOW + 8;
/// The process id by which `kill` means all: -1.
const EVERY_PROCESS: u32 = u32::MAX;
/// The bit of negative clocks, which are those of a process, a thread or a descriptor.
const CLOCK_OF_PROCESS_OR_THREAD: u32 = 1 << 31;

#[derive(Default)]
struct Program(Vec<Instruction>);

impl Program {
    fn push(&mut self, code: u16, value: u32, if_true: u8, if_false: u8) {
        self.0.push(Instruction { code, if_true, if_false, value });
    }

    fn load(&mut self, offset: u32) {
        self.push(LOAD, offset, 0, 0);
    }

    fn result(&mut self, value: u32) {
        self.push(RETURN, value, 0, 0);
    }

    /// Returns `result` if the loaded word is at least `bound`, else goes on.
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

/// Where the threads are whose calls a filter sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At home, the run's only node: of a process on one node the kernel knows all, and has all its memory.
    Alone,
    /// At home, and there are other nodes.
    Home,
    /// On another node.
    Elsewhere,
}

/// The instructions of the filter for threads at this place, at most [`FILTER_MAX`].
pub(super) fn filter(
    place: Place,
    &Filter { called_for_program, descriptor_floor, low }: &Filter,
) -> Vec<Instruction> {
    let mut program = Program::default();
    program.load(INSTRUCTION_HIGH);
    if low == LowCode::OfOthers {
        program.result_if_equal(0, ALLOW);
    }
    // High part 0: the low range. Between the ranges and above: not the program.
    program.push(JUMP_EQUAL, 0, 0, 4);
    program.load(INSTRUCTION_LOW);
    program.push(JUMP_AT_LEAST, LOW.end as u32, 0, 1);
    program.result(ALLOW);
    program.push(JUMP, 8, 0, 0);
    // The one call of the stub's vDSO that is the program's: past the two checks of the range.
    program.push(JUMP_EQUAL, (called_for_program >> 32) as u32, 0, 3);
    program.load(INSTRUCTION_LOW);
    program.push(JUMP_EQUAL, called_for_program as u32, 5, 0);
    program.result(ALLOW);
    program.result_if_below((PROGRAM_CODE.start >> 32) as u32, ALLOW);
    program.result_if_at_least((PROGRAM_CODE.end >> 32) as u32, ALLOW);
    // From here on the program's own calls. Another architecture's numbers mean other calls.
    program.load(ARCHITECTURE);
    program.push(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0);
    program.result(TRAP);
    program.load(NUMBER);
    match place {
        Place::Alone | Place::Home => home(&mut program, descriptor_floor, place),
        Place::Elsewhere => program.result_if_equal(linux::__NR_sched_yield, ALLOW),
    }
    program.result(TRAP);
    // One that is cut off would let pass what it is to trap.
    assert!(program.0.len() <= FILTER_MAX, "a filter of {} instructions", program.0.len());
    program.0
}

fn home(program: &mut Program, descriptor_floor: u32, place: Place) {
    for row in syscalls::table() {
        if let Class::Deputy(handling) = row.class {
            handled(program, row.number.into(), handling, descriptor_floor, place);
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
fn handled(program: &mut Program, number: u32, handling: Handling, descriptor_floor: u32, place: Place) {
    match handling {
        Handling::Plain
        | Handling::Mask(_)
        | Handling::Listing { .. }
        | Handling::Open { .. }
        | Handling::Namespaces
        | Handling::Affinity => {}
        Handling::Usage
        | Handling::Timer
        | Handling::Clock
        | Handling::Sleep
        | Handling::Futexes
        | Handling::ProcessMemory
        | Handling::Splice
            if place == Place::Alone => {}
        Handling::Usage
        | Handling::Timer
        | Handling::Futexes
        | Handling::ProcessMemory
        | Handling::Splice => program.result_if_equal(number, TRAP),
        Handling::Clock | Handling::Sleep => {
            program.push(JUMP_EQUAL, number, 0, 8);
            program.load(ARGUMENT_0_LOW);
            program.push(JUMP_IF_SET, CLOCK_OF_PROCESS_OR_THREAD, 0, 1);
            program.result(TRAP);
            program.result_if_equal(linux::CLOCK_PROCESS_CPUTIME_ID, TRAP);
            program.result_if_equal(linux::CLOCK_THREAD_CPUTIME_ID, TRAP);
            program.result(ALLOW);
        }
        Handling::Kill => {
            program.push(JUMP_EQUAL, number, 0, 4);
            program.load(ARGUMENT_0_LOW);
            program.result_if_equal(EVERY_PROCESS, TRAP);
            program.result(ALLOW);
        }
        Handling::Link { .. } => program.result_if_equal(number, TRAP),
        Handling::Descriptors(DescriptorArguments::First) => {
            program.push(JUMP_EQUAL, number, 0, 4);
            result_if_hidden(program, ARGUMENT_0_LOW, descriptor_floor);
            program.result(ALLOW);
        }
        Handling::Descriptors(DescriptorArguments::FirstAndSecond) => {
            program.push(JUMP_EQUAL, number, 0, 7);
            result_if_hidden(program, ARGUMENT_0_LOW, descriptor_floor);
            result_if_hidden(program, ARGUMENT_1_LOW, descriptor_floor);
            program.result(ALLOW);
        }
        // One that is not private, or that writes, needs its page first: see `memory::futex` of the stub.
        Handling::Futex => {
            program.push(JUMP_EQUAL, number, 0, 5 + 2 * futex::READING.len() as u8);
            program.load(ARGUMENT_1_LOW);
            program.push(JUMP_IF_SET, linux::FUTEX_PRIVATE_FLAG, 1, 0);
            program.result(TRAP);
            program.push(AND, !futex::OPTIONS, 0, 0);
            for operation in futex::READING {
                program.result_if_equal(operation, ALLOW);
            }
            program.result(TRAP);
        }
    }
}

/// Traps if the argument may be a descriptor that the stub hides. Three instructions.
fn result_if_hidden(program: &mut Program, argument: u32, descriptor_floor: u32) {
    program.load(argument);
    program.result_if_at_least(descriptor_floor, TRAP);
}

/// Whether a home thread's call goes straight to the kernel, unless `handled` decided on it.
fn passes_at_home(number: u32) -> bool {
    let Some(row) = syscalls::find(i64::from(number)) else { return false };
    match row.class {
        Class::Local
        | Class::Deputy(
            Handling::Plain
            | Handling::Descriptors(_)
            | Handling::Link { .. }
            | Handling::Futex
            | Handling::Kill
            | Handling::Affinity
            | Handling::Usage
            | Handling::Timer
            | Handling::Clock
            | Handling::Sleep
            | Handling::Futexes
            | Handling::ProcessMemory
            | Handling::Splice,
        ) => true,
        Class::Deputy(
            Handling::Mask(_) | Handling::Listing { .. } | Handling::Open { .. } | Handling::Namespaces,
        )
        | Class::Emulate(_)
        | Class::Execute
        | Class::Refuse { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u32 = 1000;
    const CALLED: u64 = 0x7000_0000_1234;

    /// The filter of a replica whose low range is the program's.
    fn program_at(place: Place) -> Vec<Instruction> {
        with_low(place, LowCode::OfProgram)
    }

    fn with_low(place: Place, low: LowCode) -> Vec<Instruction> {
        filter(place, &Filter { called_for_program: CALLED, descriptor_floor: FLOOR, low })
    }

    /// `struct seccomp_data` in words: number, architecture, instruction, arguments.
    fn call(number: u32, arguments: [u32; 2]) -> [u32; 16] {
        let mut data = [0; 16];
        data[0] = number;
        data[1] = AUDIT_ARCH_X86_64;
        from(&mut data, PROGRAM_CODE.start);
        data[4] = arguments[0];
        data[6] = arguments[1];
        data
    }

    fn from(data: &mut [u32; 16], instruction: u64) {
        data[2] = instruction as u32;
        data[3] = (instruction >> 32) as u32;
    }

    /// Interprets a filter as the kernel does.
    fn verdict(program: &[Instruction], data: &[u32; 16]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = program[at];
            at += 1;
            let mut jump = |holds: bool| at += usize::from(if holds { if_true } else { if_false });
            match code {
                LOAD => word = data[value as usize / 4],
                JUMP => at += value as usize,
                JUMP_EQUAL => jump(word == value),
                JUMP_AT_LEAST => jump(word >= value),
                JUMP_IF_SET => jump(word & value != 0),
                AND => word &= value,
                RETURN => return value,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn a_home_thread_is_trapped_where_its_row_says() {
        let program = program_at(Place::Home);
        let private = linux::FUTEX_PRIVATE_FLAG;
        for row in syscalls::table() {
            let at = |first, second| verdict(&program, &call(row.number.into(), [first, second]));
            let (low, high) = (at(FLOOR - 1, private), at(FLOOR, private));
            let expected = match row.class {
                Class::Local
                | Class::Deputy(
                    Handling::Plain
                    | Handling::Futex
                    | Handling::Kill
                    | Handling::Affinity
                    | Handling::Clock
                    | Handling::Sleep,
                ) => (ALLOW, ALLOW),
                Class::Deputy(Handling::Descriptors(_)) => (ALLOW, TRAP),
                Class::Deputy(
                    Handling::Link { .. }
                    | Handling::Listing { .. }
                    | Handling::Open { .. }
                    | Handling::Mask(_)
                    | Handling::Timer
                    | Handling::Usage
                    | Handling::Futexes
                    | Handling::ProcessMemory
                    | Handling::Splice
                    | Handling::Namespaces,
                )
                | Class::Emulate(_)
                | Class::Execute
                | Class::Refuse { .. } => (TRAP, TRAP),
            };
            assert_eq!((low, high), expected, "{}", row.name());
        }
        let futex = |operation| verdict(&program, &call(linux::__NR_futex, [0, operation]));
        assert_eq!(futex(linux::FUTEX_WAIT), TRAP, "a shared futex");
        assert_eq!(futex(linux::FUTEX_WAIT_BITSET | futex::OPTIONS), ALLOW);
        for operation in [linux::FUTEX_LOCK_PI, linux::FUTEX_WAKE_OP, linux::FUTEX_LOCK_PI2, 99] {
            assert_eq!(futex(operation | private), TRAP, "one that writes");
        }
        assert_eq!(verdict(&program, &call(linux::__NR_dup2, [0, FLOOR])), TRAP, "a hidden target");
        assert_eq!(verdict(&program, &call(linux::__NR_kill, [EVERY_PROCESS, 0])), TRAP, "every process");
        assert_eq!(verdict(&program, &call(linux::__NR_dup2, [0, FLOOR - 1])), ALLOW);
    }

    #[test]
    fn clocks_of_processor_time_are_trapped_if_other_nodes_use_some() {
        let of_thread = u32::MAX << 3 | 6;
        for (clock, expected) in [
            (linux::CLOCK_REALTIME, ALLOW),
            (linux::CLOCK_MONOTONIC, ALLOW),
            (linux::CLOCK_PROCESS_CPUTIME_ID, TRAP),
            (linux::CLOCK_THREAD_CPUTIME_ID, TRAP),
            (linux::CLOCK_TAI, ALLOW),
            (of_thread, TRAP),
        ] {
            let mut data = call(linux::__NR_clock_gettime, [clock, 0]);
            assert_eq!(verdict(&program_at(Place::Home), &data), expected, "{clock:#x}");
            assert_eq!(verdict(&program_at(Place::Alone), &data), ALLOW, "{clock:#x}");
            from(&mut data, CALLED);
            assert_eq!(verdict(&program_at(Place::Home), &data), expected, "{clock:#x} in the vDSO");
            assert_eq!(verdict(&program_at(Place::Elsewhere), &data), TRAP, "{clock:#x} in the vDSO");
        }
        for number in [linux::__NR_getrusage, linux::__NR_vmsplice, linux::__NR_futex_waitv] {
            assert_eq!(verdict(&program_at(Place::Alone), &call(number, [0; 2])), ALLOW, "{number}");
        }
    }

    #[test]
    fn numbers_without_a_row_are_trapped() {
        let program = program_at(Place::Home);
        for number in [336, 423, syscalls::NUMBERS as u32, 0x4000_0000, u32::MAX] {
            assert_eq!(verdict(&program, &call(number, [0; 2])), TRAP, "{number}");
        }
    }

    #[test]
    fn only_yielding_passes_on_another_node() {
        let program = program_at(Place::Elsewhere);
        for row in syscalls::table() {
            let expected = if row.name() == "sched_yield" { ALLOW } else { TRAP };
            assert_eq!(verdict(&program, &call(row.number.into(), [0; 2])), expected, "{}", row.name());
        }
    }

    #[test]
    fn only_calls_of_the_programs_code_are_trapped() {
        for place in [Place::Alone, Place::Home, Place::Elsewhere] {
            let program = program_at(place);
            let mut data = call(linux::__NR_mmap, [0; 2]);
            for (instruction, expected) in [
                (0x40_0000, TRAP),
                (LOW.end - 1, TRAP),
                (LOW.end, ALLOW),
                (PROGRAM_CODE.start - 1, ALLOW),
                (PROGRAM_CODE.start, TRAP),
                (PROGRAM_CODE.end - 1, TRAP),
                (PROGRAM_CODE.end, ALLOW),
                (0x7fff_ffff_f000, ALLOW),
            ] {
                from(&mut data, instruction);
                assert_eq!(verdict(&program, &data), expected, "{instruction:#x}");
                let expected = if LOW.holds(instruction, 0) { ALLOW } else { expected };
                let program = with_low(place, LowCode::OfOthers);
                assert_eq!(
                    verdict(&program, &data),
                    expected,
                    "{instruction:#x} with other code in the low range"
                );
            }
        }
    }

    #[test]
    fn calls_of_another_architecture_are_trapped() {
        let mut data = call(linux::__NR_getpid, [0; 2]);
        assert_eq!(verdict(&program_at(Place::Home), &data), ALLOW);
        data[1] = 0x4000_0003;
        assert_eq!(verdict(&program_at(Place::Home), &data), TRAP);
    }
}
