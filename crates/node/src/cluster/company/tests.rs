//! The log of a company on disks that are slow, full or broken, under a process that is killed, and under the
//! library's own suite for stores.

use super::commit::Write;
use super::disk::{Disk, Fault, Faults};
use super::kinds::{Entry, LogId, Root, SnapshotMeta, StorageError, Vote, Who};
use super::log::Log;
use super::machine::{Machine, Standing};
use super::message;
use super::store::{Fact, Store, StoreError};
use banyan_core::companies::CompanyId;
use banyan_core::membership::Change;
use banyan_wire::cluster::MemberId;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader, RaftSnapshotBuilder};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const OWN: MemberId = MemberId([1; 10]);
const COMPANY: CompanyId = CompanyId::ROOT;

impl From<u64> for Who {
    fn from(number: u64) -> Self {
        Self(MemberId([number as u8; 10]))
    }
}

/// A file that is gone at the end of a test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("banyan-company-{}-{number}", std::process::id())))
    }

    fn open(&self) -> Log {
        self.open_with(&Faults::none()).unwrap()
    }

    fn open_with(&self, faults: &Faults) -> Result<Log, StoreError> {
        open_at(&self.0, faults)
    }
}

fn open_at(path: &Path, faults: &Faults) -> Result<Log, StoreError> {
    Store::open(Disk::open(path, faults), OWN).map(|(store, _)| Log { store, company: COMPANY })
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, Who(OWN)), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = EntryPayload::Normal(Change::Unregister(format!("name-{index}")));
    Entry { log_id: log_id(term, index), payload }
}

fn write(log: &Log, writes: Vec<Write>) -> std::io::Result<()> {
    log.store.committer().write(writes).blocking_recv().unwrap()
}

fn append(log: &Log, term: u64, indexes: std::ops::Range<u64>) -> std::io::Result<()> {
    write(log, vec![Write::append(COMPANY, indexes.map(|index| entry(term, index)))])
}

fn vote(log: &Log, term: u64) {
    write(log, vec![Write::fact(COMPANY, Fact::Vote, &Vote::new(term, Who(OWN)))]).unwrap();
}

fn indexes(log: &Log) -> Vec<u64> {
    log.store.entries(COMPANY, ..).unwrap().iter().map(|entry| entry.log_id.index).collect()
}

fn wait_for<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

struct Builder;

impl StoreBuilder<Root, Log, Machine, Scratch> for Builder {
    async fn build(&self) -> Result<(Scratch, Log, Machine), StorageError> {
        let scratch = Scratch::new();
        // Opening waits for the thread that writes, which a runtime does not like.
        let log = std::thread::scope(|scope| scope.spawn(|| scratch.open()).join().unwrap());
        let machine = Machine::open(log.store.clone(), COMPANY, Arc::<Standing>::default()).unwrap();
        Ok((scratch, log, machine))
    }
}

#[test]
fn it_is_what_the_library_asks_of_a_store() {
    Suite::test_all(Builder).unwrap();
}

#[test]
fn what_was_written_is_there_again_and_belongs_to_one_member() {
    let scratch = Scratch::new();
    let log = scratch.open();
    vote(&log, 2);
    append(&log, 2, 0..5).unwrap();
    write(&log, vec![Write::Truncate(COMPANY, 3)]).unwrap();
    drop(log);
    let log = scratch.open();
    assert_eq!(indexes(&log), [0, 1, 2]);
    assert_eq!(log.store.fact(COMPANY, Fact::Vote).unwrap(), Some(Vote::new(2, Who(OWN))));
    drop(log);
    let other = MemberId([2; 10]);
    let stolen = Store::open(Disk::open(&scratch.0, &Faults::none()), other);
    assert!(matches!(stolen, Err(StoreError::OtherMember(OWN))));
}

#[test]
fn it_starts_after_the_first_purge() {
    let scratch = Scratch::new();
    let mut log = scratch.open();
    vote(&log, 1);
    append(&log, 1, 0..10).unwrap();
    let mut machine = Machine::open(log.store.clone(), COMPANY, Arc::default()).unwrap();
    wait_for(async {
        let entries = log.try_get_log_entries(0..8).await.unwrap();
        machine.apply(entries).await.unwrap();
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        log.purge(log_id(1, 6)).await.unwrap();
    });
    drop((log, machine));
    let mut log = scratch.open();
    let standing = Arc::<Standing>::default();
    let _machine = Machine::open(log.store.clone(), COMPANY, Arc::clone(&standing)).unwrap();
    assert_eq!(standing.index(), Some(7));
    let state = wait_for(log.get_log_state()).unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 6)));
    assert_eq!(state.last_log_id, Some(log_id(1, 9)));
    assert_eq!(indexes(&log), [7, 8, 9]);
}

