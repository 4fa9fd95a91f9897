//! The filter of a worker's system calls, compiled by `seccompiler`.
//!
//! A babysitter compiles it once, for workers that it has yet to fork: compiling allocates and takes longer
//! than a worker's start may. The rules that name the worker's own process are compiled for a stand-in, which
//! each worker replaces in its own copy before it installs the filter. Not for what else a worker may not do.

use super::Groups;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};
use std::collections::BTreeMap;
use std::io;

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
    // Within the limit of the process.
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_pause,
    libc::SYS_getppid,
    // Never reaches the kernel's: see `hide_clone3`.
    libc::SYS_clone3,
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
    libc::SYS_clone,
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

/// What rules compare with in place of the worker's process: no process has this number, and no system call.
const STAND_IN: u32 = u32::MAX - 1;

/// A filter of system calls, for one worker.
pub(crate) struct CallFilter(BpfProgram);

/// System calls, each with the rules of which one must hold, or none.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allows what any of `values` as first argument of the call allows.
fn first_argument(values: &[u32]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |&value: &u32| SeccompRule::new(vec![SeccompCondition::new(0, Dword, Eq, value.into())?]);
    values.iter().map(rule).collect()
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, matching, TargetArch::x86_64)?.try_into()
}

impl CallFilter {
    /// The filter for `groups`: calls outside them raise SIGSYS; new threads are allowed, new processes,
    /// signals to others and their limits only with [`Groups::PROCESSES`].
    ///
    /// # Errors
    /// The compiler's.
    pub(crate) fn new(groups: Groups) -> Result<Self, BackendError> {
        let processes = groups.has(Groups::PROCESSES);
        let lists = [
            (true, BASE),
            (groups.has(Groups::FILES_READ) || groups.has(Groups::FILES_WRITE), FILES_READ),
            (groups.has(Groups::FILES_WRITE), FILES_WRITE),
            (groups.has(Groups::NETWORK), NETWORK),
            (processes, PROCESSES),
        ];
        let wanted = lists.iter().filter(|(wanted, _)| *wanted).flat_map(|(_, list)| list.iter());
        let mut rules: Rules = wanted.map(|&call| (call, Vec::new())).collect();
        if !processes {
            let thread = u64::from(libc::CLONE_THREAD as u32);
            let is_thread = SeccompCondition::new(0, Dword, MaskedEq(thread), thread)?;
            rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
            // These two reach other processes as well: only for itself, which the second calls 0, too.
            rules.insert(libc::SYS_tgkill, first_argument(&[STAND_IN])?);
            rules.insert(libc::SYS_prlimit64, first_argument(&[STAND_IN, 0])?);
        }
        compile(rules, SeccompAction::Trap, SeccompAction::Allow).map(Self)
    }

    /// Installs the filter on the calling thread and its children. Allocates nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn install(&mut self) -> io::Result<()> {
        const COMPARE: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        let process = std::process::id();
        for step in self.0.iter_mut().filter(|step| step.code == COMPARE && step.k == STAND_IN) {
            step.k = process;
        }
        apply_filter(&self.0).map_err(|_| io::Error::last_os_error())
    }
}

/// Has `clone3` answer `ENOSYS` from now on, in children too, so that C libraries fall back on `clone`, whose
/// arguments a filter can see.
///
/// A filter of its own: one answers what it refuses in one way. The kernel takes the strictest answer, so
/// the other has to let `clone3` pass.
///
/// # Errors
/// The kernel's.
pub(crate) fn hide_clone3() -> io::Result<()> {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let answer = SeccompAction::Errno(libc::ENOSYS as u32);
    let program = compile(rules, SeccompAction::Allow, answer).map_err(io::Error::other)?;
    apply_filter(&program).map_err(|_| io::Error::last_os_error())
}
