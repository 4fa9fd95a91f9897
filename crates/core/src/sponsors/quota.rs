//! Amounts of the three things that a sponsor pays for.

use core::fmt;

/// What a sponsor pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Resource {
    /// Bytes allocated: consumed, never given back.
    Memory,
    /// Processor cycles, or units of fuel.
    Cycles,
    /// Deliveries begun.
    Events,
}

impl Resource {
    /// All of them, in the order in which their exhaustion is reported.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cycles, Self::Events];
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Memory => "memory",
            Self::Cycles => "cycles",
            Self::Events => "events",
        })
    }
}

/// An amount of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Quota {
    /// Bytes.
    pub memory: u64,
    /// Cycles.
    pub cycles: u64,
    /// Deliveries.
    pub events: u64,
}

impl Quota {
    /// Nothing.
    pub const ZERO: Self = Self { memory: 0, cycles: 0, events: 0 };
    /// More than can be spent: a quarter of what a word holds, so that sums of a few stay in range.
    pub const AMPLE: Self = Self { memory: u64::MAX / 4, cycles: u64::MAX / 4, events: u64::MAX / 4 };

    /// The amount of one resource.
    #[must_use]
    pub fn get(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Memory => self.memory,
            Resource::Cycles => self.cycles,
            Resource::Events => self.events,
        }
    }

    /// Of each resource, both amounts together; `None` if one does not fit into a word.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            memory: self.memory.checked_add(other.memory)?,
            cycles: self.cycles.checked_add(other.cycles)?,
            events: self.events.checked_add(other.events)?,
        })
    }

    /// Of each resource, what is left; the first resource that does not suffice, if one does not.
    ///
    /// # Errors
    /// The resource that is short.
    pub fn checked_sub(self, other: Self) -> Result<Self, Resource> {
        Ok(Self {
            memory: self.memory.checked_sub(other.memory).ok_or(Resource::Memory)?,
            cycles: self.cycles.checked_sub(other.cycles).ok_or(Resource::Cycles)?,
            events: self.events.checked_sub(other.events).ok_or(Resource::Events)?,
        })
    }

    /// Of each resource the smaller amount.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            memory: self.memory.min(other.memory),
            cycles: self.cycles.min(other.cycles),
            events: self.events.min(other.events),
        }
    }
}
