//! Function signatures from a C header, by `gcc -E` and a parser in Rust.
//!
//! Only what matters for a call is kept: which registers hold arguments and results. A header that
//! does not parse is a problem with file and line, not an error: functions it would have described
//! are wrapped without it.

use lang_c::ast::{
    Declaration, DeclarationSpecifier, Declarator, DeclaratorKind, DerivedDeclarator, Ellipsis,
    ExternalDeclaration, ParameterDeclaration, StorageClassSpecifier, TypeSpecifier,
};
use lang_c::driver::{Config, Flavor, parse};
use lang_c::span::Node;
use std::collections::BTreeMap;
use std::path::Path;

/// How a value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Nothing,
    /// In an integer register: signed, unsigned, or a pointer.
    Signed,
    Unsigned,
    Pointer,
    /// In a vector register.
    Vector,
    /// On the stack, two words; as a result in st(0).
    LongDouble,
    /// A structure by value, or unknown.
    Other,
}

/// What is known of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub(crate) result: Class,
    pub(crate) arguments: Vec<Class>,
    pub(crate) is_variadic: bool,
}

/// A header that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderProblem {
    /// File, line and reason.
    pub text: String,
}

/// Reads the functions declared in `header` and all it includes.
pub(crate) fn read(header: &Path) -> Result<BTreeMap<String, Signature>, HeaderProblem> {
    let config = Config {
        cpp_command: "gcc".into(),
        // What newer compilers offer and the parser does not know is defined away.
        cpp_options: [
            "-E",
            "-include",
            "stdio.h",
            "-include",
            "stddef.h",
            "-D_Float128=double",
            "-D__extension__=",
            "-D__attribute__(x)=",
            "-D__asm__(x)=",
            "-D__restrict=",
            "-D__inline=inline",
            "-D_Float64x=double",
            "-D_Float32x=double",
            "-D_Float64=double",
            "-D_Float32=float",
        ]
        .map(Into::into)
        .to_vec(),
        flavor: Flavor::GnuC11,
    };
    let parsed = parse(&config, header).map_err(|error| HeaderProblem { text: problem(header, &error) })?;
    let mut reader = Reader::default();
    for node in &parsed.unit.0 {
        if let ExternalDeclaration::Declaration(declaration) = &node.node {
            reader.declaration(&declaration.node);
        }
    }
    Ok(reader.functions)
}

fn problem(header: &Path, error: &lang_c::driver::Error) -> String {
    match error {
        lang_c::driver::Error::PreprocessorError(error) => format!("{}:1: {error}", header.display()),
        lang_c::driver::Error::SyntaxError(error) => {
            // The preprocessor's line marks say which line of which file the offset is in.
            let mut place = (header.display().to_string(), 1_usize);
            for line in error.source[..error.offset.min(error.source.len())].lines() {
                let mut words = line.split(' ');
                if words.next() == Some("#")
                    && let (Some(number), Some(file)) =
                        (words.next().and_then(|word| word.parse().ok()), words.next())
                {
                    place = (file.trim_matches('"').to_owned(), number);
                    continue;
                }
                place.1 += 1;
            }
            format!("{}:{}: not understood", place.0, place.1.saturating_sub(1).max(1))
        }
    }
}

#[derive(Default)]
struct Reader {
    types: BTreeMap<String, Class>,
    functions: BTreeMap<String, Signature>,
}

impl Reader {
    fn declaration(&mut self, declaration: &Declaration) {
        let is_typedef = declaration.specifiers.iter().any(|specifier| {
            matches!(&specifier.node, DeclarationSpecifier::StorageClass(class) if class.node == StorageClassSpecifier::Typedef)
        });
        let base = self.base(&declaration.specifiers);
        for declarator in &declaration.declarators {
            let declarator = &declarator.node.declarator.node;
            let Some(name) = name_of(declarator) else { continue };
            if is_typedef {
                let class = if derived(declarator).next().is_some() { Class::Pointer } else { base };
                self.types.insert(name, class);
            } else if let Some(signature) = self.function(base, declarator) {
                self.functions.insert(name, signature);
            }
        }
    }

