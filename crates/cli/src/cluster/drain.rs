//! `banyan node drain` and `resume`: this machine takes no programs of others, and those that are here go.

use super::{NodeChoice, other_answer};
use anyhow::bail;
use banyan_node::admin::{AdminAnswer, AdminRequest, Drain, Here};
use banyan_node::state::socket_of;
use clap::Args;
use std::time::{Duration, Instant};

/// How often to ask whether they have gone.
const LOOK: Duration = Duration::from_millis(100);
/// What is printed again, if it is still so, after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// Arguments of `banyan node drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArguments {
    /// Give up waiting after this many seconds; the node goes on letting programs go
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    node: NodeChoice,
}

/// Arguments of `banyan node resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    node: NodeChoice,
}

impl NodeChoice {
    fn drain(&self, drain: Drain) -> anyhow::Result<Vec<Here>> {
        match banyan_node::administer(&socket_of(&self.directory()), &AdminRequest::Drain(drain))? {
            AdminAnswer::Here(here) => Ok(here),
            _ => Err(other_answer()),
        }
    }
}

/// Waits until no program is on the node.
pub(super) fn drain(arguments: &DrainArguments) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let until = arguments.timeout.map(|seconds| begun + Duration::from_secs(seconds));
    let mut said: Option<(String, Instant)> = None;
    loop {
        let here = arguments.node.drain(Drain::Begin)?;
        if here.is_empty() {
            eprintln!("No program is on this node, and none comes. To change that:\n  banyan node resume");
            return Ok(0);
        }
        let text = describe(&here);
        if said.as_ref().is_none_or(|(before, at)| *before != text || at.elapsed() >= AGAIN) {
            eprintln!("{text}");
            said = Some((text.clone(), Instant::now()));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            bail!(
                "after {} s programs are still on this node: {text}; it goes on letting them go",
                begun.elapsed().as_secs()
            );
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets programs come again.
pub(super) fn resume(arguments: &ResumeArguments) -> anyhow::Result<u8> {
    arguments.node.drain(Drain::End)?;
    eprintln!("Programs may come to this node.");
    Ok(0)
}

/// What is on the node, for people.
fn describe(here: &[Here]) -> String {
    let one = |Here { program, is_home, threads }: &Here| match (is_home, threads) {
        (true, _) => format!("{program} was started here and stays until it ends"),
        (false, 0) => format!("{program} is leaving"),
        (false, 1) => format!("{program} has a thread here, which goes when it runs"),
        (false, _) => format!("{program} has {threads} threads here, which go when they run"),
    };
    here.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_keeps_a_node() {
        let here = |is_home, threads| Here { program: "pigz".into(), is_home, threads };
        assert_eq!(
            describe(&[here(true, 4), here(false, 1), here(false, 0), here(false, 3)]),
            "pigz was started here and stays until it ends; pigz has a thread here, which goes when it runs; \
             pigz is leaving; pigz has 3 threads here, which go when they run"
        );
    }
}
