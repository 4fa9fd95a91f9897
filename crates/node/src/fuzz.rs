//! What a fuzzer calls: for each decoder of foreign bytes in this crate a function that reads any bytes, and
//! inputs to begin from. Each panics if decoding goes wrong. Not for anything else.

pub use crate::cluster::fuzz::{
    certificate, certificate_inputs, json, json_inputs, question, question_inputs,
};
pub use crate::cluster::fuzz_company as company;
pub use crate::job::again::{fuzz as script, fuzz_inputs as script_inputs};
pub use crate::observe::page::fuzz as page;
