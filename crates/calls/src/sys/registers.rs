//! The few instructions that no language has words for: calling an address with given registers,
//! being called with unknown arguments, and cutting a stack back to a known depth.
//!
//! x86-64 with the System V calling convention only. Nothing here allocates. Not for what is then called:
//! that is its callers' to say.

use crate::shared::frame::Registers;
use std::arch::global_asm;

const _: () = {
    assert!(std::mem::offset_of!(Registers, rax) == 48);
    assert!(std::mem::offset_of!(Registers, vector) == 64);
    assert!(std::mem::offset_of!(Registers, st0) == 192);
    assert!(std::mem::offset_of!(Registers, results) == 208);
    assert!(std::mem::offset_of!(Registers, stack) == 216);
    assert!(std::mem::offset_of!(Registers, st1) == 224);
    assert!(size_of::<Registers>() == 240);
};

global_asm!(
    ".text",
    // invoke(target, registers, words, count)
    ".globl banyan_calls_invoke",
    ".hidden banyan_calls_invoke",
    "banyan_calls_invoke:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "mov r12, rdi",
    "mov rbx, rsi",
    "lea rax, [rcx*8 + 15]",
    "and rax, -16",
    "sub rsp, rax",
    "xor eax, eax",
    "2: cmp rax, rcx",
    "jae 3f",
    "mov r10, [rdx + rax*8]",
    "mov [rsp + rax*8], r10",
    "inc rax",
    "jmp 2b",
    "3: movups xmm0, [rbx + 64]",
    "movups xmm1, [rbx + 80]",
    "movups xmm2, [rbx + 96]",
    "movups xmm3, [rbx + 112]",
    "movups xmm4, [rbx + 128]",
    "movups xmm5, [rbx + 144]",
    "movups xmm6, [rbx + 160]",
    "movups xmm7, [rbx + 176]",
    "mov rdi, [rbx]",
    "mov rsi, [rbx + 8]",
    "mov rdx, [rbx + 16]",
    "mov rcx, [rbx + 24]",
    "mov r8, [rbx + 32]",
    "mov r9, [rbx + 40]",
    "mov rax, [rbx + 48]",
    "call r12",
    "mov [rbx + 48], rax",
    "mov [rbx + 56], rdx",
    "movups [rbx + 64], xmm0",
    "movups [rbx + 80], xmm1",
    "test qword ptr [rbx + 208], 13",
    "jz 4f",
    "test qword ptr [rbx + 208], 8",
    "jz 5f",
    // Is st(0) empty (Intel SDM, FXAM: C3 and C0 without C2)?
    "fxam",
    "fnstsw ax",
    "and eax, 0x4500",
    "cmp eax, 0x4100",
    "je 4f",
    "or qword ptr [rbx + 208], 1",
    "5: fstp tbyte ptr [rbx + 192]",
    "test qword ptr [rbx + 208], 12",
    "jz 4f",
    "test qword ptr [rbx + 208], 8",
    "jz 6f",
    "fxam",
    "fnstsw ax",
    "and eax, 0x4500",
    "cmp eax, 0x4100",
    "je 4f",
    "or qword ptr [rbx + 208], 4",
    "6: fstp tbyte ptr [rbx + 224]",
    "4: lea rsp, [rbp - 16]",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    // checkpoint(context, function, argument): 1 when the function returned, 2 after resume.
    ".globl banyan_calls_checkpoint",
    ".hidden banyan_calls_checkpoint",
    "banyan_calls_checkpoint:",
    "mov [rdi], rbx",
    "mov [rdi + 8], rbp",
    "mov [rdi + 16], r12",
    "mov [rdi + 24], r13",
    "mov [rdi + 32], r14",
    "mov [rdi + 40], r15",
    "mov [rdi + 48], rsp",
    "sub rsp, 8",
    "mov rdi, rdx",
    "call rsi",
    "add rsp, 8",
    "mov eax, 1",
    "ret",
    ".globl banyan_calls_resume",
    ".hidden banyan_calls_resume",
    "banyan_calls_resume:",
    "mov rbx, [rdi]",
    "mov rbp, [rdi + 8]",
    "mov r12, [rdi + 16]",
    "mov r13, [rdi + 24]",
    "mov r14, [rdi + 32]",
    "mov r15, [rdi + 40]",
    "mov rsp, [rdi + 48]",
    "mov eax, 2",
    "ret",
    // on_stack(top, function, argument): the function must not return.
    ".globl banyan_calls_on_stack",
    ".hidden banyan_calls_on_stack",
    "banyan_calls_on_stack:",
    "mov rsp, rdi",
    "xor ebp, ebp",
    "mov rdi, rdx",
    "call rsi",
    "ud2",
    // on_other_stack(top, function, argument)
    ".globl banyan_calls_on_other_stack",
    ".hidden banyan_calls_on_other_stack",
    "banyan_calls_on_other_stack:",
    "push rbp",
    "mov rbp, rsp",
    "mov rsp, rdi",
    "mov rdi, rdx",
    "call rsi",
    "mov rsp, rbp",
    "pop rbp",
    "ret",
);

