//! What a cluster agrees on about itself: its members, its tokens, its names. Each member of its company
//! applies the same changes in the same order, and so has the same.
//!
//! A change has all that it needs: applying it looks at no clock and draws no random number. One that is
//! refused changes nothing. Not here: the log in which the changes are (a library's), and who may propose
//! which.

use super::Members;
use super::names::Names;
use super::tokens::{Issued, TokenBook};
use alloc::collections::BTreeSet;
use alloc::string::String;
use banyan_wire::cluster::{Member, MemberId, MemberList, Refusal, TokenId};
use serde::{Deserialize, Serialize};

/// What is agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Who belongs to the cluster.
    pub members: Members,
    /// Which tokens let machines in.
    pub tokens: TokenBook,
    /// Where things are.
    pub names: Names,
    /// Members that are about to leave, and vote no more.
    pub leaving: BTreeSet<MemberId>,
}

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The cluster begins with what its first machine has. Later it is nothing.
    Begin {
        /// The members.
        members: MemberList,
        /// The tokens.
        tokens: TokenBook,
    },
    /// A machine comes in with a token.
    Admit {
        /// The machine.
        member: Member,
        /// The token.
        token: TokenId,
        /// SHA-256 of its secret.
        digest: [u8; 32],
        /// The time, in seconds since 1970.
        now: u64,
    },
    /// A member is going to leave.
    Leave(MemberId),
    /// It is not.
    Stay(MemberId),
    /// A member is out.
    Remove(MemberId),
    /// A member gets another name.
    Rename {
        /// Which.
        member: MemberId,
        /// The name.
        name: String,
    },
    /// A token was made.
    Issue {
        /// The token.
        token: Issued,
        /// The time, in seconds since 1970.
        now: u64,
    },
    /// A token is taken back.
    Revoke(TokenId),
    /// A name is registered or renewed.
    Register {
        /// The name.
        name: String,
        /// What it stands for.
        value: String,
        /// By whom.
        holder: MemberId,
        /// For how long.
        lease_seconds: u32,
    },
    /// A name is taken away.
    Unregister(String),
    /// The lease of a name is over.
    Expire {
        /// The name.
        name: String,
        /// As which it was registered.
        revision: u64,
    },
}

