//! Function signatures from a C header, by `gcc -E` and a parser in Rust.
//!
//! A declaration that does not parse is a problem with file and line; the rest of the header is
//! still read. Sizes of structures passed by value are confirmed by the compiler, which knows of
//! packing and alignment that the preprocessed text does not show here. The work on text alone is
//! [`parse`], which needs no compiler.

use super::convention::Signature;
use super::declarations::Declarations;
use super::types::{Class, Layout, Type};
use lang_c::driver::{Config, Flavor, parse_preprocessed};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Declarations that do not parse, at most, before the rest of a header is given up.
const PROBLEMS_MAX: usize = 64;

/// What a header says.
#[derive(Debug, Default)]
pub struct Header {
    /// Functions by name.
    pub functions: BTreeMap<String, Signature>,
    /// What could not be understood: file, line and text.
    pub problems: Vec<String>,
}

/// Reads the functions declared in `header` and all it includes.
pub(crate) fn read(header: &Path) -> Header {
    let path = header.canonicalize().unwrap_or_else(|_| header.to_owned());
    let mut command = Command::new("gcc");
    // What newer compilers offer and the parser does not know is defined away.
    command.args([
        "-E",
        "-include",
        "stdio.h",
        "-include",
        "stddef.h",
        "-D__extension__=",
        "-D__attribute__(x)=",
        "-D__asm__(x)=",
        "-D__restrict=",
        "-D__thread=",
        // Integers of two words: the parser does not know them, and nothing else is written like that.
        "-D__int128=long _Complex",
        "-D__int128_t=long _Complex",
        "-D__uint128_t=unsigned long _Complex",
        "-D__inline=inline",
        "-D__float128=_Float128",
    ]);
    let output = match command.arg(&path).output() {
        Ok(output) => output,
        Err(error) => {
            let problems = vec![format!("{}:1: gcc: {error}", header.display())];
            return Header { problems, ..Header::default() };
        }
    };
    let mut found = parse(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        // The preprocessor names file and line itself, and gives what it could make of the rest.
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = text.lines().filter(|line| line.contains("error:")).map(str::to_owned).collect();
        if lines.is_empty() {
            found.problems.push(format!("{}:1: {}", header.display(), text.trim()));
        }
        found.problems.extend(lines);
    }
    confirm(&path, &mut found.functions);
    found
}

/// Reads the functions declared in preprocessed text, whatever it is.
#[must_use]
pub fn parse(text: &str) -> Header {
    let config = Config { cpp_command: String::new(), cpp_options: Vec::new(), flavor: Flavor::GnuC11 };
    let mut problems: Vec<String> = Vec::new();
    let mut text = text.to_owned();
    let mut open_braces = 0;
    for _ in 0..PROBLEMS_MAX {
        let error = match parse_preprocessed(&config, text) {
            Ok(parsed) => {
                let places = Places::new(&parsed.source);
                return Header { functions: Declarations::read(&parsed.unit, &places), problems };
            }
            Err(error) => error,
        };
        text = error.source;
        let range = declaration_around(&text, error.offset);
        if range.is_empty() {
            break;
        }
        // Inside braces that a blanked part opened, what follows is its tail.
        if open_braces == 0 {
            let shown = text[range.clone()].lines().filter(|line| !line.starts_with('#'));
            let shown = shown.collect::<Vec<_>>().join(" ");
            let shown: String =
                shown.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
            problems.push(format!("{}: not understood: {shown}", Places::new(&text).at(error.offset)));
        }
        let braces = |kind: u8| text.as_bytes()[range.clone()].iter().filter(|&&byte| byte == kind).count();
        open_braces = (open_braces + braces(b'{')).saturating_sub(braces(b'}'));
        text = blank(&text, range);
    }
    problems.push("too much of the header is not understood: no function of it is known".into());
    Header { functions: BTreeMap::new(), problems }
}

/// Which file and line an offset in preprocessed text is of: the preprocessor's marks say so.
pub(crate) struct Places<'a> {
    /// For each mark: where its text begins, the number of that line, the file.
    marks: Vec<(usize, usize, &'a str)>,
    text: &'a str,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let mut marks = vec![(0, 1, "header")];
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            let mut words = line.split_whitespace();
            if words.next() == Some("#")
                && let (Some(number), Some(file)) =
                    (words.next().and_then(|word| word.parse().ok()), words.next())
            {
                marks.push((at, number, file.trim_matches('"')));
            }
        }
        Self { marks, text }
    }

    pub(crate) fn at(&self, offset: usize) -> String {
        let known = self.marks.partition_point(|mark| mark.0 <= offset).saturating_sub(1);
        let (start, line, file) = self.marks[known];
        let between = &self.text.as_bytes()[start..offset.clamp(start, self.text.len())];
        let lines = between.iter().filter(|&&byte| byte == b'\n').count();
        format!("{file}:{}", line.saturating_add(lines))
    }
}