/// Makes `$name`, where code of another process's library or of the program jumps to instead of a function
/// that this process does not have. It saves all that may hold an argument as [`Registers`], puts the
/// arguments of `$target` where `$arguments` say (r10 and r11 are the jump's own, rsp points to the
/// registers), calls it, and returns with the results that it left in the registers.
macro_rules! entry {
    ($(#[$attribute:meta])* $name:ident, [$($arguments:literal),+], $target:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        extern "C" fn $name() {
            std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "sub rsp, 240",
                "mov [rsp], rdi",
                "mov [rsp + 8], rsi",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], rcx",
                "mov [rsp + 32], r8",
                "mov [rsp + 40], r9",
                "mov [rsp + 48], rax",
                "movups [rsp + 64], xmm0",
                "movups [rsp + 80], xmm1",
                "movups [rsp + 96], xmm2",
                "movups [rsp + 112], xmm3",
                "movups [rsp + 128], xmm4",
                "movups [rsp + 144], xmm5",
                "movups [rsp + 160], xmm6",
                "movups [rsp + 176], xmm7",
                "mov qword ptr [rsp + 208], 0",
                "lea rax, [rbp + 16]",
                "mov [rsp + 216], rax",
                $($arguments,)+
                "call {target}",
                "mov rax, [rsp + 48]",
                "mov rdx, [rsp + 56]",
                "movups xmm0, [rsp + 64]",
                "movups xmm1, [rsp + 80]",
                "test qword ptr [rsp + 208], 4",
                "jz 4f",
                "fld tbyte ptr [rsp + 224]",
                "4: test qword ptr [rsp + 208], 1",
                "jz 5f",
                "fld tbyte ptr [rsp + 192]",
                "5: leave",
                "ret",
                target = sym $target,
            )
        }
    };
}
pub(crate) use entry;

/// The registers that a function must preserve, at a point to come back to.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Context([u64; 7]);

impl Context {
    /// The stack pointer there.
    pub(crate) const fn stack_pointer(&self) -> u64 {
        self.0[6]
    }
}

unsafe extern "C" {
    fn banyan_calls_invoke(target: u64, registers: *mut Registers, words: *const u64, count: u64);
    fn banyan_calls_checkpoint(
        context: *mut Context,
        function: extern "C" fn(*mut u8),
        argument: *mut u8,
    ) -> u64;
    fn banyan_calls_resume(context: *const Context) -> !;
    fn banyan_calls_on_other_stack(
        top: u64,
        function: extern "C" fn(*mut u8) -> u64,
        argument: *mut u8,
    ) -> u64;
    fn banyan_calls_on_stack(top: u64, function: extern "C" fn(*mut u8) -> !, argument: *mut u8) -> !;
}

/// Calls `target` with `registers` and `words` on the stack; the results replace the registers.
///
/// # Safety
/// There must be a function at `target` for which these arguments are sound.
pub unsafe fn invoke(target: u64, registers: &mut Registers, words: &[u64]) {
    // SAFETY: the caller vouches for the function; the words are copied to the new frame.
    unsafe { banyan_calls_invoke(target, registers, words.as_ptr(), words.len() as u64) }
}

/// Calls `function(argument)`. Returns false when the stack was cut back to here meanwhile.
///
/// # Safety
/// `argument` must be what `function` expects.
pub(crate) unsafe fn checkpoint(
    context: *mut Context,
    function: extern "C" fn(*mut u8),
    argument: *mut u8,
) -> bool {
    // SAFETY: the caller's contract; the context outlives the call as the caller keeps it.
    unsafe { banyan_calls_checkpoint(context, function, argument) == 1 }
}

/// Cuts the stack back to a checkpoint; frames above it vanish without being dropped.
///
/// # Safety
/// The checkpoint's frame must still be live on this thread, and the frames above it must hold
/// nothing whose drop matters.
pub(crate) unsafe fn resume(context: *const Context) -> ! {
    // SAFETY: the caller's contract.
    unsafe { banyan_calls_resume(context) }
}

/// Continues in `function(argument)` on the stack below `top`, for good.
///
/// # Safety
/// `top` must be a multiple of 16 and the end of memory that nothing uses; `argument` must
/// be what `function` expects, and not lie on the stack that is left if that is given up.
pub(crate) unsafe fn on_stack(top: u64, function: extern "C" fn(*mut u8) -> !, argument: *mut u8) -> ! {
    // SAFETY: the caller's contract.
    unsafe { banyan_calls_on_stack(top, function, argument) }
}

/// Calls `function(argument)` on the stack below `top`, and comes back.
///
/// # Safety
/// `top` must be a multiple of 16 and the end of memory that nothing uses; `argument` must be what `function`
/// expects.
pub unsafe fn on_other_stack(top: u64, function: extern "C" fn(*mut u8) -> u64, argument: *mut u8) -> u64 {
    // SAFETY: the caller's contract.
    unsafe { banyan_calls_on_other_stack(top, function, argument) }
}
