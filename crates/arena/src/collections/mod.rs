//! Typed collections under named roots: [`ABox`], [`AVec`], [`AString`], [`AMap`].
//!
//! What lies in the heap is of a fixed layout (`repr(C)`), so it can be used by another build of the program;
//! each root remembers its type, and is refused as another. The Rust values here are views that borrow the
//! arena: none can outlive a rollback, a collection of another thread, or the arena. One view at a time,
//! therefore. They hold plain data ([`Persist`]); nothing is dropped when a view is, only `delete` frees.

mod boxed;
pub(crate) mod bytes;
mod map;
mod string;
mod vec;

use std::alloc::Layout;
use std::ptr::NonNull;

use xxhash_rust::xxh3::xxh3_64;

pub use self::boxed::ABox;
pub use self::map::AMap;
pub use self::string::AString;
pub use self::vec::AVec;
use crate::arena::{AllocateError, Arena, TYPED};
use crate::disk::Disk;

/// Plain data that may lie in an arena forever.
///
/// # Safety
/// A value means the same in another process and another build of the program: no pointer to anything outside
/// of the arena, a layout that is fixed (`repr(C)` or a primitive type), and a name that no type of another
/// layout or meaning has.
pub unsafe trait Persist: Copy + 'static {
    /// The type, for the check when it is opened again.
    fn type_name() -> String;
}

macro_rules! persist {
    ($($name:ty)*) => {$(
        // SAFETY: a primitive type: no pointer, and the same layout and meaning in every build.
        unsafe impl Persist for $name {
            fn type_name() -> String {
                stringify!($name).to_owned()
            }
        }
    )*};
}
persist!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char);

// SAFETY: an array has the layout of its items, one after another.
unsafe impl<T: Persist, const N: usize> Persist for [T; N] {
    fn type_name() -> String {
        format!("[{}; {N}]", T::type_name())
    }
}

/// Why a collection could not be opened, or made, or made larger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    /// No room in the arena, or no arena here.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The root holds something else.
    #[error("root {name:?} does not hold {wanted}; open it as what it was made as, or choose another name")]
    WrongType {
        /// The root.
        name: String,
        /// What it was asked to hold.
        wanted: String,
    },
}

/// What a root of a collection points to.
#[repr(C)]
struct Head {
    /// Hash of what it holds.
    kind: u64,
    /// Items.
    length: u64,
    /// Items that there is room for.
    capacity: u64,
    /// Address of the items; 0 is none.
    data: u64,
    /// Begins every hash of a map.
    seed: u64,
    reserved: u64,
}

fn kind(description: &str) -> u64 {
    xxh3_64(description.as_bytes())
}

fn layout_of<T>(count: usize) -> Result<Layout, AllocateError> {
    let error = AllocateError::Full { size: usize::MAX, alignment: align_of::<T>() };
    Layout::array::<T>(count).map_err(|_| error)
}

fn root_name(name: &str) -> String {
    format!("{TYPED}{name}")
}

/// A collection of the arena, borrowed with it.
struct View<'a, D: Disk> {
    arena: &'a mut Arena<D>,
    name: String,
    head: NonNull<Head>,
    /// Layout of the object that `head` starts.
    layout: Layout,
}

impl<'a, D: Disk> View<'a, D> {
    /// The collection under a root, which is made by `fill` if there is none.
    fn open(
        arena: &'a mut Arena<D>,
        name: &str,
        description: &str,
        layout: Layout,
        fill: impl FnOnce(NonNull<Head>),
    ) -> Result<Self, CollectionError> {
        arena.check_allocation()?;
        let (name, kind) = (root_name(name), kind(description));
        if let Some(word) = arena.root(&name) {
            // Only this module sets roots of such names, to heads that it has made.
            let head: Option<NonNull<Head>> =
                NonNull::new(std::ptr::with_exposed_provenance_mut(word as usize));
            let head = head.filter(|head| arena.in_arena(head.as_ptr()));
            // SAFETY: the head was made below, and lives until its root is removed.
            return match head.filter(|head| unsafe { head.as_ref().kind } == kind) {
                Some(head) => Ok(Self { arena, name, head, layout }),
                None => Err(CollectionError::WrongType {
                    name: name[1..].to_owned(),
                    wanted: description.to_owned(),
                }),
            };
        }
        let head = arena.allocate(layout)?.cast::<Head>();
        let seed = xxh3_64(name.as_bytes())
            ^ arena.store().identity().uuid.iter().fold(0, |seed, byte| seed << 5 ^ u64::from(*byte));
        // SAFETY: the object was just allocated with a layout that begins with a head.
        unsafe { head.write(Head { kind, length: 0, capacity: 0, data: 0, seed, reserved: 0 }) };
        fill(head);
        arena.set_any_root(&name, head.as_ptr() as u64);
        Ok(Self { arena, name, head, layout })
    }

    fn head(&self) -> &Head {
        // SAFETY: the head lives as long as its root, which only `delete` removes, and the arena is borrowed.
        unsafe { self.head.as_ref() }
    }

    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { self.head.as_mut() }
    }

    /// The items; dangling if there is no room for any.
    fn data<T>(&self) -> NonNull<T> {
        let pointer = std::ptr::with_exposed_provenance_mut(self.head().data as usize);
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// Makes room for exactly `capacity` items, at least as many as there are.
    fn resize<T>(&mut self, capacity: usize) -> Result<(), AllocateError> {
        let (old, new) = (self.head().capacity as usize, layout_of::<T>(capacity)?);
        let data = if old == 0 {
            self.arena.allocate(new)?
        } else {
            // SAFETY: the items were allocated here with room for `old` of them, and nothing else refers to
            // them.
            unsafe { self.arena.reallocate(self.data::<T>().cast(), layout_of::<T>(old)?, new.size())? }
        };
        let head = self.head_mut();
        (head.data, head.capacity) = (data.as_ptr() as u64, capacity as u64);
        Ok(())
    }

    /// Gives the items and the head back, and removes the root.
    fn delete<T>(self) {
        let capacity = self.head().capacity as usize;
        if let (true, Ok(layout)) = (capacity > 0, layout_of::<T>(capacity)) {
            let data = self.data::<T>();
            // SAFETY: the items were allocated with this layout, and the root that leads to them goes.
            unsafe { self.arena.free(data.cast(), layout) };
        }
        // SAFETY: as above, for the head.
        unsafe { self.arena.free(self.head.cast(), self.layout) };
        self.arena.remove_root(&self.name);
    }
}

impl<D: Disk> Arena<D> {
    /// The value under a root, made by `first` if there is none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn boxed<T: Persist>(
        &mut self,
        name: &str,
        first: impl FnOnce() -> T,
    ) -> Result<ABox<'_, T, D>, CollectionError> {
        ABox::open(self, name, first)
    }

    /// The vector under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn vec<T: Persist>(&mut self, name: &str) -> Result<AVec<'_, T, D>, CollectionError> {
        AVec::open(self, name, &format!("AVec<{}>", T::type_name()))
    }

    /// The text under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn string(&mut self, name: &str) -> Result<AString<'_, D>, CollectionError> {
        AString::open(self, name)
    }

    /// The map under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn map<K: Persist + std::hash::Hash + Eq, V: Persist>(
        &mut self,
        name: &str,
    ) -> Result<AMap<'_, K, V, D>, CollectionError> {
        AMap::open(self, name)
    }
}
