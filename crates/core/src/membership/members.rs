//! The list of members, of which every member has a copy.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use banyan_wire::cluster::{Machine, Member, MemberId, MemberList, Refusal};
use banyan_wire::ids::NODES_MAX;

/// As many members as a job can have nodes.
pub const MEMBERS_MAX: usize = NODES_MAX as usize;
/// As a part of a DNS name may have.
pub const NAME_BYTES_MAX: usize = 63;

/// The members.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "MemberList", into = "MemberList")]
pub struct Members {
    version: u64,
    /// Sorted by id.
    members: Vec<Member>,
}

impl From<MemberList> for Members {
    fn from(list: MemberList) -> Self {
        let MemberList { version, mut members } = list;
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        Self { version, members }
    }
}

impl From<Members> for MemberList {
    fn from(members: Members) -> Self {
        let Members { version, members } = members;
        Self { version, members }
    }
}

impl Members {
    /// As it is sent and kept.
    #[must_use]
    pub fn to_list(&self) -> MemberList {
        MemberList { version: self.version, members: self.members.clone() }
    }

    /// Goes up with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All members.
    #[must_use]
    pub fn all(&self) -> &[Member] {
        &self.members
    }

    /// The member with this id.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The member that people mean: by its name, or by the beginning of its id if only one begins so.
    #[must_use]
    pub fn find(&self, words: &str) -> Option<&Member> {
        let by_name = self.members.iter().find(|member| member.name == words);
        by_name.or_else(|| {
            let mut found = self.members.iter().filter(|member| member.id.to_string().starts_with(words));
            let first = found.next().filter(|_| !words.is_empty());
            if found.next().is_some() { None } else { first }
        })
    }

    /// Takes a member in. One that is a member already, and comes again with its key, keeps its name unless
    /// it asks for another.
    ///
    /// # Errors
    /// [`Refusal`]: its name is taken or none, or the cluster is full.
    pub fn admit(&mut self, mut member: Member) -> Result<&Member, Refusal> {
        let old = self.get(member.id).cloned();
        if old.is_none() && self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::Full(self.members.len() as u32));
        }
        if member.name.is_empty() {
            member.name = old.map_or_else(|| self.free_name(), |old| old.name);
        }
        self.check_name(member.id, &member.name)?;
        self.members.retain(|other| other.id != member.id);
        let at = self.members.partition_point(|other| other.id < member.id);
        self.members.insert(at, member);
        self.version += 1;
        Ok(&self.members[at])
    }

    /// Takes a member out. False if it is none.
    pub fn remove(&mut self, id: MemberId) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.id != id);
        let removed = self.members.len() < before;
        self.version += u64::from(removed);
        removed
    }

    /// Gives a member another name.
    ///
    /// # Errors
    /// [`Refusal`]: it is taken or none, or there is no such member.
    pub fn rename(&mut self, id: MemberId, name: &str) -> Result<(), Refusal> {
        self.check_name(id, name)?;
        let member = self.members.iter_mut().find(|member| member.id == id);
        member.ok_or(Refusal::Stranger(id))?.name = name.to_string();
        self.version += 1;
        Ok(())
    }

    fn check_name(&self, id: MemberId, name: &str) -> Result<(), Refusal> {
        if !is_name(name) {
            return Err(Refusal::NameInvalid(name.chars().take(NAME_BYTES_MAX).collect()));
        }
        if self.members.iter().any(|other| other.name == name && other.id != id) {
            return Err(Refusal::NameTaken(name.to_string()));
        }
        Ok(())
    }

    fn free_name(&self) -> String {
        let mut number = self.members.len() + 1;
        loop {
            let name = alloc::format!("n{number}");
            if self.members.iter().all(|member| member.name != name) {
                return name;
            }
            number += 1;
        }
    }
}

/// Whether a text can be the name of a member.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_letter)
}

