//! Public items that have no use: the compiler cannot see them, for another crate might use them.

use crate::crates::{libraries, metadata};
use crate::source::is_for_tests;
use crate::{all_files, nothing_wrong, read, with_extension};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::Visit;
use syn::{ImplItemFn, ItemConst, ItemEnum, ItemFn, ItemMod, ItemStruct, ItemTrait, ItemType, Visibility};

#[test]
fn public_items_have_a_use() {
    let metadata = metadata();
    let folders: Vec<PathBuf> = libraries(&metadata)
        .iter()
        .map(|library| Path::new(library).parent().unwrap().to_path_buf())
        .collect();
    let root = banyan_tests::workspace::root().canonicalize().unwrap();
    let mut used_in: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for path in all_files() {
        for word in read(&path).split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
            used_in.entry(word.to_owned()).or_default().insert(path.clone());
            *times.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        if !folders.iter().any(|folder| root.join(&path).starts_with(folder)) {
            continue;
        }
        let mut items = PublicItems::default();
        items.visit_file(&syn::parse_file(&read(&path)).unwrap());
        // Its own file may be all that calls a function, which then is not public.
        let unused = items.called.iter().filter(|name| used_in[*name].len() < 2);
        // A type may be what a public function gives, whose callers need not name it.
        let unnamed = items.types.iter().filter(|name| times[*name] < 2);
        for name in unused.chain(unnamed) {
            problems.push(format!("{}: {name} is public and has no use outside", path.display()));
        }
    }
    nothing_wrong(&problems);
}

#[derive(Default)]
struct PublicItems {
    called: Vec<String>,
    types: Vec<String>,
}

impl PublicItems {
    fn add_called(&mut self, visibility: &Visibility, name: &syn::Ident) {
        if matches!(visibility, Visibility::Public(_)) {
            self.called.push(name.to_string());
        }
    }

    fn add_type(&mut self, visibility: &Visibility, name: &syn::Ident) {
        if matches!(visibility, Visibility::Public(_)) {
            self.types.push(name.to_string());
        }
    }
}

impl<'a> Visit<'a> for PublicItems {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !item.attrs.iter().any(is_for_tests) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        self.add_called(&item.vis, &item.sig.ident);
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.add_called(&item.vis, &item.sig.ident);
    }

    fn visit_item_const(&mut self, item: &'a ItemConst) {
        self.add_called(&item.vis, &item.ident);
    }

    fn visit_item_struct(&mut self, item: &'a ItemStruct) {
        self.add_type(&item.vis, &item.ident);
    }

    fn visit_item_enum(&mut self, item: &'a ItemEnum) {
        self.add_type(&item.vis, &item.ident);
    }

    fn visit_item_trait(&mut self, item: &'a ItemTrait) {
        self.add_type(&item.vis, &item.ident);
    }

    fn visit_item_type(&mut self, item: &'a ItemType) {
        self.add_type(&item.vis, &item.ident);
    }
}
