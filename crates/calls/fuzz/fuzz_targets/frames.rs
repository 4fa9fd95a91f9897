//! Decodes any bytes as a request and as a reply; what decodes must encode to something that decodes alike.
#![no_main]
use banyan_wire::call_frame::{
    FrameReader, FrameWriter, Registers, STACK_WORDS_MAX, Shape, read_arguments, read_results, write_arguments,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = FrameReader::new(bytes);
    let _ = reader.kind();
    let _ = reader.number();
    let mut registers = Registers::default();
    let mut words = [0; STACK_WORDS_MAX];
    if let Ok(count) = read_arguments(&mut reader, &mut registers, &mut words) {
        let mut again = [0; 1024];
        let mut writer = FrameWriter::new(&mut again);
        write_arguments(&mut writer, Shape::unknown(0), &registers, &words[..count]).expect("it fits");
        let used = writer.used();
        let (mut other, mut stack) = (Registers::default(), [0; STACK_WORDS_MAX]);
        assert_eq!(read_arguments(&mut FrameReader::new(&again[..used]), &mut other, &mut stack), Ok(count));
        assert_eq!((other, stack), (registers, words));
    }
    for results in 0..4 {
        let mut registers = Registers { results, ..Registers::default() };
        let _ = read_results(&mut FrameReader::new(bytes), &mut registers);
    }
});
