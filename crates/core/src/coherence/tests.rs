//! The order of outputs in the common cases, which a driver and a reader of the code can hold on to. That the
//! protocol is right is for the simulator to show.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use banyan_wire::coherence::Message;
use banyan_wire::ids::{
    Access, Epoch, ExtentNumber, Microseconds, NodeId, PageNumber, RequestNumber, Run, Transaction,
};

use super::{Contents, Extents, Held, Input, Machine, Output, Policy, ThreadNumber, Token};

const EXTENT: ExtentNumber = ExtentNumber(0x8000);
const PAGE: PageNumber = PageNumber(0x8000 * 512);

/// A cluster whose messages arrive at once, in order.
struct Cluster {
    machines: Vec<Machine>,
    now: Microseconds,
    empty: bool,
    /// What each node was told to do, but for sending.
    done: Vec<(usize, Output)>,
    sent: Vec<(usize, Message, Contents)>,
}

fn node(number: usize) -> NodeId {
    NodeId::new(number as u8).unwrap()
}

impl Cluster {
    fn new(nodes: usize, policy: &Policy) -> Self {
        let machines = (0..nodes).map(|number| Machine::new(node(number), *policy)).collect();
        Self { machines, now: Microseconds(1_000_000), empty: false, done: Vec::new(), sent: Vec::new() }
    }

    fn step(&mut self, number: usize, input: Input) {
        let mut outputs = Vec::new();
        self.machines[number].step(self.now, input, &mut outputs);
        let mut later = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, message, contents, .. } => {
                    self.sent.push((number, message.clone(), contents));
                    later.push((usize::from(to.get()), Input::Receive { from: node(number), message }));
                }
                Output::Share { extent } => {
                    self.done.push((number, output));
                    later.push((number, Input::Shared { extent, empty: self.empty }));
                }
                output => self.done.push((number, output)),
            }
        }
        for (number, input) in later {
            self.step(number, input);
        }
    }

    fn fault(&mut self, number: usize, page: PageNumber, access: Access) {
        self.step(number, Input::Fault { thread: ThreadNumber(0), page, access, limit: page.plus(4096) });
    }

    /// What was done, and the names of the messages that were sent, in small letters.
    fn take(&mut self) -> (Vec<(usize, Output)>, Vec<String>) {
        let name = |message: &Message| {
            let whole = format!("{message:?}");
            whole.split(' ').next().unwrap_or_default().to_lowercase()
        };
        let names = self.sent.drain(..).map(|(_, message, _)| name(&message)).collect();
        (core::mem::take(&mut self.done), names)
    }

    fn wait(&mut self) {
        self.now = self.now.plus(Microseconds(1000));
    }
}

fn quiet() -> Policy {
    Policy { window_first: 0, ..Policy::default() }
}

fn install(access: Access) -> Output {
    Output::Install { run: Run::one(PAGE), access, marker: None }
}

#[test]
fn a_read_of_the_owners_page_takes_two_messages() {
    let mut cluster = Cluster::new(2, &quiet());
    cluster.fault(1, PAGE, Access::Read);
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "grant"]);
    assert_eq!(
        done,
        [
            (0, Output::Share { extent: EXTENT }),
            (0, Output::Downgrade { run: Run::one(PAGE) }),
            (1, install(Access::Read)),
        ]
    );
    assert_eq!(cluster.machines[0].held(PAGE), Held::Shared);
    assert_eq!(cluster.machines[1].held(PAGE), Held::Shared);
}

#[test]
fn a_write_of_the_owners_page_is_kept_until_it_has_arrived() {
    let mut cluster = Cluster::new(2, &quiet());
    cluster.fault(1, PAGE, Access::Write);
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "grant", "done"]);
    let (run, transaction) = (Run::one(PAGE), Transaction(1));
    assert_eq!(
        done,
        [
            (0, Output::Share { extent: EXTENT }),
            (0, Output::Downgrade { run }),
            (0, Output::Retain { run, transaction }),
            (0, Output::Invalidate { run }),
            (1, install(Access::Write)),
            (0, Output::Release { run, transaction }),
        ]
    );
}

#[test]
fn a_written_page_goes_straight_from_its_writer_to_a_third_node() {
    let mut cluster = Cluster::new(3, &quiet());
    cluster.fault(1, PAGE, Access::Write);
    cluster.wait();
    cluster.take();
    cluster.fault(2, PAGE, Access::Read);
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "forward", "grant", "done"]);
    assert_eq!(done, [(1, Output::Downgrade { run: Run::one(PAGE) }), (2, install(Access::Read))]);
}

