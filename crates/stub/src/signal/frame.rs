//! The signal frame of x86-64 Linux: what the kernel pushes for a handler and takes back in `rt_sigreturn`.
//!
//! A thread of the program is such a frame in coherent memory plus an FS base: a thread that returns onto the
//! frame continues the thread. Source: arch/x86/include/uapi/asm/{sigcontext,ucontext}.h and
//! arch/x86/kernel/signal.c.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// General registers in the kernel's order (`struct sigcontext_64`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the registers")]
pub struct MachineContext {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub eflags: u64,
    pub cs: u16,
    pub gs: u16,
    pub fs: u16,
    pub ss: u16,
    pub err: u64,
    pub trapno: u64,
    pub oldmask: u64,
    pub cr2: u64,
    /// Address of the floating-point state, or 0 for none.
    pub fpstate: u64,
    pub reserved: [u64; 8],
}

/// `stack_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlternateStack {
    /// First byte.
    pub pointer: u64,
    /// `SS_` flags.
    pub flags: i32,
    /// Keeps `size` aligned.
    pub padding: i32,
    /// Bytes.
    pub size: u64,
}

/// `SS_DISABLE`: there is no alternate stack.
pub const ALTERNATE_STACK_DISABLED: i32 = linux_raw_sys::general::SS_DISABLE as i32;

/// `struct ucontext`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserContext {
    /// `UC_` flags.
    pub flags: u64,
    /// Always 0.
    pub link: u64,
    /// The alternate stack to set on return.
    pub stack: AlternateStack,
    /// Registers.
    pub registers: MachineContext,
    /// Signals blocked after the return; bit n-1 is signal n.
    pub mask: u64,
}

/// `siginfo_t`, as far as it is read here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalInformation {
    /// The signal.
    pub signal: i32,
    /// An errno, unused.
    pub error: i32,
    /// `SI_` code.
    pub code: i32,
    padding: i32,
    /// Address of a fault; the instruction after a trapped system call; the sender's process id (low half).
    pub address: u64,
    /// Of a trap: the number. Of a timer's: the lower half of its value.
    pub system_call: i32,
    /// Of a trap: the architecture. Of a timer's: the upper half of its value.
    pub architecture: u32,
    rest: [u64; 12],
}

impl SignalInformation {
    /// Whether a process sent the signal, and no instruction or event of the kernel raised it.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        self.code <= 0
    }

    /// Of a timer's: its value.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.system_call as u32 as u64 | (self.architecture as u64) << 32
    }

    /// The process that sent it by `kill` or `sigqueue`.
    #[must_use]
    pub const fn sender(&self) -> u32 {
        self.address as u32
    }
}

const _: () = assert!(size_of::<MachineContext>() == 256);
const _: () = assert!(core::mem::offset_of!(UserContext, registers) == 40);
const _: () = assert!(core::mem::offset_of!(UserContext, mask) == 296);
const _: () = assert!(size_of::<SignalInformation>() == 128);

/// `UC_FP_XSTATE`: the floating-point state is an XSAVE area.
pub const FP_XSTATE: u64 = 1;

/// Bytes of the FXSAVE image and of the XSAVE header after it: the least that a frame's floating-point state
/// has.
pub const LEGACY_STATE: usize = 512;
/// `FP_XSTATE_MAGIC1`, in the software-reserved bytes of the FXSAVE image at offset 464.
pub const EXTENDED_MAGIC: u32 = 0x4650_5853;
/// Offset of `struct _fpx_sw_bytes` in the FXSAVE image: magic, extended size (with the trailing magic),
/// features.
pub const SOFTWARE_BYTES: usize = 464;

/// What the kernel pushes for a handler: return address, context, information; the stack pointer of the
/// handler is the address of `return_address`, and that of `rt_sigreturn` is 8 more.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalFrame {
    /// Where the handler returns to: `sa_restorer`.
    pub return_address: u64,
    /// Registers and mask.
    pub context: UserContext,
    /// What happened.
    pub information: SignalInformation,
}
const _: () = assert!(size_of::<SignalFrame>() == 8 + 304 + 128);
