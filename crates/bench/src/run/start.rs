//! What the start of a run costs a program that does nothing, beyond its native start.

use super::one_node::{missing, path_text};
use super::outcome::Outcome;
use super::processes::{self, Launch, On};
use super::session::Session;
use crate::report::list_of;
use crate::row::Detail;
use crate::statistics::median;
use serde_json::json;
use std::time::Duration;

/// Runs of each side for one figure.
const STARTS: usize = 15;
const DEADLINE: Duration = Duration::from_secs(20);

/// `start.1` and `start.3`: milliseconds beyond native, by the clock. The bar is on these.
pub(crate) fn measure(session: &mut Session, nodes: u8) -> anyhow::Result<Outcome> {
    if let Some(skipped) = missing("gcc") {
        return Ok(skipped);
    }
    let program = session.compiled("nothing", "int main(void) { return 0; }\n", "-static")?;
    let words = vec![path_text(&program)?.to_owned()];
    let (mut alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        for (times, on) in [(&mut alone, On::Nothing), (&mut ours, On::AsPays(nodes))] {
            let finished = processes::run(Launch {
                words: words.clone(),
                on,
                processors: None,
                run: session.next_run(),
                place: None,
                deadline: DEADLINE,
            })?;
            times.push(finished.wall_seconds * 1e3);
        }
    }
    let beyond = median(ours.iter().copied()) - median(alone.iter().copied());
    let mut detail = Detail::new();
    detail.insert("banyan_ms".into(), list_of(&ours));
    detail.insert("alone_ms".into(), list_of(&alone));
    detail.insert("program".into(), json!("a static one that returns at once"));
    Ok(Outcome::measured(beyond, "ms", beyond, detail))
}
