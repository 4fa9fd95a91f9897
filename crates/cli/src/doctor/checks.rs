//! What of the facts about a machine is enough for Banyan, and what to type where it is not. A pure list:
//! facts in, lines out.

use banyan_node::doctor::{
    DESCRIPTORS_HIDDEN, Facts, FaultService, LOWEST_PROGRAM_ADDRESS, SIGNAL_FRAME_MAX,
};
use serde::Serialize;

/// The oldest kernel that everything was built for.
const KERNEL: (u32, u32) = (6, 8);
/// What kernels come with; fewer mappings are used up by programs with many threads.
const MAPPINGS: u64 = 65_530;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Enough.
    Ok,
    /// Programs run, some of them slower or not at all.
    Warn,
    /// Nothing runs.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What was looked at. Stable: scripts may ask for it.
    pub(crate) name: &'static str,
    /// How it stands.
    pub(crate) status: Status,
    /// What was found.
    pub(crate) found: String,
    /// What to type or change; only where something is not in order.
    pub(crate) fix: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, status: Status::Ok, found: found.into(), fix: None }
}

fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, status: Status::Warn, found: found.into(), fix: Some(fix.into()) }
}

fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, status: Status::Fail, found: found.into(), fix: Some(fix.into()) }
}

/// Judges the facts, the most fundamental first.
pub(crate) fn checks(facts: &Facts) -> Vec<Check> {
    vec![
        architecture(facts),
        kernel(facts),
        userfaultfd(facts),
        userfaultfd_features(facts),
        seccomp(facts),
        memory_file(facts),
        memory_file_execution(facts),
        huge_pages(facts),
        mappings(facts),
        addresses(facts),
        low_addresses(facts),
        address_space(facts),
        open_files(facts),
        loopback(facts),
        scheduling(facts),
        overcommit(facts),
        signal_frames(facts),
    ]
}

fn architecture(facts: &Facts) -> Check {
    match facts.machine.as_str() {
        "x86_64" => ok("architecture", "x86-64"),
        other => fail("architecture", other, "use an x86-64 machine: Banyan has no port to others yet"),
    }
}

/// The first two numbers of a release such as `6.8.0-45-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel(facts: &Facts) -> Check {
    let fix = format!("boot a kernel {}.{} or newer", KERNEL.0, KERNEL.1);
    match version(&facts.kernel_release) {
        Some(found) if found >= KERNEL => ok("kernel", format!("Linux {}", facts.kernel_release)),
        Some(_) => fail("kernel", format!("Linux {} is too old", facts.kernel_release), fix),
        None => warn("kernel", format!("release {:?} has no version number", facts.kernel_release), fix),
    }
}

fn userfaultfd(facts: &Facts) -> Check {
    const NAME: &str = "userfaultfd";
    match &facts.fault_service {
        FaultService::Works => ok(NAME, "allowed: a page fault inside the kernel was served"),
        // The features are judged in a line of their own.
        FaultService::Lacks(_) => ok(NAME, "allowed"),
        FaultService::NotPermitted => fail(
            NAME,
            "this user may not serve page faults that happen inside the kernel",
            "sudo setfacl -m u:$USER:rw /dev/userfaultfd    (or, for every user: sudo sysctl -w vm.unprivileged_userfaultfd=1)",
        ),
        FaultService::Absent => fail(
            NAME,
            "this kernel, or this container's filter, has no userfaultfd",
            "boot a kernel with CONFIG_USERFAULTFD=y; in a container: docker run --security-opt seccomp=unconfined",
        ),
        FaultService::Broken(reason) => fail(
            NAME,
            format!("it does not work: {reason}"),
            format!("boot another kernel than {}", facts.kernel_release),
        ),
    }
}

fn userfaultfd_features(facts: &Facts) -> Check {
    const NAME: &str = "userfaultfd features";
    match &facts.fault_service {
        FaultService::Lacks(missing) => fail(
            NAME,
            format!("missing: {}", missing.join(", ")),
            format!("boot a kernel {}.{} or newer", KERNEL.0, KERNEL.1),
        ),
        FaultService::Works | FaultService::Broken(_) => {
            ok(NAME, "missing, minor and write-protect faults of shared memory")
        }
        FaultService::NotPermitted | FaultService::Absent => {
            warn(NAME, "unknown: userfaultfd cannot be opened", "see the line above")
        }
    }
}

fn seccomp(facts: &Facts) -> Check {
    if facts.seccomp_trap {
        return ok("seccomp", "system calls can be trapped");
    }
    fail(
        "seccomp",
        "the kernel cannot turn a system call into a signal",
        "boot a kernel with CONFIG_SECCOMP_FILTER=y; in a container: docker run --security-opt seccomp=unconfined",
    )
}

