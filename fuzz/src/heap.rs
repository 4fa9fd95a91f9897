//! An explicit heap, whose memory another process wrote: the header of its file, and all of its words.

use banyan_heap::fuzz;

use crate::Target;

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { inputs: headers, kept_bytes_max: 256, ..Target::new("heap_header", header) },
    Target { inputs: fuzz::word_inputs, inputs_in_test: 500, ..Target::new("heap_words", words) },
];

/// A header is taken or refused; the first 8 bytes stand for the length of the file.
pub fn header(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<8>() else { return };
    let mut bytes = [0; 64];
    let used = rest.len().min(bytes.len());
    bytes[..used].copy_from_slice(&rest[..used]);
    let _is_one = fuzz::header(&bytes, u64::from_le_bytes(*length));
}

/// A heap with some words changed, opened and used.
pub fn words(input: &[u8]) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("memory has room");
    fuzz::words(input, directory.path());
}

/// A heap of 64 KiB at 104 TiB, and the same without its length.
fn headers() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    for word in [0xa_0000_u64, u64::from_le_bytes(*b"BnyHeap\x01"), 0x6800_0000_0000, 1, 0, u64::MAX, 1, 0, 0]
    {
        whole.extend(word.to_le_bytes());
    }
    let bytes = whole[8..].first_chunk().expect("eight words");
    assert!(fuzz::header(bytes, 0xa_0000), "it is one, or nothing is found from here");
    let short = whole[8..].to_vec();
    vec![whole, short]
}
