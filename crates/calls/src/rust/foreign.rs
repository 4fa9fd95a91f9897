//! Functions of a C library that a Rust program declares: what `#[isolated]` on an `extern "C"`
//! block expands to.
//!
//! The library is loaded by a worker, never by the program. Arguments go where the System V
//! calling convention puts them. Memory that pointers reach is shared or copied as for wrapped
//! libraries. Not for structures by value and variadic functions; `banyan call wrap` does those.

use crate::caller::connection::{CallOptions, Connection};
use crate::caller::launch::open_library;
use crate::error::CallError;
use crate::rust::pending::cancellable;
use crate::shared::frame::{FIXED_WORDS_MAX, GENERAL_MAX, Registers, Shape, VECTOR_MAX, WANT_VECTOR};
use crate::shared::service::{Configuration, FunctionName, Groups};
use std::sync::OnceLock;

/// Private memory that a worker has beside its library's: stacks, its threads' accounts, the loader's.
const OWN_BYTES: u64 = 128 << 20;

/// The arguments of one call, as they are laid out.
#[derive(Debug)]
pub struct Arguments {
    registers: Registers,
    shape: Shape,
    words: [u64; FIXED_WORDS_MAX],
}

impl Arguments {
    const fn integer(&mut self, value: u64) {
        let next = self.shape.general as usize;
        if next < GENERAL_MAX {
            self.registers.general[next] = value;
            self.shape.general += 1;
        } else {
            self.word(value);
        }
    }

    const fn float(&mut self, bits: u64) {
        let next = self.shape.vector as usize;
        if next < VECTOR_MAX {
            self.registers.vector[next] = [bits, 0];
            self.shape.vector += 1;
        } else {
            self.word(bits);
        }
    }

    const fn word(&mut self, value: u64) {
        self.words[self.shape.stack as usize] = value;
        self.shape.stack += 1;
    }
}

/// A type of C's that travels in one register.
pub trait Scalar: Copy {
    /// Which results to ask for.
    const RESULTS: u64 = 0;
    /// Appends the value to the arguments.
    fn put(self, to: &mut Arguments);
    /// Takes the value from the result.
    fn get(from: &Registers) -> Self;
}

macro_rules! integers {
    ($($kind:ty)*) => {$(
        impl Scalar for $kind {
            fn put(self, to: &mut Arguments) {
                // Sign-extended as compilers do, though the convention asks for less.
                to.integer(self as i64 as u64);
            }

            fn get(from: &Registers) -> Self {
                from.rax as Self
            }
        }
    )*};
}
integers! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }

impl Scalar for bool {
    fn put(self, to: &mut Arguments) {
        to.integer(self.into());
    }

    fn get(from: &Registers) -> Self {
        from.rax & 0xff != 0
    }
}

impl Scalar for () {
    fn put(self, _: &mut Arguments) {}

    fn get(_: &Registers) -> Self {}
}

impl Scalar for f64 {
    const RESULTS: u64 = WANT_VECTOR;

    fn put(self, to: &mut Arguments) {
        to.float(self.to_bits());
    }

    fn get(from: &Registers) -> Self {
        Self::from_bits(from.vector[0][0])
    }
}

impl Scalar for f32 {
    const RESULTS: u64 = WANT_VECTOR;

    fn put(self, to: &mut Arguments) {
        to.float(self.to_bits().into());
    }

    fn get(from: &Registers) -> Self {
        Self::from_bits(from.vector[0][0] as u32)
    }
}

impl<T> Scalar for *const T {
    fn put(self, to: &mut Arguments) {
        to.integer(self as u64);
    }

    fn get(from: &Registers) -> Self {
        from.rax as Self
    }
}

impl<T> Scalar for *mut T {
    fn put(self, to: &mut Arguments) {
        to.integer(self as u64);
    }

    fn get(from: &Registers) -> Self {
        from.rax as Self
    }
}

/// A library as one block declares it; opened at the first call.
#[derive(Debug)]
pub struct Library {
    path: &'static str,
    functions: &'static [&'static str],
    /// Bytes that it may allocate; those of [`Configuration::default`] if not given.
    memory: Option<u64>,
    /// System calls that it may make; all if not given.
    groups: Option<Groups>,
    connection: OnceLock<Result<Connection, CallError>>,
}

impl Library {
    /// The library at `path`, or of that soname, with functions in the order of their numbers.
    #[must_use]
    pub const fn new(path: &'static str, functions: &'static [&'static str]) -> Self {
        Self { path, functions, memory: None, groups: None, connection: OnceLock::new() }
    }

    /// Limits its memory: to this many bytes of heap, and as many mapped.
    #[must_use]
    pub const fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// With a sandbox that lets it make these groups of system calls, beside what every library needs.
    #[must_use]
    pub const fn with_groups(mut self, groups: Groups) -> Self {
        self.groups = Some(groups);
        self
    }

    /// The connection to the library's worker.
    ///
    /// # Errors
    /// [`CallError::NoService`] with the reason, the same at every call.
    pub fn connection(&self) -> Result<&Connection, CallError> {
        let open = || {
            let functions =
                self.functions.iter().map(|name| FunctionName { name: (*name).into(), version: None });
            let mut configuration = Configuration {
                library: Some(self.path.into()),
                functions: functions.collect(),
                ..Configuration::default()
            };
            if let Some(bytes) = self.memory {
                configuration.heap_bytes = bytes;
                configuration.data_bytes = bytes.saturating_add(OWN_BYTES);
            }
            if let Some(groups) = self.groups {
                configuration.groups = groups.0;
                configuration.namespaces = true;
            }
            open_library(&configuration, None)
        };
        self.connection.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Calls function `number` with the arguments that `put` appends.
    ///
    /// # Errors
    /// Any [`CallError`].
    ///
    /// # Safety
    /// The arguments must be right for the function: it may change what they point to.
    pub unsafe fn call<R: Scalar>(
        &self,
        number: u64,
        put: impl FnOnce(&mut Arguments),
        options: &CallOptions,
    ) -> Result<R, CallError> {
        let mut arguments = Arguments {
            registers: Registers { results: R::RESULTS, ..Registers::default() },
            shape: Shape { general: 0, vector: 0, stack: 0 },
            words: [0; FIXED_WORDS_MAX],
        };
        put(&mut arguments);
        let Arguments { mut registers, shape, words } = arguments;
        let words = &words[..usize::from(shape.stack)];
        // SAFETY: the caller's contract.
        unsafe {
            let connection = self.connection()?;
            let named = shape.general.into();
            connection.call_registers(number, &mut registers, shape, words, named, &cancellable(options))?;
        }
        Ok(R::get(&registers))
    }
}
