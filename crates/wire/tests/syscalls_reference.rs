//! `docs/reference/syscalls.md` is generated from the table of system calls. This test fails when it is
//! stale. `BANYAN_REGENERATE=1 cargo test -p banyan-wire --test syscalls_reference` writes it anew.
#![forbid(unsafe_code)]

use banyan_wire::syscalls::{
    Class, CreationForm, Emulation, Handling, HomeCall, MemoryCall, Notice, SystemCall, ThreadCall, table,
};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const REGENERATE: &str = "BANYAN_REGENERATE=1 cargo test -p banyan-wire --test syscalls_reference";

const HEAD: &str = "\
# System calls

Every system call of x86-64 Linux and how it is handled when a program runs under `banyan run`. Generated from the
table in `crates/wire/src/syscalls/table.rs`, from which the filters and the handlers are derived too; a test fails when this
page and the table differ.

| class | how the call is handled |
|---|---|
| local | Runs on the node where the thread is. |
| deputy | Runs at home. A thread that is at home makes it itself; for a thread on another node its deputy, an OS thread at home, makes it with the same arguments and sends back the result. |
| emulated | Done by the runtime inside the program and the home daemon, wherever the thread is. |
| home only | Done at home: a thread that is elsewhere moves there for it. |
| refused | Fails with the errno in the table, on which C libraries and language runtimes fall back. |

A refused call is named once, in one line on standard error, but for those marked as quiet: newer or faster ways that programs
try first, and numbers that no kernel of today serves.
A number that is not in the table, of a newer kernel say, fails with `ENOSYS`. Calls through the 32-bit gate (`int 0x80`)
fail with `ENOSYS`.

";

fn class(call: SystemCall) -> &'static str {
    match call.class {
        Class::Local => "local",
        Class::Deputy(_) => "deputy",
        Class::Emulate(_) => "emulated",
        Class::Execute => "home only",
        Class::Refuse { .. } => "refused",
    }
}

fn name_of(errno: u16) -> &'static str {
    match u32::from(errno) {
        linux_raw_sys::errno::EPERM => "EPERM",
        linux_raw_sys::errno::EINVAL => "EINVAL",
        linux_raw_sys::errno::ENOSPC => "ENOSPC",
        linux_raw_sys::errno::ENOSYS => "ENOSYS",
        other => panic!("name errno {other} here"),
    }
}

/// What a program sees that differs from a native run, where that is more than the class says.
fn remark(call: SystemCall) -> String {
    match call.class {
        Class::Refuse { errno, notice: Notice::Once } => format!("fails with `{}`", name_of(errno)),
        Class::Refuse { errno, notice: Notice::Never } => format!("fails with `{}`, quietly", name_of(errno)),
        Class::Execute => {
            "the new program runs under Banyan as the old one did; that of a child runs natively".into()
        }
        Class::Deputy(Handling::Descriptors(_)) => "Banyan's own descriptors look closed".into(),
        Class::Deputy(Handling::Link { .. }) => "`/proc/self/exe` leads to the program's file".into(),
        Class::Deputy(Handling::Open { .. }) => {
            "`exe`, `maps`, `stat` and `status` of `/proc/self` are shown as in a native run, as they are at the call".into()
        }
        Class::Deputy(Handling::Listing { .. }) => {
            "Banyan's own descriptors and thread are not listed under `/proc`".into()
        }
        Class::Deputy(Handling::ProcessMemory | Handling::Splice) => "on several nodes bytes are copied".into(),
        Class::Deputy(Handling::Namespaces) => if call.name() == "setns" {
            "same as in a native run, but for user namespaces, which fail with `EINVAL`".into()
        } else {
            "same as in a native run, but `CLONE_NEWUSER`, and `CLONE_FILES` with several threads, fail with `ENOSYS`".into()
        },
        Class::Deputy(Handling::Futex | Handling::Futexes) => {
            "a word that the kernel looks at by its page, or writes, is brought home first"
                .into()
        }
        Class::Emulate(Emulation::Memory(call)) => of_memory(call).into(),
        Class::Emulate(Emulation::Home(call)) => at_home(call).into(),
        Class::Emulate(Emulation::Thread(call)) => of_thread(call).into(),
        Class::Deputy(Handling::Kill) => {
            "-1, every process, fails with `EPERM` after a refused fork, and is named on standard error".into()
        }
        Class::Deputy(Handling::Affinity) => {
            "of the home node; a thread elsewhere that sets its own moves to processors of the same numbers there"
                .into()
        }
        Class::Deputy(Handling::Usage) => {
            "processor time is the sum over the nodes; of the rest of `getrusage` the home node's".into()
        }
        Class::Deputy(Handling::Timer) if call.name() == "timer_getoverrun" => {
            "of a timer on processor time, on several nodes, it may be that of the next signal already; `si_overrun` is right"
                .into()
        }
        Class::Deputy(Handling::Timer) => "one on processor time runs by the sum over the nodes, and its signals say `SI_TIMER`".into(),
        Class::Deputy(Handling::Sleep) => {
            "by the clock of the thread's node; by processor time, which is the sum over the nodes".into()
        }
        Class::Deputy(Handling::Clock) => {
            "the clock of the thread's node; processor time is the sum over the nodes".into()
        }
        Class::Local | Class::Deputy(Handling::Plain | Handling::Mask(_)) => match call.name() {
            "getcpu" => "the processor's number on the thread's node",
            "sched_getaffinity" | "get_mempolicy" | "move_pages" => "of the home node",
            "set_mempolicy" | "mbind" | "migrate_pages" => "of what the home node has",
            "gettimeofday" | "time" => "the clock of the thread's node",
            _ => "",
        }
        .into(),
    }
}

