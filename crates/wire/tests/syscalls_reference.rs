//! `docs/reference/syscalls.md` is generated from the table of system calls. This test fails when it is stale;
//! `BANYAN_REGENERATE=1 cargo test -p banyan-wire --test syscalls_reference` writes it anew.
#![forbid(unsafe_code)]

use banyan_wire::syscalls::{Class, SystemCall, TABLE};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const REGENERATE: &str = "BANYAN_REGENERATE=1 cargo test -p banyan-wire --test syscalls_reference";

const HEAD: &str = "\
# System calls

Every system call of x86-64 Linux and what becomes of it when a program runs under `banyan run`. Generated from the
table in `crates/wire/src/syscalls/table.rs`, from which the filters and the handlers are derived too; a test fails when this
page and the table differ.

| class | what becomes of the call |
|---|---|
| local | Runs on the node where the thread is. |
| deputy | Runs at home. A thread that is at home makes it itself, untouched; for a thread on another node its deputy, an OS thread at home, makes it with the same arguments and sends back the result. |
| emulated | Done by the runtime inside the program and the home daemon, wherever the thread is. |
| home only | Can only be done by a thread that is at home. Threads do not move while they run yet, so what the table says is refused is refused on every node. |
| refused | Fails with the errno in the table, on which C libraries and language runtimes fall back. |

A refused call is named once, in one line on standard error; `rseq`, which every C library asks for at each start, is not.
A number that is not in the table, of a newer kernel say, fails with `ENOSYS`. Calls through the 32-bit gate (`int 0x80`)
fail with `ENOSYS`.

";

fn class(call: &SystemCall) -> &'static str {
    match call.class {
        Class::Local => "local",
        Class::Deputy => "deputy",
        Class::Emulate => "emulated",
        Class::GoHome => "home only",
        Class::Refuse(_) => "refused",
    }
}

fn errno(number: u16) -> &'static str {
    match number {
        1 => "EPERM",
        19 => "ENODEV",
        22 => "EINVAL",
        28 => "ENOSPC",
        38 => "ENOSYS",
        12 => "ENOMEM",
        other => panic!("name errno {other} here"),
    }
}

/// What a program sees that it would not see natively, where that is more than the class says.
fn remark(call: &SystemCall) -> String {
    if let Class::Refuse(number) = call.class {
        return format!("fails with `{}`", errno(number));
    }
    let text = match call.name {
        "mmap" => {
            "private file mappings are copied when they are made: later changes of the file are not seen; a shared, \
             writable mapping of a file fails with `ENODEV`; huge pages fail with `ENOMEM`"
        }
        "mremap" => "the contents are copied when the mapping moves",
        "madvise" => "discarding makes the pages zero on every node; hints do nothing",
        "msync" => "nothing to write back: there are no shared, writable file mappings",
        "mincore" => "all mapped memory counts as resident, on whichever node it is",
        "mlock" | "mlockall" | "mlock2" | "munlock" | "munlockall" => "succeeds and pins nothing",
        "fork" | "vfork" | "execve" | "execveat" | "unshare" | "setns" => "fails with `ENOSYS` for now",
        "clone" | "clone3" => {
            "makes threads; without `CLONE_THREAD` it is a fork and fails with `ENOSYS` for now"
        }
        "rt_sigreturn" => "as natively at home; handlers do not run on threads elsewhere yet",
        "tkill" | "tgkill" | "rt_tgsigqueueinfo" => {
            "to a thread elsewhere: a default action takes place, a handler does not run and is named on standard error"
        }
        "rt_sigsuspend" => "as natively at home; fails with `ENOSYS` on a thread elsewhere for now",
        "rt_sigaction" => "as natively; `SIGSYS` is Banyan's and its disposition is only remembered",
        "rt_sigprocmask" => "as natively; blocking `SIGSYS` is only remembered",
        "arch_prctl" => "the FS base as natively; the GS base is Banyan's: `EINVAL`",
        "prctl" => {
            "as natively, but for seccomp, `PR_SET_MM`, naming of mappings and dispatch of calls: `EINVAL`"
        }
        "close_range" => "as natively; Banyan's own descriptors stay open",
        "close" | "dup2" | "dup3" | "fcntl" => "Banyan's own descriptors look closed",
        "ppoll" | "pselect6" | "epoll_pwait" | "epoll_pwait2" => {
            "as natively at home; a thread elsewhere waits without the signal mask"
        }
        "getcpu" => "the processor's number on the thread's node",
        "sched_getaffinity" | "sched_setaffinity" => "of the home node",
        "clock_gettime" | "gettimeofday" | "time" => "the clock of the thread's node",
        "exit" | "set_tid_address" | "set_robust_list" | "get_robust_list" | "exit_group" | "brk"
        | "mprotect" | "munmap" | "sigaltstack" | "rt_sigtimedwait" => "as natively",
        _ => return String::new(),
    };
    text.into()
}

fn page() -> String {
    let mut page = String::from(HEAD);
    let count = |wanted: &str| TABLE.iter().filter(|call| class(call) == wanted).count();
    let _ = writeln!(
        page,
        "{} calls: {} local, {} deputy, {} emulated, {} home only, {} refused.\n",
        TABLE.len(),
        count("local"),
        count("deputy"),
        count("emulated"),
        count("home only"),
        count("refused"),
    );
    page.push_str("| number | name | class | what a program sees |\n|---:|---|---|---|\n");
    for call in TABLE {
        let _ = writeln!(page, "| {} | `{}` | {} | {} |", call.number, call.name, class(call), remark(call));
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
    let silent: Vec<&str> = TABLE
        .iter()
        .filter(|call| matches!(call.class, Class::Emulate | Class::GoHome) && remark(call).is_empty())
        .map(|call| call.name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
