//! Records between stub and daemon: their bytes, what the decoders refuse, and the document, whose second
//! half is generated from the types. `BANYAN_REGENERATE=1 cargo test -p banyan-wire --test stub_abi` writes
//! it anew.
#![forbid(unsafe_code)]

use banyan_wire::stub::{
    ACTIONS_MAX, Acquire, Action, ActionKind, Answer, Command, Copied, End, Enter, Execute, Executes, Exit,
    Failed, Filter, Hello, LeaveNode, Lookup, LowCode, Malformed, MapSource, MemoryCall, Nothing, Open,
    PACKET_MAX, Placed, Purpose, Push, Raise, Range, Refusal, Refused, Reply, Request, Row, StartCarrier,
    StartThread, Started, Steps, StoppedThread, ThreadEnd, TimeElsewhere, TimeHere, TimerCall, TimerState,
    Used, Welcome,
};
use proptest::prelude::*;
use std::fmt::Write;
use std::path::Path;

const REGENERATE: &str = "BANYAN_REGENERATE=1 cargo test -p banyan-wire --test stub_abi";
/// Where the generated half of the document begins.
const BEGINNING: &str = "## Requests\n";

fn words(text: &str) -> String {
    text.trim().replace("  ", " ")
}

/// A table of messages with their fields.
fn messages(page: &mut String, title: &str, rows: &[Row]) {
    let _ = write!(page, "## {title}\n\n| kind | name | | fields |\n|---:|---|---|---|\n");
    for row in rows {
        let fields: Vec<String> = row
            .fields
            .iter()
            .map(|field| {
                let about = words(field.about);
                let about = about.trim_end_matches('.');
                format!("{} ({}): `{}`, {about}", field.offset, field.bytes, field.name)
            })
            .collect();
        let (about, fields) = (words(row.about), fields.join("<br>"));
        let _ = writeln!(page, "| {} | `{}` | {about} | {fields} |", row.number, row.name);
    }
    page.push('\n');
}

/// A table of an enumeration's values.
fn values(page: &mut String, title: &str, rows: &[Row]) {
    let _ = write!(page, "### {title}\n\n| value | name | |\n|---:|---|---|\n");
    for row in rows {
        let _ = writeln!(page, "| {} | `{}` | {} |", row.number, row.name, words(row.about));
    }
    page.push('\n');
}

fn generated() -> String {
    let mut page = String::new();
    messages(&mut page, "Requests", Request::ROWS);
    page.push_str("A field is given as offset (bytes): name, meaning.\n\n");
    messages(&mut page, "Answers", Answer::ROWS);
    messages(&mut page, "Commands", Command::ROWS);
    messages(&mut page, "Replies", Reply::ROWS);
    page.push_str("## Values\n\n");
    values(&mut page, "`purpose` of `Acquire`", Purpose::ROWS);
    values(&mut page, "`by` of `Execute`", Executes::ROWS);
    values(&mut page, "`low` of `Filter`", LowCode::ROWS);
    values(&mut page, "`source` of `Memory`", MapSource::ROWS);
    values(&mut page, "`reason` of `Refused`", Refusal::ROWS);
    values(&mut page, "Kinds of actions", ActionKind::ROWS);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn the_document_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats/stub-abi.md");
    let found = std::fs::read_to_string(&path).expect("the document can be read");
    let written = found.split(BEGINNING).next().expect("a first half");
    let expected = format!("{written}{}", generated());
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        std::fs::write(&path, &expected).expect("the document can be written");
    } else {
        assert!(found == expected, "docs/formats/stub-abi.md is stale: {REGENERATE}");
    }
    assert!(written.contains(&format!("{} bytes, once", size_of::<Welcome>())));
    assert!(written.contains(&format!("Version {}", banyan_wire::stub::STUB_ABI_VERSION)));
}

fn memory_call() -> MemoryCall {
    MemoryCall {
        arguments: [1, 2, 3, 4, 5, 6],
        address_space: 7,
        data: 8,
        locked: u64::MAX,
        source: MapSource::Kernel,
        number: 9,
        node: 2,
    }
}

