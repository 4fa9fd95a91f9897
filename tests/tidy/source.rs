//! The modules of a crate as the compiler sees them: which file each is, what it defines, which names it
//! takes from where. Without tests, and without what macros write.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// A module's path from the root of its crate; the root's is empty.
pub(crate) type ModulePath = Vec<String>;

/// A module.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// What it defines, modules left out.
    definitions: Vec<String>,
    /// What it takes from elsewhere, by the name that it has here.
    imports: BTreeMap<String, Vec<String>>,
    /// All paths in its code, and in its imports that are not handed on.
    pub(crate) paths: Vec<Vec<String>>,
}

/// A crate's modules.
pub(crate) struct Modules(pub(crate) BTreeMap<ModulePath, Module>);

impl Modules {
    /// Reads the file of a crate's root and all that its `mod` lines lead to.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self(BTreeMap::new());
        let file = syn::parse_file(&fs::read_to_string(root).unwrap()).unwrap();
        modules.add(Vec::new(), root, root.parent().unwrap(), &file.items);
        modules
    }

    fn add(&mut self, path: ModulePath, file: &Path, directory: &Path, items: &[Item]) {
        let mut module = Module { file: file.to_path_buf(), ..Module::default() };
        for item in items {
            let attributes = attributes(item);
            if attributes.iter().any(is_for_tests) {
                continue;
            }
            match item {
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let mut path = path.clone();
                    path.push(name.clone());
                    let below = directory.join(&name);
                    match &inner.content {
                        Some((_, items)) => self.add(path, file, &below, items),
                        None => {
                            let beside = directory.join(format!("{name}.rs"));
                            let within = below.join("mod.rs");
                            let named = attributes.iter().find_map(named_path);
                            let named = named.map(|name| file.parent().unwrap().join(name));
                            let found = named.unwrap_or(if beside.is_file() { beside } else { within });
                            let source = fs::read_to_string(&found).unwrap();
                            self.add(path, &found, &below, &syn::parse_file(&source).unwrap().items);
                        }
                    }
                }
                Item::Use(import) => {
                    let hands_on = !matches!(import.vis, Visibility::Inherited);
                    flatten(&import.tree, &mut Vec::new(), &mut |name, path| {
                        if !hands_on {
                            module.paths.push(path.clone());
                        }
                        module.imports.insert(name, path);
                    });
                }
                _ => {
                    module.definitions.extend(name(item));
                    Paths(&mut module.paths).visit_item(item);
                }
            }
        }
        self.0.insert(path, module);
    }

    /// The module that defines what a path names in a module; nothing if that is of another crate.
    pub(crate) fn defines(&self, at: &ModulePath, path: &[String]) -> Option<&ModulePath> {
        // Two names may hand on each other.
        self.follow(at, path, 16)
    }

    fn follow(&self, at: &ModulePath, path: &[String], steps: u32) -> Option<&ModulePath> {
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => return self.follow(&Vec::new(), rest, steps),
            "self" => return self.follow(at, rest, steps),
            "super" => {
                let (_, parent) = at.split_last()?;
                return self.follow(&parent.to_vec(), rest, steps);
            }
            _ => {}
        }
        let (at, module) = self.0.get_key_value(at)?;
        let mut child = at.clone();
        child.push(first.clone());
        if module.definitions.contains(first) {
            Some(at)
        } else if let Some((child, _)) = self.0.get_key_value(&child) {
            // An import of the module alone takes no name from it.
            if rest.is_empty() { None } else { self.follow(child, rest, steps) }
        } else {
            let import = module.imports.get(first)?;
            // A name of another crate that is spelt like its import.
            if import.first() == Some(first) {
                return None;
            }
            self.follow(at, &[import, rest].concat(), steps)
        }
    }
}

/// Collects paths.
struct Paths<'a>(&'a mut Vec<Vec<String>>);

impl<'a> Visit<'a> for Paths<'_> {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, import: &'a syn::ItemUse) {
        flatten(&import.tree, &mut Vec::new(), &mut |_, path| self.0.push(path));
    }
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut impl FnMut(String, Vec<String>)) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found(before.last().cloned().unwrap_or_default(), before.clone());
        }
        UseTree::Name(name) => {
            found(name.ident.to_string(), [before.as_slice(), &[name.ident.to_string()]].concat());
        }
        UseTree::Rename(name) => {
            found(name.rename.to_string(), [before.as_slice(), &[name.ident.to_string()]].concat());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
        UseTree::Glob(_) => {}
    }
}

pub(crate) fn is_for_tests(attribute: &Attribute) -> bool {
    let is_cfg = attribute.path().is_ident("cfg");
    is_cfg && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}

/// What `#[path = "..."]` says.
fn named_path(attribute: &Attribute) -> Option<String> {
    let pair = attribute.meta.require_name_value().ok().filter(|pair| pair.path.is_ident("path"))?;
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. }) => Some(name.value()),
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
