//! Names, addresses, leases, rights, copies of the process.

use crate::raw;
use crate::support::{Place, eventually, hear, say};
use banyan_heap::{Existing, Heap, Lease, Model, OpenError, Options, RootError, TypeOf};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

/// Says where the heap is and what its root holds; adds 1 to it; ends when told.
pub(crate) fn attach(heap: &Heap, _: &[String]) {
    let field = heap.slice::<u64>("field", 100).unwrap();
    say(&format!("{:#x} {:?} {:?}", heap.address(), field.as_ptr(), field.get(99)));
    assert!(field.set(99, field.get(99).unwrap() + 1));
    say("done");
    hear();
}

#[test]
fn a_heap_is_at_one_address_in_all_processes_and_outlives_them() {
    let place = Place::new();
    let heap = place.open();
    let field = heap.slice::<u64>("field", 100).unwrap();
    assert!(field.set(99, 41) && !field.set(100, 1) && field.get(100).is_none());
    let expected = |value: u64| format!("{:#x} {:?} Some({value})", heap.address(), field.as_ptr());
    let mut first = place.start("attach", &[]);
    assert_eq!(first.said(), expected(41));
    first.says("done");
    assert_eq!(heap.info().unwrap().participants.len(), 2);
    assert!(heap.info().unwrap().participants.iter().any(|it| it.process_id == first.id()));
    first.kill();
    eventually("the dead are not attached", || heap.info().unwrap().participants.len() == 1);
    drop((heap, field));
    // Nobody is attached, and the last user was killed.
    assert_eq!(Heap::list(Some(place.path())).unwrap(), ["test"]);
    let heap = place.open();
    assert_eq!(heap.slice::<u64>("field", 100).unwrap().get(99), Some(42));
    assert!(matches!(heap.slice::<u64>("field", 99), Err(RootError::WrongType { .. })), "another length");
    assert!(matches!(heap.slice::<f64>("field", 100), Err(RootError::WrongType { .. })), "another type");
}

#[test]
fn opening_says_what_is_wrong() {
    let place = Place::new();
    let options = place.options();
    let open = |options: &Options| Heap::open("test", options).map(drop);
    let attach = options.clone().existing(Existing::Attach);
    assert!(matches!(open(&attach), Err(OpenError::Missing { .. })));
    let heap = Heap::open("test", &options.clone().model(Model::Release)).unwrap();
    open(&attach).unwrap();
    assert!(matches!(open(&options.clone().existing(Existing::Create)), Err(OpenError::Exists { .. })));
    let error = open(&options.clone().size(1 << 20)).unwrap_err();
    assert!(error.to_string().contains("has 67108864 bytes, not 1048576"), "{error}");
    let error = open(&options.clone().model(Model::Eventual)).unwrap_err();
    assert!(error.to_string().contains("is release, not eventual"), "{error}");
    assert!(matches!(Heap::open("../test", &options), Err(OpenError::BadName(_))));
    assert!(matches!(Heap::open("large", &options.clone().size(u64::MAX)), Err(OpenError::BadSize(_))));
    let address = options.clone().address(4097);
    assert!(matches!(Heap::open("crooked", &address), Err(OpenError::BadAddress(4097))));
    std::fs::write(place.path().join("text"), "not a heap").unwrap();
    assert!(matches!(Heap::open("text", &options), Err(OpenError::NotAHeap(_))));
    let here = options.clone().address(heap.address() as u64);
    assert!(matches!(Heap::open("clash", &here), Err(OpenError::AddressTaken { .. })));
    let nowhere = Options::new().directory(std::path::Path::new("/proc/none"));
    assert!(matches!(Heap::open("test", &nowhere), Err(OpenError::Directory { .. })));
}

#[test]
fn an_unlinked_heap_stays_with_its_users() {
    let place = Place::new();
    let heap = place.open();
    assert!(heap.slice::<u64>("field", 100).unwrap().set(99, 7));
    assert!(Heap::unlink("test", Some(place.path())).unwrap());
    assert!(!Heap::unlink("test", Some(place.path())).unwrap());
    let other = place.open();
    assert_ne!(other.address(), heap.address());
    assert_eq!(other.slice::<u64>("field", 100).unwrap().get(99), Some(0));
    assert_eq!(heap.slice::<u64>("field", 100).unwrap().get(99), Some(7));
    let again = place.open();
    assert_eq!(again.address(), other.address(), "one attachment for both handles");
    assert_eq!(again.info().unwrap().participants.len(), 1);
}

#[test]
fn a_lease_ends_when_nobody_is_attached_even_if_all_were_killed() {
    let place = Place::new();
    let options = place.options().lease(Lease::Unused(Duration::from_millis(30)));
    let list = || Heap::list(Some(place.path())).unwrap();
    let heap = Heap::open("test", &options).unwrap();
    let mut user = place.start("attach", &[]);
    user.said();
    drop(heap);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(list(), ["test"], "it has a user");
    user.kill();
    eventually("the heap is removed", || list().is_empty());
    // Who looks at a heap does not keep it.
    drop(Heap::open("test", &options).unwrap());
    eventually("the heap is removed although it is looked at", || {
        let looked = Heap::open("test", &Options::new().directory(place.path()).observe());
        assert!(matches!(&looked, Ok(_) | Err(OpenError::Missing { .. })));
        drop(looked);
        list().is_empty()
    });
    // One that nobody attached to after it was made, or that was closed, goes the same way.
    drop(Heap::open("test", &options).unwrap());
    eventually("the heap is removed", || list().is_empty());
    drop(place.open());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(list(), ["test"], "without a lease it stays");
}

