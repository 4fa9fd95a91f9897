//! What `--stats=json` prints: one object on the last line of stderr.

use serde::Deserialize;

/// The whole object.
#[derive(Debug, Clone, Deserialize)]
pub struct Stats {
    /// Each node, the home node first.
    pub nodes: Vec<Node>,
    /// Page faults of the run.
    pub faults: Faults,
    /// Bytes of memory that went between nodes.
    pub bytes_moved: u64,
    /// Threads that moved while they ran.
    pub migrations: u64,
    /// System calls that deputies executed.
    pub deputy_calls: u64,
    /// Time that threads waited for remote memory.
    pub remote_wait_seconds: f64,
    /// From start to end.
    pub wall_seconds: f64,
}

/// What one node did.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Threads that executed there.
    pub threads_run: u64,
    /// CPU time of the program's threads there.
    pub cpu_seconds: f64,
    /// Memory that the program has there.
    pub memory_bytes: u64,
}

/// Page faults by cause, and how long they took.
#[derive(Debug, Clone, Deserialize)]
pub struct Faults {
    /// To read an absent page.
    pub read: u64,
    /// To write an absent page.
    pub write: u64,
    /// To write a page that was readable.
    pub upgrade: u64,
    /// The median.
    pub p50_us: f64,
    /// One in a hundred takes longer.
    pub p99_us: f64,
}

/// Takes the statistics off the end of stderr, if they are there, and the line that they came in.
#[must_use]
pub fn take(stderr: &mut Vec<u8>) -> Option<(Stats, String)> {
    let text = stderr.strip_suffix(b"\n").unwrap_or(stderr);
    let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let stats = serde_json::from_slice(&text[start..]).ok()?;
    let line = String::from_utf8_lossy(&stderr[start..]).into_owned();
    stderr.truncate(start);
    Some((stats, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"nodes":[{"name":"a","threads_run":2,"cpu_seconds":0.5,"memory_bytes":4096}],"faults":{"read":1,"write":2,"upgrade":3,"p50_us":8.0,"p99_us":20},"bytes_moved":8192,"migrations":0,"deputy_calls":7,"remote_wait_seconds":0.01,"wall_seconds":1.5}"#;

    #[test]
    fn statistics_come_off_the_end() {
        let mut stderr = format!("a warning\n{LINE}\n").into_bytes();
        let (stats, line) = take(&mut stderr).unwrap();
        assert_eq!(line, format!("{LINE}\n"));
        assert_eq!(stats.nodes[0].threads_run, 2);
        assert_eq!(stats.faults.upgrade, 3);
        assert_eq!(stderr, b"a warning\n");
    }

    #[test]
    fn other_last_lines_stay() {
        for text in ["", "\n", "warning", "{}\n", "{\"nodes\": 3}\n"] {
            let mut stderr = text.as_bytes().to_vec();
            assert!(take(&mut stderr).is_none());
            assert_eq!(stderr, text.as_bytes());
        }
    }
}
