//! The rows, by number. A row is named by the kernel's constant, from which both its number and its name are
//! taken.

use super::class::Class::{self, Deputy, Emulate, Execute, Local, Refuse};
use super::class::CreationForm;
use super::class::DescriptorArguments::{First, FirstAndSecond};
use super::class::Emulation::{Home, Memory, Thread};
use super::class::Handling::{
    Affinity, Clock, Descriptors, Futex, Futexes, Kill, Link, Listing, Mask, Namespaces, Open, Plain,
    ProcessMemory, Sleep, Splice, Timer, Usage,
};
use super::class::HomeCall::{
    CloseRange, EndProcess, GetRobustList, PendingSignals, ProcessControl, SetRobustList, SetTidAddress,
    SignalAction,
};
use super::class::MaskPointer::{Direct, Paired};
use super::class::MemoryCall::{
    Advise, Attach, Break, Detach, Lock, LockAll, Map, Protect, Remap, Residency, Synchronize, Unlock,
    UnlockAll, Unmap,
};
use super::class::Notice::{Never, Once};
use super::class::ThreadCall::{
    AlternateStack, ArchitectureControl, Create, End, ReturnFromHandler, SignalMask,
};
use super::shape::Argument::{self, FixedIn, FixedOut, In, Out, Path, Pointer, Value, VectorIn, VectorOut};
use super::{Said, number};
use linux_raw_sys::errno::{EINVAL, ENOSPC, ENOSYS, EPERM};
use linux_raw_sys::general as linux;

/// A row as it is written here.
struct Written {
    number: u16,
    class: Class,
    arguments: &'static [Argument],
    /// Class and arguments as they are written: rows of which this is equal say the same.
    text: &'static str,
}

/// Makes the rows, and their names beside them: a program that asks for no name does not contain them.
macro_rules! table {
    ($($number:ident, $class:expr, $arguments:expr;)*) => {
        const WRITTEN: &[Written] = &[
            $(Written {
                number: linux::$number as u16,
                class: $class,
                arguments: &$arguments,
                text: concat!(stringify!($class), stringify!($arguments)),
            },)*
        ];
        /// The names of the rows.
        pub(super) static NAMES: [&str; ROWS] = [$(name_of(stringify!($number)),)*];
    };
}

/// How many calls there are.
pub(super) const ROWS: usize = WRITTEN.len();

/// The row of each place, and which of [`ROWS_THAT_DIFFER`] says the same as it.
///
/// Every replica holds the table, and three of four rows say what another says: so each row is a byte.
pub(super) static SAME_AS: [u8; ROWS] = DIFFERENT.same_as;

/// What rows say, each once.
pub(super) static ROWS_THAT_DIFFER: [Said; DIFFERENT.count] = {
    let mut said = [Said { class: Local, first_argument: 0, arguments: 0 }; DIFFERENT.count];
    let mut row = 0;
    while row < ROWS {
        let Written { class, arguments, .. } = &WRITTEN[row];
        said[DIFFERENT.same_as[row] as usize] =
            Said { class: *class, first_argument: LISTS.first[row], arguments: arguments.len() as u8 };
        row += 1;
    }
    said
};

/// Which rows say the same.
struct Different {
    same_as: [u8; ROWS],
    count: usize,
}

const DIFFERENT: Different = {
    let mut different = Different { same_as: [0; ROWS], count: 0 };
    let mut row = 0;
    while row < ROWS {
        let mut earlier = 0;
        while earlier < row && !is_equal(WRITTEN[earlier].text, WRITTEN[row].text) {
            earlier += 1;
        }
        different.same_as[row] = if earlier < row {
            different.same_as[earlier]
        } else {
            different.count += 1;
            assert!(different.count <= u8::MAX as usize + 1, "a row is to stay a byte");
            (different.count - 1) as u8
        };
        row += 1;
    }
    different
};

