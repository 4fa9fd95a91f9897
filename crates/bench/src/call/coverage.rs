//! The promise on coverage, measured: the share of the exports of five libraries that need no word.
//!
//! For the bench. The libraries are the system's own; one that is missing is a promise not kept.

use crate::row::Row;
use banyan_calls::CallError;
use banyan_calls::generate::wrap;
use std::path::{Path, PathBuf};

const LIBRARIES: &[(&str, &str)] = &[
    ("libz.so.1", "zlib.h"),
    ("libpng16.so.16", "png.h"),
    ("libjpeg.so.62", "jpeglib.h"),
    ("libsqlite3.so.0", "sqlite3.h"),
    ("libexpat.so.1", "expat.h"),
];

/// One row: the least of the shares, and all of them in its detail.
pub(crate) fn rows() -> Result<Vec<Row>, CallError> {
    let place = std::env::temp_dir().join(format!("banyan-coverage-{}", std::process::id()));
    let (mut least, mut details) = (100.0_f64, Vec::new());
    for (library, header) in LIBRARIES {
        let path = Path::new("/usr/lib/x86_64-linux-gnu").join(library);
        let header: Vec<PathBuf> = std::iter::once(Path::new("/usr/include").join(header)).collect();
        let share = match wrap(&path, &header, None, &place) {
            Ok(outcome) => outcome.share() * 100.0,
            Err(error) => {
                details.push(error.to_string());
                0.0
            }
        };
        least = least.min(share);
        details.push(format!("{library} {share:.1} %"));
    }
    let _ = std::fs::remove_dir_all(&place);
    let row = Row::new("call.coverage", least, "%").judged("at least 80 % of each library", least >= 80.0);
    Ok(vec![row.note(details.join(", "))])
}