#[test]
fn an_older_snapshot_does_not_replace_a_newer_one() {
    let scratch = Scratch::new();
    let log = scratch.open();
    let meta = |index| SnapshotMeta { last_log_id: Some(log_id(1, index)), ..SnapshotMeta::default() };
    for index in [5, 9, 7] {
        write(&log, vec![Write::Snapshot(COMPANY, meta(index), vec![index as u8])]).unwrap();
    }
    assert_eq!(log.store.fact::<SnapshotMeta>(COMPANY, Fact::SnapshotMeta).unwrap(), Some(meta(9)));
    assert_eq!(log.store.fact_bytes(COMPANY, Fact::Snapshot).unwrap(), Some(vec![9]));
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let snapshot = |term, index| {
        let meta = SnapshotMeta { last_log_id: Some(log_id(term, index)), ..SnapshotMeta::default() };
        Write::Snapshot(COMPANY, meta, Vec::new())
    };
    let entries =
        |term, indexes: std::ops::Range<u64>| Write::append(COMPANY, indexes.map(|index| entry(term, index)));
    let vote = |term| Write::fact(COMPANY, Fact::Vote, &Vote::new(term, Who(OWN)));
    let fact = |fact, id: LogId| match fact {
        Fact::Committed => Write::fact(COMPANY, fact, &Some(id)),
        _ => Write::fact(COMPANY, fact, &id),
    };
    for (writes, words) in [
        (vec![vote(1), entries(1, 0..2), entries(1, 3..4)], "entry 2 is missing"),
        (vec![vote(1), entries(1, 1..2)], "entry 0 is missing"),
        (vec![vote(2), entries(2, 0..1), entries(1, 1..2)], "earlier term"),
        (vec![vote(1), entries(2, 0..1)], "later term than the vote"),
        (vec![vote(1), fact(Fact::Purged, log_id(1, 4)), entries(1, 5..6)], "no snapshot"),
        (vec![vote(2), entries(1, 0..9), snapshot(2, 5)], "another term than the snapshot"),
        (vec![vote(1), entries(1, 0..2), fact(Fact::Committed, log_id(1, 2))], "agreed on and is missing"),
    ] {
        let scratch = Scratch::new();
        write(&scratch.open(), writes).unwrap();
        let refused = scratch.open_with(&Faults::none()).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let sound = [
        vec![
            vote(1),
            entries(1, 0..9),
            snapshot(1, 5),
            fact(Fact::Purged, log_id(1, 5)),
            Write::Purge(COMPANY, 5),
        ],
        // A snapshot of another member came, and the old entries are not gone yet.
        vec![vote(2), entries(1, 0..3), snapshot(2, 50), fact(Fact::Committed, log_id(2, 50))],
    ];
    for writes in sound {
        let scratch = Scratch::new();
        write(&scratch.open(), writes).unwrap();
        scratch.open();
    }
}

#[test]
fn what_waits_is_written_together_and_a_stalled_disk_acknowledges_nothing() {
    let (scratch, faults) = (Scratch::new(), Faults::none());
    let log = scratch.open_with(&faults).unwrap();
    vote(&log, 1);
    faults.set(Fault::Stalled);
    let waiting: Vec<_> = (0..50)
        .map(|index| log.store.committer().write(vec![Write::append(COMPANY, [entry(1, index)])]))
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiting.iter().all(oneshot::Receiver::is_empty), "nothing is durable yet");
    faults.set(Fault::None);
    for answer in waiting {
        answer.blocking_recv().unwrap().unwrap();
    }
    drop(log);
    assert_eq!(indexes(&scratch.open()), (0..50).collect::<Vec<_>>());
}

#[test]
fn after_a_write_that_failed_nothing_is_written_and_nothing_acknowledged_is_lost() {
    for (fault, words) in [(Fault::Full, "no storage space"), (Fault::SyncFails, "does not answer")] {
        let (scratch, faults) = (Scratch::new(), Faults::none());
        let log = scratch.open_with(&faults).unwrap();
        vote(&log, 1);
        append(&log, 1, 0..5).unwrap();
        faults.set(fault);
        let error = append(&log, 1, 5..6).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        faults.set(Fault::None);
        assert!(append(&log, 1, 6..7).is_err(), "it is not known what the file has");
        drop(log);
        let log = scratch.open_with(&faults).unwrap();
        let found = indexes(&log);
        assert!(found == [0, 1, 2, 3, 4] || found == [0, 1, 2, 3, 4, 5], "{found:?}");
        append(&log, 1, found.len() as u64..9).unwrap();
    }
}

const WRITER: &str = "BANYAN_TEST_WRITER";

/// Not a test of its own: the process that is killed.
#[test]
fn a_writer_for_the_next_test() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let log = open_at(Path::new(&path), &Faults::none()).unwrap();
    vote(&log, 1);
    let next = log.store.last(COMPANY).unwrap().map_or(0, |last| last.index + 1);
    println!("\nready");
    for index in next.. {
        append(&log, 1, index..index + 1).unwrap();
        println!("wrote {index}");
    }
}

/// One round takes about 50 ms; `BANYAN_KILLS=500` is for who has changed the store.
#[test]
fn a_writer_that_is_killed_loses_nothing_that_it_has_acknowledged() {
    let rounds = std::env::var("BANYAN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let scratch = Scratch::new();
    let mut random = fastrand::Rng::with_seed(7);
    let mut acknowledged = None;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_writer_for_the_next_test", "--nocapture"])
            .env(WRITER, &scratch.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "ready" {}
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            // The last line may be cut.
            if let Some(index) = line.strip_prefix("wrote ").and_then(|text| text.parse::<u64>().ok()) {
                acknowledged = acknowledged.max(Some(index));
            }
        }
        let begun = Instant::now();
        let log = scratch.open();
        assert!(begun.elapsed() < Duration::from_secs(5), "opening walks the file");
        let found = indexes(&log);
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "round {round}");
        assert!(found.last().copied() >= acknowledged, "round {round}: {acknowledged:?} is lost");
    }
    assert!(acknowledged > Some(rounds), "it was killed before it wrote");
}

#[test]
fn what_members_say_is_read_again_and_damage_is_an_error() {
    let inputs = message::fuzz_inputs();
    assert!(inputs.len() > 6);
    for input in inputs {
        message::fuzz(&input);
        for bit in 0..input.len() * 8 {
            let mut damaged = input.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            message::fuzz(&damaged);
        }
        for cut in 0..input.len() {
            message::fuzz(&input[..cut]);
        }
    }
}