/// Opens and closes a heap whose lease is over as soon as it is closed.
pub(crate) fn come_and_go(_: &Heap, words: &[String]) {
    let options = Options::new().size(1 << 20).directory(std::path::Path::new(&words[0]));
    let options = options.lease(Lease::Unused(Duration::ZERO));
    for _ in 0..300 {
        let brief = Heap::open("brief", &options).unwrap();
        let names = Heap::list(Some(std::path::Path::new(&words[0]))).unwrap();
        assert!(names.iter().any(|name| name == "brief"), "an open heap keeps its name");
        drop(brief);
    }
    say("done");
}

#[test]
fn an_expired_heap_is_never_taken_from_one_that_just_opens_it() {
    let place = Place::new();
    let _heap = place.open();
    let path = place.path().to_str().unwrap();
    let mut all: Vec<_> = (0..3).map(|_| place.start("come_and_go", &[path])).collect();
    for process in &mut all {
        process.says("done");
        process.ends_well();
    }
}

#[test]
fn others_may_attach_if_the_mode_lets_them() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), everybody).unwrap();
    let nobody = 65_534;
    let program = std::env::current_exe().unwrap();
    let may_run = std::process::Command::new(&program).arg("--list").uid(nobody).output();
    if !may_run.is_ok_and(|output| output.status.success()) {
        return;
    }
    let heap = place.open();
    let mut refused = place.start_with("attach", &[], |command| command.uid(nobody));
    let said = refused.said();
    assert!(said.contains("belongs to user 0 with mode 600"), "{said}");
    refused.ends_well();
    drop(heap);
    Heap::unlink("test", Some(place.path())).unwrap();
    let _heap = Heap::open("test", &place.options().mode(0o666)).unwrap();
    let mut let_in = place.start_with("attach", &[], |command| command.uid(nobody));
    assert!(let_in.said().starts_with("0x"));
    let_in.says("done");
    let_in.tell("go");
    let_in.ends_well();
}

#[test]
fn a_copy_of_the_process_is_a_user_of_its_own() {
    let place = Place::new();
    let heap = place.open();
    let mutex = heap.mutex("mutex", 0_u64).unwrap();
    let barrier = heap.barrier("barrier", 2).unwrap();
    let held = mutex.lock().unwrap();
    let child = raw::fork(|| {
        // The parent has it, and this thread has the number of the parent's in no table.
        assert!(mutex.try_lock().unwrap().is_none());
        barrier.wait(Some(Duration::from_secs(30))).unwrap();
        *mutex.lock().unwrap().repaired(|_| ()).unwrap() += 1;
        barrier.wait(Some(Duration::from_secs(30))).unwrap();
        std::mem::forget(mutex.lock().unwrap());
        barrier.wait(Some(Duration::from_secs(30))).unwrap();
        std::thread::sleep(Duration::from_secs(60));
        1
    });
    barrier.wait(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(heap.info().unwrap().participants.len(), 2);
    drop(held);
    barrier.wait(Some(Duration::from_secs(30))).unwrap();
    barrier.wait(Some(Duration::from_secs(30))).unwrap();
    raw::kill(child);
    assert_eq!(raw::wait_for(child), -1);
    let died = mutex.lock().unwrap();
    assert!(matches!(died, banyan_heap::Held::OwnerDied(_)));
    assert_eq!(*died.repaired(|_| ()).unwrap(), 1);
}

#[test]
fn a_parent_that_dies_does_not_live_on_in_its_copies() {
    let place = Place::new();
    let heap = place.open();
    let mutex = heap.mutex("mutex", 0_u64).unwrap();
    let ready = heap.atomic_u64("ready").unwrap();
    let parent = raw::fork(|| {
        std::mem::forget(mutex.lock().unwrap());
        raw::fork(|| {
            ready.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(20));
            0
        });
        std::thread::sleep(Duration::from_secs(60));
        1
    });
    eventually("the copy's copy runs", || ready.load(std::sync::atomic::Ordering::SeqCst) == 1);
    raw::kill(parent);
    raw::wait_for(parent);
    let held = mutex.lock_within(Some(Duration::from_secs(10))).unwrap();
    assert!(matches!(held, banyan_heap::Held::OwnerDied(_)), "although the copy's copy has all it had open");
    let info = heap.info().unwrap();
    assert_eq!(info.participants.len(), 2, "this process and the copy's copy");
    for it in info.participants.iter().filter(|it| it.process_id != std::process::id()) {
        raw::kill(it.process_id as i32);
    }
}

#[test]
fn roots_are_waited_for_and_can_be_removed() {
    let place = Place::new();
    let heap = place.open();
    let short = Duration::from_millis(20);
    assert!(matches!(heap.wait_for_root("late", short), Err(RootError::Missing { .. })));
    let object = heap.allocate(100, 64).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| heap.wait_for_root("late", Duration::from_secs(30)).unwrap());
        std::thread::sleep(short);
        heap.set_root("late", object, 100, &TypeOf::new("bytes", 1, 1)).unwrap();
        let root = waiting.join().unwrap();
        assert_eq!(heap.address() + root.offset, object.as_ptr() as usize);
        assert_eq!((root.bytes, root.kind.name.as_str()), (100, "bytes"));
    });
    assert!(heap.remove_root("late").unwrap() && !heap.remove_root("late").unwrap());
    assert!(matches!(heap.root(""), Err(RootError::BadName(_))));
    let outside = std::ptr::NonNull::dangling();
    let kind = TypeOf::new("bytes", 1, 1);
    assert!(matches!(heap.set_root("x", outside, 1, &kind), Err(RootError::Outside(_))));
    for number in 0..1024 {
        heap.set_root(&format!("root {number}"), object, 1, &kind).unwrap();
    }
    assert!(matches!(heap.set_root("one more", object, 1, &kind), Err(RootError::TooMany)));
    assert!(matches!(heap.atomic_u64("one more"), Err(RootError::TooMany)));
}