/// `==` of texts cannot be used where the table is made.
const fn is_equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Each number must have exactly one row, in order.
const _: () = {
    let mut at = 0;
    while at < ROWS {
        assert!(number(at) == WRITTEN[at].number as usize, "a system call is missing or out of order");
        assert!(WRITTEN[at].arguments.len() <= 6);
        at += 1;
    }
};

/// The arguments of all rows; a list that is a part of what is there already is not there again.
pub(super) static ARGUMENTS: [Argument; LISTS.length] = *LISTS.all.first_chunk().expect("it is as long");

/// How the lists of arguments of all rows lie in one.
struct Lists {
    all: [Argument; ARGUMENTS_MAX],
    length: usize,
    /// Where each row's begins.
    first: [u8; ROWS],
}

const LISTS: Lists = {
    let mut lists = Lists { all: [Value; ARGUMENTS_MAX], length: 0, first: [0; ROWS] };
    let mut row = 0;
    while row < ROWS {
        let list = WRITTEN[row].arguments;
        let mut at = 0;
        while at + list.len() <= lists.length && !lie_at(&lists.all, at, list) {
            at += 1;
        }
        if at + list.len() > lists.length {
            at = lists.length;
            let mut argument = 0;
            while argument < list.len() {
                lists.all[at + argument] = list[argument];
                argument += 1;
            }
            lists.length += list.len();
        }
        assert!(at <= u8::MAX as usize, "a row is to stay small");
        lists.first[row] = at as u8;
        row += 1;
    }
    lists
};

const fn lie_at(all: &[Argument], at: usize, list: &[Argument]) -> bool {
    let mut argument = 0;
    while argument < list.len() {
        if !all[at + argument].is(list[argument]) {
            return false;
        }
        argument += 1;
    }
    true
}

/// As many as if no two lists had anything in common.
const ARGUMENTS_MAX: usize = {
    let (mut row, mut count) = (0, 0);
    while row < ROWS {
        count += WRITTEN[row].arguments.len();
        row += 1;
    }
    count
};

const fn refused(errno: u32) -> Class {
    Refuse { errno: errno as u16, notice: Once }
}

const fn refused_silently(errno: u32) -> Class {
    Refuse { errno: errno as u16, notice: Never }
}