/// One of each request, in the order of the table.
fn requests() -> Vec<Request> {
    let range = Range { address: 0x1000_0000_2000, length: 0x3000 };
    vec![
        Request::Hello(Hello { version: 2, process: 77, error: 1 }),
        Request::Ready(Nothing {}),
        Request::Memory(memory_call()),
        Request::Confirm(range),
        Request::Discard(range),
        Request::Lookup(Lookup { address: 0x1234, protection: 2 }),
        Request::Acquire(Acquire { address: 0x1234, length: 5, purpose: Purpose::Write }),
        Request::StartThread(StartThread { thread: 78 }),
        Request::Exit(Exit { status: 3, threads: 4 }),
        Request::Refused(Refused { number: 101, reason: Refusal::NotTreated, errno: 38 }),
        Request::Push(Push { stack: 0x5000, fs_base: 0x6000 }),
        Request::ThreadEnd(ThreadEnd { thread: 78, deputy_calls: 9 }),
        Request::More(Nothing {}),
        Request::CameHome(StoppedThread { thread: 78, used: 5 }),
        Request::ProcessorTime(TimeElsewhere { thread: 78, node: 2 }),
        Request::Open(Open {
            thread: 78,
            path: *b"task/123/status\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        }),
        Request::Move(StoppedThread { thread: 78, used: 5 }),
        Request::Execute(Execute { by: Executes::Child }),
        Request::Fork(Nothing {}),
        Request::Copied(Copied { process: 9 }),
        Request::Forked(Nothing {}),
        Request::Timer(TimerCall {
            number: 38,
            timer: 2,
            thread: 78,
            clock: 2,
            second: 0x1000_0000_2000,
            third: 0,
            read: [0, 10_000, 0, 10_000],
        }),
        Request::FaultDevice(Nothing {}),
        Request::Filter(Filter {
            called_for_program: 0x7000_0000_2e0a,
            descriptor_floor: 960,
            low: LowCode::OfOthers,
        }),
    ]
}

fn steps(actions: usize) -> Steps {
    let mut steps = Steps::new(-14);
    for number in 0..actions as u64 {
        assert!(steps.push(Action::new(ActionKind::Protect, number << 12, 4096, 3)));
    }
    steps
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Done(Nothing {}),
        Answer::Failed(Nothing {}),
        Answer::Steps(steps(ACTIONS_MAX)),
        Answer::Enter(Enter { instruction: 1, stack: 2, executable: 3, program_break: 4 }),
        Answer::Placed(Placed { node: 1 }),
        Answer::AtHome(Nothing {}),
        Answer::Used(Used { user: 1, system: 2 }),
        Answer::Timer(TimerState { result: 0, was: [0, 10_000, 0, 4_000] }),
    ]
}

fn commands() -> Vec<Command> {
    vec![
        Command::StartCarrier(StartCarrier { thread: 78 }),
        Command::Forget(Range { address: 0x2000, length: 0x1000 }),
        Command::End(End { status: 125 }),
        Command::ProcessorTime(TimeHere { thread: 78 }),
        Command::Leave(LeaveNode { thread: 78 }),
        Command::Raise(Raise { to: 78, information: [27, 0xffff_fffe, 0, 0] }),
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done(Nothing {}),
        Reply::Failed(Failed { errno: 11 }),
        Reply::Started(Started { carrier: 99 }),
        Reply::Used(Used { user: 1, system: 2 }),
    ]
}

/// All packets of all directions.
fn packets() -> Vec<Vec<u8>> {
    let requests = requests().iter().map(|message| message.encode().bytes().to_vec()).collect::<Vec<_>>();
    let answers = answers().iter().map(|message| message.encode().bytes().to_vec()).collect::<Vec<_>>();
    let commands = commands().iter().map(|message| message.encode().bytes().to_vec()).collect::<Vec<_>>();
    let replies = replies().iter().map(|message| message.encode().bytes().to_vec()).collect::<Vec<_>>();
    [requests, answers, commands, replies].concat()
}

/// What every decoder makes of these bytes, encoded again.
fn decoded(bytes: &[u8]) -> [Result<Vec<u8>, Malformed>; 4] {
    [
        Request::decode(bytes).map(|message| message.encode().bytes().to_vec()),
        Answer::decode(bytes).map(|message| message.encode().bytes().to_vec()),
        Command::decode(bytes).map(|message| message.encode().bytes().to_vec()),
        Reply::decode(bytes).map(|message| message.encode().bytes().to_vec()),
    ]
}

#[test]
fn every_message_has_an_example() {
    let kind = |packet: Vec<u8>| u32::from_le_bytes(packet[..4].try_into().expect("four bytes"));
    let numbers = |rows: &[Row]| rows.iter().map(|row| row.number).collect::<Vec<_>>();
    let given: Vec<u32> = packets().into_iter().map(kind).collect();
    let rows = [Request::ROWS, Answer::ROWS, Command::ROWS, Reply::ROWS].map(numbers).concat();
    assert_eq!(given, rows);
}

#[test]
fn what_was_encoded_decodes_to_the_same() {
    for message in requests() {
        assert_eq!(Request::decode(message.encode().bytes()), Ok(message));
    }
    for message in answers() {
        assert_eq!(Answer::decode(message.encode().bytes()), Ok(message));
    }
    for message in commands() {
        assert_eq!(Command::decode(message.encode().bytes()), Ok(message));
    }
    for message in replies() {
        assert_eq!(Reply::decode(message.encode().bytes()), Ok(message));
    }
    for actions in 0..=ACTIONS_MAX {
        let message = Answer::Steps(steps(actions));
        let packet = message.encode();
        assert_eq!(packet.bytes().len(), 4 + 8 + 32 * actions);
        assert_eq!(Answer::decode(packet.bytes()), Ok(message));
    }
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let hex = |packet: &[u8]| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of = |message: Request| hex(message.encode().bytes());
    assert_eq!(
        of(Request::Hello(Hello { version: 2, process: 77, error: 1 })),
        "01000000020000004d00000001000000"
    );
    assert_eq!(of(Request::Ready(Nothing {})), "02000000");
    assert_eq!(
        of(Request::Memory(memory_call())),
        "03000000\
         010000000000000002000000000000000300000000000000040000000000000005000000000000000600000000000000\
         07000000000000000800000000000000ffffffffffffffff02000000000000000900000002000000"
    );
    assert_eq!(
        of(Request::Acquire(Acquire { address: 0x1234, length: 5, purpose: Purpose::Write })),
        "07000000341200000000000005000000000000000100000000000000"
    );
    assert_eq!(
        of(Request::Refused(Refused { number: 101, reason: Refusal::NotTreated, errno: 38 })),
        "0a00000065000000000000000100000026000000"
    );
    assert_eq!(
        hex(Answer::Steps(steps(1)).encode().bytes()),
        "03000000f2ffffffffffffff0300000000000000000000000000000000100000000000000300000000000000"
    );
    assert_eq!(hex(Command::End(End { status: 125 }).encode().bytes()), "030000007d000000");
    assert_eq!(hex(Reply::Started(Started { carrier: 99 }).encode().bytes()), "0300000063000000");
}

#[test]
fn a_packet_of_another_length_is_no_message() {
    for packet in packets() {
        let lengths = (0..packet.len()).chain([packet.len() + 1, PACKET_MAX + 1]);
        for length in lengths {
            let mut other = packet.clone();
            other.resize(length, 0);
            for (message, whole) in decoded(&other).into_iter().zip(decoded(&packet)) {
                // A list of actions may be shorter, by whole actions.
                if let (Ok(bytes), Ok(_)) = (&message, &whole) {
                    assert_eq!((bytes, packet[0]), (&other, 3));
                }
            }
        }
    }
}

#[test]
fn values_that_an_enumeration_does_not_have_are_no_message() {
    let with = |message: Request, at: usize, value: u8| {
        let mut bytes = message.encode().bytes().to_vec();
        bytes[at] = value;
        Request::decode(&bytes)
    };
    let acquire = Request::Acquire(Acquire { address: 1, length: 2, purpose: Purpose::Read });
    assert!(with(acquire, 4 + 16, 2).is_err());
    assert!(with(acquire, 4 + 23, 1).is_err());
    let refused = Request::Refused(Refused { number: 1, reason: Refusal::NotTreated, errno: 1 });
    assert!(with(refused, 4 + 8, 0).is_err());
    assert!(with(refused, 4 + 8, 4).is_err());
    assert_eq!(with(refused, 0, 99), Err(Malformed::Kind(99)));
    let mut bytes = Answer::Steps(steps(2)).encode().bytes().to_vec();
    bytes[4 + 8] = 0;
    assert!(Answer::decode(&bytes).is_err());
}

proptest! {
    /// Whatever comes: no panic, and one spelling.
    #[test]
    fn what_decodes_has_one_spelling(kind in 0_u32..16, body in prop::collection::vec(any::<u8>(), 0..PACKET_MAX)) {
        let bytes = [&kind.to_le_bytes()[..], &body].concat();
        for again in decoded(&bytes).into_iter().flatten() {
            prop_assert_eq!(&again, &bytes);
        }
    }

    /// A message in which one byte was changed is another message or none, and has one spelling.
    #[test]
    fn a_changed_byte_is_noticed_or_means_something_else(at in any::<prop::sample::Index>(), change in 1_u8..) {
        for packet in packets() {
            let mut bytes = packet.clone();
            bytes[at.index(packet.len())] ^= change;
            for again in decoded(&bytes).into_iter().flatten() {
                prop_assert_eq!(&again, &bytes);
            }
        }
    }
}
