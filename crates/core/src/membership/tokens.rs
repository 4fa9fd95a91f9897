//! The book of tokens that the cluster has given out.
//!
//! It has the digests of their secrets, so that a copy of the book opens nothing. What is over stays in the
//! book for a while, so that a late machine hears why it is refused.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::cluster::{Refusal, TokenId};
use serde::{Deserialize, Serialize};

/// How long a token that is over is remembered, in seconds.
const REMEMBERED_SECONDS: u64 = 30 * 24 * 3600;
/// The most tokens in the book; the oldest that are over go first.
const TOKENS_MAX: usize = 1000;

/// How many machines may join with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Uses {
    /// As many as come until it expires.
    Unlimited,
    /// This many more.
    Left(u32),
}

/// A token as the book has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its number.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub digest: [u8; 32],
    /// When its time is over, in seconds since 1970.
    pub expires: u64,
    /// What is left of it.
    pub uses: Uses,
    /// It was taken back.
    pub revoked: bool,
}

/// What a token is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Machines can join with it.
    Good,
    /// Its time is over.
    Expired,
    /// As many machines have joined as may.
    UsedUp,
    /// It was taken back.
    Revoked,
}

impl Issued {
    /// What it is good for at a time.
    #[must_use]
    pub fn standing(&self, now: u64) -> Standing {
        if self.revoked {
            Standing::Revoked
        } else if now >= self.expires {
            Standing::Expired
        } else if self.uses == Uses::Left(0) {
            Standing::UsedUp
        } else {
            Standing::Good
        }
    }
}

/// The book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBook {
    tokens: BTreeMap<TokenId, Issued>,
}

impl TokenBook {
    /// Enters a token that was just made. What has long been over is forgotten.
    pub fn issue(&mut self, token: Issued, now: u64) {
        self.tokens.retain(|_, old| {
            old.standing(now) == Standing::Good || now < old.expires.saturating_add(REMEMBERED_SECONDS)
        });
        while self.tokens.len() >= TOKENS_MAX {
            let over = self.tokens.values().filter(|old| old.standing(now) != Standing::Good);
            let oldest = over.min_by_key(|old| old.expires).or(self.tokens.values().next());
            let Some(id) = oldest.map(|old| old.id) else { break };
            self.tokens.remove(&id);
        }
        self.tokens.insert(token.id, token);
    }

    /// One machine wants to join with a token. If it may, one use is gone.
    ///
    /// # Errors
    /// [`Refusal`]: unknown, revoked, expired or used up.
    pub fn redeem(&mut self, id: TokenId, digest: &[u8; 32], now: u64) -> Result<(), Refusal> {
        let token = self.tokens.get_mut(&id).ok_or(Refusal::TokenUnknown)?;
        // Compared without an early end, so that the time tells nothing about the digest. Only who has the
        // secret hears more than that it is unknown.
        if token.digest.iter().zip(digest).fold(0, |sum, (a, b)| sum | (a ^ b)) != 0 {
            return Err(Refusal::TokenUnknown);
        }
        match token.standing(now) {
            Standing::Revoked => return Err(Refusal::TokenRevoked),
            Standing::Expired => return Err(Refusal::TokenExpired { seconds: now - token.expires }),
            Standing::UsedUp => return Err(Refusal::TokenUsedUp),
            Standing::Good => {}
        }
        if let Uses::Left(left) = &mut token.uses {
            *left -= 1;
        }
        Ok(())
    }

    /// Gives a use back: the machine that redeemed the token was refused for another reason.
    pub fn give_back(&mut self, id: TokenId) {
        if let Some(Issued { uses: Uses::Left(left), .. }) = self.tokens.get_mut(&id) {
            *left = left.saturating_add(1);
        }
    }

    /// Takes a token back. False if there is none with this number.
    pub fn revoke(&mut self, id: TokenId) -> bool {
        let token = self.tokens.get_mut(&id);
        token.map(|token| token.revoked = true).is_some()
    }

    /// All of them, those that expire first before the others.
    #[must_use]
    pub fn list(&self) -> Vec<Issued> {
        let mut tokens: Vec<Issued> = self.tokens.values().cloned().collect();
        tokens.sort_by_key(|token| (token.expires, token.id));
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TokenId = TokenId([1; 5]);
    const DIGEST: [u8; 32] = [7; 32];

    fn book(uses: Uses) -> TokenBook {
        let mut book = TokenBook::default();
        book.issue(Issued { id: ID, digest: DIGEST, expires: 1000, uses, revoked: false }, 0);
        book
    }

    #[test]
    fn each_way_of_being_over_has_its_refusal() {
        let mut tokens = book(Uses::Left(1));
        assert_eq!(tokens.redeem(TokenId([2; 5]), &DIGEST, 1), Err(Refusal::TokenUnknown));
        assert_eq!(tokens.redeem(ID, &DIGEST, 1000), Err(Refusal::TokenExpired { seconds: 0 }));
        assert_eq!(tokens.redeem(ID, &DIGEST, 1009), Err(Refusal::TokenExpired { seconds: 9 }));
        assert_eq!(tokens.redeem(ID, &DIGEST, 999), Ok(()));
        assert_eq!(tokens.redeem(ID, &DIGEST, 999), Err(Refusal::TokenUsedUp));
        tokens.give_back(ID);
        assert_eq!(tokens.redeem(ID, &DIGEST, 999), Ok(()));
        assert!(tokens.revoke(ID) && !tokens.revoke(TokenId([2; 5])));
        assert_eq!(tokens.redeem(ID, &DIGEST, 1), Err(Refusal::TokenRevoked));
        assert_eq!(tokens.list()[0].standing(1), Standing::Revoked);
    }

    #[test]
    fn who_has_not_the_secret_hears_nothing_about_the_token_and_uses_none() {
        let mut tokens = book(Uses::Left(1));
        for at in 0..32 {
            let mut wrong = DIGEST;
            wrong[at] ^= 1;
            for now in [1, 2000] {
                assert_eq!(tokens.redeem(ID, &wrong, now), Err(Refusal::TokenUnknown));
            }
        }
        assert_eq!(tokens.redeem(ID, &DIGEST, 1), Ok(()));
    }

    #[test]
    fn a_token_without_a_limit_lets_many_in() {
        let mut tokens = book(Uses::Unlimited);
        for _ in 0..100 {
            assert_eq!(tokens.redeem(ID, &DIGEST, 1), Ok(()));
        }
    }

    #[test]
    fn the_book_stays_small_and_keeps_what_is_good() {
        let mut tokens = book(Uses::Unlimited);
        for number in 0..3000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let id = TokenId([9, a, b, c, d]);
            tokens.issue(Issued { id, digest: DIGEST, expires: 10, uses: Uses::Left(1), revoked: false }, 20);
        }
        assert_eq!(tokens.list().len(), TOKENS_MAX);
        assert_eq!(tokens.redeem(ID, &DIGEST, 20), Ok(()));
        let late = 20 + 2 * REMEMBERED_SECONDS;
        let id = TokenId([8; 5]);
        tokens.issue(
            Issued { id, digest: DIGEST, expires: late + 1, uses: Uses::Left(1), revoked: false },
            late,
        );
        assert_eq!(tokens.list().len(), 1, "what has long been over is forgotten");
    }
}
