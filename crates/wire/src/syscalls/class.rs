//! How a call is handled. Home threads, carriers and deputies each match every variant, so one that any of
//! them does not handle is a compile error.
//!
//! Not here: what a call's arguments are (`shape`).

/// Where a call is made, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Runs on the thread's own node; buffers are copied through memory of the stub. Native at home.
    Local,
    /// Executed at home: natively by a home thread, by its deputy for a thread elsewhere.
    Deputy(Handling),
    /// Done by the stub and its daemon, wherever the thread is.
    Emulate(Emulation),
    /// Another program takes the place of this one: natively that of a child which is still in this program's
    /// memory ([`CreationForm::Vfork`]), under Banyan that of the program. By a thread that is at home.
    Execute,
    /// Refused, in a way on which C libraries and language runtimes fall back.
    Refuse {
        /// The error that the program gets.
        errno: u16,
        /// Whether the run mentions it.
        notice: Notice,
    },
}

/// What the stub sees to before the home kernel makes a call of class [`Class::Deputy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Nothing: a home thread's call is not even trapped.
    Plain,
    /// Arguments are descriptors whose loss would harm the stub: its own look closed.
    Descriptors(DescriptorArguments),
    /// It reads a link, which may lead to the file of the process: the program must find its own, not the
    /// stub's.
    Link {
        /// The argument that is the link's path. The buffer and its size follow it.
        path: u8,
    },
    /// It opens a file, which may be one that shows the process: the program must find it as in a native run.
    Open {
        /// The argument that is the file's path. The flags follow it.
        path: u8,
    },
    /// It lists a directory, which may show what the stub has open, or its service thread.
    Listing {
        /// Where in an entry its name begins.
        name: u8,
    },
    /// It waits with a signal mask, from which the signal of the trap is taken out for a home thread.
    Mask(MaskPointer),
    /// The pages of words that the kernel looks at or writes are brought home first.
    Futex,
    /// As [`Handling::Futex`], of the calls that are about several words or have a number for each operation.
    Futexes,
    /// It writes the memory of a process, which may be the program's own: the stub copies that, for the
    /// kernel would hold pages that another node may take meanwhile.
    ProcessMemory,
    /// It would have a pipe hold pages of the program: the bytes are copied instead.
    Splice,
    /// It changes what the thread shares with others or sees of the system, which the stub's own thread must
    /// not be in the way of.
    Namespaces,
    /// It sends a signal: to every process only while the program has not been refused a fork, for -1 is what
    /// a refused fork returned.
    Kill,
    /// It sets the processors of a thread: a carrier that sets its own moves there too.
    Affinity,
    /// It tells what processor time was used, which is a sum over the nodes: see `Clock`.
    Usage,
    /// It is about a timer, which may run by processor time: then its home's daemon keeps it.
    Timer,
    /// It reads a clock. One of processor time is asked for at home, the others and the thread's own where it
    /// executes.
    Clock,
    /// It sleeps by a clock, as `Clock`: no kernel sleeps by processor time of several nodes.
    Sleep,
}

/// Which arguments of a call are descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorArguments {
    /// The first.
    First,
    /// The first and the second.
    FirstAndSecond,
}

/// Which argument of a call leads to a signal mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskPointer {
    /// This one points to the mask.
    Direct(u8),
    /// This one points to a pair: pointer to the mask, size of the mask.
    Paired(u8),
}

impl MaskPointer {
    /// The argument's index.
    #[must_use]
    pub const fn argument(self) -> u8 {
        match self {
            Self::Direct(index) | Self::Paired(index) => index,
        }
    }
}

/// Calls that the stub does in place of the kernel, by where their state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// The map of memory regions, kept by the home daemon.
    Memory(MemoryCall),
    /// State that is at home: done by the home thread itself, or by the deputy of a thread elsewhere.
    Home(HomeCall),
    /// State of the OS thread that executes the program: done where it is.
    Thread(ThreadCall),
}

/// Calls that ask about memory regions or change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryCall {
    /// `mmap`
    Map,
    /// `munmap`
    Unmap,
    /// `shmat`
    Attach,
    /// `shmdt`
    Detach,
    /// `mprotect`
    Protect,
    /// `brk`
    Break,
    /// `mremap`
    Remap,
    /// `madvise`
    Advise,
    /// `msync`
    Synchronize,
    /// `mincore`
    Residency,
    /// `mlock`, `mlock2`
    Lock,
    /// `munlock`
    Unlock,
    /// `mlockall`
    LockAll,
    /// `munlockall`
    UnlockAll,
}

/// Calls whose state is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeCall {
    /// `exit_group`
    EndProcess,
    /// `rt_sigaction`
    SignalAction,
    /// `rt_sigpending`
    PendingSignals,
    /// `set_tid_address`
    SetTidAddress,
    /// `set_robust_list`
    SetRobustList,
    /// `get_robust_list`
    GetRobustList,
    /// `prctl`
    ProcessControl,
    /// `close_range`
    CloseRange,
}

/// Calls whose state is the executing thread's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadCall {
    /// `rt_sigprocmask`
    SignalMask,
    /// `sigaltstack`
    AlternateStack,
    /// `rt_sigreturn`
    ReturnFromHandler,
    /// `arch_prctl`
    ArchitectureControl,
    /// `clone`, `clone3`, `fork`, `vfork`
    Create(CreationForm),
    /// `exit`
    End,
}

/// How a call says what the new thread or child is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationForm {
    /// `clone`: in its arguments.
    Arguments,
    /// `clone3`: in a structure, whose address and size are the arguments.
    Structure,
    /// `fork`: nothing. It makes a process with a copy of the program's memory.
    Fork,
    /// `vfork`: nothing. It makes a child that uses the program's memory, and the caller's stack, until it
    /// executes another program or ends; until then the caller waits.
    Vfork,
}

/// Whether the run mentions a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Once for each number.
    Once,
    /// Not at all: every C library tries it at each start.
    Never,
}
