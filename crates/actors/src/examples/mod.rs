//! Programs to begin with, which `banyan actor run` knows by name.

pub mod bank;
