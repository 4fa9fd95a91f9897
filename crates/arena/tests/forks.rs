//! Processes that are forked from an arena's: they can do nothing with their copy of it, and give nothing of
//! it away. That they do not have the heap is in `traps`.

use std::alloc::Layout;

use banyan_arena::disk::FileDiskError;
use banyan_arena::store::CommitError;
use banyan_arena::{AllocateError, Arena, ArenaError, ArenaOptions, Loading, RollbackError, SnapshotReader};

/// Runs in a child made by fork(2), which ends as soon as it has; gives its status.
fn in_a_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs what the test says, in the one thread that it has, and ends.
    let number = unsafe { libc::fork() };
    if number == 0 {
        let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(100);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status is a place of ours.
    assert_eq!(unsafe { libc::waitpid(number, &raw mut status, 0) }, number);
    status
}

/// A child may try everything that gives an error, and drop what it has: all of it is refused, none of it a
/// signal or a wait, and the parent, its file and its lock are as they were.
#[test]
fn a_forked_child_can_do_nothing_and_give_nothing_away() {
    for loading in [Loading::Eager, Loading::Lazy] {
        let directory = tempfile::tempdir().unwrap();
        let options =
            ArenaOptions { base: 0x2c00_0000_0000, reservation: 1 << 32, loading, ..ArenaOptions::default() };
        let path = directory.path().join("a");
        let mut arena = Arena::create(&path, options).unwrap();
        *arena.boxed("n", || 0_u64).unwrap() = 5;
        arena.snapshot("s", 1, 1).unwrap();
        arena.fold().unwrap();
        drop(arena);
        let mut arena = Arena::open(&path, options).unwrap();
        let reader = SnapshotReader::open(&path, "s").unwrap();
        let handle = arena.open_snapshot("s").unwrap();
        arena.begin_commit(1, 2).unwrap();
        arena.wait().unwrap();
        let mut kept = Some((arena, reader));
        let status = in_a_child(|| {
            let (mut arena, reader) = kept.take().unwrap();
            let refused = [
                matches!(arena.commit(1, 9), Err(CommitError::Forked)),
                matches!(arena.begin_commit(1, 9), Err(CommitError::Forked)),
                matches!(arena.wait(), Err(CommitError::Forked)),
                matches!(arena.snapshot("t", 1, 9), Err(CommitError::Forked)),
                matches!(arena.drop_snapshot("s"), Err(CommitError::Forked)),
                matches!(arena.fold(), Err(CommitError::Forked)),
                matches!(arena.rollback(), Err(RollbackError::Commit(CommitError::Forked))),
                matches!(arena.open_snapshot("s"), Err(CommitError::Forked)),
                arena.read_snapshot(&handle, options.base as usize, &mut [0; 8]).is_err(),
                arena.boxed("n", || 0_u64).is_err(),
                arena.vec::<u64>("v").is_err(),
                matches!(arena.allocate(Layout::new::<u64>()), Err(AllocateError::Forked)),
                arena.load_range(options.base as usize, 8).is_err(),
                arena.dirty_pages().is_err(),
                matches!(Arena::open(&path, options), Err(ArenaError::File { .. })),
                reader.read(options.base, &mut [0; 8]).is_err(),
            ];
            drop((arena, reader));
            if let Some(at) = refused.iter().position(|refused| !refused) {
                return 1 + at as i32;
            }
            // Dropping them gave no lock back.
            i32::from(!matches!(
                Arena::open(&path, options),
                Err(ArenaError::File { source: FileDiskError::Locked, .. })
            )) * 50
        });
        assert_eq!(status, 0, "{loading:?}: status {status:#x}");
        let (mut arena, reader) = kept.take().unwrap();
        arena.close_snapshot(&handle);
        assert!(
            matches!(arena.drop_snapshot("s"), Err(CommitError::SnapshotInUse(_))),
            "the reader holds it"
        );
        drop(reader);
        arena.drop_snapshot("s").unwrap();
        *arena.boxed("n", || 0_u64).unwrap() += 1;
        arena.commit(1, 3).unwrap();
        drop(arena);
        let mut arena = Arena::open(&path, options).unwrap();
        assert_eq!((arena.position().event, *arena.boxed("n", || 0_u64).unwrap()), (3, 6));
    }
}

/// A child that goes on without the arena does not keep the lock of a parent that is gone.
#[test]
fn a_sleeping_child_keeps_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let options = ArenaOptions { base: 0x2d00_0000_0000, reservation: 1 << 32, ..ArenaOptions::default() };
    let path = directory.path().join("a");
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (runs, running) = rustix::pipe::pipe().unwrap();
    // A parent, which forks a child that waits for the pipe's end, and is killed.
    let status = in_a_child(|| {
        let mut arena = Arena::create(&path, options).unwrap();
        arena.commit(1, 7).unwrap();
        // SAFETY: the child only waits.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: closes this child's copy of the other end, of which it has no other use.
            unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&writer)) };
            let _told = rustix::io::write(&running, b"x");
            let _ended = rustix::io::read(&reader, &mut [0]);
            return 0;
        }
        // A child that has not run yet still has its copies.
        let _runs = rustix::io::read(&runs, &mut [0]);
        // SAFETY: a signal to itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        0
    });
    assert_eq!(status, libc::SIGKILL);
    let arena = Arena::open(&path, options).unwrap();
    assert_eq!(arena.position().event, 7);
    // What this process opens in turn is its own, and not closed.
    drop((arena, writer));
    drop(reader);
}
