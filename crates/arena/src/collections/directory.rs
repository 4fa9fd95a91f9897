//! The names of collections. The first of them are roots of the arena; since a commit carries all roots, and
//! has room for some fifty, further ones are in a directory: a tree of names, under a root of its own.
//!
//! A name is looked for among the roots first, where older builds have put all of them.

use std::ptr::NonNull;

use super::ordered::tree::{Tree, Trunk, ValueKind, new_trunk};
use crate::arena::{AllocateError, Arena, TYPED};
use crate::disk::Disk;

/// The root of the directory.
pub(crate) const DIRECTORY: &str = "\u{2}collections";
/// Bytes of the roots up to which a collection becomes one of them: about half of what a commit has room for.
const ROOTS_MAX: usize = 768;

pub(super) fn root_name(name: &str) -> String {
    format!("{TYPED}{name}")
}

fn tree<D: Disk>(arena: &Arena<D>) -> Option<Tree> {
    let trunk: *mut Trunk = std::ptr::with_exposed_provenance_mut(arena.root(DIRECTORY)? as usize);
    NonNull::new(trunk).filter(|trunk| arena.in_arena(trunk.as_ptr())).map(Tree)
}

/// The head of the collection of a name.
pub(super) fn find<D: Disk>(arena: &Arena<D>, name: &str) -> Option<u64> {
    arena.root(&root_name(name)).or_else(|| {
        let bytes = tree(arena)?.get(name.as_bytes())?.value();
        bytes.try_into().ok().map(u64::from_le_bytes)
    })
}

/// Gives a collection a name that none has.
pub(super) fn insert<D: Disk>(arena: &mut Arena<D>, name: &str, head: u64) -> Result<(), AllocateError> {
    let taken: usize = arena.roots().keys().map(|name| name.len() + 10).sum();
    let root = root_name(name);
    if taken + root.len() + 10 <= ROOTS_MAX {
        arena.set_any_root(&root, head);
        return Ok(());
    }
    let tree = match tree(arena) {
        Some(tree) => tree,
        None => {
            let trunk = new_trunk(arena)?;
            arena.set_any_root(DIRECTORY, trunk.as_ptr().expose_provenance() as u64);
            Tree(trunk)
        }
    };
    tree.insert(arena, name.as_bytes(), ValueKind::Bytes, &head.to_le_bytes()).map(drop)
}

pub(super) fn remove<D: Disk>(arena: &mut Arena<D>, name: &str) {
    let root = root_name(name);
    if arena.root(&root).is_some() {
        arena.remove_root(&root);
    } else if let Some(tree) = tree(arena) {
        tree.remove(arena, name.as_bytes());
    }
}
