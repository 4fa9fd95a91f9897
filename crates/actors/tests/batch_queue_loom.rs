//! The queue between threads under every interleaving that loom finds.

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicPtr, Ordering};
}
#[path = "../src/sys/batch_queue.rs"]
mod batch_queue;

use batch_queue::BatchQueue;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;

#[test]
fn nothing_is_lost_and_each_thread_keeps_its_order() {
    // At most three forced switches in a run: loom's authors find most errors with two or three, and all runs
    // take minutes.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let queue = Arc::new(BatchQueue::new());
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let queue = queue.clone();
                thread::spawn(move || {
                    queue.push((producer, 0));
                    queue.push_many(vec![(producer, 1), (producer, 2)]);
                })
            })
            .collect();
        let mut taken = Vec::new();
        queue.take(|item| taken.push(item));
        for producer in producers {
            producer.join().unwrap();
        }
        queue.take(|item| taken.push(item));
        assert_eq!(taken.len(), 6);
        for producer in 0..2 {
            let order: Vec<i32> =
                taken.iter().filter(|(from, _)| *from == producer).map(|(_, number)| *number).collect();
            assert_eq!(order, [0, 1, 2]);
        }
    });
}

/// What the hosts of actors rely on: of an event that is put in and a configuration that goes to rest, one
/// sees the other. Both sides use sequentially consistent operations, which loom takes for weaker ones than
/// they are; the fences here stand for what they promise.
#[test]
fn an_event_for_a_configuration_that_goes_to_rest_is_seen() {
    loom::model(|| {
        let queue = Arc::new(BatchQueue::new());
        let resting = Arc::new(AtomicBool::new(false));
        let sender = {
            let (queue, resting) = (queue.clone(), resting.clone());
            thread::spawn(move || {
                queue.push(1);
                fence(Ordering::SeqCst);
                resting.load(Ordering::SeqCst)
                    && resting.compare_exchange(true, false, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            })
        };
        resting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let host = !queue.is_empty()
            && resting.load(Ordering::SeqCst)
            && resting.compare_exchange(true, false, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let roused = sender.join().unwrap();
        assert!(host ^ roused, "exactly one of them goes on with it");
    });
}