#[test]
fn a_reader_becomes_the_writer_without_being_sent_the_bytes_again() {
    let mut cluster = Cluster::new(3, &quiet());
    cluster.fault(1, PAGE, Access::Read);
    cluster.fault(2, PAGE, Access::Read);
    cluster.take();
    cluster.fault(1, PAGE, Access::Write);
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "invalidate", "acknowledge", "grant", "done"]);
    let run = Run::one(PAGE);
    assert_eq!(
        done,
        [(0, Output::Invalidate { run }), (2, Output::Invalidate { run }), (1, Output::Upgrade { run })]
    );
}

#[test]
fn a_writer_keeps_its_page_for_the_minimum_hold_time() {
    let mut cluster = Cluster::new(3, &quiet());
    cluster.fault(1, PAGE, Access::Write);
    cluster.take();
    cluster.fault(2, PAGE, Access::Write);
    assert_eq!(cluster.take().1, ["get"]);
    let due = cluster.machines[0].next_deadline().unwrap();
    assert_eq!(due, cluster.now.plus(quiet().hold));
    cluster.now = due;
    cluster.step(0, Input::Tick);
    assert_eq!(cluster.take().1, ["forward", "grant", "done", "done"]);
    assert_eq!(cluster.machines[0].directory(PAGE).unwrap().1, 2);
}

#[test]
fn an_empty_extent_becomes_the_property_of_who_asks_first() {
    let mut cluster = Cluster::new(3, &quiet());
    cluster.empty = true;
    cluster.fault(1, PAGE, Access::Write);
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "adopt", "adopted"]);
    assert_eq!(done, [(0, Output::Share { extent: EXTENT }), (1, Output::Native { extent: EXTENT })]);
    assert_eq!(cluster.machines[1].owns(EXTENT), Some(Epoch(1)));
    cluster.empty = false;
    // The next one is sent on by home, once.
    cluster.fault(2, PAGE, Access::Read);
    assert_eq!(cluster.take().1, ["get", "located", "get", "grant"]);
    cluster.fault(2, PAGE.plus(1), Access::Read);
    assert_eq!(cluster.take().1, ["get", "grant"]);
}

#[test]
fn a_batch_is_one_request_for_each_extent() {
    let mut cluster = Cluster::new(2, &quiet());
    let run = Run { first: PAGE.plus(500), count: 20 };
    cluster.step(1, Input::Acquire { token: Token(7), run, access: Access::Read });
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["get", "get", "grant", "grant"]);
    let acquired = done.iter().filter(|(_, output)| *output == Output::Acquired { token: Token(7) });
    assert_eq!(acquired.count(), 1);
    cluster.step(1, Input::Acquire { token: Token(8), run, access: Access::Read });
    assert_eq!(cluster.take(), (vec![(1, Output::Acquired { token: Token(8) })], vec![]));
}

#[test]
fn extents_go_to_a_node_that_joins_unless_anything_is_known_of_them() {
    let mut cluster = Cluster::new(3, &quiet());
    let claim = Extents { first: EXTENT, count: 1 };
    let beyond = Extents { first: ExtentNumber(EXTENT.0 + 1), count: 1 };
    for extents in [claim, beyond] {
        cluster.step(0, Input::Claim(extents));
    }
    cluster.fault(2, beyond.first.first_page(), Access::Write);
    cluster.take();
    let others = Extents { first: claim.first, count: 2 };
    for extents in [claim, beyond, others] {
        cluster.step(0, Input::Cede { extents, from: node(0), to: node(1) });
    }
    let owner = |cluster: &Cluster, extents: Extents| cluster.machines[0].owner(extents.first);
    assert_eq!((owner(&cluster, claim), owner(&cluster, beyond)), (node(1), node(0)));
    cluster.step(1, Input::Claim(claim));
    // Who does not know it asks home, which says who the owner is.
    cluster.fault(2, PAGE, Access::Write);
    assert_eq!(cluster.machines[2].held(PAGE), Held::Exclusive);
    assert_eq!(cluster.machines[2].owner(EXTENT), node(1));
    cluster.step(0, Input::Cede { extents: claim, from: node(0), to: node(2) });
    assert_eq!(owner(&cluster, claim), node(1), "only its own can be ceded");
    cluster.step(0, Input::Cede { extents: claim, from: node(1), to: node(0) });
    assert_eq!(owner(&cluster, claim), node(1), "it was asked for");
}

