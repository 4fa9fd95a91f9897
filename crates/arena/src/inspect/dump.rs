//! What a name of an arena holds, for people: a collection or a noun, as far as the limits go.
//!
//! Nothing is mapped and no address is followed but by copying from checked pages, so that a file that was
//! made to deceive costs no more than the limits: lengths in it are never taken for room to be had. Types are
//! known by their hashes, if they are made of primitive types and texts; what else a map holds is shown as
//! text where it is some, and as bytes.

use std::collections::HashMap;
use std::mem::offset_of;
use std::path::Path;

use super::InspectError;
use crate::collections::ordered::tree::{Entry, FULL, Inner, Node, Record, Trunk};
use crate::collections::{DIRECTORY, Head};
use crate::disk::FileDisk;
use crate::noun::NounText;
use crate::reader::SnapshotReader;
use crate::store::ReadError;
use xxhash_rust::xxh3::xxh3_64;

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub struct DumpLimits {
    /// Entries, or atoms of a noun.
    pub entries: u64,
    /// Bytes of a key, or of a value.
    pub bytes: usize,
}

impl Default for DumpLimits {
    fn default() -> Self {
        Self { entries: 1000, bytes: 1024 }
    }
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A number, a truth value or a letter, as Rust writes it.
    Number(String),
    /// A text.
    Text(String),
    /// Something else.
    Bytes(Vec<u8>),
    /// A map.
    Entries(Vec<(Item, Item)>),
}

/// What a name holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// As what it was made, such as `AVec<u64>`, or `noun`.
    pub kind: String,
    /// Entries that it has, by its own word; 1 for a value or a noun.
    pub length: u64,
    /// Those that are shown: keys, where it has some, and values.
    pub entries: Vec<(Option<Item>, Item)>,
    /// Whether these are all, each from end to end.
    pub is_whole: bool,
}

