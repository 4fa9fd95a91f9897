//! What follows from the table of messages in `message`.

use crate::ids::{ExtentNumber, Run};

/// How long the payload of a message is, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// It has none.
    None,
    /// Pages, if the message says that contents come with it.
    Contents,
    /// The entries of a directory.
    Entries,
}

/// Defines `Message` and everything that differs between messages. A row is
/// `tag = Name (about FIELD, payload RULE) { fields }`: the field that is a [`Place`], and a [`Payload`].
macro_rules! messages {
    (
        $(#[$about:meta])*
        pub enum Message {
            $(
                $(#[$doc:meta])*
                $tag:literal = $name:ident (about $place:ident, payload $payload:ident) {
                    $( $(#[$meaning:meta])* $field:ident: $type:ty, )*
                }
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Message {
            $( $(#[$doc])* $name { $( $(#[$meaning])* $field: $type, )* }, )*
        }

        impl Message {
            /// The extent that it is about.
            #[must_use]
            pub fn extent(&self) -> ExtentNumber {
                match self {
                    $( Self::$name { $place, .. } => $crate::coherence::table::Place::extent($place), )*
                }
            }

            /// The pages that it is about; none if it is about an extent as a whole.
            #[must_use]
            pub fn run(&self) -> Option<Run> {
                match self {
                    $( Self::$name { $place, .. } => $crate::coherence::table::Place::run($place), )*
                }
            }

            /// Its epoch.
            #[must_use]
            pub const fn epoch(&self) -> Epoch {
                match self {
                    $( Self::$name { epoch, .. } => *epoch, )*
                }
            }

            /// What follows its header.
            pub(super) const fn payload(&self) -> $crate::coherence::table::Payload {
                match self {
                    $( Self::$name { .. } => $crate::coherence::table::Payload::$payload, )*
                }
            }

            /// Writes its tag and its fields.
            pub(super) fn write(&self, to: &mut $crate::coherence::fields::RawHeader) {
                match self {
                    $( Self::$name { $( $field, )* } => {
                        to.tag = $tag;
                        let mut to = $crate::coherence::fields::Write(to);
                        $( to.$field($field); )*
                    } )*
                }
            }

            /// Reads the fields that belong to the tag. What the payload carries is still missing.
            pub(super) fn read(
                from: &$crate::coherence::fields::RawHeader,
            ) -> Result<Self, $crate::coherence::error::DecodeError> {
                let fields = $crate::coherence::fields::Read(from);
                match from.tag {
                    $( $tag => Ok(Self::$name { $( $field: fields.$field()?, )* }), )*
                    tag => Err($crate::coherence::error::DecodeError::Tag(tag)),
                }
            }

            /// Every row, as the format's document lists it: tag, name, names of the fields.
            #[cfg(test)]
            pub(super) const ROWS: &[(u8, &str, &[&str])] =
                &[$( ($tag, stringify!($name), &[$( stringify!($field), )*]), )*];
        }
    };
}
pub(super) use messages;

/// The part of memory that a message is about.
pub(super) trait Place {
    /// The extent that it is in.
    fn extent(&self) -> ExtentNumber;
    /// Its pages, unless it is an extent as a whole.
    fn run(&self) -> Option<Run>;
}

impl Place for Run {
    fn extent(&self) -> ExtentNumber {
        self.first.extent()
    }

    fn run(&self) -> Option<Run> {
        Some(*self)
    }
}

impl Place for ExtentNumber {
    fn extent(&self) -> ExtentNumber {
        *self
    }

    fn run(&self) -> Option<Run> {
        None
    }
}
