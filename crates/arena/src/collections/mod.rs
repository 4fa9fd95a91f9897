//! Typed collections under named roots: [`ABox`], [`AVec`], [`AString`], [`AMap`], [`AOrderedMap`].
//!
//! What lies in the heap is of a fixed layout (`repr(C)`), so it can be used by another build of the program;
//! each root remembers its type, and is refused as another. The Rust values here are views that borrow the
//! arena: none can outlive a rollback, a collection of another thread, or the arena. [`Arena::collections`]
//! opens several beside each other, [`Arena::shown`] shows them by a shared borrow. They hold plain data
//! ([`Persist`]); nothing is dropped when a view is, only `delete` frees.

mod boxed;
pub(crate) mod bytes;
mod directory;
mod frozen;
mod map;
pub(crate) mod ordered;
mod several;
mod string;
mod structs;
mod vec;

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use xxhash_rust::xxh3::xxh3_64;

pub use self::boxed::ABox;
pub(crate) use self::directory::DIRECTORY;
pub use self::frozen::{FrozenEntries, FrozenError};
pub use self::map::AMap;
pub use self::ordered::{AOrderedMap, Entries, Nested, OrderedKey, OrderedValue, Plain, Range, Stored};
pub use self::several::{Collections, Showing, Shown};
pub use self::string::AString;
pub use self::vec::AVec;
use crate::arena::{AllocateError, Arena};
use crate::disk::Disk;

/// Plain data that may lie in an arena forever.
///
/// # Safety
/// A value means the same in another process and another build of the program: no pointer to anything outside
/// of the arena, a layout that is fixed (`repr(C)` or a primitive type), and a name that no type of another
/// layout or meaning has.
pub unsafe trait Persist: Copy + 'static {
    /// The type, for the check when it is opened again. [`persist_struct!`](crate::persist_struct) says each
    /// field and where it lies.
    fn type_name() -> String;

    /// The type with its size and alignment: a type that was changed under its name is refused.
    #[doc(hidden)]
    fn description() -> String {
        format!("{}, {} bytes by {}", Self::type_name(), size_of::<Self>(), align_of::<Self>())
    }
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
    /// One of several collections is open already.
    #[error("{0:?} was opened here already; use that one, or begin anew with `Arena::collections`")]
    AlreadyOpen(String),
}

/// What a root of a collection points to.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Head {
    /// Hash of what it holds.
    pub(crate) kind: u64,
    /// Items.
    pub(crate) length: u64,
    /// Items that there is room for.
    pub(crate) capacity: u64,
    /// Address of the items; 0 is none.
    pub(crate) data: u64,
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

/// The hashes under which a collection may be known: the one that it is made with, and the one that builds
/// gave it which knew of names alone.
struct Kinds {
    wanted: String,
    kinds: [u64; 2],
}

impl Kinds {
    fn of(description: &str) -> Self {
        Self::with_name(description.to_owned(), description)
    }

    /// `description` says the layout as well, `name` does not.
    fn with_name(description: String, name: &str) -> Self {
        Self { kinds: [kind(&description), kind(name)], wanted: description }
    }
}

/// How a collection reaches its arena when it needs memory.
pub(crate) enum Access<'a, D: Disk> {
    /// It has the arena.
    Alone(&'a mut Arena<D>),
    /// Others are open beside it.
    Beside(&'a dyn Lend<D>),
    /// It is only shown, by a shared borrow of the arena.
    Shown(PhantomData<&'a Arena<D>>),
}

/// Lends an arena for a moment.
pub(crate) trait Lend<D: Disk> {
    fn lend(&self, work: &mut dyn FnMut(&mut Arena<D>));
}

impl<D: Disk> Access<'_, D> {
    fn with<T>(&mut self, work: impl FnOnce(&mut Arena<D>) -> T) -> T {
        match self {
            Access::Alone(arena) => work(arena),
            Access::Beside(lender) => {
                let (mut work, mut done) = (Some(work), None);
                lender.lend(&mut |arena| done = work.take().map(|work| work(arena)));
                done.expect("an arena is lent when it is asked for")
            }
            Access::Shown(_) => unreachable!("a collection that is only shown is changed by nothing"),
        }
    }

    /// The same for a collection in this one.
    fn again(&mut self) -> Access<'_, D> {
        match self {
            Access::Alone(arena) => Access::Alone(arena),
            Access::Beside(lender) => Access::Beside(*lender),
            Access::Shown(_) => Access::Shown(PhantomData),
        }
    }
}

/// Where a collection begins.
struct Root {
    name: String,
    head: NonNull<Head>,
    /// Layout of the object that `head` starts.
    layout: Layout,
}

impl Root {
    /// Gives the head back, and forgets the name.
    fn delete<D: Disk>(self, arena: &mut Arena<D>) {
        // SAFETY: the head was allocated with this layout, and what leads to it goes.
        unsafe { arena.free(self.head.cast(), self.layout) };
        directory::remove(arena, &self.name);
    }
}

/// A collection of the arena, borrowed with it.
struct View<'a, D: Disk> {
    arena: Access<'a, D>,
    root: Root,
}

