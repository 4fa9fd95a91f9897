//! Other libraries, in rounds that take turns with ours: what they offer nearest to a call.
//!
//! Each round starts the rival's other end as a process of its own, the running program again, and
//! ends it, so that nobody's spinning takes a processor from somebody else's round. As their
//! documentation shows them; none of them detects a peer's death, has a deadline or is retried,
//! but procspawn, which does. Not built by default: see the feature `rivals`.

use super::times;
use banyan_calls::error::CallError;
use banyan_calls::measuring::{Processors, counter, current_processor, place_thread, thread_id};
use banyan_calls::measuring::{become_child_of, end_now};
use iceoryx2::prelude::{Config, FileName, NodeBuilder, Path, SemanticString, ServiceName, ipc};
use iceoryx2::service::port_factory::PortFactory;
use ipc_channel::ipc::{self as channel, IpcOneShotServer, IpcReceiver, IpcSender};
use std::fmt::{Debug, Display};
use std::process::{Child, Command, Stdio};

/// Makes the process a rival's other end: which, a blank, and what that must know.
const ROLE: &str = "BANYAN_BENCH_RIVAL";
/// Calls of a round that are not counted.
const WARM_UP: usize = 2000;
/// Longest wait for the other end to come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Asks the other end to finish.
const LAST: u64 = u64::MAX;

