//! Input for the compressors: words in an order like that of prose, always the same.

use super::session::Session;
use anyhow::Context;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Words that the text is made of.
const WORDS: u64 = 4096;

/// A file of about this many MiB in the directory of the bench; made once.
pub(crate) fn text(session: &Session, megabytes: usize) -> anyhow::Result<PathBuf> {
    let path = session.directory().join(format!("text-{megabytes}"));
    if !path.exists() {
        write(&path, megabytes << 20).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(path)
}

fn write(path: &std::path::Path, bytes: usize) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let vocabulary: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| {
            let bits = next();
            let length = 2 + bits % 9;
            (0..length).map(|place| b'a' + ((bits >> (5 * place + 4)) % 26) as u8).collect()
        })
        .collect();
    let mut written = 0;
    while written < bytes {
        let bits = next();
        // The product of two draws prefers the first words, as prose does.
        let place = (bits % WORDS) * ((bits >> 32) % WORDS) / WORDS;
        let word = &vocabulary[place as usize];
        file.write_all(word)?;
        file.write_all(if bits >> 60 == 0 { b".\n" } else { b" " })?;
        written += word.len() + 1;
    }
    file.flush()
}