impl<'a, D: Disk> View<'a, D> {
    /// The collection of a name, which is made by `fill` if there is none.
    fn open(
        mut arena: Access<'a, D>,
        name: &str,
        kinds: &Kinds,
        layout: Layout,
        fill: impl FnOnce(NonNull<Head>),
    ) -> Result<Self, CollectionError> {
        let head = arena.with(|arena| {
            arena.check_allocation()?;
            match head_of(arena, name, kinds)? {
                Some(head) => Ok(head),
                None => make(arena, name, kinds, layout, fill),
            }
        })?;
        Ok(Self { arena, root: Root { name: name.to_owned(), head, layout } })
    }

    /// The collection of a name, if there is one, to be shown.
    fn look_up(
        arena: &'a Arena<D>,
        name: &str,
        kinds: &Kinds,
        layout: Layout,
    ) -> Result<Option<Self>, CollectionError> {
        arena.check_allocation()?;
        let root = |head| Root { name: name.to_owned(), head, layout };
        Ok(head_of(arena, name, kinds)?
            .map(|head| Self { arena: Access::Shown(PhantomData), root: root(head) }))
    }

    fn head(&self) -> &Head {
        // SAFETY: the head lives as long as its root, which only `delete` removes, and the arena is borrowed.
        unsafe { self.root.head.as_ref() }
    }

    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { self.root.head.as_mut() }
    }

    /// The items; dangling if there is no room for any.
    fn data<T>(&self) -> NonNull<T> {
        let pointer = std::ptr::with_exposed_provenance_mut(self.head().data as usize);
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }

    /// Makes room for exactly `capacity` items, at least as many as there are.
    fn resize<T>(&mut self, capacity: usize) -> Result<(), AllocateError> {
        let (old, new) = (self.head().capacity as usize, layout_of::<T>(capacity)?);
        let before = self.data::<T>().cast();
        let data = self.arena.with(|arena| {
            if old == 0 {
                return arena.allocate(new);
            }
            // SAFETY: the items were allocated here with room for `old` of them, and nothing else refers to
            // them.
            unsafe { arena.reallocate(before, layout_of::<T>(old)?, new.size()) }
        })?;
        let head = self.head_mut();
        (head.data, head.capacity) = (data.as_ptr() as u64, capacity as u64);
        Ok(())
    }

    /// Gives the items and the head back, and forgets the name.
    fn delete<T>(mut self) {
        let (capacity, data) = (self.head().capacity as usize, self.data::<T>());
        let root = self.root;
        self.arena.with(|arena| {
            if let (true, Ok(layout)) = (capacity > 0, layout_of::<T>(capacity)) {
                // SAFETY: the items were allocated with this layout, and the root that leads to them goes.
                unsafe { arena.free(data.cast(), layout) };
            }
            root.delete(arena);
        });
    }
}

/// The head of the collection of a name, if there is one, and it is one of these.
fn head_of<D: Disk>(
    arena: &Arena<D>,
    name: &str,
    kinds: &Kinds,
) -> Result<Option<NonNull<Head>>, CollectionError> {
    let Some(word) = directory::find(arena, name) else { return Ok(None) };
    // Only this module gives names to heads, which it has made.
    let head: Option<NonNull<Head>> = NonNull::new(std::ptr::with_exposed_provenance_mut(word as usize));
    let head = head.filter(|head| arena.in_arena(head.as_ptr()));
    // SAFETY: the head was made here, and lives until its name is forgotten.
    match head.filter(|head| kinds.kinds.contains(unsafe { &head.as_ref().kind })) {
        Some(head) => Ok(Some(head)),
        None => Err(CollectionError::WrongType { name: name.to_owned(), wanted: kinds.wanted.clone() }),
    }
}

fn make<D: Disk>(
    arena: &mut Arena<D>,
    name: &str,
    kinds: &Kinds,
    layout: Layout,
    fill: impl FnOnce(NonNull<Head>),
) -> Result<NonNull<Head>, CollectionError> {
    let head = arena.allocate(layout)?.cast::<Head>();
    let seed = xxh3_64(directory::root_name(name).as_bytes())
        ^ arena.store().identity().uuid.iter().fold(0, |seed, byte| seed << 5 ^ u64::from(*byte));
    // SAFETY: the object was just allocated with a layout that begins with a head.
    unsafe { head.write(Head { kind: kinds.kinds[0], length: 0, capacity: 0, data: 0, seed, reserved: 0 }) };
    fill(head);
    if let Err(error) = directory::insert(arena, name, head.as_ptr() as u64) {
        // SAFETY: it was just allocated, and nothing leads to it.
        unsafe { arena.free(head.cast(), layout) };
        return Err(error.into());
    }
    Ok(head)
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
        ABox::open(Access::Alone(self), name, first)
    }

    /// The vector under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn vec<T: Persist>(&mut self, name: &str) -> Result<AVec<'_, T, D>, CollectionError> {
        AVec::open(Access::Alone(self), name)
    }

    /// The text under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn string(&mut self, name: &str) -> Result<AString<'_, D>, CollectionError> {
        AString::open(Access::Alone(self), name)
    }

    /// The map under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn map<K: Persist + std::hash::Hash + Eq, V: Persist>(
        &mut self,
        name: &str,
    ) -> Result<AMap<'_, K, V, D>, CollectionError> {
        AMap::open(Access::Alone(self), name)
    }

    /// The ordered map under a root, empty if there was none.
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn ordered<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized>(
        &mut self,
        name: &str,
    ) -> Result<AOrderedMap<'_, K, V, D>, CollectionError> {
        AOrderedMap::open(Access::Alone(self), name)
    }
}