const SAME: &str = "same as in a native run";

fn of_memory(call: MemoryCall) -> &'static str {
    match call {
        MemoryCall::Map => {
            "on several nodes a private mapping of a file, or a shared one of a file that is open for reading only, is a \
             copy made at the call, which does not see later changes of the file; other shared mappings of files and \
             devices are the home kernel's own, and threads that touch them go on at home; huge pages fail with `ENOMEM`"
        }
        MemoryCall::Unmap | MemoryCall::Protect | MemoryCall::Break | MemoryCall::Detach => SAME,
        MemoryCall::Attach => {
            "on several nodes the segment is the home kernel's own, and threads that touch it go on at home"
        }
        MemoryCall::Remap => "on several nodes the contents are copied when the mapping moves",
        MemoryCall::Advise => {
            "discarding gives the pages their first contents again on every node; hints do nothing on several nodes"
        }
        MemoryCall::Synchronize => SAME,
        MemoryCall::Residency => {
            "on several nodes all mapped memory counts as resident, on whichever node it is"
        }
        MemoryCall::Lock | MemoryCall::Unlock | MemoryCall::LockAll | MemoryCall::UnlockAll => {
            "on several nodes it is checked against the limit and locks nothing"
        }
    }
}

fn at_home(call: HomeCall) -> &'static str {
    match call {
        HomeCall::EndProcess
        | HomeCall::SignalAction
        | HomeCall::PendingSignals
        | HomeCall::SetTidAddress
        | HomeCall::SetRobustList
        | HomeCall::GetRobustList => SAME,
        HomeCall::ProcessControl => {
            "same as in a native run, but seccomp, `PR_SET_MM`, naming of mappings and dispatch of calls fail with \
             `EINVAL`"
        }
        HomeCall::CloseRange => "same as in a native run; Banyan's own descriptors stay open",
    }
}

fn of_thread(call: ThreadCall) -> &'static str {
    match call {
        ThreadCall::SignalMask
        | ThreadCall::AlternateStack
        | ThreadCall::ReturnFromHandler
        | ThreadCall::End => SAME,
        ThreadCall::ArchitectureControl => "the FS and the GS base; the rest fails with `EINVAL`",
        ThreadCall::Create(CreationForm::Fork | CreationForm::Vfork) => "as in a native run, at home",
        ThreadCall::Create(_) => {
            "makes threads; children that use the program's memory until they execute or end, with `CLONE_VM` and \
             `CLONE_VFORK`; and processes with copies of it, without both and without `CLONE_FILES`. Whatever else \
             shares parts of its maker, or has `CLONE_CLEAR_SIGHAND`, fails with `ENOSYS` for now"
        }
    }
}

fn page() -> String {
    let mut page = String::from(HEAD);
    let count = |wanted: &str| table().filter(|call| class(*call) == wanted).count();
    let _ = writeln!(
        page,
        "{} calls: {} local, {} deputy, {} emulated, {} home only, {} refused.\n",
        table().count(),
        count("local"),
        count("deputy"),
        count("emulated"),
        count("home only"),
        count("refused"),
    );
    page.push_str("| number | name | class | what a program sees |\n|---:|---|---|---|\n");
    for call in table() {
        let _ =
            writeln!(page, "| {} | `{}` | {} | {} |", call.number, call.name(), class(call), remark(call));
    }
    page
}

#[test]
fn the_reference_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/syscalls.md");
    let expected = page();
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        fs::write(&path, &expected).expect("the page can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(one, other)| one != other);
    assert!(
        found == expected,
        "docs/reference/syscalls.md is stale (line {}): {REGENERATE}",
        line.map_or(found.lines().count().min(expected.lines().count()), |line| line) + 1
    );
}

#[test]
fn every_emulated_or_home_only_call_says_what_a_program_sees() {
    let silent: Vec<&str> = table()
        .filter(|call| matches!(call.class, Class::Emulate(_) | Class::Execute) && remark(*call).is_empty())
        .map(SystemCall::name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