/// How bytes are to be read.
#[derive(Clone)]
enum Form {
    /// As the processor has it: plain data.
    Plain(&'static Primitive),
    /// A number whose bytes are in the order of the numbers.
    Ordered(&'static Primitive),
    Text,
    Bytes,
    /// Text if it is some.
    Unknown,
    /// A map in a map.
    Nested(Box<(Form, Form)>),
}

/// What a collection is made of.
#[derive(Clone)]
enum Shape {
    Value(&'static Primitive),
    List(&'static Primitive),
    Text,
    Map(&'static Primitive, &'static Primitive),
    Ordered(Form, Form),
}

struct Primitive {
    name: &'static str,
    size: usize,
    alignment: usize,
    /// From bytes in the processor's order.
    show: fn(&[u8]) -> Option<String>,
}

macro_rules! primitives {
    ($($name:ident)*) => {
        [$(Primitive {
            name: stringify!($name),
            size: size_of::<$name>(),
            alignment: align_of::<$name>(),
            show: |bytes| Some(<$name>::from_le_bytes(bytes.try_into().ok()?).to_string()),
        }),*]
    };
}
static NUMBERS: [Primitive; 12] = primitives!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);
static OTHERS: [Primitive; 2] = [
    Primitive { name: "bool", size: 1, alignment: 1, show: |bytes| Some((bytes.first()? != &0).to_string()) },
    Primitive {
        name: "char",
        size: 4,
        alignment: 4,
        show: |bytes| char::from_u32(u32::from_le_bytes(bytes.try_into().ok()?)).map(|it| it.to_string()),
    },
];

impl Primitive {
    fn all() -> impl Iterator<Item = &'static Primitive> + Clone {
        NUMBERS.iter().chain(&OTHERS)
    }

    fn description(&self) -> String {
        format!("{}, {} bytes by {}", self.name, self.size, self.alignment)
    }

    /// The number that ordered bytes stand for.
    fn show_ordered(&self, bytes: &[u8]) -> Option<String> {
        let mut bytes: Vec<u8> = bytes.get(..self.size)?.to_vec();
        if self.name.starts_with('i') {
            bytes[0] ^= 0x80;
        }
        bytes.reverse();
        (self.show)(&bytes)
    }
}

/// The collections that are known, by the hashes of their types.
fn shapes() -> HashMap<u64, (String, Shape)> {
    let mut shapes = HashMap::new();
    let mut add = |hashed: &str, shown: String, shape: Shape| {
        shapes.insert(xxh3_64(hashed.as_bytes()), (shown, shape));
    };
    add("AString", "AString".to_owned(), Shape::Text);
    for item in Primitive::all() {
        for (name, shape) in [("ABox", Shape::Value(item)), ("AVec", Shape::List(item))] {
            let shown = format!("{name}<{}>", item.name);
            add(&format!("{name}<{}>", item.description()), shown.clone(), shape.clone());
            add(&shown.clone(), shown, shape);
        }
        for value in Primitive::all() {
            let shown = format!("AMap<{}, {}>", item.name, value.name);
            let described = format!("AMap<{}, {}>", item.description(), value.description());
            add(&described, shown.clone(), Shape::Map(item, value));
            add(&shown.clone(), shown, Shape::Map(item, value));
        }
    }
    let mut keys: Vec<(String, Form)> =
        NUMBERS[..10].iter().map(|number| (number.name.to_owned(), Form::Ordered(number))).collect();
    keys.extend([("str".to_owned(), Form::Text), ("[u8]".to_owned(), Form::Bytes)]);
    let mut values = keys.clone();
    values.extend(
        Primitive::all().map(|plain| (format!("Plain<{}>", plain.description()), Form::Plain(plain))),
    );
    let nested: Vec<(String, Form)> = keys
        .iter()
        .flat_map(|(key, key_form)| values.iter().map(move |value| (key, key_form, value)))
        .map(|(key, key_form, (value, form))| {
            let form = Form::Nested(Box::new((key_form.clone(), form.clone())));
            (format!("Nested<{key}, {value}>"), form)
        })
        .collect();
    for (key, key_form) in &keys {
        for (value, form) in values.iter().chain(&nested) {
            let name = format!("AOrderedMap<{key}, {value}>");
            add(&name.clone(), name, Shape::Ordered(key_form.clone(), form.clone()));
        }
    }
    shapes
}

/// Looks at an arena whose writer overtakes them.
const LOOKS_MAX: u32 = 20;
/// Levels of a tree, and maps in maps, beyond which there are none.
const HEIGHT_MAX: u32 = 20;

/// What a name of the last commit, or of a snapshot, holds: a collection, or a root that holds a noun. Writes
/// nothing.
///
/// # Errors
/// [`InspectError`].
pub fn dump(
    path: &Path,
    snapshot: Option<&str>,
    name: &str,
    limits: DumpLimits,
) -> Result<Dump, InspectError> {
    for _ in 1..LOOKS_MAX {
        let (reader, store) = SnapshotReader::look_at(path, snapshot)?;
        let dumping = Dumping { reader: &reader, limits, left: limits.entries, is_whole: true, nodes: 0 };
        match dumping.named(name) {
            Err(InspectError::Read(_)) if store.is_overtaken() => {}
            done => return done,
        }
    }
    Err(crate::store::OpenError::Overtaken.into())
}

struct Dumping<'a> {
    reader: &'a SnapshotReader<FileDisk>,
    limits: DumpLimits,
    /// Entries that may still be shown.
    left: u64,
    is_whole: bool,
    /// Nodes of trees, and empty slots, that were looked at.
    nodes: u64,
}

impl Dumping<'_> {
    fn bytes(&self, address: u64, count: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; count];
        self.reader.read(address, &mut bytes)?;
        Ok(bytes)
    }

    fn number(&self, address: u64, at: usize) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.reader.read(address.wrapping_add(at as u64), &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn named(mut self, name: &str) -> Result<Dump, InspectError> {
        let roots = &self.reader.info().position.roots;
        let head = match roots.get(&format!("{}{name}", crate::arena::TYPED)) {
            Some(head) => Some(*head),
            None => match roots.get(DIRECTORY) {
                Some(trunk) => self.in_directory(*trunk, name)?,
                None => None,
            },
        };
        if let Some(head) = head {
            return self.collection(head);
        }
        let word = *roots.get(name).ok_or_else(|| InspectError::NoSuchRoot(name.to_owned()))?;
        let text = NounText { atoms: self.limits.entries }.of(self.reader, word);
        let text = text.map_err(|error| match error {
            crate::noun::FrozenNounError::Read(error) => InspectError::Read(error),
            _ => InspectError::NotANoun(name.to_owned()),
        })?;
        let is_whole = !text.ends_with(" ...");
        let entries = vec![(None, Item::Text(text))];
        Ok(Dump { kind: "noun".to_owned(), length: 1, entries, is_whole })
    }

    /// The head of a collection whose name is in the directory.
    fn in_directory(&mut self, trunk: u64, name: &str) -> Result<Option<u64>, ReadError> {
        let mut found = None;
        let root = self.number(trunk, offset_of!(Trunk, root))?;
        self.walk(root, HEIGHT_MAX, &mut |dumping, record| {
            let [length, _] = dumping.halves(record)?;
            let at = record.wrapping_add(size_of::<Record>() as u64);
            if length as usize == name.len() && dumping.bytes(at, name.len())? == name.as_bytes() {
                found = Some(dumping.number(at, name.len())?);
            }
            Ok(found.is_none())
        })?;
        self.nodes = 0;
        Ok(found)
    }

    fn halves(&self, address: u64) -> Result<[u32; 2], ReadError> {
        let number = self.number(address, 0)?;
        Ok([number as u32, (number >> 32) as u32])
    }

    fn collection(mut self, head: u64) -> Result<Dump, InspectError> {
        let hash = self.number(head, offset_of!(Head, kind))?;
        let length = self.number(head, offset_of!(Head, length))?;
        let capacity = self.number(head, offset_of!(Head, capacity))?;
        let data = self.number(head, offset_of!(Head, data))?;
        let Some((kind, shape)) = shapes().remove(&hash) else { return Err(InspectError::UnknownType(hash)) };
        let mut dump = Dump { kind, length, entries: Vec::new(), is_whole: true };
        match shape {
            Shape::Value(item) => {
                let at = size_of::<Head>().next_multiple_of(item.alignment);
                dump.entries.push((None, self.plain(item, head.wrapping_add(at as u64))?));
                dump.length = 1;
            }
            Shape::Text => {
                let text = self.value(data, length, &Form::Text)?;
                dump.entries.push((None, text));
                dump.length = 1;
            }
            Shape::List(item) => {
                for at in 0..length.min(self.left) {
                    let place = data.wrapping_add(at.wrapping_mul(item.size as u64));
                    dump.entries.push((None, self.plain(item, place)?));
                }
                self.is_whole &= length <= self.left;
            }
            Shape::Map(key, value) => {
                dump.entries = self.slots(key, value, capacity, data)?;
                self.is_whole &= dump.entries.len() as u64 == length;
            }
            Shape::Ordered(key, value) => {
                let trunk = head.wrapping_add(size_of::<Head>() as u64);
                dump.length = self.number(trunk, offset_of!(Trunk, length))?;
                let entries = self.tree(trunk, &key, &value, HEIGHT_MAX)?;
                dump.entries = entries.into_iter().map(|(key, value)| (Some(key), value)).collect();
            }
        }
        dump.is_whole = self.is_whole;
        Ok(dump)
    }

    /// The entries of a hash map, as they lie.
    fn slots(
        &mut self,
        key: &'static Primitive,
        value: &'static Primitive,
        capacity: u64,
        data: u64,
    ) -> Result<Vec<(Option<Item>, Item)>, ReadError> {
        let key_at = 8_usize.next_multiple_of(key.alignment);
        let value_at = (key_at + key.size).next_multiple_of(value.alignment);
        let alignment = key.alignment.max(value.alignment).max(8);
        let size = (value_at + value.size).next_multiple_of(alignment) as u64;
        let mut entries = Vec::new();
        for at in 0..capacity {
            if self.is_spent() {
                break;
            }
            let slot = data.wrapping_add(at.wrapping_mul(size));
            if self.number(slot, 0)? == 0 {
                continue;
            }
            self.left -= 1;
            let key = self.plain(key, slot.wrapping_add(key_at as u64))?;
            entries.push((Some(key), self.plain(value, slot.wrapping_add(value_at as u64))?));
        }
        Ok(entries)
    }

    /// Whether enough was shown, or looked at in vain.
    fn is_spent(&mut self) -> bool {
        self.nodes += 1;
        self.left == 0 || self.nodes > self.limits.entries.saturating_add(64).saturating_mul(64)
    }

    /// Calls `visit` with the address of each record, in order, until it says `false`, or enough was seen.
    fn walk(
        &mut self,
        node: u64,
        levels: u32,
        visit: &mut dyn FnMut(&mut Self, u64) -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        if node == 0 {
            return Ok(true);
        }
        let Some(below) = levels.checked_sub(1) else {
            return Ok(true);
        };
        let [count, leaf] = self.halves(node)?;
        let count = (count as usize).min(FULL);
        for at in 0..=count {
            if self.is_spent() {
                return Ok(false);
            }
            if leaf != 1 {
                let child = self.number(node, offset_of!(Inner, children) + size_of::<u64>() * at)?;
                if !self.walk(child, below, visit)? {
                    return Ok(false);
                }
            }
            if at < count {
                let entry = offset_of!(Node, entries) + size_of::<Entry>() * at;
                let record = self.number(node, entry + offset_of!(Entry, record))?;
                if !visit(self, record)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The entries of a tree.
    fn tree(
        &mut self,
        trunk: u64,
        key: &Form,
        value: &Form,
        levels: u32,
    ) -> Result<Vec<(Item, Item)>, ReadError> {
        let mut entries = Vec::new();
        let Some(below) = levels.checked_sub(1) else {
            self.is_whole = false;
            return Ok(entries);
        };
        let length = self.number(trunk, offset_of!(Trunk, length))?;
        let root = self.number(trunk, offset_of!(Trunk, root))?;
        self.walk(root, HEIGHT_MAX, &mut |dumping, record| {
            if dumping.is_spent() {
                return Ok(false);
            }
            dumping.left -= 1;
            let [key_length, kind] = dumping.halves(record)?;
            let value_length = dumping.number(record, offset_of!(Record, value_length))?;
            let at = record.wrapping_add(size_of::<Record>() as u64);
            let value_at = at.wrapping_add(u64::from(key_length));
            let name = dumping.value(at, u64::from(key_length), key)?;
            let held = if kind == 1 {
                let unknown = (Form::Unknown, Form::Unknown);
                let (key, value) = if let Form::Nested(forms) = value { &**forms } else { &unknown };
                let trunk = dumping.number(value_at, 0)?;
                Item::Entries(dumping.tree(trunk, key, value, below)?)
            } else {
                dumping.value(value_at, value_length, value)?
            };
            entries.push((name, held));
            Ok(true)
        })?;
        self.is_whole &= entries.len() as u64 == length;
        Ok(entries)
    }

    fn plain(&self, item: &'static Primitive, address: u64) -> Result<Item, ReadError> {
        let bytes = self.bytes(address, item.size)?;
        Ok((item.show)(&bytes).map_or(Item::Bytes(bytes), Item::Number))
    }

    /// A value of so many bytes, as far as the limit goes.
    fn value(&mut self, address: u64, length: u64, form: &Form) -> Result<Item, ReadError> {
        let shown = length.min(self.limits.bytes as u64);
        self.is_whole &= shown == length;
        let bytes = self.bytes(address, shown as usize)?;
        let number = match form {
            Form::Plain(plain) if bytes.len() == plain.size => (plain.show)(&bytes),
            Form::Ordered(number) if bytes.len() == number.size => number.show_ordered(&bytes),
            _ => None,
        };
        if let Some(number) = number {
            return Ok(Item::Number(number));
        }
        if !matches!(form, Form::Text | Form::Unknown) {
            return Ok(Item::Bytes(bytes));
        }
        // A text may be cut within a letter.
        let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        let is_text = valid == bytes.len() || (shown < length && bytes.len() - valid < 4);
        let text = std::str::from_utf8(&bytes[..valid]).ok().filter(|_| is_text);
        Ok(text.map_or_else(|| Item::Bytes(bytes.clone()), |text| Item::Text(text.to_owned())))
    }
}
