//! The control socket of a process that runs configurations: a question a connection, one JSON line each way.
//!
//! It lies in the user's runtime directory, readable by the user only.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use banyan_actor_examples::Line;
use banyan_actors::handle::{ConfigurationStatus, Handle, SponsorStatus};

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest question.
const QUESTION_MAX: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    List,
    Show { configuration: String },
    Send { name: String, text: String },
    Log,
    Sponsors,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Configurations(Vec<ConfigurationStatus>),
    Sponsors(Vec<SponsorStatus>),
    Lines(Vec<String>),
    Refused(String),
}

fn directory() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let user = rustix::process::getuid().as_raw();
    runtime.unwrap_or_else(std::env::temp_dir).join(format!("banyan-actors-{user}"))
}

/// A socket that answers until it is dropped.
pub(super) struct Control {
    path: PathBuf,
}

impl Control {
    pub(super) fn open(handle: Handle) -> io::Result<Self> {
        let directory = directory();
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        let path = directory.join(format!("{}.sock", std::process::id()));
        // Left by a process that had this id and was killed.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        std::thread::Builder::new().name("banyan-control".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who asks badly, or goes, gets no answer; the next one does.
                let _ = serve(&stream, &handle);
            }
        })?;
        Ok(Self { path })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Its thread ends with the process. A socket that is gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(stream: &UnixStream, handle: &Handle) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(QUESTION_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => answer(question, handle),
        Err(error) => Answer::Refused(format!("the question was not understood: {error}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes())
}

fn answer(question: Question, handle: &Handle) -> Answer {
    match question {
        Question::List => Answer::Configurations(handle.configurations()),
        Question::Log => Answer::Lines(handle.log_lines()),
        Question::Sponsors => Answer::Sponsors(handle.sponsors()),
        Question::Show { configuration } => {
            let mut list = handle.configurations();
            list.retain(|one| one.name == configuration || one.number.to_string() == configuration);
            if list.is_empty() {
                return Answer::Refused(format!(
                    "there is no configuration {configuration:?}; `banyan actor list` shows those there are"
                ));
            }
            Answer::Configurations(list)
        }
        Question::Send { name, text } => {
            let Some(actor) = handle.lookup(&name) else {
                let names: Vec<String> = handle.names().into_iter().map(|(name, _)| name).collect();
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Answer::Refused(format!("no actor is named {name:?}; named are: {known}"));
            };
            let actor = actor.typed();
            match handle.ask(&actor, PATIENCE / 2, |reply| Line { text, reply }) {
                Ok(answer) => Answer::Lines(vec![answer]),
                Err(error) => Answer::Refused(format!("{name}: {error}; `banyan actor log` may say why")),
            }
        }
    }
}

/// Asks a running process.
pub(super) fn ask(process: Option<u32>, question: &Question) -> anyhow::Result<Answer> {
    let mut stream = connect(process)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(question)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn connect(process: Option<u32>) -> anyhow::Result<UnixStream> {
    const REMEDY: &str = "start one, for example: banyan actor run bank --directory ./bank";
    if let Some(process) = process {
        let path = directory().join(format!("{process}.sock"));
        let stream = UnixStream::connect(path).ok();
        return stream.with_context(|| format!("process {process} runs no configurations; {REMEDY}"));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory()).into_iter().flatten().flatten() {
        match UnixStream::connect(entry.path()) {
            Ok(stream) => found.push((entry.path(), stream)),
            // Its process was killed; nobody will listen there again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = std::fs::remove_file(entry.path());
            }
            Err(_) => {}
        }
    }
    let name =
        |path: &PathBuf| path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    match found.len() {
        0 => anyhow::bail!("no process of yours runs configurations; {REMEDY}"),
        1 => found.pop().map(|(_, stream)| stream).context("no process"),
        _ => {
            let ids: Vec<String> = found.iter().map(|(path, _)| name(path)).collect();
            anyhow::bail!(
                "several processes run configurations: choose one with --process: {}",
                ids.join(", ")
            )
        }
    }
}