/// The bytes from the end of the declaration before `offset` to the end of the one that holds it.
fn declaration_around(text: &str, offset: usize) -> std::ops::Range<usize> {
    let bytes = text.as_bytes();
    let offset = offset.min(bytes.len());
    let (mut start, mut depth) = (0, 0_i32);
    for (at, &byte) in bytes[..offset].iter().enumerate() {
        match byte {
            b'{' | b'(' => depth += 1,
            b'}' | b')' => depth = (depth - 1).max(0),
            _ => {}
        }
        if depth == 0 && (byte == b';' || byte == b'}') {
            start = at + 1;
        }
    }
    let rest = &bytes[offset..];
    // A brace too many is all that is wrong there.
    let length =
        if rest.first() == Some(&b'}') { Some(0) } else { rest.iter().position(|&byte| byte == b';') };
    start..length.map_or(bytes.len(), |at| offset + at + 1)
}

/// Replaces a part by spaces; line ends and the preprocessor's marks stay.
fn blank(text: &str, range: std::ops::Range<usize>) -> String {
    let mut result = text[..range.start].to_owned();
    let at_line_start = result.is_empty() || result.ends_with('\n');
    for (number, line) in text[range.clone()].split_inclusive('\n').enumerate() {
        if line.starts_with('#') && (number > 0 || at_line_start) {
            result.push_str(line);
        } else {
            result.extend(line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
    }
    result.push_str(&text[range.end..]);
    result
}

/// Has the compiler confirm the sizes of structures that functions pass by value; takes back the others.
fn confirm(header: &Path, functions: &mut BTreeMap<String, Signature>) {
    fn passed(signature: &mut Signature) -> impl Iterator<Item = &mut Type> {
        std::iter::once(&mut signature.result).chain(&mut signature.arguments)
    }
    let mut layouts: BTreeMap<String, Layout> = BTreeMap::new();
    for kind in functions.values_mut().flat_map(passed) {
        if let Type::Known(layout) = kind
            && let Some(name) = &layout.name
            && layout.class() != Class::Nowhere
        {
            layouts.insert(name.clone(), layout.clone());
        }
    }
    if layouts.is_empty() {
        return;
    }
    let mut source = format!("#include <stdio.h>\n#include <stddef.h>\n#include \"{}\"\n", header.display());
    for (name, layout) in &layouts {
        let _ = writeln!(
            source,
            "_Static_assert(sizeof({name}) == {} && _Alignof({name}) == {}, \"banyan {name}.\");",
            layout.bytes, layout.align
        );
    }
    let child = Command::new("gcc")
        .args(["-fsyntax-only", "-w", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let output = child.and_then(|mut child| {
        if let Some(mut input) = child.stdin.take() {
            input.write_all(source.as_bytes())?;
        }
        child.wait_with_output()
    });
    let denied =
        output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    for kind in functions.values_mut().flat_map(passed) {
        if let Type::Known(layout) = kind
            && let Some(name) = &layout.name
            && denied.contains(&format!("\"banyan {name}.\""))
        {
            *kind = Type::Unknown(format!("a {name}, packed or aligned by hand"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_parse_is_named_and_the_rest_is_read() {
        let text = "# 1 \"a.h\"\nint first(int a);\nint broken(;\nstruct s { int a; long b c; };\n# 9 \"b.h\"\nvoid last(void);\n}\nint end(void);";
        let header = parse(text);
        assert_eq!(header.functions.keys().collect::<Vec<_>>(), ["end", "first", "last"]);
        assert_eq!(header.problems.len(), 3, "{:?}", header.problems);
        assert!(
            header.problems[0].starts_with("a.h:2: not understood: int broken(;"),
            "{:?}",
            header.problems
        );
        assert!(header.problems[1].starts_with("a.h:3:"), "{:?}", header.problems);
        assert!(header.problems[2].starts_with("b.h:10:"), "{:?}", header.problems);
    }
}
