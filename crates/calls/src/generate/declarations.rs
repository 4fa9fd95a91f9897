//! From a parsed header to signatures: typedefs, structures, enumerations, and the functions.
//!
//! Only what matters for a call is kept. What is not understood becomes an unknown type, which is
//! harmless until a function passes it by value. Pure; the recursion is bounded by the parser's.

use super::convention::Signature;
use super::header::Places;
use super::types::{Fields, Form, Layout, Scalar, Type};
use lang_c::ast::{
    ArraySize, BinaryOperator, Constant, Declaration, DeclarationSpecifier, Declarator, DeclaratorKind,
    DerivedDeclarator, Ellipsis, EnumType, Expression, ExternalDeclaration, IntegerBase, SpecifierQualifier,
    StorageClassSpecifier, StructDeclaration, StructKind, StructType, TS18661FloatFormat, TranslationUnit,
    TypeSpecifier, UnaryOperator,
};
use lang_c::span::Node;
use std::collections::BTreeMap;

/// Arrays and structures beyond this are unknown: no ABI passes them, and sums must not overflow.
const BYTES_MAX: u64 = 1 << 32;

#[derive(Default)]
pub(crate) struct Declarations {
    typedefs: BTreeMap<String, Type>,
    /// Structures and unions by tag.
    tags: BTreeMap<String, Type>,
    constants: BTreeMap<String, i128>,
    functions: BTreeMap<String, Signature>,
}

impl Declarations {
    /// The functions that `unit` declares or defines.
    pub(crate) fn read(unit: &TranslationUnit, places: &Places<'_>) -> BTreeMap<String, Signature> {
        let mut reader = Self::default();
        for node in &unit.0 {
            match &node.node {
                ExternalDeclaration::Declaration(declaration) => {
                    reader.declaration(&declaration.node, &|| places.at(declaration.span.start));
                }
                ExternalDeclaration::FunctionDefinition(definition) => {
                    // Its types count; the function itself is inline and so not the library's.
                    reader.base(&definition.node.specifiers);
                }
                ExternalDeclaration::StaticAssert(_) => {}
            }
        }
        reader.functions
    }

    fn declaration(&mut self, declaration: &Declaration, place: &dyn Fn() -> String) {
        let is_typedef = declaration.specifiers.iter().any(|specifier| {
            matches!(&specifier.node, DeclarationSpecifier::StorageClass(class) if class.node == StorageClassSpecifier::Typedef)
        });
        let base = self.base(&declaration.specifiers);
        for declarator in &declaration.declarators {
            let declarator = &declarator.node.declarator.node;
            let Some(name) = name_of(declarator) else { continue };
            if is_typedef {
                let mut kind = self.derive(base.clone(), declarator);
                if let Type::Known(layout) = &mut kind
                    && layout.scalars != [(0, Scalar::Pointer)]
                {
                    // Attributes are not read here: the compiler says whether they change the size.
                    layout.name = Some(name.clone());
                }
                self.typedefs.insert(name, kind);
            } else if let Some(mut signature) = self.function(&base, declarator) {
                signature.place = place();
                self.functions.insert(name, signature);
            }
        }
    }

    fn base(&mut self, specifiers: &[Node<DeclarationSpecifier>]) -> Type {
        self.specified(specifiers.iter().filter_map(|specifier| match &specifier.node {
            DeclarationSpecifier::TypeSpecifier(kind) => Some(&kind.node),
            _ => None,
        }))
    }

    fn qualified(&mut self, specifiers: &[Node<SpecifierQualifier>]) -> Type {
        self.specified(specifiers.iter().filter_map(|specifier| match &specifier.node {
            SpecifierQualifier::TypeSpecifier(kind) => Some(&kind.node),
            _ => None,
        }))
    }

