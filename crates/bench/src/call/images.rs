//! What isolation costs real work: a large image through zlib and libpng, beside the same in place.
//!
//! The libraries are the system's own. Every byte of every result is compared with what the library gives
//! in this process; a library that is missing is a promise not kept.

use super::at;
use crate::row::Row;
use banyan_calls::connection::{CallOptions, Connection};
use banyan_calls::error::CallError;
use banyan_calls::launch::open_library;
use banyan_calls::measuring::counter;
use banyan_calls::measuring::{Registers, Shape};
use banyan_calls::service::{Configuration, FunctionName};
use std::ffi::CStr;

const WIDTH: usize = 2000;
const HEIGHT: usize = 1500;
const BYTES: usize = WIDTH * HEIGHT * 3;
const ROUNDS: usize = 5;

/// A library twice: in a worker, and in this process.
struct Subject {
    connection: Connection,
    here: Vec<u64>,
}

/// Where a call goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    InPlace,
    Isolated,
}

fn missing(what: &CStr) -> CallError {
    CallError::NoService(format!("{} is missing", what.to_string_lossy()))
}

impl Subject {
    fn open(library: &CStr, names: &[&CStr]) -> Result<Self, CallError> {
        // SAFETY: loads a library of the system, whose constructors do nothing of note.
        let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(missing(library));
        }
        let mut here = Vec::new();
        for name in names {
            // SAFETY: looks a name up.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) } as u64;
            here.push(if address == 0 { Err(missing(name)) } else { Ok(address) }?);
        }
        let name = |name: &&CStr| FunctionName { name: name.to_string_lossy().into(), version: None };
        let configuration = Configuration {
            library: Some(library.to_string_lossy().as_ref().into()),
            functions: names.iter().map(name).collect(),
            ..Configuration::default()
        };
        Ok(Self { connection: open_library(&configuration, None)?, here })
    }

    /// Calls a function with up to seven integers; the result as an `int`.
    ///
    /// # Safety
    /// They must be right for the function.
    unsafe fn call(&self, side: Side, number: usize, arguments: &[u64]) -> Result<i32, CallError> {
        let mut registers = Registers::default();
        let count = arguments.len().min(registers.general.len());
        let (general, words) = arguments.split_at(count);
        registers.general[..count].copy_from_slice(general);
        let shape = Shape { general: count as u8, vector: 0, stack: words.len() as u16 };
        // SAFETY: the caller's contract; the address is the same function's in this process.
        unsafe {
            match side {
                Side::InPlace => banyan_calls::measuring::invoke(self.here[number], &mut registers, words),
                Side::Isolated => self.connection.call_registers(
                    number as u64,
                    &mut registers,
                    shape,
                    words,
                    count,
                    &CallOptions::default(),
                )?,
            }
        }
        Ok(registers.rax as i32)
    }
}

/// A picture with flat parts, gradients and noise.
fn picture() -> Vec<u8> {
    let mut noise = 1_u32;
    let pixel = |at: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (x, y) = (at / 3 % WIDTH, at / 3 / WIDTH);
        match (x / 250 + y / 250) % 3 {
            0 => (x / 8 + at % 3 * 40) as u8,
            1 => (y / 6) as u8 ^ (noise >> 30) as u8,
            _ => 0x55,
        }
    };
    (0..BYTES).map(pixel).collect()
}

fn expect(what: &str, result: Result<i32, CallError>, wanted: i32) -> Result<(), CallError> {
    match result? {
        found if found == wanted => Ok(()),
        found => Err(CallError::Failed(format!("{what} returned {found}"))),
    }
}

/// Compresses and restores; the compressed bytes.
fn zlib(subject: &Subject, side: Side, picture: &[u8]) -> Result<(Vec<u8>, Vec<u8>), CallError> {
    let (mut packed, mut restored) = (vec![0_u8; BYTES + BYTES / 512], vec![0_u8; BYTES]);
    let (mut used, mut length) = (packed.len() as u64, restored.len() as u64);
    let (level, from) = (1, picture.as_ptr() as u64);
    let compress = [packed.as_mut_ptr() as u64, (&raw mut used) as u64, from, BYTES as u64, level];
    // SAFETY: the buffers are as long as the arguments say.
    expect("compress2", unsafe { subject.call(side, 0, &compress) }, 0)?;
    // SAFETY: the callee changed it behind the compiler's back.
    let used = unsafe { (&raw const used).read_volatile() };
    let restore = [restored.as_mut_ptr() as u64, (&raw mut length) as u64, packed.as_ptr() as u64, used];
    // SAFETY: as above.
    expect("uncompress", unsafe { subject.call(side, 1, &restore) }, 0)?;
    packed.truncate(used as usize);
    Ok((packed, restored))
}

