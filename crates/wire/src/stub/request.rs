//! What the stub asks of its daemon, and the answers.

use super::packet::{enumeration, messages, records};
use super::{Steps, Used};

messages! {
    /// What the stub asks of its daemon.
    Request {
        /// First request of a replica, which carries the userfaultfd, if there is one. Done.
        1 Hello(Hello),
        /// Ready to run. Steps to perform before asking again, the start of the program at home, or done
        /// elsewhere.
        2 Ready(Nothing),
        /// A memory call of the program, beside it the file whose copy is mapped, if any. Steps; the file
        /// that they read comes beside them.
        3 Memory(MemoryCall),
        /// The actions up to `Confirm` were performed on a range. Done.
        4 Confirm(Range),
        /// A range is unmapped here: make its pages zero on every node. Done when they are.
        5 Discard(Range),
        /// A replica touched an address that it has no mapping for. Steps, or at home if only that node can
        /// have it, or failed if the program has nothing there.
        6 Lookup(Lookup),
        /// Bring a range here before a system call uses it. Done when it is here, or late.
        7 Acquire(Acquire),
        /// A new thread of the program is about to start: where? Placed; the connection to the node comes
        /// beside it, unless it is home.
        8 StartThread(StartThread),
        /// The program ends. Done when the other replicas have ended and all is counted.
        9 Exit(Exit),
        /// Say a line to the person: a call was refused. Done.
        10 Refused(Refused),
        /// Bring the pages at these addresses here: a thread is about to start on them. Done when they are
        /// here, or late.
        11 Push(Push),
        /// A thread ends. Done.
        12 ThreadEnd(ThreadEnd),
        /// The steps after those that end with `More`. Steps.
        13 More(Nothing),
        /// A thread that executed on another node goes on at home. Done.
        14 CameHome(StoppedThread),
        /// What processor time was used on other nodes? Used.
        15 ProcessorTime(TimeElsewhere),
        /// The program opens a file that shows its process, to read it. Done, and the file beside it; or
        /// failed if the kernel's own is what it shall see.
        16 Open(Open),
        /// A thread was stopped at home to go on elsewhere: where? Placed; the connection to the node comes
        /// beside it, unless it is home.
        17 Move(StoppedThread),
        /// A program is executed, whose file comes beside this. Done, and beside it a script that begins a
        /// run like this one, to which the stub appends the program's path, what it is called by, the number
        /// of the device file of `FaultDevice` if it has that, that of the program's file if no path leads to
        /// it, and the signals that the program blocks as one number, each with a zero behind it; at home if
        /// what is executed is native; steps with an errno if it cannot be executed.
        18 Execute(Execute),
        /// The program is about to make a copy of its process. Done, and beside it the request socket of the
        /// copy; or failed.
        19 Fork(Nothing),
        /// The first requests of the copy. Steps to perform before asking again, what they read beside them;
        /// or done.
        20 Copied(Copied),
        /// The copy runs, or could not be made. Done when it has what it copies of this process's memory.
        21 Forked(Nothing),
        /// A call about a timer. Timer; or failed if it is none that runs by processor time, and the kernel
        /// has it.
        22 Timer(TimerCall),
        /// Where does a process get its page faults served that may not ask the kernel? Done, and the device
        /// file beside it; or failed.
        23 FaultDevice(Nothing),
        /// Which system calls of the program are trapped here? Done, and beside it a file of the seccomp
        /// filter's instructions.
        24 Filter(Filter),
    }
}

messages! {
    /// What the daemon answers.
    #[expect(clippy::large_enum_variant, reason = "there is no allocator")]
    Answer {
        /// It is done.
        1 Done(Nothing),
        /// It cannot be done.
        2 Failed(Nothing),
        /// Kernel operations to perform, and a result.
        3 Steps(Steps),
        /// The program starts. Its file comes beside it.
        4 Enter(Enter),
        /// Where the new thread executes.
        5 Placed(Placed),
        /// Only the home node can have it.
        6 AtHome(Nothing),
        /// What was used.
        7 Used(Used),
        /// The timer runs by processor time.
        8 Timer(TimerState),
    }
}