fn memory_file(facts: &Facts) -> Check {
    const NAME: &str = "memory file";
    match (facts.file_size_limit, &facts.memory_file_problem) {
        (Some(limit), _) => fail(
            NAME,
            format!("files may not exceed {}; it spans 80 TiB", bytes(limit)),
            "ulimit -f unlimited",
        ),
        (None, Some(problem)) => {
            fail(NAME, problem.clone(), "make room: free memory, or raise the limits of this container")
        }
        (None, None) => ok(NAME, "a sparse file for all of a program's memory can be made"),
    }
}

fn memory_file_execution(facts: &Facts) -> Check {
    if facts.memory_files_executable {
        return ok("executable memory", "memory files may be executed");
    }
    fail("executable memory", "memory files may not be executed", "sudo sysctl -w vm.memfd_noexec=0")
}

fn huge_pages(facts: &Facts) -> Check {
    const NAME: &str = "huge pages";
    match facts.shared_huge_pages.as_deref() {
        Some(setting @ ("always" | "within_size" | "force")) => warn(
            NAME,
            format!("shared memory gets them ({setting}): taking back one page must split 512"),
            "echo advise | sudo tee /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        ),
        Some(setting) => ok(NAME, format!("not used for shared memory ({setting})")),
        None => ok(NAME, "the kernel has none for shared memory"),
    }
}

fn mappings(facts: &Facts) -> Check {
    const NAME: &str = "mappings";
    let fix = format!("sudo sysctl -w vm.max_map_count={}", MAPPINGS * 4);
    match facts.mappings_max {
        Some(most) if most >= MAPPINGS => ok(NAME, format!("{most} in a process")),
        Some(most) => {
            warn(NAME, format!("{most} in a process; programs with many threads may need more"), fix)
        }
        None => warn(NAME, "vm.max_map_count cannot be read", "mount /proc"),
    }
}

fn addresses(facts: &Facts) -> Check {
    if facts.addresses_taken.is_empty() {
        return ok("addresses", "16 to 80 TiB and the runtime's place are free");
    }
    let taken: Vec<String> = facts.addresses_taken.iter().map(|address| format!("{address:#x}")).collect();
    fail(
        "addresses",
        format!("nothing can be mapped at {}", taken.join(", ")),
        "ulimit -v unlimited; if that is the case already, start without what was preloaded (LD_PRELOAD, a sanitizer)",
    )
}

fn low_addresses(facts: &Facts) -> Check {
    const NAME: &str = "low addresses";
    match facts.lowest_address {
        Some(lowest) if lowest > LOWEST_PROGRAM_ADDRESS => warn(
            NAME,
            format!(
                "none below {lowest:#x}: some programs that are linked at a fixed address cannot be loaded"
            ),
            format!("sudo sysctl -w vm.mmap_min_addr={LOWEST_PROGRAM_ADDRESS}"),
        ),
        _ => ok(NAME, "programs that are linked at a fixed address can be loaded"),
    }
}

fn address_space(facts: &Facts) -> Check {
    match facts.address_space_limit {
        None => ok("address space", "not limited"),
        Some(limit) => warn(
            "address space",
            format!("limited to {}; programs under Banyan reserve more than natively", bytes(limit)),
            "ulimit -v unlimited",
        ),
    }
}

fn open_files(facts: &Facts) -> Check {
    const NAME: &str = "open files";
    let (soft, hard) = (facts.open_files_soft, facts.open_files_hard);
    if hard >= soft.saturating_add(DESCRIPTORS_HIDDEN) {
        return ok(
            NAME,
            format!("{} for the program, {DESCRIPTORS_HIDDEN} above them for Banyan", count(soft)),
        );
    }
    let room = hard.saturating_sub(DESCRIPTORS_HIDDEN);
    let fix = if room >= 1024 {
        format!("ulimit -Sn {room}    (leaves the numbers above it to Banyan)")
    } else {
        format!("raise the hard limit: ulimit -Hn {}, as root or in limits.conf", DESCRIPTORS_HIDDEN + 1024)
    };
    let found = format!(
        "soft limit {}, hard limit {}: the last numbers of the program's own are used",
        count(soft),
        count(hard)
    );
    warn(NAME, found, fix)
}

fn loopback(facts: &Facts) -> Check {
    match &facts.loopback {
        Ok(time) => ok("loopback", format!("TCP works, {} us there and back", time.as_micros())),
        Err(problem) => fail("loopback", format!("TCP over 127.0.0.1: {problem}"), "sudo ip link set lo up"),
    }
}

fn scheduling(facts: &Facts) -> Check {
    if facts.real_time {
        return ok("scheduling", "threads may ask for SCHED_FIFO");
    }
    warn(
        "scheduling",
        "SCHED_FIFO is not allowed: on a busy machine page faults wait longer for a processor",
        "ulimit -r 1, after adding `* - rtprio 1` to /etc/security/limits.conf",
    )
}

fn overcommit(facts: &Facts) -> Check {
    const STRICT: u64 = 2;
    match facts.overcommit {
        Some(STRICT) => warn(
            "overcommit",
            "strict (2): programs that reserve much more memory than they use may get none",
            "sudo sysctl -w vm.overcommit_memory=0",
        ),
        Some(mode) => ok("overcommit", format!("memory is given when it is used ({mode})")),
        None => ok("overcommit", "the kernel does not say"),
    }
}

fn signal_frames(facts: &Facts) -> Check {
    const NAME: &str = "signal frames";
    let state = facts.extended_state_bytes;
    match facts.signal_stack_min {
        Some(least) if least < state => fail(
            NAME,
            format!("the kernel says {least} bytes, the processor's registers alone take {state}"),
            "boot another kernel",
        ),
        Some(least) if least > SIGNAL_FRAME_MAX => fail(
            NAME,
            format!("{least} bytes; the runtime's stacks hold frames up to {SIGNAL_FRAME_MAX}"),
            "boot with clearcpuid=amx_tile, or report this processor",
        ),
        Some(least) => {
            ok(NAME, format!("{least} bytes, of which {state} are registers; {SIGNAL_FRAME_MAX} fit"))
        }
        None => warn(NAME, "the kernel does not say how large they are", "boot a kernel 5.14 or newer"),
    }
}

fn count(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".into() } else { limit.to_string() }
}

fn bytes(limit: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    if limit >= MEBIBYTE { format!("{} MiB", limit / MEBIBYTE) } else { format!("{limit} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn good() -> Facts {
        Facts {
            machine: "x86_64".into(),
            kernel_release: "6.8.0-45-generic".into(),
            processors: 2,
            memory_bytes: 1 << 30,
            fault_service: FaultService::Works,
            seccomp_trap: true,
            memory_file_problem: None,
            file_size_limit: None,
            memory_files_executable: true,
            shared_huge_pages: Some("never".into()),
            mappings_max: Some(65_530),
            lowest_address: Some(65_536),
            addresses_taken: Vec::new(),
            address_space_limit: None,
            open_files_soft: 1024,
            open_files_hard: 524_288,
            loopback: Ok(Duration::from_micros(9)),
            real_time: true,
            overcommit: Some(0),
            extended_state_bytes: 2696,
            signal_stack_min: Some(3632),
        }
    }

    fn worst(facts: &Facts) -> Vec<(&'static str, Status)> {
        let all = checks(facts);
        assert!(all.iter().all(|check| (check.status == Status::Ok) == check.fix.is_none()), "{all:?}");
        all.iter()
            .filter(|check| check.status != Status::Ok)
            .map(|check| (check.name, check.status))
            .collect()
    }

    #[test]
    fn a_good_machine_has_nothing_to_fix() {
        assert_eq!(worst(&good()), []);
    }

    #[test]
    fn each_fault_is_named_once() {
        type Change = fn(&mut Facts);
        let cases: [(Change, &str, Status); 16] = [
            (|facts| facts.machine = "aarch64".into(), "architecture", Status::Fail),
            (|facts| facts.kernel_release = "6.7.12".into(), "kernel", Status::Fail),
            (|facts| facts.kernel_release = "unknown".into(), "kernel", Status::Warn),
            (|facts| facts.fault_service = FaultService::Broken("no".into()), "userfaultfd", Status::Fail),
            (
                |facts| facts.fault_service = FaultService::Lacks(vec!["X"]),
                "userfaultfd features",
                Status::Fail,
            ),
            (|facts| facts.seccomp_trap = false, "seccomp", Status::Fail),
            (|facts| facts.file_size_limit = Some(1), "memory file", Status::Fail),
            (|facts| facts.memory_files_executable = false, "executable memory", Status::Fail),
            (|facts| facts.shared_huge_pages = Some("always".into()), "huge pages", Status::Warn),
            (|facts| facts.mappings_max = Some(1000), "mappings", Status::Warn),
            (|facts| facts.addresses_taken = vec![1 << 44], "addresses", Status::Fail),
            (|facts| facts.lowest_address = Some(1 << 20), "low addresses", Status::Warn),
            (|facts| facts.open_files_hard = 1024, "open files", Status::Warn),
            (|facts| facts.loopback = Err("down".into()), "loopback", Status::Fail),
            (|facts| facts.real_time = false, "scheduling", Status::Warn),
            (|facts| facts.signal_stack_min = Some(100), "signal frames", Status::Fail),
        ];
        for (change, name, status) in cases {
            let mut facts = good();
            change(&mut facts);
            assert_eq!(worst(&facts), [(name, status)]);
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.4"), Some((6, 18)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("Linux"), None);
        assert!(version("6.18") > Some(KERNEL) && version("5.99") < Some(KERNEL));
    }

    #[test]
    fn nothing_is_known_of_features_without_permission() {
        let facts = Facts { fault_service: FaultService::NotPermitted, ..good() };
        assert_eq!(worst(&facts), [("userfaultfd", Status::Fail), ("userfaultfd features", Status::Warn)]);
    }
}
