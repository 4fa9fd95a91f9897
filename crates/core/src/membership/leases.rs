//! When the leases of names end, as the member decides that leads.
//!
//! Times are given, by a clock that only goes forward. Who begins to lead begins every lease anew: a name may
//! stay longer than its lease, and never goes earlier. Not here: the names themselves, of which an end is an
//! entry in the log.

use super::Names;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// The leases that run.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// As which a name was registered, and when that ends.
    ends: BTreeMap<String, (u64, Duration)>,
}

impl Leases {
    /// Takes up what was registered since, and gives what is over: name and revision. It is told again until
    /// the names say so.
    pub fn over(&mut self, now: Duration, names: &Names) -> Vec<(String, u64)> {
        self.ends
            .retain(|name, (revision, _)| names.get(name).is_some_and(|named| named.revision == *revision));
        let mut over = Vec::new();
        for (name, named) in names.all() {
            match self.ends.get(name) {
                Some((_, end)) if *end <= now => over.push((name.to_string(), named.revision)),
                Some(_) => {}
                None => {
                    let end = now + Duration::from_secs(u64::from(named.lease_seconds));
                    self.ends.insert(name.to_string(), (named.revision, end));
                }
            }
        }
        over
    }

    /// A lease begins anew. False if the name was registered otherwise meanwhile, or is gone.
    pub fn renew(&mut self, now: Duration, names: &Names, name: &str, revision: u64) -> bool {
        let Some(named) = names.get(name).filter(|named| named.revision == revision) else { return false };
        let end = now + Duration::from_secs(u64::from(named.lease_seconds));
        self.ends.insert(name.to_string(), (revision, end));
        true
    }

    /// Another member leads.
    pub fn clear(&mut self) {
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use banyan_wire::cluster::MemberId;

    const ONE: MemberId = MemberId([1; 10]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_ends_when_it_is_not_renewed() {
        let (mut names, mut leases) = (Names::default(), Leases::default());
        names.register("a", "", ONE, 10).unwrap();
        names.register("b", "", ONE, 10).unwrap();
        assert_eq!(leases.over(at(100), &names), vec![]);
        assert!(leases.renew(at(105), &names, "a", 1));
        assert!(!leases.renew(at(105), &names, "a", 2) && !leases.renew(at(105), &names, "c", 1));
        assert_eq!(leases.over(at(109), &names), vec![]);
        assert_eq!(leases.over(at(110), &names), [("b".into(), 2)]);
        assert_eq!(leases.over(at(111), &names), [("b".into(), 2)], "the names do not say so yet");
        names.expire("b", 2);
        assert_eq!(leases.over(at(114), &names), vec![]);
        assert_eq!(leases.over(at(115), &names), [("a".into(), 1)]);
    }

    #[test]
    fn what_is_registered_again_and_who_leads_newly_begin_anew() {
        let (mut names, mut leases) = (Names::default(), Leases::default());
        names.register("a", "", ONE, 10).unwrap();
        assert_eq!(leases.over(at(0), &names), vec![]);
        names.register("a", "other", ONE, 20).unwrap();
        assert_eq!(leases.over(at(9), &names), vec![]);
        assert_eq!(leases.over(at(28), &names), vec![]);
        leases.clear();
        assert_eq!(leases.over(at(40), &names), vec![]);
        assert_eq!(leases.over(at(60), &names), [("a".into(), 2)]);
    }
}
