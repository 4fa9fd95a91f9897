//! The header of an explicit heap's file, which another process wrote.

use crate::Target;

/// The targets.
pub const TARGETS: &[Target] = &[Target {
    inputs: headers,
    kept_bytes_max: 256,
    inputs_in_test: 20_000,
    ..Target::new("heap_header", header)
}];

/// A header is taken or refused; the first 8 bytes stand for the length of the file.
pub fn header(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<8>() else { return };
    let mut bytes = [0; 64];
    let used = rest.len().min(bytes.len());
    bytes[..used].copy_from_slice(&rest[..used]);
    let _is_one = banyan_heap::fuzz_header(&bytes, u64::from_le_bytes(*length));
}

/// A heap of 64 KiB at 104 TiB, and the same without its length.
fn headers() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    for word in [0xa_0000_u64, u64::from_le_bytes(*b"BnyHeap\x01"), 0x6800_0000_0000, 1, 0, u64::MAX, 1, 0, 0]
    {
        whole.extend(word.to_le_bytes());
    }
    let bytes = whole[8..].first_chunk().expect("eight words");
    assert!(banyan_heap::fuzz_header(bytes, 0xa_0000), "it is one, or nothing is found from here");
    let short = whole[8..].to_vec();
    vec![whole, short]
}
