//! Deliberate mistakes in the rules of the runtime, so that its tests can show that they would notice them.
//!
//! They are made only where debug assertions are on: elsewhere every question here is the constant `false`,
//! and the mistakes are not in the code.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Send what a failed event has sent.
    KeepMessages,
    /// Keep the actors that a failed event has created.
    KeepCreated,
    /// Become what a failed event wanted to become, with the next one.
    KeepNext,
    /// End with the next event, because a failed one has asked for it.
    KeepStop,
    /// Charge memory to a failed event.
    KeepSpent,
    /// Give nothing back that a failed event has set aside for another sponsor.
    LoseTransfer,
    /// Keep the name that a failed event has reserved.
    KeepName,
    /// Show a name before its event has completed.
    SeeReserved,
    /// Let a name be taken away that an event has reserved.
    TakeReserved,
    /// Keep the names of actors that have ended.
    KeepNameOfDead,
    /// Give an actor the address of the one that had its slot before.
    ReuseAddress,
    /// Run the events of an actor that waits for its supervisor's decision.
    RunHeld,
    /// Put held events behind those that came later.
    ReleaseLast,
    /// Let an actor wait for ever.
    WaitForever,
    /// Give a directive at once that is for later.
    DecideAtOnce,
    /// Ignore that a supervisor has failed at a report.
    ForgetOrphan,
    /// Ignore that a supervisor has ended.
    ForgetSupervisorEnd,
    /// Let any actor decide about any other.
    AnyoneDecides,
    /// Let any actor take away whom another one has had told of an end.
    AnyoneUnmonitors,
    /// Restart an actor with the state that it had.
    RestartAsIs,
    /// Leave a restarted actor the timers of its former life.
    KeepTimers,
    /// End linked actors with one that has stopped.
    EndLinkedOnStop,
    /// Tell nobody of an end.
    SilentEnd,
    /// Leave a request to an actor that is gone without an answer.
    SilentDead,
    /// Leave adapters to themselves.
    KeepBelongings,
    /// Keep an escalated failure from the overseer.
    NoOverseer,
    /// Drop what a removed configuration had not handled.
    DropUnhandled,
    /// Let a timer come that was cancelled when it was due.
    TakeCancelled,
    /// Let any actor cancel any timer.
    AnyoneCancels,
    /// Charge no memory for what comes from outside.
    ForgetPayment,
    /// Charge an answer twice.
    PayAnswerTwice,
    /// Say nothing of a question that was dropped.
    ForgetDropped,
    /// Charge a message for itself, whatever it points at.
    ChargeItself,
    /// Lose an event that cannot be paid for.
    LoseParked,
    /// Let the sponsors below a stopped one run on.
    KeepBelow,
    /// Give each configuration one event per turn.
    IgnoreWeight,
    /// Do not look whether there is room on a full disk again.
    RestForEver,
    /// Write every line of a flood.
    FloodLog,
    /// Give an actor no first event.
    NoStart,
    /// Let messages come before an actor's first event.
    StartLate,
    /// Put what an actor has put aside behind what came later.
    UnstashLast,
    /// Tell of what is given before that is kept.
    TellUnkept,
}

/// Every mistake.
#[cfg(debug_assertions)]
pub const MUTATIONS: [Mutation; 42] = [
    Mutation::KeepMessages,
    Mutation::KeepCreated,
    Mutation::KeepNext,
    Mutation::KeepStop,
    Mutation::KeepSpent,
    Mutation::LoseTransfer,
    Mutation::KeepName,
    Mutation::SeeReserved,
    Mutation::TakeReserved,
    Mutation::KeepNameOfDead,
    Mutation::ReuseAddress,
    Mutation::RunHeld,
    Mutation::ReleaseLast,
    Mutation::WaitForever,
    Mutation::DecideAtOnce,
    Mutation::ForgetOrphan,
    Mutation::ForgetSupervisorEnd,
    Mutation::AnyoneDecides,
    Mutation::AnyoneUnmonitors,
    Mutation::RestartAsIs,
    Mutation::KeepTimers,
    Mutation::EndLinkedOnStop,
    Mutation::SilentEnd,
    Mutation::SilentDead,
    Mutation::KeepBelongings,
    Mutation::NoOverseer,
    Mutation::DropUnhandled,
    Mutation::TakeCancelled,
    Mutation::AnyoneCancels,
    Mutation::ForgetPayment,
    Mutation::PayAnswerTwice,
    Mutation::ForgetDropped,
    Mutation::ChargeItself,
    Mutation::LoseParked,
    Mutation::KeepBelow,
    Mutation::IgnoreWeight,
    Mutation::RestForEver,
    Mutation::FloodLog,
    Mutation::NoStart,
    Mutation::StartLate,
    Mutation::UnstashLast,
    Mutation::TellUnkept,
];

#[cfg(debug_assertions)]
thread_local! {
    static MADE: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Runs something on this thread with a mistake in it.
#[cfg(debug_assertions)]
pub fn with<T>(mutation: Option<Mutation>, run: impl FnOnce() -> T) -> T {
    let before = MADE.replace(mutation);
    let result = run();
    MADE.set(before);
    result
}

/// Whether a mistake is to be made.
#[cfg(debug_assertions)]
#[inline]
pub(crate) fn makes(mutation: Mutation) -> bool {
    MADE.get() == Some(mutation)
}

/// Whether a mistake is to be made.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) const fn makes(_: Mutation) -> bool {
    false
}
