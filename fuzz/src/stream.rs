//! The decoders of calls over a stream: frames and their compression, values by content or
//! difference, greetings, calls and errors. Both ends read the other's bytes with them.

use crate::Target;
use banyan_calls::stream::{
    BODY_MAX, CallHead, Header, Receiver, Sender, decode_error, decode_hello, encode_error, encode_hello,
};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: frames_to_begin_from, inputs_in_test: 5000, ..Target::new("stream_frame", frames) },
    Target { inputs: values_to_begin_from, inputs_in_test: 2000, ..Target::new("stream_value", values) },
    Target { inputs: messages_to_begin_from, ..Target::new("stream_message", messages) },
];

/// Bytes of a header.
const HEADER: usize = 16;
/// Longest value that the target lets a peer send: it is about the rules, not about memory.
const VALUE_MAX: usize = 4 << 20;

/// A frame: what its header says must hold for the body, and a body opens to what was announced or not at
/// all.
pub fn frames(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER>() else { return };
    let Ok(header) = Header::decode(head) else { return };
    assert!(header.length <= BODY_MAX && header.meant <= BODY_MAX);
    assert_eq!(Header::decode(&header.encode()).expect("its own encoding"), header);
    // A short body stands for one whose rest has not come; the receiver waits for it.
    if header.meant <= VALUE_MAX
        && let Some(body) = body.get(..header.length)
        && let Ok(opened) = header.open(body.to_vec())
    {
        assert_eq!(opened.len(), header.meant);
    }
}

/// Values that one connection carries one after the other, each after its length in two bytes.
pub fn values(bytes: &[u8]) {
    let (mut receiver, mut sender, mut again) = (Receiver::default(), Sender::default(), Receiver::default());
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (mut value, tail) = tail.split_at(length);
        rest = tail;
        // A receiver that has refused something is not asked again.
        let Ok(value) = receiver.take(&mut value, VALUE_MAX) else { return };
        assert!(value.len() <= VALUE_MAX);
        let mut sent = Vec::new();
        sender.put(&value, &mut sent);
        assert!(again.take(&mut &sent[..], VALUE_MAX).expect("what we send ourselves") == value);
    }
}

/// The bodies of greetings, calls and errors: what is understood is said again in the same words.
pub fn messages(bytes: &[u8]) {
    if let Ok((_, name)) = decode_hello(bytes) {
        let again = decode_hello(&encode_hello(&name)).expect("its own encoding");
        assert!(again.1 == name || name.len() > 4096);
    }
    if let Ok(error) = decode_error(bytes) {
        let _ = error.to_string();
        assert_eq!(decode_error(&encode_error(&error)).expect("its own encoding").ran(), error.ran());
    }
    if let Ok(head) = CallHead::decode(&mut &bytes[..]) {
        let mut again = Vec::new();
        head.encode(&mut again);
        assert_eq!(CallHead::decode(&mut &again[..]), Ok(head));
        let _ = head.options();
    }
}

/// Frames as they are sent, one of them compressed.
fn frames_to_begin_from() -> Vec<Vec<u8>> {
    let frame = |kind, compressed, travels: &[u8], meant| {
        let header = Header { kind, compressed, length: travels.len(), meant };
        [&header.encode()[..], travels].concat()
    };
    let text = b"the same words again and ".repeat(200);
    let packed = lz4_flex::block::compress(&text);
    vec![frame(1, false, b"\x01\x05image", 7), frame(3, true, &packed, text.len()), frame(4, false, &[], 0)]
}

/// Values as they are sent: small, whole chunks, the same again, and one with changes.
fn values_to_begin_from() -> Vec<Vec<u8>> {
    let mut sender = Sender::default();
    let mut first = Vec::new();
    let mut large: Vec<u8> = (0..20_000_u32).map(|number| (number % 251) as u8).collect();
    let mut put = |value: &[u8], to: &mut Vec<u8>| {
        let mut sent = Vec::new();
        sender.put(value, &mut sent);
        to.extend((sent.len() as u16).to_le_bytes());
        to.extend(sent);
    };
    put(b"small", &mut first);
    put(&large, &mut first);
    put(&large, &mut first);
    for at in [5000, 5003, 9000, 19_999] {
        large[at] ^= 0x55;
    }
    put(&large, &mut first);
    vec![first]
}

/// A greeting, calls and errors as they are sent.
fn messages_to_begin_from() -> Vec<Vec<u8>> {
    use banyan_calls::{CallError, Ran};
    use std::time::Duration;
    let mut call = Vec::new();
    let cpu_limit = Some(Duration::from_millis(5));
    CallHead { function: 1 << 62, deadline: Duration::from_secs(60), cpu_limit, retries: 3 }
        .encode(&mut call);
    let errors = [
        CallError::Crashed { signal: 11, address: 8, instruction: 1 << 46, ran: Ran::Maybe },
        CallError::Failed("no".into()),
        CallError::Disconnected { reason: "gone".into(), ran: Ran::No },
        CallError::Exited { status: 3 },
    ];
    [encode_hello("images"), call].into_iter().chain(errors.iter().map(encode_error)).collect()
}