    fn base(&self, specifiers: &[Node<DeclarationSpecifier>]) -> Class {
        let types = specifiers.iter().filter_map(|specifier| match &specifier.node {
            DeclarationSpecifier::TypeSpecifier(kind) => Some(&kind.node),
            _ => None,
        });
        self.class(types)
    }

    fn class<'a>(&self, types: impl Iterator<Item = &'a TypeSpecifier>) -> Class {
        let (mut class, mut longs) = (Class::Signed, 0);
        for kind in types {
            match kind {
                TypeSpecifier::Void => class = Class::Nothing,
                TypeSpecifier::Float => class = Class::Vector,
                TypeSpecifier::Double => class = if longs > 0 { Class::LongDouble } else { Class::Vector },
                TypeSpecifier::Long => {
                    longs += 1;
                    if class == Class::Vector {
                        class = Class::LongDouble;
                    }
                }
                TypeSpecifier::Unsigned | TypeSpecifier::Bool => class = Class::Unsigned,
                TypeSpecifier::Struct(_)
                | TypeSpecifier::Complex
                | TypeSpecifier::TypeOf(_)
                | TypeSpecifier::TS18661Float(_) => class = Class::Other,
                TypeSpecifier::TypedefName(name) if name.node.name.ends_with("va_list") => {
                    class = Class::Pointer;
                }
                TypeSpecifier::TypedefName(name) => {
                    class = self.types.get(&name.node.name).copied().unwrap_or(Class::Other);
                }
                TypeSpecifier::Char
                | TypeSpecifier::Short
                | TypeSpecifier::Int
                | TypeSpecifier::Signed
                | TypeSpecifier::Enum(_)
                | TypeSpecifier::Atomic(_) => {}
            }
        }
        class
    }

    /// The signature, when the declarator is a function's: its innermost derivation is a parameter list.
    fn function(&self, base: Class, declarator: &Declarator) -> Option<Signature> {
        let mut parts = derived(declarator);
        let first = parts.next()?;
        let (parameters, is_variadic): (&[Node<ParameterDeclaration>], bool) = match first {
            DerivedDeclarator::Function(function) => {
                (&function.node.parameters, function.node.ellipsis == Ellipsis::Some)
            }
            DerivedDeclarator::KRFunction(_) => (&[], false),
            _ => return None,
        };
        let result = if parts.next().is_some() { Class::Pointer } else { base };
        let mut arguments = Vec::new();
        for parameter in parameters {
            let base = self.base(&parameter.node.specifiers);
            let is_derived = parameter
                .node
                .declarator
                .as_ref()
                .is_some_and(|declarator| derived(&declarator.node).next().is_some());
            match if is_derived { Class::Pointer } else { base } {
                Class::Nothing => {}
                class => arguments.push(class),
            }
        }
        Some(Signature { result, arguments, is_variadic })
    }
}

/// The derivations from the name outwards.
fn derived(declarator: &Declarator) -> Box<dyn Iterator<Item = &DerivedDeclarator> + '_> {
    // In the parser's order pointers stand first, then functions and arrays, which bind tighter.
    let tight = declarator
        .derived
        .iter()
        .map(|node| &node.node)
        .filter(|part| !matches!(part, DerivedDeclarator::Pointer(_)));
    let loose = declarator
        .derived
        .iter()
        .map(|node| &node.node)
        .filter(|part| matches!(part, DerivedDeclarator::Pointer(_)));
    let outer = tight.chain(loose);
    match &declarator.kind.node {
        DeclaratorKind::Declarator(inner) => Box::new(derived(&inner.node).chain(outer)),
        _ => Box::new(outer),
    }
}

fn name_of(declarator: &Declarator) -> Option<String> {
    match &declarator.kind.node {
        DeclaratorKind::Identifier(name) => Some(name.node.name.clone()),
        DeclaratorKind::Declarator(inner) => name_of(&inner.node),
        DeclaratorKind::Abstract => None,
    }
}
