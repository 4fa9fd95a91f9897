//! A bank of two branches, both durable: money leaves an account of one and arrives at the other, exactly
//! once, whatever is killed when.
//!
//! Transfers are numbered by the client that orders them ([`Handle::send_once`]), so that an order that is
//! sent again after a crash is carried out once. Within the bank nothing of the kind is needed: a message
//! between durable configurations is delivered once.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use banyan_actors::{
    Actor, Addr, AskError, Configuration, DurableActor, DurableStore, Failure, Handle, KillPoint, Kinds,
    OpenDurableError, Work,
};

/// What every account begins with.
pub const FIRST_BALANCE: u64 = 1000;

/// What a branch takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum BranchMessage {
    /// Open this many accounts.
    Open(u32),
    /// From an account of this branch to one of the other, if there is enough.
    Transfer {
        /// Here.
        from: u32,
        /// There.
        to: u32,
        /// How much.
        amount: u64,
        /// Who receives whether there was enough.
        reply: Option<Addr<bool>>,
    },
    /// Money arrives.
    Deposit {
        /// For whom.
        to: u32,
        /// How much.
        amount: u64,
    },
    /// All balances, to be told.
    Report(Addr<Vec<u64>>),
    /// A balance that was asked for: so far, the next one, and who wants them all.
    Collected(Vec<u64>, u64, Addr<Vec<u64>>),
}

/// A branch: knows its accounts and the other branch.
#[derive(Clone, Serialize, Deserialize)]
pub struct Branch {
    accounts: Vec<Addr<AccountMessage>>,
    other: Option<Addr<BranchMessage>>,
}

/// What an account takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AccountMessage {
    /// Give it to an account of another branch, if there is enough.
    Withdraw {
        /// How much.
        amount: u64,
        /// There.
        to: u32,
        /// The other branch.
        branch: Addr<BranchMessage>,
        /// Who receives whether there was enough.
        reply: Option<Addr<bool>>,
    },
    /// Money arrives.
    Deposit(u64),
    /// Its balance, after those of others.
    Report(Vec<u64>, Addr<Vec<u64>>, Addr<BranchMessage>),
}

/// An account.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    balance: u64,
}

impl DurableActor for Branch {
    const KIND: &'static str = "bank.branch";
}

impl DurableActor for Account {
    const KIND: &'static str = "bank.account";
}

impl Actor for Branch {
    type Message = BranchMessage;
    fn receive(&self, message: &BranchMessage, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        let account = |number: u32| {
            let found = self.accounts.get(number as usize);
            found.ok_or_else(|| Failure::because(format!("this branch has no account {number}")))
        };
        match message {
            BranchMessage::Open(count) => {
                let mut next = self.clone();
                for _ in 0..*count {
                    next.accounts.push(work.create_kept(Account { balance: FIRST_BALANCE }));
                }
                work.become_next(next);
            }
            BranchMessage::Transfer { from, to, amount, reply } => {
                let branch =
                    self.other.clone().ok_or_else(|| Failure::because("there is no other branch"))?;
                let withdraw =
                    AccountMessage::Withdraw { amount: *amount, to: *to, branch, reply: reply.clone() };
                work.send(account(*from)?, withdraw);
            }
            BranchMessage::Deposit { to, amount } => {
                work.send(account(*to)?, AccountMessage::Deposit(*amount));
            }
            BranchMessage::Report(reply) => match self.accounts.first() {
                Some(first) => {
                    let me = work.me();
                    work.send(first, AccountMessage::Report(Vec::new(), reply.clone(), me));
                }
                None => work.send(reply, Vec::new()),
            },
            BranchMessage::Collected(so_far, balance, reply) => {
                let mut balances = so_far.clone();
                balances.push(*balance);
                match self.accounts.get(balances.len()) {
                    Some(next) => {
                        let me = work.me();
                        work.send(next, AccountMessage::Report(balances, reply.clone(), me));
                    }
                    None => work.send(reply, balances),
                }
            }
        }
        Ok(())
    }
}

impl Actor for Account {
    type Message = AccountMessage;
    fn receive(&self, message: &AccountMessage, work: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
        match message {
            AccountMessage::Withdraw { amount, to, branch, reply } => {
                let left = self.balance.checked_sub(*amount);
                if let Some(balance) = left {
                    work.become_next(Self { balance });
                    work.send(branch, BranchMessage::Deposit { to: *to, amount: *amount });
                }
                if let Some(reply) = reply {
                    work.send(reply, left.is_some());
                }
            }
            AccountMessage::Deposit(amount) => work.become_next(Self { balance: self.balance + amount }),
            AccountMessage::Report(so_far, reply, branch) => {
                work.send(branch, BranchMessage::Collected(so_far.clone(), self.balance, reply.clone()));
            }
        }
        Ok(())
    }
}

/// The two branches of an open bank.
pub struct Bank {
    /// Where transfers come from.
    pub north: Addr<BranchMessage>,
    /// Where they go to.
    pub south: Addr<BranchMessage>,
}

/// The makers of the bank's actors.
#[must_use]
pub fn kinds() -> Kinds {
    Kinds::new().with::<Branch>().with::<Account>()
}

impl Bank {
    /// Opens the bank in a directory, with `accounts` accounts in each branch if it is new.
    ///
    /// # Errors
    /// [`OpenDurableError`].
    pub fn open(
        handle: &Handle,
        directory: &Path,
        accounts: u32,
        kill: Option<KillPoint>,
    ) -> Result<Self, OpenDurableError> {
        let south = DurableStore::open(&directory.join("south.arena"), kinds())?;
        let branch = Branch { accounts: Vec::new(), other: None };
        let south: Addr<BranchMessage> =
            handle.open(Configuration::new("south").durable(south, branch))?.typed();
        let mut north = DurableStore::open(&directory.join("north.arena"), kinds())?;
        if let Some(kill) = kill {
            north = north.kill_at(kill);
        }
        let branch = Branch { accounts: Vec::new(), other: Some(south.clone()) };
        let north: Addr<BranchMessage> =
            handle.open(Configuration::new("north").durable(north, branch))?.typed();
        // Taken once in the life of the bank.
        handle.send_once("founder", 1, &south, BranchMessage::Open(accounts));
        handle.send_once("founder", 1, &north, BranchMessage::Open(accounts));
        Ok(Self { north, south })
    }

    /// The balances of both branches.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn balances(&self, handle: &Handle, deadline: Duration) -> Result<[Vec<u64>; 2], AskError> {
        let north = handle.ask(&self.north, deadline, BranchMessage::Report)?;
        let south = handle.ask(&self.south, deadline, BranchMessage::Report)?;
        Ok([north, south])
    }
}
