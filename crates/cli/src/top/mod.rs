//! `banyan top`: what the nodes, programs and pages of a cluster do, now and as long as somebody looks.
//!
//! What is shown comes from `banyan_view`; here is the terminal. `model` is the state of the screen,
//! `screen`, `panes` and `detail` make lines of it, `looks` asks the node; this file has the terminal and
//! gives it back.

mod detail;
mod looks;
mod model;
mod panes;
mod screen;
#[cfg(test)]
mod tests;
mod text;

use crate::terminal;
use crate::which_node::WhichNode;
use anyhow::{Context, bail};
use banyan_view::Live;
use clap::Args;
use crossterm::event::{self, Event};
use looks::{Looks, Wish};
use model::{Effect, Model};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;
use text::Palette;

/// How long a key or a view waits to be seen at most.
const TICK: Duration = Duration::from_millis(50);

const AFTER_HELP: &str = "\
Shows the nodes, programs, memory, page faults, connections, hot pages and
events of the cluster of this machine, or of a program that runs here with
nodes of its own. `?` says what the keys are. What is shown can be asked for
with `banyan sql`, too.

Examples:
  banyan top
  banyan top --once
  banyan top --json --interval 5 | jq .jobs";

/// Arguments of `banyan top`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TopArguments {
    /// Print one screen of plain text and end, after two looks
    #[arg(long)]
    once: bool,
    /// Print a JSON object for each look, or one with --once
    #[arg(long)]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    #[command(flatten)]
    node: WhichNode,
}

/// Shows what goes on until the person leaves. Returns the exit status.
pub(crate) fn top(arguments: &TopArguments) -> anyhow::Result<u8> {
    let socket = arguments.node.socket("banyan top")?;
    let every = Duration::from_secs(arguments.interval);
    if arguments.once || arguments.json {
        return print(arguments, &socket, every);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!(
            "standard input or output is no terminal; to print what there is: banyan top --once, or --json"
        );
    }
    let looks = looks::start(socket, every).context("starting to look")?;
    let signal = heed_signals().context("catching signals")?;
    // Enters raw mode and another screen, and has a panic give both back before it is told.
    let mut terminal = ratatui::try_init().context("the terminal")?;
    let result = show(&looks, &signal, &mut terminal);
    if terminal.show_cursor().and_then(|()| ratatui::try_restore()).is_err() {
        // It is gone, and nobody is left who could read why. To drop what is drawn with would try to say it.
        std::process::exit(128 + SIGHUP);
    }
    result
}

/// Has SIGTERM and SIGHUP end the loop of the screen, by their number. If it does not end by itself, since a
/// terminal that is gone can keep it waiting for ever, the process ends all the same.
fn heed_signals() -> std::io::Result<Arc<AtomicI32>> {
    const GRACE: Duration = Duration::from_millis(500);
    let signal = Arc::new(AtomicI32::new(0));
    let mut signals = Signals::new([SIGTERM, SIGHUP])?;
    let told = Arc::clone(&signal);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(number) = signals.forever().next() {
            told.store(number, Ordering::Relaxed);
            std::thread::sleep(GRACE);
            let _ = ratatui::try_restore();
            std::process::exit(128 + number);
        }
    })?;
    Ok(signal)
}

/// Without a terminal: text or JSON.
fn print(arguments: &TopArguments, socket: &Path, every: Duration) -> anyhow::Result<u8> {
    let mut live = Live::default();
    let mut view = looks::look(socket, &mut live, None)?;
    loop {
        if arguments.json && !arguments.once {
            let line = serde_json::to_string(&view)?;
            // Nobody reads any more.
            if writeln!(std::io::stdout(), "{line}").is_err() {
                return Ok(0);
            }
        }
        std::thread::sleep(every);
        view = looks::look(socket, &mut live, None)?;
        if !arguments.once {
            continue;
        }
        if arguments.json {
            terminal::print_json(&[&view])?;
        } else {
            let mut model = Model::new();
            model.take(view);
            terminal::print(&plain(&model, terminal::columns()));
        }
        return Ok(0);
    }
}

/// The overview without colours, keys and empty lines.
fn plain(model: &Model, width: usize) -> String {
    const ROOM: usize = 1000;
    let lines = screen::lines(model, Palette::Plain, width, ROOM);
    let lines: Vec<String> =
        lines[..ROOM - 1].iter().map(|line| line.to_string().trim_end().to_owned()).collect();
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines[..used].iter().map(|line| format!("{line}\n")).collect()
}

/// The loop of the screen. Returns the exit status: that of a signal, if one has ended it.
fn show(looks: &Looks, signal: &AtomicI32, terminal: &mut ratatui::DefaultTerminal) -> anyhow::Result<u8> {
    let (mut model, palette) = (Model::new(), Palette::of_environment());
    let mut is_stale = true;
    loop {
        if is_stale {
            terminal.draw(|frame| screen::draw(&model, palette, frame))?;
        }
        is_stale = event::poll(TICK)?;
        if is_stale {
            // Other events are a new size of the terminal.
            if let Event::Key(key) = event::read()? {
                match screen::key(&mut model, &key) {
                    Effect::Draw => {}
                    Effect::Quit => return Ok(0),
                    // If it is full, a look is due anyway.
                    Effect::Look => drop(looks.wishes.try_send(Wish::Now(model.wants()))),
                }
            }
        }
        match looks.views.try_recv() {
            Ok(Ok(view)) => model.take(*view),
            Ok(Err(reason)) => model.fail(reason),
            Err(TryRecvError::Empty) => {
                if let number @ 1.. = signal.load(Ordering::Relaxed) {
                    return Ok(128 + number as u8);
                }
                continue;
            }
            Err(TryRecvError::Disconnected) => bail!("the thread that looks has ended"),
        }
        is_stale = true;
    }
}