    fn specified<'a>(&mut self, specifiers: impl Iterator<Item = &'a TypeSpecifier>) -> Type {
        let (mut longs, mut bytes, mut signed, mut is_complex) = (0, 4, true, false);
        let mut real = None;
        for kind in specifiers {
            match kind {
                TypeSpecifier::Void => return Type::Nothing,
                TypeSpecifier::Bool => (bytes, signed) = (1, false),
                TypeSpecifier::Char => bytes = 1,
                TypeSpecifier::Short => bytes = 2,
                TypeSpecifier::Int | TypeSpecifier::Signed => {}
                TypeSpecifier::Long => longs += 1,
                TypeSpecifier::Unsigned => signed = false,
                TypeSpecifier::Float => real = Some((Scalar::Float, 4)),
                TypeSpecifier::Double => real = Some((Scalar::Double, 8)),
                TypeSpecifier::Complex => is_complex = true,
                TypeSpecifier::Struct(kind) => return self.structure(&kind.node),
                TypeSpecifier::Enum(kind) => {
                    self.enumeration(&kind.node);
                    return Type::scalar(Scalar::Signed, 4);
                }
                TypeSpecifier::TypedefName(name) => return self.named(&name.node.name),
                TypeSpecifier::TS18661Float(kind) => {
                    real = Some(match (&kind.format, kind.width) {
                        (TS18661FloatFormat::BinaryInterchange, 32) => (Scalar::Float, 4),
                        (TS18661FloatFormat::BinaryInterchange, 64)
                        | (TS18661FloatFormat::BinaryExtended, 32) => (Scalar::Double, 8),
                        (TS18661FloatFormat::BinaryInterchange, 128) => (Scalar::Packed, 16),
                        (TS18661FloatFormat::BinaryExtended, 64) => (Scalar::LongDouble, 16),
                        _ => return Type::unknown("of a type that is not understood"),
                    });
                }
                TypeSpecifier::Atomic(_) | TypeSpecifier::TypeOf(_) => {
                    return Type::unknown("of a type that is not understood");
                }
            }
        }
        if let Some((kind, bytes)) = real {
            let (kind, bytes) =
                if longs > 0 && kind == Scalar::Double { (Scalar::LongDouble, 16) } else { (kind, bytes) };
            let one = Type::scalar(kind, bytes);
            return match (is_complex, one.array(2)) {
                (true, Type::Known(layout)) => Type::Known(Layout { form: Form::Complex, ..layout }),
                _ => one,
            };
        }
        if longs > 0 {
            bytes = 8;
        }
        let kind = if signed { Scalar::Signed } else { Scalar::Unsigned };
        if is_complex {
            // See `header::read`: an integer of two words.
            let scalars = vec![(0, kind), (8, kind)];
            return Type::Known(Layout { bytes: 16, align: 16, scalars, form: Form::Aggregate, name: None });
        }
        Type::scalar(kind, bytes)
    }

    fn named(&self, name: &str) -> Type {
        if name.ends_with("va_list") {
            return Type::pointer();
        }
        if name.starts_with("__m128") {
            return Type::scalar(Scalar::Packed, 16);
        }
        if name.starts_with("__m256") || name.starts_with("__m512") {
            return Type::unknown("a vector of more than 16 bytes");
        }
        let missing = || Type::Unknown(format!("a {name}, of which nothing is declared"));
        self.typedefs.get(name).cloned().unwrap_or_else(missing)
    }

    fn structure(&mut self, kind: &StructType) -> Type {
        let tag = kind.identifier.as_ref().map(|name| name.node.name.clone());
        let word = if kind.kind.node == StructKind::Union { "union" } else { "struct" };
        let Some(declarations) = &kind.declarations else {
            let tag = tag.unwrap_or_default();
            let missing = || Type::Unknown(format!("a {word} {tag}, whose members are not declared"));
            return self.tags.get(&tag).cloned().unwrap_or_else(missing);
        };
        let mut found = self.members(kind.kind.node == StructKind::Union, declarations);
        if let Some(tag) = tag {
            if let Type::Known(layout) = &mut found {
                layout.name = Some(format!("{word} {tag}"));
            }
            self.tags.insert(tag, found.clone());
        }
        found
    }

    fn members(&mut self, is_union: bool, declarations: &[Node<StructDeclaration>]) -> Type {
        let mut fields = Fields::default();
        for declaration in declarations {
            let StructDeclaration::Field(field) = &declaration.node else { continue };
            let base = self.qualified(&field.node.specifiers);
            let mut add = |kind: Type, width: Option<(u64, bool)>| {
                let layout = match kind {
                    Type::Known(layout) => layout,
                    Type::Nothing => return Err("a structure that holds nothing".to_owned()),
                    Type::Unknown(reason) => return Err(format!("a structure that holds {reason}")),
                };
                match width {
                    _ if is_union => fields.overlay(&layout),
                    Some((width, is_named)) => fields.add_bits(&layout, width.min(64), is_named),
                    None => fields.add(&layout),
                }
                Ok(())
            };
            if field.node.declarators.is_empty()
                && let Err(reason) = add(base.clone(), None)
            {
                return Type::Unknown(reason);
            }
            for member in &field.node.declarators {
                let declarator = member.node.declarator.as_ref();
                let width = match &member.node.bit_width {
                    Some(width) => match self
                        .constant(&width.node)
                        .and_then(|width| u64::try_from(width).ok())
                    {
                        Some(width) => Some((width, declarator.is_some())),
                        None => return Type::unknown("a structure with bit-fields that are not understood"),
                    },
                    None => None,
                };
                let kind =
                    declarator.map_or_else(|| base.clone(), |one| self.derive(base.clone(), &one.node));
                if let Err(reason) = add(kind, width) {
                    return Type::Unknown(reason);
                }
            }
        }
        let layout = fields.finish(Form::Aggregate);
        if layout.bytes > BYTES_MAX {
            Type::unknown("a structure that is too large")
        } else {
            Type::Known(layout)
        }
    }

    fn enumeration(&mut self, kind: &EnumType) {
        let mut next = 0;
        for one in &kind.enumerators {
            let given = one.node.expression.as_ref().map(|value| self.constant(&value.node));
            match given {
                Some(Some(value)) => next = value,
                Some(None) => return,
                None => {}
            }
            self.constants.insert(one.node.identifier.node.name.clone(), next);
            next += 1;
        }
    }

    /// The type that a declarator makes of `base`.
    fn derive(&mut self, base: Type, declarator: &Declarator) -> Type {
        let parts: Vec<&DerivedDeclarator> = derived(declarator).collect();
        parts.iter().rev().fold(base, |kind, part| match part {
            DerivedDeclarator::Pointer(_) | DerivedDeclarator::Block(_) => Type::pointer(),
            DerivedDeclarator::Array(array) => {
                let count = match &array.node.size {
                    ArraySize::Unknown | ArraySize::VariableUnknown => Some(0),
                    ArraySize::VariableExpression(size) | ArraySize::StaticExpression(size) => {
                        self.constant(&size.node)
                    }
                };
                match count.and_then(|count| u64::try_from(count).ok()) {
                    Some(count) if count <= BYTES_MAX => {
                        let array = kind.array(count);
                        match &array {
                            Type::Known(layout) if layout.bytes > BYTES_MAX => {
                                Type::unknown("an array that is too large")
                            }
                            _ => array,
                        }
                    }
                    _ => Type::unknown("an array whose length is not understood"),
                }
            }
            DerivedDeclarator::Function(_) | DerivedDeclarator::KRFunction(_) => Type::unknown("a function"),
        })
    }

    /// The signature, when the declarator is a function's: its innermost derivation is a parameter list.
    fn function(&mut self, base: &Type, declarator: &Declarator) -> Option<Signature> {
        let parts: Vec<&DerivedDeclarator> = derived(declarator).collect();
        let result = |base: &Type| if parts.len() > 1 { Type::pointer() } else { base.clone() };
        match parts.first()? {
            // `f()` says nothing about arguments.
            DerivedDeclarator::KRFunction(_) => Some(Signature {
                result: result(base),
                arguments: Vec::new(),
                is_variadic: true,
                place: String::new(),
            }),
            DerivedDeclarator::Function(function) => {
                let mut arguments = Vec::new();
                for parameter in &function.node.parameters {
                    let base = self.base(&parameter.node.specifiers);
                    let outermost =
                        parameter.node.declarator.as_ref().and_then(|one| derived(&one.node).next());
                    let kind = if outermost.is_some() { Type::pointer() } else { base };
                    if kind != Type::Nothing {
                        arguments.push(as_parameter(kind));
                    }
                }
                let is_variadic = function.node.ellipsis == Ellipsis::Some;
                Some(Signature { result: result(base), arguments, is_variadic, place: String::new() })
            }
            _ => None,
        }
    }

    fn constant(&mut self, expression: &Expression) -> Option<i128> {
        match expression {
            Expression::Constant(constant) => match &constant.node {
                Constant::Integer(integer) => {
                    let base = match integer.base {
                        IntegerBase::Decimal => 10,
                        IntegerBase::Octal => 8,
                        IntegerBase::Hexadecimal => 16,
                        IntegerBase::Binary => 2,
                    };
                    u64::from_str_radix(&integer.number, base).ok().map(i128::from)
                }
                _ => None,
            },
            Expression::Identifier(name) => self.constants.get(&name.node.name).copied(),
            Expression::Cast(cast) => self.constant(&cast.node.expression.node),
            Expression::SizeOfTy(size) => {
                let name = &size.node.0.node;
                let base = self.qualified(&name.specifiers);
                let kind = match &name.declarator {
                    Some(declarator) => self.derive(base, &declarator.node),
                    None => base,
                };
                if let Type::Known(layout) = kind { Some(layout.bytes.into()) } else { None }
            }
            Expression::UnaryOperator(unary) => {
                let value = self.constant(&unary.node.operand.node)?;
                match unary.node.operator.node {
                    UnaryOperator::Plus => Some(value),
                    UnaryOperator::Minus => Some(-value),
                    UnaryOperator::Complement => Some(!value),
                    UnaryOperator::Negate => Some(i128::from(value == 0)),
                    _ => None,
                }
            }
            Expression::BinaryOperator(binary) => {
                let (left, right) =
                    (self.constant(&binary.node.lhs.node)?, self.constant(&binary.node.rhs.node)?);
                let shift = u32::try_from(right).ok().filter(|&by| by < 64);
                let narrow = |value: Option<i128>| value.filter(|value| value.unsigned_abs() < 1 << 64);
                narrow(match binary.node.operator.node {
                    BinaryOperator::Multiply => left.checked_mul(right),
                    BinaryOperator::Divide => left.checked_div(right),
                    BinaryOperator::Modulo => left.checked_rem(right),
                    BinaryOperator::Plus => left.checked_add(right),
                    BinaryOperator::Minus => left.checked_sub(right),
                    BinaryOperator::ShiftLeft => shift.and_then(|by| left.checked_mul(1 << by)),
                    BinaryOperator::ShiftRight => shift.map(|by| left >> by),
                    BinaryOperator::BitwiseAnd => Some(left & right),
                    BinaryOperator::BitwiseXor => Some(left ^ right),
                    BinaryOperator::BitwiseOr => Some(left | right),
                    BinaryOperator::Less => Some((left < right).into()),
                    BinaryOperator::Greater => Some((left > right).into()),
                    BinaryOperator::Equals => Some((left == right).into()),
                    BinaryOperator::NotEquals => Some((left != right).into()),
                    _ => None,
                })
            }
            Expression::Conditional(conditional) => {
                let chosen = if self.constant(&conditional.node.condition.node)? != 0 {
                    &conditional.node.then_expression
                } else {
                    &conditional.node.else_expression
                };
                self.constant(&chosen.node)
            }
            _ => None,
        }
    }
}

/// Arrays and functions by typedef are pointers when they are parameters.
fn as_parameter(kind: Type) -> Type {
    match kind {
        Type::Unknown(reason) if reason == "a function" => Type::pointer(),
        Type::Known(layout) if layout.form == Form::Array => Type::pointer(),
        other => other,
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
