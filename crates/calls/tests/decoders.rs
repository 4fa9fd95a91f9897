//! What is encoded comes back, and arbitrary bytes are a value or none; the fuzz targets go further.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use banyan_calls::frame::{
    FRAME_MAX, FrameReader, FrameWriter, Registers, STACK_WORDS_MAX, Shape, read_arguments, read_words,
    write_arguments,
};
use banyan_calls::isolated::value::{decode, encode_to_slice};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = decode::<(Vec<String>, Option<Vec<u64>>, Result<char, bool>)>(&bytes);
    }

    #[test]
    fn arguments_survive(general in any::<[u64; 6]>(), stack in prop::collection::vec(any::<u64>(), 0..=STACK_WORDS_MAX), low in any::<u64>(), high in any::<u64>()) {
        let mut registers = Registers { general, ..Registers::default() };
        registers.vector[7] = [low, high];
        let mut bytes = [0; FRAME_MAX];
        let mut writer = FrameWriter::new(&mut bytes);
        write_arguments(&mut writer, Shape::unknown(0), &registers, &stack).unwrap();
        let used = writer.used();
        let (mut read, mut words) = (Registers::default(), [0; STACK_WORDS_MAX]);
        let mut reader = FrameReader::new(&bytes[..used]);
        prop_assert_eq!(read_arguments(&mut reader, &mut read), Ok(stack.len()));
        prop_assert_eq!(read_words(reader, &mut words[..stack.len()]), Ok(()));
        prop_assert_eq!(read, registers);
        prop_assert_eq!(&words[..stack.len()], &stack[..]);
    }

    #[test]
    fn values_survive(text in ".{0,40}", numbers in prop::collection::vec(any::<i32>(), 0..50), flag in any::<Option<bool>>()) {
        let value = (text, numbers, flag);
        let mut bytes = [0; 2048];
        let end = encode_to_slice(&value, &mut bytes).unwrap();
        prop_assert_eq!(decode(&bytes[..end]), Ok(value));
    }
}