impl Agreed {
    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.members.version() > 0
    }

    /// The members that stay.
    pub fn staying(&self) -> impl Iterator<Item = &Member> {
        self.members.all().iter().filter(|member| !self.leaving.contains(&member.id))
    }

    /// Does what a change says.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        // What came before the beginning would be lost with it. It can be asked again.
        if !self.has_begun() && !matches!(change, Change::Begin { .. }) {
            return Err(Refusal::NotLeading { leader: None });
        }
        match change {
            Change::Begin { members, tokens } => {
                if !self.has_begun() {
                    self.members = members.clone().into();
                    self.tokens = tokens.clone();
                }
                Ok(())
            }
            Change::Admit { member, token, digest, now } => self.admit(member, *token, digest, *now),
            Change::Leave(member) => {
                self.members.get(*member).ok_or(Refusal::Stranger(*member))?;
                if self.staying().all(|other| other.id == *member) {
                    let text = "it is the last machine of the cluster and cannot leave it; stop it with `banyan down`";
                    return Err(Refusal::Failed(text.into()));
                }
                self.leaving.insert(*member);
                Ok(())
            }
            Change::Stay(member) => {
                self.leaving.remove(member);
                Ok(())
            }
            Change::Remove(member) => {
                if !self.members.remove(*member) {
                    return Err(Refusal::Stranger(*member));
                }
                self.leaving.remove(member);
                self.names.forget(*member);
                Ok(())
            }
            Change::Rename { member, name } => self.members.rename(*member, name),
            Change::Issue { token, now } => {
                self.tokens.issue(token.clone(), *now);
                Ok(())
            }
            Change::Revoke(token) => {
                let unknown =
                    || Refusal::Failed(alloc::format!("there is no token {token}; see `banyan token list`"));
                if self.tokens.revoke(*token) { Ok(()) } else { Err(unknown()) }
            }
            Change::Register { name, value, holder, lease_seconds } => {
                self.members.get(*holder).ok_or(Refusal::Stranger(*holder))?;
                self.names.register(name, value, *holder, *lease_seconds)
            }
            Change::Unregister(name) => self.names.remove(name),
            Change::Expire { name, revision } => {
                self.names.expire(name, *revision);
                Ok(())
            }
        }
    }

    /// A machine that asks again, since it has not heard that it is in, uses up no more of its token.
    fn admit(&mut self, member: &Member, token: TokenId, digest: &[u8; 32], now: u64) -> Result<(), Refusal> {
        let redeemed = self.tokens.redeem(token, digest, now);
        let is_in = self.members.get(member.id).is_some();
        match redeemed {
            Err(Refusal::TokenUsedUp) if is_in => {}
            redeemed => {
                redeemed?;
                if is_in {
                    self.tokens.give_back(token);
                }
            }
        }
        if let Err(refusal) = self.members.admit(member.clone()) {
            if !is_in {
                self.tokens.give_back(token);
            }
            return Err(refusal);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Uses;
    use alloc::vec;
    use banyan_wire::cluster::Machine;
    use core::net::SocketAddr;

    const TOKEN: TokenId = TokenId([7; 5]);

    fn id(number: u8) -> MemberId {
        MemberId([number; 10])
    }

    fn member(number: u8) -> Member {
        let machine = Machine { version: "1".into(), features: vec![], processors: 1, memory_bytes: 1 };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Member { id: id(number), name: String::new(), address, machine, joined: 0 }
    }

    fn begun(uses: Uses) -> Agreed {
        let mut members = Members::default();
        members.admit(member(0)).unwrap();
        let mut tokens = TokenBook::default();
        tokens.issue(Issued { id: TOKEN, digest: [1; 32], expires: 100, uses, revoked: false }, 0);
        let mut agreed = Agreed::default();
        agreed.apply(&Change::Begin { members: members.to_list(), tokens }).unwrap();
        agreed
    }

    fn admit(number: u8, digest: u8) -> Change {
        Change::Admit { member: member(number), token: TOKEN, digest: [digest; 32], now: 1 }
    }

    #[test]
    fn it_begins_once_and_nothing_comes_before() {
        let mut none = Agreed::default();
        assert_eq!(none.apply(&admit(1, 1)), Err(Refusal::NotLeading { leader: None }));
        assert_eq!(none, Agreed::default());
        let mut agreed = begun(Uses::Unlimited);
        let before = agreed.clone();
        let other = Change::Begin { members: Members::default().to_list(), tokens: TokenBook::default() };
        agreed.apply(&other).unwrap();
        assert_eq!(agreed, before);
    }

    #[test]
    fn a_token_lets_in_as_many_as_it_says_and_who_asks_again_is_one() {
        let mut agreed = begun(Uses::Left(2));
        assert_eq!(agreed.apply(&admit(1, 9)), Err(Refusal::TokenUnknown));
        for _ in 0..3 {
            assert_eq!(agreed.apply(&admit(1, 1)), Ok(()));
        }
        let taken = Member { name: "n2".into(), ..member(2) };
        let admit_taken = Change::Admit { member: taken, token: TOKEN, digest: [1; 32], now: 1 };
        assert_eq!(agreed.apply(&admit_taken), Err(Refusal::NameTaken("n2".into())));
        assert_eq!(agreed.apply(&admit(2, 1)), Ok(()));
        assert_eq!(agreed.apply(&admit(2, 1)), Ok(()), "it has not heard");
        assert_eq!(agreed.apply(&admit(3, 1)), Err(Refusal::TokenUsedUp));
        assert_eq!(agreed.members.all().len(), 3);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut agreed = begun(Uses::Left(1));
        let before = agreed.clone();
        let rename = Change::Rename { member: id(5), name: "x".into() };
        let register =
            Change::Register { name: "x".into(), value: String::new(), holder: id(5), lease_seconds: 9 };
        for change in [
            admit(1, 2),
            Change::Remove(id(5)),
            Change::Leave(id(5)),
            Change::Leave(id(0)),
            rename,
            Change::Revoke(TokenId([0; 5])),
            register,
            Change::Unregister("x".into()),
        ] {
            assert!(agreed.apply(&change).is_err(), "{change:?}");
            assert_eq!(agreed, before, "{change:?}");
        }
    }

    #[test]
    fn who_leaves_takes_its_names_along_and_the_last_stays() {
        let mut agreed = begun(Uses::Unlimited);
        agreed.apply(&admit(1, 1)).unwrap();
        let register =
            Change::Register { name: "x".into(), value: "v".into(), holder: id(0), lease_seconds: 9 };
        agreed.apply(&register).unwrap();
        agreed.apply(&Change::Leave(id(0))).unwrap();
        assert_eq!(agreed.staying().map(|member| member.id).collect::<vec::Vec<_>>(), [id(1)]);
        assert!(agreed.apply(&Change::Leave(id(1))).is_err());
        agreed.apply(&Change::Remove(id(0))).unwrap();
        assert!(agreed.leaving.is_empty() && agreed.names.get("x").is_none());
    }
}
