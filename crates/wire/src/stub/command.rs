//! What the daemon commands of the stub's service thread, and the replies.

use super::packet::{messages, records};
use super::{Nothing, Range};

messages! {
    /// What the daemon commands of the stub's service thread.
    Command {
        /// Start a carrier on the connection that comes beside it. Started or failed.
        1 StartCarrier(StartCarrier),
        /// Unmap a range: threads that touch it look it up again. Done or failed.
        2 Forget(Range),
        /// End at once. Not replied to.
        3 End(End),
        /// Say what processor time was used here. Used.
        4 ProcessorTime(TimeHere),
        /// Have a thread leave this node as soon as it runs the program. Done; or failed, with `ESRCH` if it
        /// is not here.
        5 Leave(LeaveNode),
        /// Raise the signal of a timer. Done.
        6 Raise(Raise),
    }
}

messages! {
    /// What the service thread replies.
    Reply {
        /// It is done.
        1 Done(Nothing),
        /// The kernel refused.
        2 Failed(Failed),
        /// A carrier was started.
        3 Started(Started),
        /// What was used.
        4 Used(Used),
    }
}

records! {
    /// A thread that is to execute here.
    StartCarrier {
        /// Its id at home.
        thread: u32,
    }

    /// A thread that is to leave.
    LeaveNode {
        /// Its id at home.
        thread: u32,
    }

    /// The signal of a timer on processor time.
    Raise {
        /// The thread that gets it, or 0 for the process.
        to: u64,
        /// How a `siginfo_t` of it begins; the rest is zero.
        information: [u64; 4],
    }

    /// The end of a replica.
    End {
        /// Its exit status.
        status: u32,
    }

    /// The kernel's refusal.
    Failed {
        /// Its error number.
        errno: u32,
    }

    /// Whose processor time is wanted.
    TimeHere {
        /// A thread's id at home, or 0 for all that this replica used.
        thread: u32,
    }

    /// Processor time, in nanoseconds. What is not told apart is user time.
    Used {
        /// In the program's code.
        user: u64,
        /// In the kernel.
        system: u64,
    }

    /// A new carrier.
    Started {
        /// Its id on this node.
        carrier: u32,
    }
}
