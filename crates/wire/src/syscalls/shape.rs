//! What a call's arguments are, so that its buffers can be shipped with it instead of moving pages.

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A plain value.
    Value,
    /// A pointer into the program's memory that the deputy follows itself.
    Pointer,
    /// A string that ends with a zero byte.
    Path,
    /// A buffer that the call reads; its length is that argument.
    In(u8),
    /// A buffer that the call writes; its room is that argument, the bytes written are the result.
    Out(u8),
    /// A structure of that many bytes that the call reads.
    FixedIn(u16),
    /// A structure of that many bytes that the call writes.
    FixedOut(u16),
    /// An array of `iovec` whose buffers the call reads; their count is that argument.
    VectorIn(u8),
    /// An array of `iovec` whose buffers the call writes; their count is that argument.
    VectorOut(u8),
}

impl Argument {
    /// Whether it is the same; `==` cannot be used where the table is made.
    pub(super) const fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Value, Self::Value) | (Self::Pointer, Self::Pointer) | (Self::Path, Self::Path) => true,
            (Self::In(a), Self::In(b))
            | (Self::Out(a), Self::Out(b))
            | (Self::VectorIn(a), Self::VectorIn(b))
            | (Self::VectorOut(a), Self::VectorOut(b)) => a == b,
            (Self::FixedIn(a), Self::FixedIn(b)) | (Self::FixedOut(a), Self::FixedOut(b)) => a == b,
            _ => false,
        }
    }
}
