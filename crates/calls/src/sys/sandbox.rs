//! What a worker may not do: system call filter, file system rules, resource limits, namespaces.
//!
//! Each layer is applied on its own and says whether the kernel accepted it; nothing is assumed.
//! Not a policy: the caller says which groups of system calls the code needs. Not for the traps of
//! `banyan run`. Applies to the calling process for ever, so call it in a process made for the purpose.

use std::io;

/// Groups of system calls, as bits of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups(pub u32);

impl Groups {
    /// Opening and reading files.
    pub const FILES_READ: Self = Self(1);
    /// Creating, writing, renaming and removing files.
    pub const FILES_WRITE: Self = Self(2);
    /// Sockets.
    pub const NETWORK: Self = Self(4);
    /// Starting and signalling other processes.
    pub const PROCESSES: Self = Self(8);
    /// No filter at all.
    pub const EVERYTHING: Self = Self(16);

    /// Whether all groups of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const BASE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sched_yield,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_madvise,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_uname,
    libc::SYS_fcntl,
    libc::SYS_getcwd,
    libc::SYS_gettimeofday,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_getuid,
    libc::SYS_getgid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_time,
    libc::SYS_futex,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_restart_syscall,
    libc::SYS_arch_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_ioctl,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_close_range,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_prctl,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_pause,
    libc::SYS_getppid,
];
const FILES_READ: &[i64] = &[
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getdents,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_flock,
];
const FILES_WRITE: &[i64] = &[
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_fchown,
    libc::SYS_chown,
    libc::SYS_sync_file_range,
    libc::SYS_utime,
    libc::SYS_utimes,
];
const NETWORK: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_socketpair,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_sendmmsg,
];
const PROCESSES: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_prlimit64,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
];

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

/// The filter for `groups` in `process`: calls outside them raise SIGSYS; new threads are allowed, new
/// processes, signals to others and their limits only with [`Groups::PROCESSES`]; clone3 answers `ENOSYS`, so
/// that C libraries fall back on clone.
fn filter(groups: Groups, process: u32) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const X86_64: u32 = 0xc000_003e;
    let mut program = vec![
        statement(LOAD, 4),
        jump(EQUAL, X86_64, 1, 0),
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        statement(LOAD, 0),
    ];
    let processes = groups.has(Groups::PROCESSES);
    program.push(jump(EQUAL, libc::SYS_clone3 as u32, 0, 1));
    program.push(statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    program.push(jump(EQUAL, libc::SYS_clone as u32, 0, 4));
    program.push(statement(LOAD, 16));
    program.push(jump(ANY_BIT, libc::CLONE_THREAD as u32, 1, 0));
    program.push(statement(RETURN, if processes { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_TRAP }));
    program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    if !processes {
        // These two reach other processes as well: only for itself.
        for (number, itself) in [(libc::SYS_tgkill, process), (libc::SYS_prlimit64, 0)] {
            program.push(jump(EQUAL, number as u32, 0, 5));
            program.push(statement(LOAD, 16));
            program.push(jump(EQUAL, process, 1, 0));
            program.push(jump(EQUAL, itself, 0, 1));
            program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
            program.push(statement(RETURN, libc::SECCOMP_RET_TRAP));
        }
    }
    let lists = [
        (true, BASE),
        (groups.has(Groups::FILES_READ) || groups.has(Groups::FILES_WRITE), FILES_READ),
        (groups.has(Groups::FILES_WRITE), FILES_WRITE),
        (groups.has(Groups::NETWORK), NETWORK),
        (processes, PROCESSES),
    ];
    for number in lists.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, list)| list.iter()) {
        program.push(jump(EQUAL, *number as u32, 0, 1));
        program.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    }
    program.push(statement(RETURN, libc::SECCOMP_RET_TRAP));
    program
}

/// Forbids new privileges, which the other layers need; also forbids dumping core.
///
/// # Errors
/// The kernel's.
pub(crate) fn forbid_privileges() -> io::Result<()> {
    // SAFETY: plain prctl requests on ourselves.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    limit(libc::RLIMIT_CORE, 0)
}

/// Installs the system call filter for `groups` on the calling thread and its children.
///
/// # Errors
/// The kernel's.
pub(crate) fn filter_calls(groups: Groups) -> io::Result<()> {
    if groups.has(Groups::EVERYTHING) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the policy asks for no filter"));
    }
    let mut program = filter(groups, std::process::id());
    let description = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which outlives the call.
    unsafe {
        if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const description, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Denies the file system: everything without [`Groups::FILES_READ`], and changes without
/// [`Groups::FILES_WRITE`]. Files that are open stay open. Needs Landlock.
///
/// # Errors
/// The kernel's; `ENOSYS` or `EOPNOTSUPP` without Landlock; `Unsupported` when nothing is denied.
pub(crate) fn restrict_files(groups: Groups) -> io::Result<()> {
    const CREATE_RULESET: i64 = 444;
    const ADD_RULE: i64 = 445;
    const RESTRICT_SELF: i64 = 446;
    /// Rights of the first version of the interface: execute, write, read, directories, the makes and
    /// removes.
    const ALL: u64 = 0x1fff;
    const READS: u64 = 1 | 4 | 8;
    if groups.has(Groups::FILES_WRITE) || groups.has(Groups::EVERYTHING) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the policy allows all files"));
    }
    let handled = ALL;
    // SAFETY: the attributes outlive the calls; descriptors are closed here.
    unsafe {
        let ruleset = libc::syscall(CREATE_RULESET, &raw const handled, size_of::<u64>(), 0);
        if ruleset < 0 {
            return Err(io::Error::last_os_error());
        }
        if groups.has(Groups::FILES_READ) {
            let root = libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            #[repr(C, packed)]
            struct PathBeneath {
                allowed: u64,
                parent: i32,
            }
            let rule = PathBeneath { allowed: READS, parent: root };
            libc::syscall(ADD_RULE, ruleset, 1, &raw const rule, 0);
            libc::close(root);
        }
        let result = libc::syscall(RESTRICT_SELF, ruleset, 0);
        let error = io::Error::last_os_error();
        libc::close(ruleset as i32);
        if result != 0 { Err(error) } else { Ok(()) }
    }
}

/// Leaves the network and the System V objects of the machine behind, unless `groups` has the network.
///
/// # Errors
/// The kernel's; `EPERM` in many containers.
pub(crate) fn leave_namespaces(groups: Groups) -> io::Result<()> {
    let mut flags = libc::CLONE_NEWIPC;
    if !groups.has(Groups::NETWORK) && !groups.has(Groups::EVERYTHING) {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: affects only this process and its children.
    unsafe {
        if libc::unshare(flags) == 0 {
            return Ok(());
        }
        // Without privilege a user namespace gives the right to make the others. Identity stays
        // the same for files, but the numbers read as the overflow user; libraries seldom look.
        if libc::unshare(flags | libc::CLONE_NEWUSER) == 0 {
            return Ok(());
        }
    }
    Err(io::Error::last_os_error())
}

/// Limits one resource, hard.
///
/// # Errors
/// The kernel's.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads the struct.
    if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Limits private memory to `bytes`, files to `bytes` each, descriptors to 1024.
///
/// # Errors
/// The kernel's, of the first limit refused.
pub(crate) fn limit_resources(bytes: u64) -> io::Result<()> {
    limit(libc::RLIMIT_DATA, bytes)?;
    limit(libc::RLIMIT_NOFILE, 1024)
}