/// Whether programs that run on `ours` can go on on `theirs`.
///
/// # Errors
/// [`Refusal`]: another build, or instructions are missing.
pub fn check_machine(ours: &Machine, theirs: &Machine) -> Result<(), Refusal> {
    if ours.version != theirs.version {
        let (theirs, ours) = (theirs.version.clone(), ours.version.clone());
        return Err(Refusal::Version { theirs, ours });
    }
    let missing = ours.features.iter().filter(|feature| !theirs.features.contains(feature));
    let missing: Vec<String> = missing.cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(Refusal::Features(missing)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::net::SocketAddr;

    fn machine() -> Machine {
        let features = vec!["avx".into(), "avx2".into()];
        Machine { version: "1".into(), features, processors: 1, memory_bytes: 1 }
    }

    fn member(id: u8, name: &str) -> Member {
        Member {
            id: MemberId([id; 10]),
            name: name.into(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            machine: machine(),
            joined: 0,
        }
    }

    #[test]
    fn names_are_given_kept_and_never_shared() {
        let mut members = Members::default();
        members.admit(member(0, "")).unwrap();
        assert_eq!(members.admit(member(1, "")).unwrap().name, "n2");
        assert_eq!(members.admit(member(2, "n4")).unwrap().name, "n4");
        assert_eq!(members.admit(member(3, "")).unwrap().name, "n5", "n4 is taken");
        assert_eq!(members.admit(member(4, "n2")), Err(Refusal::NameTaken("n2".into())));
        assert_eq!(members.admit(member(1, "")).unwrap().name, "n2", "it comes again");
        for wrong in ["a b", "ä", "a/b", &"x".repeat(64)] {
            assert!(matches!(members.admit(member(4, wrong)), Err(Refusal::NameInvalid(_))), "{wrong}");
        }
        assert_eq!(members.rename(MemberId([1; 10]), "n4"), Err(Refusal::NameTaken("n4".into())));
        assert_eq!(members.rename(MemberId([1; 10]), "two"), Ok(()));
        assert_eq!(members.rename(MemberId([9; 10]), "nine"), Err(Refusal::Stranger(MemberId([9; 10]))));
        assert_eq!(members.find("two").unwrap().id, MemberId([1; 10]));
        let beginning = &MemberId([2; 10]).to_string()[..6];
        assert_eq!(members.find(beginning).unwrap().id, MemberId([2; 10]));
        assert_eq!(members.find(""), None);
    }

    #[test]
    fn each_change_is_a_version_and_a_list_is_read_again() {
        let mut members = Members::default();
        for (change, version) in [(1, 1), (2, 2)] {
            members.admit(member(change, "")).unwrap();
            assert_eq!(members.version(), version);
        }
        assert!(members.remove(MemberId([1; 10])) && !members.remove(MemberId([1; 10])));
        assert_eq!(members.version(), 3);
        assert_eq!(Members::from(members.to_list()), members);
    }

    #[test]
    fn a_cluster_has_as_many_members_as_a_job_nodes() {
        let mut members = Members::default();
        for id in 0..MEMBERS_MAX {
            members.admit(member(id as u8, "")).unwrap();
        }
        assert_eq!(members.admit(member(200, "")), Err(Refusal::Full(MEMBERS_MAX as u32)));
        assert!(members.admit(member(5, "")).is_ok(), "a member may come again");
    }

    #[test]
    fn what_a_machine_lacks_is_named_and_more_is_right() {
        let more = Machine { features: vec!["avx".into(), "avx2".into(), "avx512f".into()], ..machine() };
        assert_eq!(check_machine(&machine(), &more), Ok(()));
        let less = Machine { features: vec!["avx".into()], ..machine() };
        assert_eq!(check_machine(&machine(), &less), Err(Refusal::Features(vec!["avx2".into()])));
        let other = Machine { version: "2".into(), ..machine() };
        let refusal = Refusal::Version { theirs: "2".into(), ours: "1".into() };
        assert_eq!(check_machine(&machine(), &other), Err(refusal));
    }
}
