//! Names of things that run in the cluster: where a service is now, for who looks for it by its name.
//!
//! A name is registered by a member with a lease, and is gone when the lease ends. How long that is the log
//! says; when it is over, the member that leads decides by its own steady clock, and a new one begins every
//! lease anew: nobody's time of day can end one. Not here: that clock (`leases`), and who asks.

use super::members::is_name;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use banyan_wire::cluster::{MemberId, Refusal};
use serde::{Deserialize, Serialize};

/// The most names in a cluster.
pub const NAMES_MAX: usize = 4096;
/// Bytes of what a name stands for.
pub const VALUE_BYTES_MAX: usize = 1024;
/// The shortest and the longest lease, in seconds.
pub const LEASE_SECONDS: core::ops::RangeInclusive<u32> = 1..=7 * 24 * 3600;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// An address, or whatever who looks for it understands.
    pub value: String,
    /// Who has registered it.
    pub holder: MemberId,
    /// How long it stays after it was registered or renewed.
    pub lease_seconds: u32,
    /// The change of the names that made it so.
    pub revision: u64,
}

/// All names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    names: BTreeMap<String, Named>,
    revision: u64,
}

impl Names {
    /// Goes up with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    /// All of them in alphabetical order.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Named)> {
        self.names.iter().map(|(name, named)| (name.as_str(), named))
    }

    /// Registers a name, or gives it another value. Who registers what it has renews it.
    ///
    /// # Errors
    /// [`Refusal`]: another member has it, or it cannot be one.
    pub fn register(
        &mut self,
        name: &str,
        value: &str,
        holder: MemberId,
        lease_seconds: u32,
    ) -> Result<(), Refusal> {
        if !is_name(name) {
            return Err(Refusal::NameInvalid(name.chars().take(super::NAME_BYTES_MAX).collect()));
        }
        if value.len() > VALUE_BYTES_MAX {
            let text = alloc::format!("a value of {} bytes; {VALUE_BYTES_MAX} are allowed", value.len());
            return Err(Refusal::Failed(text));
        }
        if !LEASE_SECONDS.contains(&lease_seconds) {
            let (least, most) = (LEASE_SECONDS.start(), LEASE_SECONDS.end());
            let text = alloc::format!("a lease of {lease_seconds} s; {least} to {most} are allowed");
            return Err(Refusal::Failed(text));
        }
        match self.names.get(name) {
            Some(named) if named.holder != holder => return Err(Refusal::NameHeld(named.holder)),
            Some(_) => {}
            None if self.names.len() >= NAMES_MAX => {
                return Err(Refusal::Failed(alloc::format!("the cluster has {NAMES_MAX} names, the most")));
            }
            None => {}
        }
        self.revision += 1;
        let named = Named { value: value.to_string(), holder, lease_seconds, revision: self.revision };
        self.names.insert(name.to_string(), named);
        Ok(())
    }

    /// Takes a name away, also from another member.
    ///
    /// # Errors
    /// [`Refusal`]: there is none.
    pub fn remove(&mut self, name: &str) -> Result<(), Refusal> {
        let unknown = || Refusal::Failed(alloc::format!("nothing is registered as {name}"));
        self.names.remove(name).ok_or_else(unknown)?;
        self.revision += 1;
        Ok(())
    }

    /// The lease of a name is over. One that was registered again meanwhile stays.
    pub fn expire(&mut self, name: &str, revision: u64) {
        if self.names.get(name).is_some_and(|named| named.revision == revision) {
            self.names.remove(name);
            self.revision += 1;
        }
    }

    /// A member is gone, and its names with it.
    pub fn forget(&mut self, member: MemberId) {
        let before = self.names.len();
        self.names.retain(|_, named| named.holder != member);
        self.revision += u64::from(self.names.len() < before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MemberId = MemberId([1; 10]);
    const OTHER: MemberId = MemberId([2; 10]);

    #[test]
    fn a_name_is_its_holders_until_its_lease_ends() {
        let mut names = Names::default();
        names.register("web", "10.0.0.1:80", ONE, 60).unwrap();
        assert_eq!(names.register("web", "10.0.0.2:80", OTHER, 60), Err(Refusal::NameHeld(ONE)));
        let first = names.get("web").unwrap().revision;
        names.register("web", "10.0.0.1:81", ONE, 30).unwrap();
        names.expire("web", first);
        assert_eq!(names.get("web").unwrap().value, "10.0.0.1:81", "it was registered again meanwhile");
        names.expire("web", names.get("web").unwrap().revision);
        assert_eq!(names.get("web"), None);
        names.register("web", "10.0.0.2:80", OTHER, 60).unwrap();
        assert_eq!(names.get("web").unwrap().holder, OTHER);
        assert!(names.remove("web").is_ok() && names.remove("web").is_err());
    }

    #[test]
    fn every_change_is_a_revision_and_nothing_else_is() {
        let mut names = Names::default();
        let mut seen = alloc::vec![names.revision()];
        names.register("a", "", ONE, 1).unwrap();
        seen.push(names.revision());
        names.register("b", "", OTHER, 1).unwrap();
        seen.push(names.revision());
        names.forget(ONE);
        seen.push(names.revision());
        assert_eq!(seen, [0, 1, 2, 3]);
        names.forget(ONE);
        names.expire("b", 9);
        assert!(names.remove("a").is_err() && names.register("b", "", ONE, 1).is_err());
        assert_eq!(names.revision(), 3);
        assert_eq!(names.all().map(|(name, _)| name).collect::<alloc::vec::Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let mut names = Names::default();
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        assert!(names.register("a", &long, ONE, 1).is_err());
        assert!(names.register("a", &long[1..], ONE, 1).is_ok());
        for lease in [0, LEASE_SECONDS.end() + 1] {
            assert!(names.register("b", "", ONE, lease).is_err());
        }
        assert!(matches!(names.register("a b", "", ONE, 1), Err(Refusal::NameInvalid(_))));
        for number in 1..NAMES_MAX {
            names.register(&alloc::format!("n{number}"), "", ONE, 1).unwrap();
        }
        assert!(names.register("more", "", ONE, 1).is_err());
        assert!(names.register("n7", "again", ONE, 1).is_ok());
    }
}
