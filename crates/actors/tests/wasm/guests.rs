//! The example guests, as they were compiled: one with the Rust SDK, one in C without a library.

use std::fs;
use std::path::Path;

use banyan_actors::wasm::Module;
use banyan_actors::{Addr, Address, Failure, Message, Packet};
use serde::{Deserialize, Serialize};

use super::{Shared, Stage, bytes, engine, packet};

fn prebuilt(name: &str) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests/prebuilt").join(name);
    let module = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    engine().compile(&module).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_guest_in_c_adds_up() {
    let start = Packet { bytes: 100u64.to_le_bytes().to_vec(), addresses: Vec::new() };
    let mut stage = Stage::new(prebuilt("tally.wasm").actor(0, start));
    stage.tell(&5u64.to_le_bytes()).unwrap();
    stage.tell(&7u64.to_le_bytes()).unwrap();
    assert_eq!(stage.collected(), [105u64.to_le_bytes(), 112u64.to_le_bytes()]);
    let failure = stage.tell(b"abc").unwrap_err();
    assert_eq!(failure, Failure::because("a message is a number of 64 bits and one address"));
    stage.tell(&1u64.to_le_bytes()).unwrap();
    assert_eq!(stage.collected(), [113u64.to_le_bytes()]);
}

// What the auction's messages look like to a native actor: the same types, with `Addr` for the guest's
// `Address`.

#[derive(Serialize, Deserialize)]
struct Sell {
    item: String,
    least: u64,
    reply_to: Addr<Opened>,
}

#[derive(Serialize, Deserialize)]
struct Opened {
    number: u32,
    house: String,
    auction: Addr<Bidding>,
}

#[derive(Serialize, Deserialize)]
enum Bidding {
    Bid(u64, Addr<Outcome>),
    Close,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Leading,
    TooLow(u64),
    Outbid(u64),
    Won(String, u64),
    Closed,
}

fn outcomes(stage: &Stage) -> Vec<Outcome> {
    stage.collected.lock().unwrap().drain(..).map(|packet| packet.decode().unwrap()).collect()
}

/// A house that was told its name opens an auction, whose address is good for bids.
fn open_auction(stage: &mut Stage) -> Address {
    let reply_to = stage.collector.clone().typed();
    let sell = Message::new(Sell { item: "a clock".into(), least: 10, reply_to });
    stage.probe.send(&stage.actor.clone(), sell);
    stage.run().unwrap();
    let opened: Opened = stage.collected.lock().unwrap().remove(0).decode().unwrap();
    assert_eq!((opened.number, opened.house.as_str()), (1, "Banyan & Sons"));
    opened.auction.address().clone()
}

fn house() -> Box<dyn banyan_actors::Behaviour> {
    prebuilt("auction.wasm").actor(0, Packet::encode(&"Banyan & Sons").unwrap())
}

#[test]
fn a_guest_in_rust_holds_an_auction() {
    let mut stage = Stage::new(house());
    let auction = open_auction(&mut stage);
    let bid = |stage: &mut Stage, amount: u64| {
        let bidder = stage.collector.clone().typed();
        stage.probe.send(&auction, Message::new(Bidding::Bid(amount, bidder)));
        stage.run().unwrap();
    };
    bid(&mut stage, 5);
    bid(&mut stage, 20);
    bid(&mut stage, 20);
    bid(&mut stage, 25);
    stage.probe.send(&auction, Message::new(Bidding::Close));
    stage.run().unwrap();
    bid(&mut stage, 100);
    let expected = [
        Outcome::TooLow(10),
        Outcome::Leading,
        Outcome::TooLow(21),
        Outcome::Leading,
        Outcome::Outbid(25),
        Outcome::Won("a clock".into(), 25),
        Outcome::Closed,
    ];
    assert_eq!(outcomes(&stage), expected);
}

/// Bytes that are no message fail their event with words from the SDK, and the guest takes the next one.
#[test]
fn any_bytes_are_a_message_or_an_error() {
    let mut stage = Stage::new(house());
    for message in [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &[0x80; 300], b"\x01a\x05\x09"]
    {
        stage.probe.send(&stage.actor.clone(), bytes(message));
        let failure = stage.run().unwrap_err();
        assert!(matches!(failure, Failure::Failed(_)), "{failure:?}");
    }
    let trailing = packet(b"\x01a\x05\x00trailing", &[&stage.collector.clone()]);
    stage.probe.send(&stage.actor.clone(), trailing);
    let failure = stage.run().unwrap_err().to_string();
    assert!(failure.contains("8 bytes are left over"), "{failure}");
    open_auction(&mut stage);
}

/// A panic in a guest is a failed event with the panic's words, and the guest is as it was before.
#[test]
fn a_panic_in_a_guest_says_where() {
    let mut stage = Stage::new(house());
    let auction = open_auction(&mut stage);
    let bidder: Addr<Outcome> = stage.collector.clone().typed();
    stage.probe.send(&auction, Message::new(Bidding::Bid(u64::MAX, bidder)));
    let failure = stage.run().unwrap_err().to_string();
    assert!(failure.contains("nobody offers as much as a word holds"), "{failure}");
    let bidder: Addr<Outcome> = stage.collector.clone().typed();
    stage.probe.send(&auction, Message::new(Bidding::Bid(11, bidder)));
    stage.run().unwrap();
    assert_eq!(outcomes(&stage), [Outcome::Leading]);
}

/// What a guest keeps is small: the pages that it wrote, not the memory that it has.
#[test]
fn a_kept_guest_is_small_and_goes_on() {
    let module = prebuilt("auction.wasm");
    let actor = Shared::new(house());
    let mut stage = Stage::new(Box::new(actor.clone()));
    open_auction(&mut stage);
    let saved = actor.save();
    assert!(saved.state.bytes.len() < 40_000, "{}", saved.state.bytes.len());
    let mut again = Stage::new(module.restore(&saved).unwrap());
    let reply_to = again.collector.clone().typed();
    again.probe.send(&again.actor.clone(), Message::new(Sell { item: "a chair".into(), least: 1, reply_to }));
    again.run().unwrap();
    let opened: Opened = again.collected.lock().unwrap().remove(0).decode().unwrap();
    assert_eq!((opened.number, opened.house.as_str()), (2, "Banyan & Sons"));
}
