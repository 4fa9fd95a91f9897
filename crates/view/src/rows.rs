//! Rows of the tables as a view takes them: a struct for each table, whose fields are columns of it.
//!
//! What each column means is in the reference of the tables, and there only.
#![expect(missing_docs, reason = "docs/reference/sql.md describes each column")]

use serde::{Deserialize, Serialize};

/// A table of which rows are taken.
pub(crate) trait Row {
    /// Its name in SQL.
    const TABLE: &'static str;
    /// The columns that are taken.
    const COLUMNS: &'static [&'static str];
}

/// Defines the row of a table: each field is a column with the same name.
macro_rules! row {
    ($(#[$comment:meta])* $visible:vis $name:ident of $table:literal { $($column:ident: $type:ty,)* }) => {
        $(#[$comment])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        $visible struct $name {
            $(pub $column: $type,)*
        }

        impl Row for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];
        }
    };
}

row! {
    /// A node.
    pub NodeRow of "nodes" {
        node: String,
        role: Option<String>,
        address: Option<String>,
        state: String,
        cpus: Option<u64>,
        memory_bytes: Option<u64>,
        available_bytes: Option<u64>,
        load_1m: Option<f64>,
        busy_s: Option<f64>,
        daemon_s: Option<f64>,
        process: Option<u64>,
        jobs: Option<u64>,
        version: Option<String>,
    }
}

row! {
    /// A program.
    pub JobRow of "jobs" {
        job: u64,
        process: Option<u64>,
        program: String,
        command: Option<String>,
        home: Option<String>,
        state: String,
        nodes: u64,
        threads: Option<u64>,
        moves: Option<u64>,
        wall_s: f64,
        cpu_s: f64,
        memory_bytes: u64,
        lost_us: u64,
        sent_bytes: u64,
    }
}

row! {
    /// A program on one of its nodes.
    pub PartRow of "job_nodes" {
        job: u64,
        node: String,
        number: u64,
        cpu_s: f64,
        memory_bytes: u64,
        lost_us: u64,
        sent_bytes: u64,
        deputy_calls: u64,
    }
}

row! {
    /// Page faults of a program on a node.
    pub FaultRow of "faults" {
        job: u64,
        node: String,
        cause: String,
        count: u64,
        p50_us: Option<f64>,
        p99_us: Option<f64>,
    }
}

row! {
    /// What a node sends another one for a program.
    pub LinkRow of "links" {
        job: u64,
        node: String,
        peer: String,
        urgent_bytes: u64,
        bulk_bytes: u64,
        control_bytes: u64,
        rtt_us: Option<u64>,
        tls: u64,
    }
}

row! {
    /// A page that goes from node to node.
    pub HotRow of "hot_pages" {
        job: u64,
        node: String,
        page: u64,
        address: u64,
        moves: u64,
        writer: Option<String>,
    }
}

row! {
    /// Something that happened.
    pub EventRow of "log" {
        node: String,
        number: u64,
        at_s: f64,
        kind: String,
        job: Option<u64>,
        text: String,
    }
}

row! {
    /// A thread of a program.
    pub ThreadRow of "threads" {
        job: u64,
        thread: u64,
        node: String,
        moves: u64,
        going_to: Option<String>,
    }
}

row! {
    /// Neighbouring extents with one owner.
    pub(crate) ExtentRow of "extents" {
        job: u64,
        first_extent: u64,
        extents: u64,
        owner: Option<String>,
    }
}

row! {
    /// Mapped memory.
    pub(crate) RegionRow of "regions" {
        job: u64,
        start: u64,
        end: u64,
        prot: String,
        kind: String,
        file: Option<String>,
    }
}

row! {
    /// A page as one node has it.
    pub PageRow of "pages" {
        job: u64,
        node: String,
        page: u64,
        state: String,
        resident: u64,
        owner: Option<String>,
        writer: Option<String>,
        readers: Option<String>,
        moves: Option<u64>,
    }
}
