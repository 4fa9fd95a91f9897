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
    }
}

records! {
    /// A thread that is to execute here.
    StartCarrier {
        /// Its id at home.
        thread: u32,
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

    /// A new carrier.
    Started {
        /// Its id on this node.
        carrier: u32,
    }
}