/// The name of a call, given the name of the constant that is its number.
const fn name_of(constant: &'static str) -> &'static str {
    let (prefix, name) = constant.split_at("__NR_".len());
    assert!(matches!(prefix.as_bytes(), b"__NR_"));
    name
}

table! {
    __NR_read, Deputy(Plain), [Value, Out(2), Value];
    __NR_write, Deputy(Plain), [Value, In(2), Value];
    __NR_open, Deputy(Open { path: 0 }), [Path, Value, Value];
    __NR_close, Deputy(Descriptors(First)), [];
    __NR_stat, Deputy(Plain), [Path, FixedOut(144)];
    __NR_fstat, Deputy(Plain), [Value, FixedOut(144)];
    __NR_lstat, Deputy(Plain), [Path, FixedOut(144)];
    __NR_poll, Deputy(Plain), [];
    __NR_lseek, Deputy(Plain), [];
    __NR_mmap, Emulate(Memory(Map)), [];
    __NR_mprotect, Emulate(Memory(Protect)), [];
    __NR_munmap, Emulate(Memory(Unmap)), [];
    __NR_brk, Emulate(Memory(Break)), [];
    __NR_rt_sigaction, Emulate(Home(SignalAction)), [];
    __NR_rt_sigprocmask, Emulate(Thread(SignalMask)), [];
    __NR_rt_sigreturn, Emulate(Thread(ReturnFromHandler)), [];
    __NR_ioctl, Deputy(Plain), [];
    __NR_pread64, Deputy(Plain), [Value, Out(2), Value, Value];
    __NR_pwrite64, Deputy(Plain), [Value, In(2), Value, Value];
    __NR_readv, Deputy(Plain), [Value, VectorOut(2), Value];
    __NR_writev, Deputy(Plain), [Value, VectorIn(2), Value];
    __NR_access, Deputy(Plain), [Path, Value];
    __NR_pipe, Deputy(Plain), [FixedOut(8)];
    __NR_select, Deputy(Plain), [];
    __NR_sched_yield, Local, [];
    __NR_mremap, Emulate(Memory(Remap)), [];
    __NR_msync, Emulate(Memory(Synchronize)), [];
    __NR_mincore, Emulate(Memory(Residency)), [];
    __NR_madvise, Emulate(Memory(Advise)), [];
    __NR_shmget, Deputy(Plain), [];
    __NR_shmat, Emulate(Memory(Attach)), [];
    __NR_shmctl, Deputy(Plain), [];
    __NR_dup, Deputy(Plain), [];
    __NR_dup2, Deputy(Descriptors(FirstAndSecond)), [];
    __NR_pause, Deputy(Plain), [];
    __NR_nanosleep, Local, [FixedIn(16), FixedOut(16)];
    __NR_getitimer, Deputy(Timer), [];
    __NR_alarm, Deputy(Plain), [];
    __NR_setitimer, Deputy(Timer), [];
    __NR_getpid, Deputy(Plain), [];
    __NR_sendfile, Deputy(Plain), [];
    __NR_socket, Deputy(Plain), [];
    __NR_connect, Deputy(Plain), [Value, In(2), Value];
    __NR_accept, Deputy(Plain), [];
    __NR_sendto, Deputy(Plain), [Value, In(2), Value, Value, In(5), Value];
    __NR_recvfrom, Deputy(Plain), [Value, Out(2), Value, Value, Pointer, Pointer];
    __NR_sendmsg, Deputy(Plain), [];
    __NR_recvmsg, Deputy(Plain), [];
    __NR_shutdown, Deputy(Plain), [];
    __NR_bind, Deputy(Plain), [Value, In(2), Value];
    __NR_listen, Deputy(Plain), [];
    __NR_getsockname, Deputy(Plain), [];
    __NR_getpeername, Deputy(Plain), [];
    __NR_socketpair, Deputy(Plain), [Value, Value, Value, FixedOut(8)];
    __NR_setsockopt, Deputy(Plain), [Value, Value, Value, In(4), Value];
    __NR_getsockopt, Deputy(Plain), [];
    __NR_clone, Emulate(Thread(Create(CreationForm::Arguments))), [];
    __NR_fork, Emulate(Thread(Create(CreationForm::Fork))), [];
    __NR_vfork, Emulate(Thread(Create(CreationForm::Vfork))), [];
    __NR_execve, Execute, [];
    __NR_exit, Emulate(Thread(End)), [];
    __NR_wait4, Deputy(Plain), [Value, FixedOut(4), Value, FixedOut(144)];
    __NR_kill, Deputy(Kill), [];
    __NR_uname, Deputy(Plain), [FixedOut(390)];
    __NR_semget, Deputy(Plain), [];
    __NR_semop, Deputy(Plain), [];
    __NR_semctl, Deputy(Plain), [];
    __NR_shmdt, Emulate(Memory(Detach)), [];
    __NR_msgget, Deputy(Plain), [];
    __NR_msgsnd, Deputy(Plain), [];
    __NR_msgrcv, Deputy(Plain), [];
    __NR_msgctl, Deputy(Plain), [];
    __NR_fcntl, Deputy(Descriptors(First)), [];
    __NR_flock, Deputy(Plain), [];
    __NR_fsync, Deputy(Plain), [];
    __NR_fdatasync, Deputy(Plain), [];
    __NR_truncate, Deputy(Plain), [Path, Value];
    __NR_ftruncate, Deputy(Plain), [];
    __NR_getdents, Deputy(Listing { name: 18 }), [Value, Out(2), Value];
    __NR_getcwd, Deputy(Plain), [Out(1), Value];
    __NR_chdir, Deputy(Plain), [Path];
    __NR_fchdir, Deputy(Plain), [];
    __NR_rename, Deputy(Plain), [Path, Path];
    __NR_mkdir, Deputy(Plain), [Path, Value];
    __NR_rmdir, Deputy(Plain), [Path];
    __NR_creat, Deputy(Plain), [Path, Value];
    __NR_link, Deputy(Plain), [Path, Path];
    __NR_unlink, Deputy(Plain), [Path];
    __NR_symlink, Deputy(Plain), [Path, Path];
    __NR_readlink, Deputy(Link { path: 0 }), [Path, Out(2), Value];
    __NR_chmod, Deputy(Plain), [Path, Value];
    __NR_fchmod, Deputy(Plain), [];
    __NR_chown, Deputy(Plain), [Path, Value, Value];
    __NR_fchown, Deputy(Plain), [];
    __NR_lchown, Deputy(Plain), [Path, Value, Value];
    __NR_umask, Deputy(Plain), [];
    __NR_gettimeofday, Local, [FixedOut(16), FixedOut(8)];
    __NR_getrlimit, Deputy(Plain), [Value, FixedOut(16)];
    __NR_getrusage, Deputy(Usage), [Value, FixedOut(144)];
    __NR_sysinfo, Deputy(Plain), [FixedOut(112)];
    __NR_times, Deputy(Usage), [FixedOut(32)];
    __NR_ptrace, refused(EPERM), [];
    __NR_getuid, Deputy(Plain), [];
    __NR_syslog, Deputy(Plain), [];
    __NR_getgid, Deputy(Plain), [];
    __NR_setuid, Deputy(Plain), [];
    __NR_setgid, Deputy(Plain), [];
    __NR_geteuid, Deputy(Plain), [];
    __NR_getegid, Deputy(Plain), [];
    __NR_setpgid, Deputy(Plain), [];
    __NR_getppid, Deputy(Plain), [];
    __NR_getpgrp, Deputy(Plain), [];
    __NR_setsid, Deputy(Plain), [];
    __NR_setreuid, Deputy(Plain), [];
    __NR_setregid, Deputy(Plain), [];
    __NR_getgroups, Deputy(Plain), [];
    __NR_setgroups, Deputy(Plain), [];
    __NR_setresuid, Deputy(Plain), [];
    __NR_getresuid, Deputy(Plain), [];
    __NR_setresgid, Deputy(Plain), [];
    __NR_getresgid, Deputy(Plain), [];
    __NR_getpgid, Deputy(Plain), [];
    __NR_setfsuid, Deputy(Plain), [];
    __NR_setfsgid, Deputy(Plain), [];
    __NR_getsid, Deputy(Plain), [];
    __NR_capget, Deputy(Plain), [];
    __NR_capset, Deputy(Plain), [];
    __NR_rt_sigpending, Emulate(Home(PendingSignals)), [];
    __NR_rt_sigtimedwait, Deputy(Plain), [];
    __NR_rt_sigqueueinfo, Deputy(Plain), [];
    __NR_rt_sigsuspend, Deputy(Mask(Direct(0))), [Pointer, Value];
    __NR_sigaltstack, Emulate(Thread(AlternateStack)), [];
    __NR_utime, Deputy(Plain), [];
    __NR_mknod, Deputy(Plain), [Path, Value, Value];
    __NR_uselib, refused_silently(ENOSYS), [];
    __NR_personality, Deputy(Plain), [];
    __NR_ustat, Deputy(Plain), [];
    __NR_statfs, Deputy(Plain), [Path, FixedOut(120)];
    __NR_fstatfs, Deputy(Plain), [Value, FixedOut(120)];
    __NR_sysfs, Deputy(Plain), [];
    __NR_getpriority, Deputy(Plain), [];
    __NR_setpriority, Deputy(Plain), [];
    __NR_sched_setparam, Deputy(Plain), [];
    __NR_sched_getparam, Deputy(Plain), [];
    __NR_sched_setscheduler, Deputy(Plain), [];
    __NR_sched_getscheduler, Deputy(Plain), [];
    __NR_sched_get_priority_max, Deputy(Plain), [];
    __NR_sched_get_priority_min, Deputy(Plain), [];
    __NR_sched_rr_get_interval, Deputy(Plain), [];
    __NR_mlock, Emulate(Memory(Lock)), [];
    __NR_munlock, Emulate(Memory(Unlock)), [];
    __NR_mlockall, Emulate(Memory(LockAll)), [];
    __NR_munlockall, Emulate(Memory(UnlockAll)), [];
    __NR_vhangup, Deputy(Plain), [];
    __NR_modify_ldt, refused(EPERM), [];
    __NR_pivot_root, Deputy(Plain), [];
    __NR__sysctl, refused_silently(ENOSYS), [];
    __NR_prctl, Emulate(Home(ProcessControl)), [];
    __NR_arch_prctl, Emulate(Thread(ArchitectureControl)), [];
    __NR_adjtimex, Deputy(Plain), [];
    __NR_setrlimit, Deputy(Plain), [Value, FixedIn(16)];
    __NR_chroot, Deputy(Plain), [Path];
    __NR_sync, Deputy(Plain), [];
    __NR_acct, Deputy(Plain), [];
    __NR_settimeofday, Deputy(Plain), [];
    __NR_mount, Deputy(Plain), [];
    __NR_umount2, Deputy(Plain), [];
    __NR_swapon, Deputy(Plain), [];
    __NR_swapoff, Deputy(Plain), [];
    __NR_reboot, Deputy(Plain), [];
    __NR_sethostname, Deputy(Plain), [];
    __NR_setdomainname, Deputy(Plain), [];
    __NR_iopl, refused(EPERM), [];
    __NR_ioperm, refused(EPERM), [];
    __NR_create_module, refused_silently(ENOSYS), [];
    __NR_init_module, Deputy(Plain), [];
    __NR_delete_module, Deputy(Plain), [];
    __NR_get_kernel_syms, refused_silently(ENOSYS), [];
    __NR_query_module, refused_silently(ENOSYS), [];
    __NR_quotactl, Deputy(Plain), [];
    __NR_nfsservctl, refused_silently(ENOSYS), [];
    __NR_getpmsg, refused_silently(ENOSYS), [];
    __NR_putpmsg, refused_silently(ENOSYS), [];
    __NR_afs_syscall, refused_silently(ENOSYS), [];
    __NR_tuxcall, refused_silently(ENOSYS), [];
    __NR_security, refused_silently(ENOSYS), [];
    __NR_gettid, Deputy(Plain), [];
    __NR_readahead, Deputy(Plain), [];
    __NR_setxattr, Deputy(Plain), [];
    __NR_lsetxattr, Deputy(Plain), [];
    __NR_fsetxattr, Deputy(Plain), [];
    __NR_getxattr, Deputy(Plain), [Path, Path, Out(3), Value];
    __NR_lgetxattr, Deputy(Plain), [Path, Path, Out(3), Value];
    __NR_fgetxattr, Deputy(Plain), [Value, Path, Out(3), Value];
    __NR_listxattr, Deputy(Plain), [Path, Out(2), Value];
    __NR_llistxattr, Deputy(Plain), [Path, Out(2), Value];
    __NR_flistxattr, Deputy(Plain), [Value, Out(2), Value];
    __NR_removexattr, Deputy(Plain), [];
    __NR_lremovexattr, Deputy(Plain), [];
    __NR_fremovexattr, Deputy(Plain), [];
    __NR_tkill, Deputy(Plain), [];
    __NR_time, Local, [FixedOut(8)];
    __NR_futex, Deputy(Futex), [];
    __NR_sched_setaffinity, Deputy(Affinity), [Value, Value, In(1)];
    __NR_sched_getaffinity, Deputy(Plain), [Value, Value, Out(1)];
    __NR_set_thread_area, refused_silently(ENOSYS), [];
    __NR_io_setup, refused(ENOSYS), [];
    __NR_io_destroy, refused(ENOSYS), [];
    __NR_io_getevents, refused(ENOSYS), [];
    __NR_io_submit, refused(ENOSYS), [];
    __NR_io_cancel, refused(ENOSYS), [];
    __NR_get_thread_area, refused_silently(ENOSYS), [];
    __NR_lookup_dcookie, refused_silently(ENOSYS), [];
    __NR_epoll_create, Deputy(Plain), [];
    __NR_epoll_ctl_old, refused_silently(ENOSYS), [];
    __NR_epoll_wait_old, refused_silently(ENOSYS), [];
    __NR_remap_file_pages, refused(ENOSYS), [];
    __NR_getdents64, Deputy(Listing { name: 19 }), [Value, Out(2), Value];
    __NR_set_tid_address, Emulate(Home(SetTidAddress)), [];
    __NR_restart_syscall, Deputy(Plain), [];
    __NR_semtimedop, Deputy(Plain), [];
    __NR_fadvise64, Deputy(Plain), [];
    __NR_timer_create, Deputy(Timer), [];
    __NR_timer_settime, Deputy(Timer), [];
    __NR_timer_gettime, Deputy(Timer), [];
    __NR_timer_getoverrun, Deputy(Timer), [];
    __NR_timer_delete, Deputy(Timer), [];
    __NR_clock_settime, Deputy(Plain), [];
    __NR_clock_gettime, Deputy(Clock), [Value, FixedOut(16)];
    __NR_clock_getres, Deputy(Plain), [Value, FixedOut(16)];
    __NR_clock_nanosleep, Deputy(Sleep), [Value, Value, FixedIn(16), FixedOut(16)];
    __NR_exit_group, Emulate(Home(EndProcess)), [];
    __NR_epoll_wait, Deputy(Plain), [];
    __NR_epoll_ctl, Deputy(Plain), [Value, Value, Value, FixedIn(12)];
    __NR_tgkill, Deputy(Plain), [];
    __NR_utimes, Deputy(Plain), [];
    __NR_vserver, refused_silently(ENOSYS), [];
    __NR_mbind, Deputy(Plain), [];
    __NR_set_mempolicy, Deputy(Plain), [];
    __NR_get_mempolicy, Deputy(Plain), [];
    __NR_mq_open, Deputy(Plain), [];
    __NR_mq_unlink, Deputy(Plain), [];
    __NR_mq_timedsend, Deputy(Plain), [];
    __NR_mq_timedreceive, Deputy(Plain), [];
    __NR_mq_notify, Deputy(Plain), [];
    __NR_mq_getsetattr, Deputy(Plain), [];
    __NR_kexec_load, refused(EPERM), [];
    __NR_waitid, Deputy(Plain), [];
    __NR_add_key, Deputy(Plain), [];
    __NR_request_key, Deputy(Plain), [];
    __NR_keyctl, Deputy(Plain), [];
    __NR_ioprio_set, Deputy(Plain), [];
    __NR_ioprio_get, Deputy(Plain), [];
    __NR_inotify_init, Deputy(Plain), [];
    __NR_inotify_add_watch, Deputy(Plain), [Value, Path, Value];
    __NR_inotify_rm_watch, Deputy(Plain), [];
    __NR_migrate_pages, Deputy(Plain), [];
    __NR_openat, Deputy(Open { path: 1 }), [Value, Path, Value, Value];
    __NR_mkdirat, Deputy(Plain), [Value, Path, Value];
    __NR_mknodat, Deputy(Plain), [Value, Path, Value, Value];
    __NR_fchownat, Deputy(Plain), [Value, Path, Value, Value, Value];
    __NR_futimesat, Deputy(Plain), [];
    __NR_newfstatat, Deputy(Plain), [Value, Path, FixedOut(144), Value];
    __NR_unlinkat, Deputy(Plain), [Value, Path, Value];
    __NR_renameat, Deputy(Plain), [Value, Path, Value, Path];
    __NR_linkat, Deputy(Plain), [Value, Path, Value, Path, Value];
    __NR_symlinkat, Deputy(Plain), [Path, Value, Path];
    __NR_readlinkat, Deputy(Link { path: 1 }), [Value, Path, Out(3), Value];
    __NR_fchmodat, Deputy(Plain), [Value, Path, Value];
    __NR_faccessat, Deputy(Plain), [Value, Path, Value];
    __NR_pselect6, Deputy(Mask(Paired(5))), [Value, Pointer, Pointer, Pointer, Pointer, Pointer];
    __NR_ppoll, Deputy(Mask(Direct(3))), [Pointer, Value, Pointer, Pointer, Value];
    __NR_unshare, Deputy(Namespaces), [];
    __NR_set_robust_list, Emulate(Home(SetRobustList)), [];
    __NR_get_robust_list, Emulate(Home(GetRobustList)), [];
    __NR_splice, Deputy(Plain), [];
    __NR_tee, Deputy(Plain), [];
    __NR_sync_file_range, Deputy(Plain), [];
    __NR_vmsplice, Deputy(Splice), [];
    __NR_move_pages, Deputy(Plain), [];
    __NR_utimensat, Deputy(Plain), [Value, Path, Pointer, Value];
    __NR_epoll_pwait, Deputy(Mask(Direct(4))), [Value, Pointer, Value, Value, Pointer, Value];
    __NR_signalfd, Deputy(Plain), [];
    __NR_timerfd_create, Deputy(Plain), [];
    __NR_eventfd, Deputy(Plain), [];
    __NR_fallocate, Deputy(Plain), [];
    __NR_timerfd_settime, Deputy(Plain), [Value, Value, FixedIn(32), FixedOut(32)];
    __NR_timerfd_gettime, Deputy(Plain), [Value, FixedOut(32)];
    __NR_accept4, Deputy(Plain), [];
    __NR_signalfd4, Deputy(Plain), [];
    __NR_eventfd2, Deputy(Plain), [Value, Value];
    __NR_epoll_create1, Deputy(Plain), [];
    __NR_dup3, Deputy(Descriptors(FirstAndSecond)), [];
    __NR_pipe2, Deputy(Plain), [FixedOut(8), Value];
    __NR_inotify_init1, Deputy(Plain), [];
    __NR_preadv, Deputy(Plain), [Value, VectorOut(2), Value, Value, Value];
    __NR_pwritev, Deputy(Plain), [Value, VectorIn(2), Value, Value, Value];
    __NR_rt_tgsigqueueinfo, Deputy(Plain), [];
    __NR_perf_event_open, refused_silently(EPERM), [];
    __NR_recvmmsg, Deputy(Plain), [];
    __NR_fanotify_init, Deputy(Plain), [];
    __NR_fanotify_mark, Deputy(Plain), [];
    __NR_prlimit64, Deputy(Plain), [Value, Value, FixedIn(16), FixedOut(16)];
    __NR_name_to_handle_at, Deputy(Plain), [];
    __NR_open_by_handle_at, Deputy(Plain), [];
    __NR_clock_adjtime, Deputy(Plain), [];
    __NR_syncfs, Deputy(Plain), [];
    __NR_sendmmsg, Deputy(Plain), [];
    __NR_setns, Deputy(Namespaces), [];
    __NR_getcpu, Local, [FixedOut(4), FixedOut(4), Pointer];
    __NR_process_vm_readv, Deputy(Plain), [];
    __NR_process_vm_writev, Deputy(ProcessMemory), [];
    __NR_kcmp, refused(EPERM), [];
    __NR_finit_module, Deputy(Plain), [];
    __NR_sched_setattr, Deputy(Plain), [];
    __NR_sched_getattr, Deputy(Plain), [];
    __NR_renameat2, Deputy(Plain), [Value, Path, Value, Path, Value];
    __NR_seccomp, refused(EPERM), [];
    __NR_getrandom, Local, [Out(1), Value, Value];
    __NR_memfd_create, Deputy(Plain), [Path, Value];
    __NR_kexec_file_load, refused(EPERM), [];
    __NR_bpf, refused(EPERM), [];
    __NR_execveat, Execute, [];
    __NR_userfaultfd, refused_silently(ENOSYS), [];
    __NR_membarrier, Deputy(Plain), [];
    __NR_mlock2, Emulate(Memory(Lock)), [];
    __NR_copy_file_range, Deputy(Plain), [];
    __NR_preadv2, Deputy(Plain), [Value, VectorOut(2), Value, Value, Value, Value];
    __NR_pwritev2, Deputy(Plain), [Value, VectorIn(2), Value, Value, Value, Value];
    __NR_pkey_mprotect, refused_silently(EINVAL), [];
    __NR_pkey_alloc, refused_silently(ENOSPC), [];
    __NR_pkey_free, refused_silently(EINVAL), [];
    __NR_statx, Deputy(Plain), [Value, Path, Value, Value, FixedOut(256)];
    __NR_io_pgetevents, refused(ENOSYS), [];
    __NR_rseq, refused_silently(ENOSYS), [];
    __NR_uretprobe, refused(ENOSYS), [];
    __NR_pidfd_send_signal, Deputy(Plain), [];
    __NR_io_uring_setup, refused_silently(ENOSYS), [];
    __NR_io_uring_enter, refused_silently(ENOSYS), [];
    __NR_io_uring_register, refused_silently(ENOSYS), [];
    __NR_open_tree, Deputy(Plain), [];
    __NR_move_mount, Deputy(Plain), [];
    __NR_fsopen, Deputy(Plain), [];
    __NR_fsconfig, Deputy(Plain), [];
    __NR_fsmount, Deputy(Plain), [];
    __NR_fspick, Deputy(Plain), [];
    __NR_pidfd_open, Deputy(Plain), [];
    __NR_clone3, Emulate(Thread(Create(CreationForm::Structure))), [];
    __NR_close_range, Emulate(Home(CloseRange)), [];
    __NR_openat2, Deputy(Plain), [Value, Path, Pointer, Value];
    __NR_pidfd_getfd, Deputy(Plain), [];
    __NR_faccessat2, Deputy(Plain), [Value, Path, Value, Value];
    __NR_process_madvise, refused_silently(ENOSYS), [];
    __NR_epoll_pwait2, Deputy(Mask(Direct(4))), [Value, Pointer, Value, Pointer, Pointer, Value];
    __NR_mount_setattr, Deputy(Plain), [];
    __NR_quotactl_fd, Deputy(Plain), [];
    __NR_landlock_create_ruleset, Deputy(Plain), [];
    __NR_landlock_add_rule, Deputy(Plain), [];
    __NR_landlock_restrict_self, Deputy(Plain), [];
    __NR_memfd_secret, refused_silently(ENOSYS), [];
    __NR_process_mrelease, Deputy(Plain), [];
    __NR_futex_waitv, Deputy(Futexes), [];
    __NR_set_mempolicy_home_node, Deputy(Plain), [];
    __NR_cachestat, Deputy(Plain), [];
    __NR_fchmodat2, Deputy(Plain), [Value, Path, Value, Value];
    __NR_map_shadow_stack, refused_silently(ENOSYS), [];
    __NR_futex_wake, Deputy(Futexes), [];
    __NR_futex_wait, Deputy(Futexes), [];
    __NR_futex_requeue, Deputy(Futexes), [];
    __NR_statmount, Deputy(Plain), [];
    __NR_listmount, Deputy(Plain), [];
    __NR_lsm_get_self_attr, Deputy(Plain), [];
    __NR_lsm_set_self_attr, Deputy(Plain), [];
    __NR_lsm_list_modules, Deputy(Plain), [];
    __NR_mseal, refused_silently(ENOSYS), [];
    __NR_setxattrat, Deputy(Plain), [];
    __NR_getxattrat, Deputy(Plain), [];
    __NR_listxattrat, Deputy(Plain), [];
    __NR_removexattrat, Deputy(Plain), [];
    __NR_open_tree_attr, Deputy(Plain), [];
    __NR_file_getattr, Deputy(Plain), [];
    __NR_file_setattr, Deputy(Plain), [];
}
