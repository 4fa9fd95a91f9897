//! `banyan token`: what lets machines join.

use super::{NodeChoice, other_answer, print_json};
use crate::terminal;
use anyhow::Context;
use banyan_node::admin::{AdminAnswer, ClusterRequest, Standing, TokenFacts, TokenId, Uses};
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print the line with which a machine joins
    New(NewArguments),
    /// List the tokens
    List(ListArguments),
    /// Take a token back: no machine joins with it any more
    Revoke(RevokeArguments),
}

/// Arguments of `banyan token new`.
#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// How long it is good: a number with `s`, `m`, `h` or `d`
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    life_seconds: u64,
    /// How many machines may join with it; without a number, as many as come
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan token list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// One JSON object for each token
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan token revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The token's number, as `banyan token list` prints it
    id: String,
    #[command(flatten)]
    node: NodeChoice,
}

/// A length of time such as `90s` or `2h`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 30m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|&seconds| seconds > 0).ok_or_else(wrong)
}

/// Carries out a command. Returns the exit status.
pub(crate) fn token(command: TokenCommand) -> anyhow::Result<u8> {
    match command {
        TokenCommand::New(arguments) => {
            let uses = arguments.uses.map_or(Uses::Unlimited, Uses::Left);
            let request = ClusterRequest::NewToken { seconds: arguments.life_seconds, uses };
            let AdminAnswer::Token(token) = arguments.node.ask(&request)? else {
                return Err(other_answer());
            };
            if arguments.json {
                print_json(&token)?;
            } else {
                eprintln!("On a machine that is to join:");
                terminal::print(&format!("banyan join {} {}\n", token.address, token.token));
            }
            Ok(0)
        }
        TokenCommand::List(arguments) => {
            let AdminAnswer::Tokens(tokens) = arguments.node.ask(&ClusterRequest::Tokens)? else {
                return Err(other_answer());
            };
            if arguments.json {
                tokens.iter().try_for_each(print_json)?;
            } else {
                terminal::print(&table(&tokens));
            }
            Ok(0)
        }
        TokenCommand::Revoke(arguments) => {
            let id = TokenId::parse(&arguments.id);
            let id = id.with_context(|| {
                format!("{} is no number of a token; see `banyan token list`", arguments.id)
            })?;
            arguments
                .node
                .order(&ClusterRequest::RevokeToken(id), &format!("No machine joins with {id} any more."))
        }
    }
}

fn table(tokens: &[TokenFacts]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut text = format!("{:8}  {:10}  {:>9}  {}\n", "TOKEN", "STANDING", "USES LEFT", "EXPIRES IN");
    for token in tokens {
        let standing = match token.standing {
            Standing::Good => "good",
            Standing::Expired => "expired",
            Standing::UsedUp => "used up",
            Standing::Revoked => "revoked",
        };
        let uses = match token.uses {
            Uses::Unlimited => "any".to_owned(),
            Uses::Left(left) => left.to_string(),
        };
        let left = Duration::from_secs(token.expires.saturating_sub(now));
        let _ = writeln!(
            text,
            "{:8}  {standing:10}  {uses:>9}  {} min",
            token.id.to_string(),
            left.as_secs().div_ceil(60)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2h"), Ok(7200));
        assert_eq!(seconds("7d"), Ok(7 * 86400));
        for wrong in ["", "1", "h", "0s", "-1s", "1y", "1.5h", "99999999999999999999d", "1\u{e9}"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
