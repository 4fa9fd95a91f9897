//! Which functions only compute: they can be called with any numbers, and nothing comes of it but a result.
//!
//! For the check of a drop-in, which calls them in place and from afar. Decided from the machine code, on the
//! safe side: no call, no loop, no system call, no memory but the function's own stack and constants near it.
//! Not for what a function computes.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

/// Code beyond this is not looked at.
pub(super) const CODE_MAX: u64 = 512;

/// What code is known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Computing {
    /// It may do anything.
    Unknown,
    /// It only computes: that many bytes of rax, perhaps none, and perhaps xmm0.
    Plain { general: u8, vector: bool },
    /// It only computes, and its result may be in st(0).
    WithStack87,
}

/// Looks at the code of a whole function, which lies at `address`.
pub(super) fn computing(code: &[u8], address: u64) -> Computing {
    let end = address + code.len() as u64;
    let mut factory = InstructionInfoFactory::new();
    let (mut general, mut vector, mut uses_stack87, mut returns) = (0, false, false, false);
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        let target = instruction.near_branch_target();
        let goes_forward = target > instruction.ip() && target < end;
        returns = match instruction.flow_control() {
            FlowControl::Next => false,
            FlowControl::Return => true,
            FlowControl::ConditionalBranch if goes_forward => false,
            FlowControl::UnconditionalBranch if goes_forward => true,
            _ => return Computing::Unknown,
        };
        if instruction.is_invalid()
            || instruction.is_privileged()
            || !touches_own_memory(&instruction, &mut factory)
        {
            return Computing::Unknown;
        }
        if instruction.fpu_stack_increment_info().writes_top() {
            uses_stack87 = true;
        }
        for register in
            factory.info(&instruction).used_registers().iter().filter(|one| is_written(one.access()))
        {
            match register.register() {
                // A write of the lower half clears the upper one.
                Register::RAX | Register::EAX => general = 8,
                Register::AX => general = general.max(2),
                Register::AL => general = general.max(1),
                Register::XMM0 => vector = true,
                _ => {}
            }
        }
    }
    // What the code ends with must not fall out of it.
    match (returns, uses_stack87) {
        (false, _) => Computing::Unknown,
        (true, true) => Computing::WithStack87,
        (true, false) => Computing::Plain { general, vector },
    }
}

const fn is_written(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::ReadWrite)
}

fn touches_own_memory(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> bool {
    // These have other effects than memory and registers.
    if matches!(
        instruction.mnemonic(),
        Mnemonic::Rdtsc | Mnemonic::Rdtscp | Mnemonic::Cpuid | Mnemonic::Xgetbv
    ) {
        return false;
    }
    // The compiler keeps rsp to the function's frame; code that moves it elsewhere is not understood.
    let moves_stack = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RSP
        && !matches!(instruction.mnemonic(), Mnemonic::Sub | Mnemonic::Add);
    let is_own = |memory: &iced_x86::UsedMemory| {
        let is_near =
            memory.index() == Register::None && !matches!(memory.segment(), Register::FS | Register::GS);
        let reads = matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        // An address without a base is one relative to the code: a constant, or a variable.
        match memory.base() {
            Register::RSP => is_near,
            Register::None | Register::RIP => is_near && reads,
            _ => false,
        }
    };
    !moves_stack && factory.info(instruction).used_memory().iter().all(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_without_effects_is_called() {
        let plain: &[&[u8]] = &[
            // endbr64; lea rax, [rip + 16]; ret
            &[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x8d, 0x05, 16, 0, 0, 0, 0xc3],
            // lea eax, [rdi + rsi]; ret
            &[0x8d, 0x04, 0x37, 0xc3],
            // mov eax, [rsp + 8]; ret
            &[0x8b, 0x44, 0x24, 8, 0xc3],
            // test edi, edi; je +3; mov eax, edi; ret; xor eax, eax; ret
            &[0x85, 0xff, 0x74, 3, 0x89, 0xf8, 0xc3, 0x31, 0xc0, 0xc3],
        ];
        for code in plain {
            let plain = Computing::Plain { general: 8, vector: false };
            assert_eq!(computing(code, 0x1000), plain, "{code:x?}");
        }
        // addsd xmm0, xmm0; ret
        let vector = Computing::Plain { general: 0, vector: true };
        assert_eq!(computing(&[0xf2, 0x0f, 0x58, 0xc0, 0xc3], 0x1000), vector);
        // fld tbyte ptr [rsp + 8]; ret
        assert_eq!(computing(&[0xdb, 0x6c, 0x24, 8, 0xc3], 0x1000), Computing::WithStack87);
        let unknown: &[&[u8]] = &[
            // mov eax, [rdi]; ret, mov [rip + 16], edi; ret, call +0; ret, syscall; ret
            &[0x8b, 0x07, 0xc3],
            &[0x89, 0x3d, 16, 0, 0, 0, 0xc3],
            &[0xe8, 0, 0, 0, 0, 0xc3],
            &[0x0f, 0x05, 0xc3],
            // jmp -2, jmp rax, mov eax, fs:[0]; ret, and code that does not return
            &[0xeb, 0xfe],
            &[0xff, 0xe0],
            &[0x64, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xc3],
            &[0x89, 0xf8],
            &[],
        ];
        for code in unknown {
            assert_eq!(computing(code, 0x1000), Computing::Unknown, "{code:x?}");
        }
    }
}
