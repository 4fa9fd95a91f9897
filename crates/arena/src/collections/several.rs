//! Several collections at once: [`Collections`] opens them beside each other to be changed, [`Shown`] is one
//! that a shared borrow of the arena shows.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Deref;

use super::{
    ABox, AMap, AOrderedMap, AString, AVec, Access, CollectionError, Entries, Lend, OrderedKey, OrderedValue,
    Persist,
};
use crate::arena::Arena;
use crate::disk::{Disk, FileDisk};

/// A collection that is only read.
pub struct Shown<'a, C> {
    collection: C,
    borrow: PhantomData<&'a ()>,
}

impl<C> Shown<'_, C> {
    pub(super) fn new(collection: C) -> Self {
        Self { collection, borrow: PhantomData }
    }
}

impl<C> Deref for Shown<'_, C> {
    type Target = C;
    fn deref(&self) -> &C {
        &self.collection
    }
}

/// Shows collections by a shared borrow of the arena: any number at once. See [`Arena::shown`].
pub struct Showing<'a, D: Disk = FileDisk> {
    arena: &'a Arena<D>,
}

type Found<'a, C> = Result<Option<Shown<'a, C>>, CollectionError>;

impl<'a, D: Disk> Showing<'a, D> {
    /// The value of a name, if there is one.
    ///
    /// # Errors
    /// [`CollectionError::WrongType`].
    pub fn boxed<T: Persist>(&self, name: &str) -> Found<'a, ABox<'a, T, D>> {
        Ok(ABox::look_up(self.arena, name)?.map(Shown::new))
    }

    /// The vector of a name, if there is one.
    ///
    /// # Errors
    /// [`CollectionError::WrongType`].
    pub fn vec<T: Persist>(&self, name: &str) -> Found<'a, AVec<'a, T, D>> {
        Ok(AVec::look_up(self.arena, name)?.map(Shown::new))
    }

    /// The text of a name, if there is one.
    ///
    /// # Errors
    /// [`CollectionError::WrongType`].
    pub fn string(&self, name: &str) -> Found<'a, AString<'a, D>> {
        Ok(AString::look_up(self.arena, name)?.map(Shown::new))
    }

    /// The map of a name, if there is one.
    ///
    /// # Errors
    /// [`CollectionError::WrongType`].
    pub fn map<K: Persist + Hash + Eq, V: Persist>(&self, name: &str) -> Found<'a, AMap<'a, K, V, D>> {
        Ok(AMap::look_up(self.arena, name)?.map(Shown::new))
    }

    /// The entries of the ordered map of a name, if there is one.
    ///
    /// # Errors
    /// [`CollectionError::WrongType`].
    pub fn ordered<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized>(
        &self,
        name: &str,
    ) -> Found<'a, Entries<K, V>> {
        Ok(AOrderedMap::look_up(self.arena, name)?.map(|map| Shown::new(map.into_entries())))
    }
}

/// Opens collections beside each other, each of them once. See [`Arena::collections`].
pub struct Collections<'a, D: Disk = FileDisk> {
    arena: RefCell<&'a mut Arena<D>>,
    /// Names that were opened: a second view of the same items would alias the first.
    open: RefCell<BTreeSet<String>>,
}

impl<D: Disk> Lend<D> for Collections<'_, D> {
    fn lend(&self, work: &mut dyn FnMut(&mut Arena<D>)) {
        work(&mut self.arena.borrow_mut());
    }
}

impl<D: Disk> Collections<'_, D> {
    fn open<'b, C>(
        &'b self,
        name: &str,
        open: impl FnOnce(Access<'b, D>) -> Result<C, CollectionError>,
    ) -> Result<C, CollectionError> {
        if !self.open.borrow_mut().insert(name.to_owned()) {
            return Err(CollectionError::AlreadyOpen(name.to_owned()));
        }
        open(Access::Beside(self))
    }

    /// As [`Arena::boxed`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn boxed<T: Persist>(
        &self,
        name: &str,
        first: impl FnOnce() -> T,
    ) -> Result<ABox<'_, T, D>, CollectionError> {
        self.open(name, |arena| ABox::open(arena, name, first))
    }

    /// As [`Arena::vec`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn vec<T: Persist>(&self, name: &str) -> Result<AVec<'_, T, D>, CollectionError> {
        self.open(name, |arena| AVec::open(arena, name))
    }

    /// As [`Arena::string`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn string(&self, name: &str) -> Result<AString<'_, D>, CollectionError> {
        self.open(name, |arena| AString::open(arena, name))
    }

    /// As [`Arena::map`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn map<K: Persist + Hash + Eq, V: Persist>(
        &self,
        name: &str,
    ) -> Result<AMap<'_, K, V, D>, CollectionError> {
        self.open(name, |arena| AMap::open(arena, name))
    }

    /// As [`Arena::ordered`].
    ///
    /// # Errors
    /// [`CollectionError`].
    pub fn ordered<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized>(
        &self,
        name: &str,
    ) -> Result<AOrderedMap<'_, K, V, D>, CollectionError> {
        self.open(name, |arena| AOrderedMap::open(arena, name))
    }
}

impl<D: Disk> Arena<D> {
    /// Opens collections beside each other, to change several at once. Each is opened once for as long as
    /// what this gives is there.
    pub fn collections(&mut self) -> Collections<'_, D> {
        Collections { arena: RefCell::new(self), open: RefCell::default() }
    }

    /// Shows collections by a shared borrow of the arena, any number at once.
    pub fn shown(&self) -> Showing<'_, D> {
        Showing { arena: self }
    }
}
