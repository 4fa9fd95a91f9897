//! A token: the one line that is carried from a machine of the cluster to one that is to join.
//!
//! `by1.CLUSTER.TOKEN.SECRET.AUTHORITY`. The last part is the digest of the public key that signs the
//! cluster's certificates: with it the joining machine recognizes the cluster before it says anything, and it
//! is the key's and not the certificate's, so that the certificate can be made anew. No key is derived from a
//! token: it opens one door, for a while, and then it is nothing.

use alloc::string::ToString;
use banyan_wire::cluster::{ClusterId, TokenId, read_letters, write_letters};
use core::fmt;
use core::str::FromStr;

/// The first letters of every token, with the version of its form.
const MARK: &str = "by1";

/// A token with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster that it is for.
    pub cluster: ClusterId,
    /// Its number in the cluster's book.
    pub id: TokenId,
    /// What the book has only the digest of.
    pub secret: [u8; 16],
    /// SHA-256 of the public key (`SubjectPublicKeyInfo`, DER) of the cluster's authority.
    pub authority: [u8; 32],
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else.
    #[error("that is no token: one begins with `{MARK}.` and has five parts")]
    Form,
    /// Letters are missing, or wrong.
    #[error("the {0} of the token is damaged; copy the whole line again")]
    Part(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{MARK}.{}.{}.", self.cluster, self.id)?;
        write_letters(&self.secret, to)?;
        to.write_str(".")?;
        write_letters(&self.authority, to)
    }
}

/// Without the secret: a token gets into logs only by mistake.
impl fmt::Debug for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Token({})", self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim().to_string();
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(TokenError::Form);
        if next()? != MARK {
            return Err(TokenError::Form);
        }
        let (cluster, id, secret, authority) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(TokenError::Form);
        }
        Ok(Self {
            cluster: ClusterId::parse(cluster).ok_or(TokenError::Part("cluster"))?,
            id: TokenId::parse(id).ok_or(TokenError::Part("number"))?,
            secret: read_letters(secret).ok_or(TokenError::Part("secret"))?,
            authority: read_letters(authority).ok_or(TokenError::Part("key's digest"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn token() -> Token {
        Token {
            cluster: ClusterId([1; 10]),
            id: TokenId([2; 5]),
            secret: core::array::from_fn(|at| at as u8),
            authority: core::array::from_fn(|at| 255 - at as u8),
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_secret_is_shown() {
        let text = token().to_string();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
        assert_eq!(format!("{:?}", token()), format!("Token({})", TokenId([2; 5])));
    }

    #[test]
    fn a_cut_or_another_text_is_refused() {
        let text = token().to_string();
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<Token>().is_err(), "cut at {cut}");
        }
        assert_eq!("".parse::<Token>(), Err(TokenError::Form));
        assert_eq!(format!("{text}.x").parse::<Token>(), Err(TokenError::Form));
        assert_eq!(text.replacen("by1", "by2", 1).parse::<Token>(), Err(TokenError::Form));
        assert_eq!(text.to_uppercase().parse::<Token>(), Err(TokenError::Form));
    }
}