/// `png_image` of libpng 1.6.
#[repr(C)]
struct PngImage {
    opaque: u64,
    version: u32,
    width: u32,
    height: u32,
    format: u32,
    flags: u32,
    colormap_entries: u32,
    warning_or_error: u32,
    message: [u8; 64],
}

impl PngImage {
    const fn new(width: usize, height: usize) -> Self {
        /// Three bytes a pixel.
        const RGB: u32 = 2;
        Self {
            opaque: 0,
            version: 1,
            width: width as u32,
            height: height as u32,
            format: RGB,
            flags: 0,
            colormap_entries: 0,
            warning_or_error: 0,
            message: [0; 64],
        }
    }
}

/// Writes a PNG to memory and reads it back; the file's bytes, and the picture's.
fn png(subject: &Subject, side: Side, picture: &[u8]) -> Result<(Vec<u8>, Vec<u8>), CallError> {
    let (mut file, mut restored) = (vec![0_u8; BYTES + BYTES / 64], vec![0_u8; BYTES]);
    let mut image = PngImage::new(WIDTH, HEIGHT);
    let (mut used, address) = (file.len() as u64, (&raw mut image) as u64);
    let write = [address, file.as_mut_ptr() as u64, (&raw mut used) as u64, 0, picture.as_ptr() as u64, 0, 0];
    // SAFETY: the buffers are as long as the arguments and the image's size say.
    expect("png_image_write_to_memory", unsafe { subject.call(side, 0, &write) }, 1)?;
    // SAFETY: the callee changed it behind the compiler's back.
    let used = unsafe { (&raw const used).read_volatile() };
    let mut image = PngImage::new(0, 0);
    let address = (&raw mut image) as u64;
    // SAFETY: as above.
    unsafe {
        expect("png_image_begin_read", subject.call(side, 1, &[address, file.as_ptr() as u64, used]), 1)?;
        let read = [address, 0, restored.as_mut_ptr() as u64, 0, 0];
        expect("png_image_finish_read", subject.call(side, 2, &read), 1)?;
    }
    file.truncate(used as usize);
    Ok((file, restored))
}

/// One way to pack a picture, and to restore it.
type Work = fn(&Subject, Side, &[u8]) -> Result<(Vec<u8>, Vec<u8>), CallError>;

fn row(name: &'static str, subject: &Subject, work: Work) -> Result<Row, CallError> {
    let picture = picture();
    let (mut times, mut wrong) = ([Vec::new(), Vec::new()], 0_usize);
    for _ in 0..ROUNDS {
        let mut packed = Vec::new();
        for (side, times) in [Side::InPlace, Side::Isolated].into_iter().zip(&mut times) {
            let start = counter();
            let (bytes, restored) = work(subject, side, &picture)?;
            times.push(counter() - start);
            wrong += restored.iter().zip(&picture).filter(|(one, other)| one != other).count();
            packed.push(bytes);
        }
        wrong += usize::from(packed[0] != packed[1]);
    }
    let [here, there] = times.map(|times| at(&times, 0.5) / 1000.0);
    let detail = format!(
        "{WIDTH} x {HEIGHT} pixels of three bytes, packed and restored, copied both ways; in place {here:.1} ms, \
         isolated {there:.1} ms"
    );
    let row = Row::new(name, wrong as f64, "wrong bytes").judged("none", wrong == 0);
    Ok(row.against("the time in place", there / here).note(detail))
}

/// A row for each library: bytes that differ; its ratio is the time over that in place.
pub(super) fn rows() -> Result<Vec<Row>, CallError> {
    let names = [c"compress2", c"uncompress"];
    let zlib_row = row("call.images.zlib", &Subject::open(c"libz.so.1", &names)?, zlib)?;
    let names = [c"png_image_write_to_memory", c"png_image_begin_read_from_memory", c"png_image_finish_read"];
    let subject = Subject::open(c"libpng16.so.16", &names)?;
    Ok(vec![zlib_row, row("call.images.libpng", &subject, png)?])
}