#[test]
fn extents_of_a_node_that_does_not_join_after_all_are_taken_back_and_given_again() {
    let mut cluster = Cluster::new(3, &quiet());
    let claim = Extents { first: EXTENT, count: 2 };
    let part = Extents { count: 1, ..claim };
    cluster.step(0, Input::Claim(claim));
    let give = |extents, from, to| Input::Cede { extents, from: node(from), to: node(to) };
    let mut owner_after = |input| {
        cluster.step(0, input);
        let home = &cluster.machines[0];
        (home.owner(EXTENT), home.can_cede(claim, home.owner(EXTENT)))
    };
    assert_eq!(owner_after(give(claim, 0, 1)), (node(1), true));
    assert_eq!(owner_after(give(claim, 0, 1)), (node(1), true), "it was given already");
    assert_eq!(owner_after(give(claim, 2, 0)), (node(1), true), "it is not that one's");
    assert_eq!(owner_after(give(part, 1, 0)), (node(1), true), "a part of what was given");
    assert_eq!(owner_after(give(claim, 1, 0)), (node(0), true));
    // This node's own again: its threads wait for nobody.
    cluster.fault(0, PAGE, Access::Write);
    assert_eq!(cluster.take().1, Vec::<&str>::new());
    assert_eq!(cluster.machines[0].held(PAGE), Held::Exclusive);
}

#[test]
fn a_discard_reaches_every_reader_and_leaves_holes_at_the_owner() {
    let mut cluster = Cluster::new(3, &quiet());
    let claim = Extents { first: EXTENT, count: 1 };
    cluster.step(1, Input::Claim(claim));
    cluster.step(0, Input::Assign { extents: claim, owner: node(1) });
    cluster.fault(2, PAGE, Access::Read);
    cluster.take();
    let run = Run::one(PAGE);
    cluster.step(0, Input::Discard { token: Token(3), run });
    let (done, sent) = cluster.take();
    assert_eq!(sent, ["discard", "invalidate", "acknowledge", "discarded"]);
    assert_eq!(
        done,
        [
            (1, Output::Invalidate { run }),
            (2, Output::Invalidate { run }),
            (0, Output::Discarded { token: Token(3) }),
        ]
    );
    cluster.fault(1, PAGE, Access::Read);
    assert_eq!(cluster.take().0, [(1, Output::Wake { run, access: Access::Write })]);
}

#[test]
fn a_sequential_reader_is_kept_ahead_of() {
    let mut cluster = Cluster::new(2, &Policy::default());
    let mut gets = 0;
    for page in (0..400).map(|offset| PAGE.plus(offset)) {
        let marked = |(number, output): &(usize, Output)| {
            *number == 1 && matches!(output, Output::Install { marker, .. } if *marker == Some(page))
        };
        // Mapped pages do not fault, markers do.
        if cluster.machines[1].held(page) == Held::Absent || cluster.done.iter().any(marked) {
            cluster.fault(1, page, Access::Read);
        }
    }
    for (number, message, _) in &cluster.sent {
        gets += u32::from(*number == 1 && matches!(message, Message::Get { .. }));
    }
    assert!(gets < 20, "{gets} requests");
    assert_eq!(cluster.machines[1].held(PAGE.plus(500)), Held::Shared);
}

#[test]
fn what_a_peer_cannot_have_sent_is_refused_and_harms_nothing() {
    let mut cluster = Cluster::new(2, &quiet());
    let before = cluster.machines[1].clone();
    let run = Run::one(PAGE);
    let (epoch, transaction, request) = (Epoch(0), Transaction(9), RequestNumber(1));
    let forward = Message::Forward {
        run,
        access: Access::Write,
        epoch,
        transaction,
        requester: node(0),
        request,
        confirm: true,
    };
    let grant = Message::Grant {
        run,
        access: Access::Write,
        epoch,
        transaction,
        owner: node(0),
        request,
        contents: false,
        confirm: true,
    };
    let far = Message::Invalidate {
        run: Run { first: PageNumber(u64::MAX), count: 9 },
        epoch,
        transaction,
        discard: false,
    };
    for message in [forward, grant, far] {
        cluster.step(1, Input::Receive { from: node(0), message });
        let (done, sent) = cluster.take();
        assert!(matches!(&done[..], [(1, Output::Reject { from, .. })] if *from == node(0)), "{done:?}");
        assert!(sent.is_empty());
    }
    cluster.fault(1, PAGE, Access::Read);
    assert_eq!(cluster.take().1, ["get", "grant"]);
    let mut again = before;
    again.step(cluster.now, Input::Tick, &mut Vec::new());
    assert!(again.is_quiet());
}