/// A rival's name and its round: the times of its round trips, in ticks.
pub(super) type Rival = (&'static str, fn() -> Result<Vec<u64>, CallError>);

/// Those that spin.
pub(super) const SPINNING: &[Rival] = &[
    ("iceoryx2 request and response", iceoryx2_round),
    #[cfg(feature = "rival-tachyon")]
    ("tachyon-ipc", tachyon::round),
];

/// Those that sleep.
pub(super) const BLOCKING: &[Rival] = &[
    ("ipc-channel", || channel_round(false)),
    ("ipc-channel on one processor", || channel_round(true)),
    ("procspawn", procspawn_round),
];

/// Must be called first in `main`: the rivals start the program again to be their other end.
pub(crate) fn init() {
    procspawn::init();
    let Ok(role) = std::env::var(ROLE) else { return };
    if !become_child_of(std::os::unix::process::parent_id()) {
        end_now(3);
    }
    let (rival, place) = role.split_once(' ').unwrap_or((&role, ""));
    let served = match rival {
        "iceoryx2" => serve_iceoryx2(place),
        "ipc-channel" => serve_channel(place),
        #[cfg(feature = "rival-tachyon")]
        "tachyon" => tachyon::serve(place),
        _ => Err(failed("a role", "unknown")),
    };
    if let Err(error) = &served {
        eprintln!("{role}: {error}");
    }
    end_now(served.is_err().into());
}

fn failed(what: &str, error: impl Display) -> CallError {
    CallError::Failed(format!("{what}: {error}"))
}

/// What became of a step of a rival's.
fn problem<E: Debug>(rival: &'static str) -> impl Fn(E) -> CallError {
    move |error| failed(rival, format_args!("{error:?}"))
}

/// The other end; it is ended with this.
struct Other(Child);

impl Other {
    fn start(role: &str) -> Result<Self, CallError> {
        let mut command = Command::new("/proc/self/exe");
        command.env(ROLE, role).stdin(Stdio::null());
        command.spawn().map(Self).map_err(|error| failed("starting a rival", error))
    }

    /// Waits for an end that was asked for.
    fn finish(mut self) -> Result<(), CallError> {
        self.0.wait().map(drop).map_err(|error| failed("waiting for a rival", error))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place for files of this round.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Result<Self, CallError> {
        tempfile::tempdir().map(Self).map_err(|error| failed("a directory", error))
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

const ICEORYX2: &str = "iceoryx2";

/// Settings that keep all files of iceoryx2 but its shared memory in the given directory.
fn iceoryx2_settings(place: &str) -> Result<Config, CallError> {
    let mut settings = Config::default();
    settings.global.set_root_path(&Path::new(place.as_bytes()).map_err(problem(ICEORYX2))?);
    let prefix = iceoryx2_prefix(place);
    settings.global.prefix = FileName::new(prefix.as_bytes()).map_err(problem(ICEORYX2))?;
    Ok(settings)
}

/// What the names of this round's shared memory begin with.
fn iceoryx2_prefix(place: &str) -> String {
    let name: String = place.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{name}_")
}

/// Removes the shared memory of nodes that have ended: version 0.10 leaves a part of it behind.
fn remove_iceoryx2_remains(place: &str) {
    let prefix = iceoryx2_prefix(place);
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The service in a node; a macro, as its type has no short name.
macro_rules! iceoryx2_service {
    ($node:ident) => {{
        let name = ServiceName::new("banyan/bench").map_err(problem(ICEORYX2))?;
        let builder = $node.service_builder(&name).request_response::<u64, u64>();
        builder.open_or_create().map_err(problem(ICEORYX2))?
    }};
}

fn iceoryx2_round() -> Result<Vec<u64>, CallError> {
    let place = Place::new()?;
    let times = iceoryx2_trips(&place);
    remove_iceoryx2_remains(&place.path());
    times
}

fn iceoryx2_trips(place: &Place) -> Result<Vec<u64>, CallError> {
    let settings = iceoryx2_settings(&place.path())?;
    let node = NodeBuilder::new().config(&settings).create::<ipc::Service>().map_err(problem(ICEORYX2))?;
    let service = iceoryx2_service!(node);
    let client = service.client_builder().create().map_err(problem(ICEORYX2))?;
    let other = Other::start(&format!("iceoryx2 {}", place.path()))?;
    let begun = std::time::Instant::now();
    while service.dynamic_config().number_of_servers() == 0 {
        if begun.elapsed() > PATIENCE {
            return Err(failed(ICEORYX2, "the other end does not come"));
        }
        std::thread::yield_now();
    }
    let trip = |number: u64| {
        let pending = client.send_copy(number).map_err(problem(ICEORYX2))?;
        loop {
            if let Some(response) = pending.receive().map_err(problem(ICEORYX2))? {
                return if *response == number { Ok(()) } else { Err(failed(ICEORYX2, "a wrong answer")) };
            }
        }
    };
    times(WARM_UP, || trip(1))?;
    let times = times(25_000, || trip(2))?;
    trip(LAST)?;
    other.finish()?;
    Ok(times)
}

fn serve_iceoryx2(place: &str) -> Result<(), CallError> {
    let settings = iceoryx2_settings(place)?;
    let node = NodeBuilder::new().config(&settings).create::<ipc::Service>().map_err(problem(ICEORYX2))?;
    let service = iceoryx2_service!(node);
    let server = service.server_builder().create().map_err(problem(ICEORYX2))?;
    loop {
        if let Some(request) = server.receive().map_err(problem(ICEORYX2))? {
            let number = *request;
            request.send_copy(number).map_err(problem(ICEORYX2))?;
            if number == LAST {
                return Ok(());
            }
        }
    }
}

const CHANNEL: &str = "ipc-channel";

type Ends = (IpcSender<u64>, IpcReceiver<u64>);

fn channel_round(on_one_processor: bool) -> Result<Vec<u64>, CallError> {
    let allowed = Processors::of_this_thread();
    if on_one_processor {
        place_thread(thread_id(), current_processor());
    }
    let times = channel_trips();
    allowed.take();
    times
}

fn channel_trips() -> Result<Vec<u64>, CallError> {
    let (meeting, name) = IpcOneShotServer::<Ends>::new().map_err(problem(CHANNEL))?;
    let other = Other::start(&format!("ipc-channel {name}"))?;
    let (_, (to, from)) = meeting.accept().map_err(problem(CHANNEL))?;
    let trip = |number: u64| {
        to.send(number).map_err(problem(CHANNEL))?;
        let answer = from.recv().map_err(problem(CHANNEL))?;
        if answer == number { Ok(()) } else { Err(failed(CHANNEL, "a wrong answer")) }
    };
    times(100, || trip(1))?;
    let times = times(1000, || trip(2))?;
    trip(LAST)?;
    other.finish()?;
    Ok(times)
}

fn serve_channel(name: &str) -> Result<(), CallError> {
    let (to, theirs) = channel::channel::<u64>().map_err(problem(CHANNEL))?;
    let (ours, from) = channel::channel::<u64>().map_err(problem(CHANNEL))?;
    let meeting = IpcSender::<Ends>::connect(name.to_owned()).map_err(problem(CHANNEL))?;
    meeting.send((ours, theirs)).map_err(problem(CHANNEL))?;
    loop {
        let number = from.recv().map_err(problem(CHANNEL))?;
        to.send(number).map_err(problem(CHANNEL))?;
        if number == LAST {
            return Ok(());
        }
    }
}

const PROCSPAWN: &str = "procspawn";

fn pool() -> Result<procspawn::Pool, CallError> {
    procspawn::Pool::new(1).map_err(problem(PROCSPAWN))
}

fn procspawn_null(pool: &procspawn::Pool) -> Result<(), CallError> {
    pool.spawn((), |()| ()).join().map_err(problem(PROCSPAWN))
}

fn procspawn_round() -> Result<Vec<u64>, CallError> {
    let pool = pool()?;
    times(50, || procspawn_null(&pool))?;
    let times = times(500, || procspawn_null(&pool))?;
    pool.shutdown();
    Ok(times)
}

fn crash((): ()) {
    std::process::abort();
}

/// How long procspawn takes from a task that crashes to the next one that succeeds.
pub(super) fn crash_and_retry() -> Result<String, CallError> {
    let pool = pool()?;
    let mut all = Vec::new();
    for _ in 0..30 {
        procspawn_null(&pool)?;
        let start = counter();
        if pool.spawn((), crash).join().is_ok() {
            return Err(failed(PROCSPAWN, "a crash was not noticed"));
        }
        procspawn_null(&pool)?;
        all.push(counter() - start);
    }
    pool.shutdown();
    Ok(format!("procspawn {:.1} us; ", super::at(&all, 0.5)))
}

/// Its C++ needs a compiler newer than some systems have: `CXX=clang++-19`, for instance.
#[cfg(feature = "rival-tachyon")]
mod tachyon {
    use super::super::times;
    use super::{Other, PATIENCE, Place, WARM_UP, failed, problem};
    use banyan_calls::error::CallError;
    use tachyon_ipc::RpcBus;

    const TACHYON: &str = "tachyon-ipc";
    const BYTES: usize = 1 << 16;
    const QUESTION: u32 = 1;
    const LAST_QUESTION: u32 = 2;

    pub(super) fn round() -> Result<Vec<u64>, CallError> {
        let place = Place::new()?;
        let socket = format!("{}/bus", place.path());
        let other = Other::start(&format!("tachyon {socket}"))?;
        let begun = std::time::Instant::now();
        let bus = loop {
            match RpcBus::connect(&socket) {
                Ok(bus) => break bus,
                Err(_) if begun.elapsed() < PATIENCE => std::thread::yield_now(),
                Err(error) => return Err(problem(TACHYON)(error)),
            }
        };
        bus.set_polling_mode(true);
        let trip = |kind| {
            let call = bus.call(&[7; 32], kind).map_err(problem(TACHYON))?;
            let answer = bus.wait(call, u32::MAX).map_err(problem(TACHYON))?;
            if answer.data() != [7; 32] {
                return Err(failed(TACHYON, "a wrong answer"));
            }
            answer.commit().map_err(problem(TACHYON))
        };
        times(WARM_UP, || trip(QUESTION))?;
        let times = times(25_000, || trip(QUESTION))?;
        trip(LAST_QUESTION)?;
        other.finish()?;
        Ok(times)
    }

    pub(super) fn serve(socket: &str) -> Result<(), CallError> {
        let bus = RpcBus::listen(socket, BYTES, BYTES).map_err(problem(TACHYON))?;
        bus.set_polling_mode(true);
        loop {
            let question = bus.serve(u32::MAX).map_err(problem(TACHYON))?;
            let (call, kind) = (question.correlation_id, question.type_id);
            let bytes = question.data().to_vec();
            question.commit().map_err(problem(TACHYON))?;
            bus.reply(call, &bytes, kind).map_err(problem(TACHYON))?;
            if kind == LAST_QUESTION {
                // The answer must be read before its memory goes.
                std::thread::sleep(std::time::Duration::from_millis(20));
                return Ok(());
            }
        }
    }
}
