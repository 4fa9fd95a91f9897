//! What an untrusted module may demand, at most. Not about what its events may spend: that is the sponsor's.

/// Upper bounds on a module. Each is there because something costs time or memory in proportion to it outside
/// any event, where no sponsor pays: compiling, making an instance, or capturing its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the module.
    pub module_bytes: usize,
    /// Functions defined. Each costs compile time even when it is empty.
    pub functions: usize,
    /// Bytes of one function: the compiler's memory is up to 2,000 times that, and its time grows faster than
    /// a function's size.
    pub function_bytes: usize,
    /// Globals: each mutable one is read after every event. (With 100,000 of them, messages of the Internet
    /// Computer were about forty times slower.)
    pub globals: usize,
    /// Tables, and elements of all of them together: they are built again for every instance.
    pub tables: usize,
    /// See `tables`.
    pub table_elements: u64,
    /// Data segments.
    pub data_segments: usize,
    /// Bytes of data that are in memory at the start: they are copied before an actor's first event.
    pub data_bytes: usize,
    /// Exports.
    pub exports: usize,
    /// Bytes of memory that one actor can ever have: a whole number of 64 KiB pages. It also bounds how long
    /// one instruction can copy, between two looks at the clock.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 100 << 20,
            functions: 50_000,
            function_bytes: 128 << 10,
            globals: 1_000,
            tables: 16,
            table_elements: 100_000,
            data_segments: 10_000,
            data_bytes: 4 << 20,
            exports: 1_000,
            memory_bytes: 64 << 20,
        }
    }
}
