//! `banyan actor run`: the process in which an example lives, with a live table on a terminal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::control::Control;
use super::table;
use crate::terminal::redraw;
use banyan_actor_examples::bank::{Bank, BranchMessage};
use banyan_actor_examples::{Line, ring, zoo};
use banyan_actors::Configuration;
use banyan_actors::actor::closure;
use banyan_actors::handle::Handle;
use banyan_actors::runtime::{Runtime, RuntimeOptions};

const ACCOUNTS: u32 = 16;
const ROUND_HOPS: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn run(program: &str, directory: Option<PathBuf>, hosts: usize) -> anyhow::Result<u8> {
    let options = RuntimeOptions { hosts, ..RuntimeOptions::default() };
    match program {
        "zoo" => {
            let runtime = Runtime::start(options)?;
            let _control = Control::open((*runtime).clone())?;
            show_zoo(&runtime)
        }
        "ring" => {
            let runtime = Runtime::start(options)?;
            let _control = Control::open((*runtime).clone())?;
            go_round(&runtime)
        }
        "bank" => {
            let directory =
                directory.context("the bank keeps its state: say where, with --directory DIRECTORY")?;
            let runtime = Runtime::start(options)?;
            let _control = Control::open((*runtime).clone())?;
            open_bank(&runtime, &directory)
        }
        other if Path::new(other).extension().is_some_and(|extension| extension == "wasm") => {
            run_module(Path::new(other), options)
        }
        other => anyhow::bail!(
            "there is no example {other:?}; there are bank, ring and zoo, and modules as FILE.wasm"
        ),
    }
}

/// A module's first actor, under the name of its file, until the process is ended.
fn run_module(path: &Path, options: RuntimeOptions) -> anyhow::Result<u8> {
    use banyan_actors::message::Packet;
    use banyan_actors::wasm::{Engine, EngineOptions};
    let shown = path.display();
    let module = std::fs::read(path).with_context(|| shown.to_string())?;
    let engine = Engine::new(EngineOptions::default())?;
    let module = engine.compile(&module).with_context(|| shown.to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let runtime = Runtime::start(options)?;
    let _control = Control::open((*runtime).clone())?;
    // Its start argument is its name, as text.
    let first = module.actor(0, Packet::encode(&name)?);
    let first = runtime.create(Configuration::new(name.clone()).with_behaviour(first));
    runtime.register(&name, &first)?;
    eprintln!("{name} runs; end it with Ctrl-C. In another terminal:");
    eprintln!("  banyan actor send {name} WORDS\n  banyan actor log\n  banyan actor sponsors");
    let is_live = std::io::stdout().is_terminal();
    loop {
        // Where it cannot be shown any more, the reader has gone.
        if is_live && redraw(&table::configurations(&runtime.configurations())).is_err() {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn show_zoo(handle: &Handle) -> anyhow::Result<u8> {
    println!("{:<32} {:<10} {:>12} {:>12}", "BOMB", "STOPPED BY", "P50 (us)", "P99 (us)");
    let shown = zoo::show(handle, |caged| {
        let [median, high] = caged.neighbour_us;
        let exhausted = caged.exhausted.as_deref().unwrap_or("-");
        let bar = "#".repeat((high / 10.0).clamp(1.0, 40.0) as usize);
        println!("{:<32} {exhausted:<10} {median:>12.1} {high:>12.1} {bar}", caged.bomb);
    })?;
    eprintln!("the columns of times are a well-behaved neighbour's answers while each bomb is alive");
    print!("{}", table::sponsors(&handle.sponsors()));
    Ok(u8::from(shown.iter().skip(1).any(|caged| caged.exhausted.is_none())))
}

fn go_round(handle: &Handle) -> anyhow::Result<u8> {
    let first = ring::start(handle, 100);
    let begun = Instant::now();
    handle.ask(&first, DEADLINE, |done| ring::Round::Token(ROUND_HOPS, done))?;
    let each = begun.elapsed().as_nanos() as f64 / ROUND_HOPS as f64;
    println!("{ROUND_HOPS} hops round 100 actors: {each:.0} ns each");
    Ok(0)
}

fn open_bank(handle: &Handle, directory: &Path) -> anyhow::Result<u8> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let bank = Bank::open(handle, directory, ACCOUNTS, None)?;
    let north = bank.north.clone();
    let teller = closure((), move |(), line: &Line, context| {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        let numbers: Option<Vec<u64>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
        match (words.first(), numbers.as_deref()) {
            (Some(&"transfer"), Some(&[from, to, amount])) => {
                let (from, to) =
                    (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX));
                let reply = line.reply.clone();
                let told = context.create(closure((), move |(), done: &bool, context| {
                    let answer = if *done { "transferred" } else { "there is not enough on that account" };
                    context.send(&reply, answer.to_owned());
                    context.stop();
                    Ok(())
                }))?;
                context.send(&north, BranchMessage::Transfer { from, to, amount, reply: Some(told.typed()) });
            }
            _ => context.send(&line.reply, "say: transfer FROM TO AMOUNT".to_owned()),
        }
        Ok(())
    });
    let teller = handle.create(Configuration::new("teller").with_behaviour(teller));
    handle.register("bank", &teller)?;
    eprintln!("the bank is open; it is as it was if you end it, however you do. In another terminal:");
    eprintln!("  banyan actor send bank transfer 1 2 50\n  banyan actor list");
    let is_live = std::io::stdout().is_terminal();
    loop {
        let [north, south] = bank.balances(handle, DEADLINE)?;
        let mut text = format!("north {north:?}\nsouth {south:?}\n");
        if is_live {
            text = format!("{}\n{text}", table::configurations(&handle.configurations()));
        }
        if redraw(&text).is_err() {
            return Ok(0);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
