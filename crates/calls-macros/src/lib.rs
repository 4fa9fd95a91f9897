//! Placeholder until the attribute below is written.
