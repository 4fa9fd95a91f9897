//! What is left of an actor between two events, and how an actor comes of it.

use std::io;

use crate::sys::guest_memory::{Image, PAGE};

use super::actor::WasmActor;
use super::engine::Module;
use super::handles::Handles;
use super::instance::{Instance, Restore};
use super::state::{self, Global};
use crate::durable::Kinds;
use crate::model::address::Address;
use crate::model::behaviour::Behaviour;
use crate::model::message::{CodecError, Packet};
use crate::model::saved::Saved;

/// What an actor was created with.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) behaviour: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) addresses: Vec<Address>,
}

/// What the last completed event left.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) behaviour: u32,
    pub(super) image: Image,
    pub(super) memory: usize,
    /// One bit for each page that was ever written: the others are zero.
    pub(super) written: Vec<u64>,
    /// `None` before the first event.
    pub(super) globals: Option<Vec<Global>>,
    pub(super) handles: Handles,
}

/// Notes that a page was written.
pub(super) fn mark(written: &mut Vec<u64>, page: usize) {
    let word = page / 64;
    if word >= written.len() {
        written.resize(word + 1, 0);
    }
    written[word] |= 1 << (page % 64);
}

/// Why a kept state is none of a module's.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is of another module.
    #[error("the state is of {found}, and this module is {expected}")]
    OtherModule {
        /// The module.
        expected: String,
        /// What the state names.
        found: String,
    },
    /// The bytes are no state.
    #[error("the state cannot be read: {0}")]
    Unreadable(#[from] CodecError),
    /// The state does not fit the module.
    #[error("the state does not fit the module: {0}")]
    Unfit(&'static str),
    /// There is no room for one more actor.
    #[error("no memory for the actor's state: {0}; raise the number of actors or their memory")]
    Memory(#[from] io::Error),
}

impl Module {
    /// An actor that begins with a behaviour of the module's, and what the behaviour is given at its start.
    /// No code runs before the first event.
    #[must_use]
    pub fn actor(&self, behaviour: u32, start: Packet) -> Box<dyn Behaviour> {
        let Packet { bytes, addresses } = start;
        Box::new(WasmActor::created(self.clone(), Creation { behaviour, bytes, addresses }))
    }

    /// The actor that [`Behaviour::save`] wrote. Any bytes give an actor or an error.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(&self, saved: &Saved) -> Result<Box<dyn Behaviour>, RestoreError> {
        if saved.kind != self.digest() {
            let (expected, found) = (self.digest().to_owned(), saved.kind.clone());
            return Err(RestoreError::OtherModule { expected, found });
        }
        self.rebuild(&saved.state)
    }

    /// The actor of a state that was saved under this module's digest: what `Kinds::with_maker` asks for.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn rebuild(&self, state: &Packet) -> Result<Box<dyn Behaviour>, RestoreError> {
        let (behaviour, globals, handles, memory, pages) = match state.decode()? {
            state::Saved::Fresh { behaviour, bytes, addresses } => {
                return Ok(self.actor(behaviour, Packet { bytes, addresses }));
            }
            state::Saved::Started { behaviour, globals, handles, memory, pages } => {
                (behaviour, globals, handles, memory, pages)
            }
        };
        let limit = self.0.engine.options().limits.memory_bytes;
        let memory = usize::try_from(memory).ok().filter(|memory| {
            memory.is_multiple_of(64 << 10) && (self.memory_bytes()..=limit).contains(memory)
        });
        let memory = memory.ok_or(RestoreError::Unfit("its memory has an impossible size"))?;
        if globals.len() != self.globals() {
            return Err(RestoreError::Unfit("it has another number of globals"));
        }
        let handles =
            Handles::restore(handles).ok_or(RestoreError::Unfit("its table of handles is broken"))?;
        let mut image = self.0.engine.windows().file().image()?;
        let mut written = Vec::new();
        for (page, state::Page(bytes)) in &pages {
            let offset = *page as usize * PAGE;
            if bytes.len() != PAGE || offset + PAGE > memory {
                return Err(RestoreError::Unfit("a page is not one, or lies outside of its memory"));
            }
            image.write(offset, bytes);
            mark(&mut written, *page as usize);
        }
        let kept = Kept { behaviour, image, memory, written, globals: Some(globals), handles };
        // The types of the globals are checked by setting them.
        let instance = Instance::new(self, &kept.restore());
        let instance = instance.map_err(|_| RestoreError::Unfit("its globals have other types"))?;
        Ok(Box::new(WasmActor::restored(self.clone(), kept, instance)))
    }
}

impl Kinds {
    /// And the actors of this module, under its digest.
    #[must_use]
    pub fn with_module(self, module: &Module) -> Self {
        let owned = module.clone();
        self.with_maker(module.digest(), move |state| {
            owned.rebuild(state).map_err(|error| CodecError::Decode {
                type_name: "an actor of a module",
                length: state.bytes.len(),
                addresses: state.addresses.len(),
                reason: error.to_string(),
            })
        })
    }
}

impl Kept {
    /// Before the first event.
    pub(super) fn fresh(module: &Module, behaviour: u32) -> io::Result<Self> {
        let mut image = module.0.engine.windows().file().image()?;
        let mut written = Vec::new();
        for (offset, bytes) in &module.0.data {
            image.write(*offset, bytes);
            (offset / PAGE..(offset + bytes.len()).div_ceil(PAGE)).for_each(|page| mark(&mut written, page));
        }
        let memory = module.memory_bytes();
        Ok(Self { behaviour, image, memory, written, globals: None, handles: Handles::new() })
    }

    pub(super) fn restore(&self) -> Restore<'_> {
        Restore { image: &self.image, memory: self.memory, globals: self.globals.as_deref() }
    }

    /// What is written to a store: the pages that are not zero, and the rest.
    pub(super) fn saved(&self) -> state::Saved {
        let pages = (0..self.memory / PAGE)
            .filter(|page| self.written.get(page / 64).is_some_and(|word| word & (1 << (page % 64)) != 0));
        let bytes = |page: usize| state::Page(self.image.bytes(page * PAGE, PAGE).to_vec());
        state::Saved::Started {
            behaviour: self.behaviour,
            globals: self.globals.clone().unwrap_or_default(),
            handles: self.handles.save(),
            memory: self.memory as u64,
            pages: pages.map(|page| (page as u32, bytes(page))).collect(),
        }
    }
}