records! {
    /// No fields.
    Nothing {}

    /// A replica introduces itself.
    Hello {
        /// The version of these records.
        version: u32,
        /// Its process id.
        process: u32,
        /// Why there is no userfaultfd: an errno, or 0 if there is one.
        error: u32,
    }

    /// What the filter of a replica's system calls must know of it.
    Filter {
        /// The one instruction of the stub that makes a call for the program.
        called_for_program: u64,
        /// Descriptors from here on are the stub's.
        descriptor_floor: u32,
        /// Whose the code in the low range of addresses is.
        low: LowCode,
    }

    /// A process that is a copy of another one.
    Copied {
        /// Its process id.
        process: u32,
    }

    /// A memory call of the program.
    MemoryCall {
        /// The call's arguments.
        arguments: [u64; 6],
        /// The soft limit `RLIMIT_AS`.
        address_space: u64,
        /// The soft limit `RLIMIT_DATA`.
        data: u64,
        /// The soft limit `RLIMIT_MEMLOCK`, or all ones for a process that has none.
        locked: u64,
        /// For `mmap`, what is mapped.
        source: MapSource,
        /// The call's number.
        number: u32,
        /// The node whose thread called.
        node: u32,
    }

    /// A range of addresses.
    Range {
        /// First byte.
        address: u64,
        /// Bytes.
        length: u64,
    }

    /// An access that met no mapping.
    Lookup {
        /// The address.
        address: u64,
        /// The `PROT_` bit that the access needs.
        protection: u64,
    }

    /// Memory that a system call is going to use.
    Acquire {
        /// First byte.
        address: u64,
        /// Bytes.
        length: u64,
        /// What the call does with it.
        purpose: Purpose,
    }

    /// A program that is executed.
    Execute {
        /// Whose process it is executed in.
        by: Executes,
    }

    /// A thread of the program that has been created.
    StartThread {
        /// Its id at home.
        thread: u32,
    }

    /// Whose processor time is wanted.
    TimeElsewhere {
        /// A thread's id at home, or 0 for all that was used on other nodes.
        thread: u32,
        /// The node where it executes, or 0 for all.
        node: u32,
    }

    /// A call about a timer.
    TimerCall {
        /// Number of the call.
        number: u32,
        /// The timer's number; of one of setitimer(2) its number there.
        timer: u32,
        /// Id at home of the thread that makes the call.
        thread: u32,
        /// The first argument, as it is: of timer_create(2) the clock.
        clock: u32,
        /// The second argument.
        second: u64,
        /// The third argument.
        third: u64,
        /// What lies where the call reads: a `struct itimerspec`, a `struct itimerval`, the first half of a
        /// `struct sigevent`; else zeroes. Of timer_getoverrun(2) a 1 if the stub asks, which has just taken
        /// the timer's signal.
        read: [u64; 4],
    }

    /// What a call about a timer returns and writes.
    TimerState {
        /// A negated errno, or what the call returns.
        result: i64,
        /// What was left, as a structure like the one that the call reads.
        was: [u64; 4],
    }

    /// A file that shows the process.
    Open {
        /// The id of the thread in whose directory it is; 0 for the one of the process.
        thread: u32,
        /// Its path there, filled up with zeroes.
        path: [u8; 44],
    }

    /// The program's end.
    Exit {
        /// Its exit status.
        status: u64,
        /// Threads that it started, the first one included.
        threads: u64,
    }

    /// A call that was not served.
    Refused {
        /// Number of the call.
        number: u64,
        /// Why.
        reason: Refusal,
        /// What the program got.
        errno: u32,
    }

    /// Addresses that a new thread needs first.
    Push {
        /// The top of its stack.
        stack: u64,
        /// Its thread control block.
        fs_base: u64,
    }

    /// A thread that stands still at home.
    StoppedThread {
        /// Its id.
        thread: u64,
        /// Nanoseconds of processor time that it used on other nodes.
        used: u64,
    }

    /// A thread that ends. Both its carrier and home say so, each to its own daemon.
    ThreadEnd {
        /// Its id at home.
        thread: u32,
        /// System calls that its deputy made, if its carrier says so; else 0.
        deputy_calls: u32,
    }

    /// Where the program starts.
    Enter {
        /// Its first instruction.
        instruction: u64,
        /// Its stack pointer.
        stack: u64,
        /// Address of the path of its file.
        executable: u64,
        /// Where its break begins.
        program_break: u64,
    }

    /// Where a new thread executes.
    Placed {
        /// The node; 0 is home.
        node: u32,
    }
}

impl TimerCall {
    /// What stands in `read` of a call that reads nothing of the program, and that is the stub's own: it asks
    /// for the overruns of a timer whose signal it has just taken.
    pub const SIGNAL_TAKEN: [u64; 4] = [1, 0, 0, 0];
}

enumeration! {
    /// What a new mapping shows.
    MapSource: u64 {
        /// Zeroes.
        0 Zeroes,
        /// A copy of the file that comes beside the call.
        1 Copied,
        /// What the kernel maps at home, after the steps.
        2 Kernel,
        /// A System V segment that is attached there after the steps.
        3 Segment,
    }
}

enumeration! {
    /// What a system call does with memory.
    Purpose: u64 {
        /// It reads it.
        0 Read,
        /// It writes it.
        1 Write,
    }
}

enumeration! {
    /// Whose the code in the low range of addresses is.
    LowCode: u32 {
        /// The program's, which is not position-independent.
        0 OfProgram,
        /// Programs' that a child executes: filters outlive exec.
        1 OfOthers,
    }
}

enumeration! {
    /// Who executes another program.
    Executes: u32 {
        /// The program, in its place.
        0 Program,
        /// A child or a copy of the process.
        1 Child,
    }
}

enumeration! {
    /// Why a call was refused; the daemon turns it into one line on the standard error of the run.
    Refusal: u32 {
        /// The call is not served yet.
        1 NotTreated,
        /// A signal to every process after a refused fork.
        2 KillAfterRefusedFork,
    }
}
