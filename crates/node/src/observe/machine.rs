//! What this machine is, as a cluster wants to know it: the build, the processor's instruction sets, and how
//! much there is of it.

use banyan_wire::cluster::Machine;
use std::collections::BTreeSet;

/// Instruction sets that programs and C libraries look for and use when they are there. A thread that began
/// where one is must find it wherever it moves.
const LOOKED_FOR: &[&str] = &[
    "adx",
    "aes",
    "avx",
    "avx2",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512f",
    "avx512vl",
    "avx512_vnni",
    "bmi1",
    "bmi2",
    "cx16",
    "erms",
    "f16c",
    "fma",
    "fsrm",
    "gfni",
    "lahf_lm",
    "abm",
    "movbe",
    "pclmulqdq",
    "popcnt",
    "rdrand",
    "rdseed",
    "sha_ni",
    "sse4_1",
    "sse4_2",
    "ssse3",
    "vaes",
    "vpclmulqdq",
    "xsavec",
];

/// This machine.
#[must_use]
pub(crate) fn this_machine() -> Machine {
    let information = rustix::system::sysinfo();
    let flags: BTreeSet<String> = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("flags"))?;
            let (_, flags) = line.split_once(':')?;
            Some(flags.split_whitespace().map(str::to_owned).collect())
        })
        .unwrap_or_default();
    let mut features: Vec<String> =
        LOOKED_FOR.iter().filter(|flag| flags.contains(**flag)).map(|flag| (*flag).to_owned()).collect();
    features.sort();
    Machine {
        version: env!("CARGO_PKG_VERSION").into(),
        features,
        processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        memory_bytes: information.totalram as u64 * u64::from(information.mem_unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_it_needs_to_be_one() {
        let machine = this_machine();
        assert!(machine.processors > 0 && machine.memory_bytes > 1 << 20);
        assert!(machine.features.is_sorted() && machine.features.iter().any(|flag| flag == "cx16"));
    }
}
