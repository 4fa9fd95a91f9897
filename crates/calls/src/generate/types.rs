//! C types as the calling convention sees them: size, alignment, and what lies in each eight bytes.
//!
//! x86-64 System V ABI, chapter 3. Pure; knows nothing of headers or registers. A type that cannot
//! be described says why, and functions that pass it by value are refused for that reason.

/// What lies at one place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Signed,
    Unsigned,
    Pointer,
    Float,
    Double,
    /// Sixteen bytes of one vector register.
    Packed,
    LongDouble,
}

/// What kind of type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Scalar,
    /// A structure or union.
    Aggregate,
    Complex,
    /// Passed as a pointer.
    Array,
}

/// A type whose size is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) bytes: u64,
    pub(crate) align: u64,
    /// What lies in the first sixteen bytes, by offset; larger values travel in memory whatever they hold.
    pub(crate) scalars: Vec<(u64, Scalar)>,
    pub(crate) form: Form,
    /// How a C program names it, for the compiler to confirm the size.
    pub(crate) name: Option<String>,
}

/// Any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Nothing,
    Known(Layout),
    /// Its values cannot be passed; why.
    Unknown(String),
}

/// How a value travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// In that many integer and vector registers, or in their absence on the stack.
    Registers { general: u8, vector: u8 },
    /// On the stack; as a result, where a hidden pointer says.
    Memory,
    /// As an argument on the stack, as a result in st(0).
    LongDouble,
    /// As an argument on the stack, as a result in st(0) and st(1).
    ComplexLongDouble,
    /// Nowhere: it has no bytes.
    Nowhere,
}

impl Type {
    pub(crate) fn scalar(scalar: Scalar, bytes: u64) -> Self {
        let scalars = vec![(0, scalar)];
        Self::Known(Layout { bytes, align: bytes, scalars, form: Form::Scalar, name: None })
    }

    pub(crate) fn pointer() -> Self {
        Self::scalar(Scalar::Pointer, 8)
    }

    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    /// `count` of these in a row.
    pub(crate) fn array(&self, count: u64) -> Self {
        match self {
            Self::Known(element) => {
                let mut all = Fields::default();
                for _ in 0..count.min(16) {
                    all.add(element);
                }
                let mut layout = all.finish(Form::Array);
                layout.bytes = element.bytes.saturating_mul(count);
                layout.align = element.align;
                Self::Known(layout)
            }
            other => other.clone(),
        }
    }
}

/// Lays out the members of a structure or union one after the other.
#[derive(Debug)]
pub(crate) struct Fields {
    bits: u64,
    bytes: u64,
    align: u64,
    scalars: Vec<(u64, Scalar)>,
}

impl Default for Fields {
    fn default() -> Self {
        Self { bits: 0, bytes: 0, align: 1, scalars: Vec::new() }
    }
}

impl Fields {
    fn place(&mut self, at: u64, field: &Layout) {
        self.align = self.align.max(field.align);
        self.bytes = self.bytes.max(at.saturating_add(field.bytes));
        self.scalars.extend(
            field
                .scalars
                .iter()
                .filter(|(offset, _)| at + offset < 16)
                .map(|&(offset, kind)| (at + offset, kind)),
        );
    }

    /// The next member of a structure.
    pub(crate) fn add(&mut self, field: &Layout) {
        let at = self.bits.div_ceil(8).next_multiple_of(field.align.max(1));
        self.place(at, field);
        self.bits = at.saturating_add(field.bytes).saturating_mul(8);
    }

    /// The next member of a structure, a bit-field of `width` bits.
    pub(crate) fn add_bits(&mut self, field: &Layout, width: u64, is_named: bool) {
        let unit = field.bytes * 8;
        if width == 0 {
            self.bits = self.bits.next_multiple_of(unit.max(8));
            return;
        }
        if self.bits % unit.max(8) + width > unit {
            self.bits = self.bits.next_multiple_of(unit.max(8));
        }
        if is_named {
            self.align = self.align.max(field.align);
            for byte in self.bits / 8..(self.bits + width).div_ceil(8) {
                if byte < 16 {
                    self.scalars.push((byte, Scalar::Unsigned));
                }
            }
        }
        self.bits += width;
        self.bytes = self.bytes.max(self.bits.div_ceil(8));
    }

    /// A member of a union.
    pub(crate) fn overlay(&mut self, field: &Layout) {
        self.place(0, field);
    }

    pub(crate) fn finish(self, form: Form) -> Layout {
        let bytes = self.bytes.next_multiple_of(self.align);
        Layout { bytes, align: self.align, scalars: self.scalars, form, name: None }
    }
}

impl Layout {
    pub(crate) fn class(&self) -> Class {
        if self.bytes == 0 {
            return Class::Nowhere;
        }
        if self.scalars == [(0, Scalar::LongDouble)] && self.bytes == 16 {
            // A structure around one travels like it.
            return Class::LongDouble;
        }
        if self.scalars == [(0, Scalar::Packed)] && self.bytes == 16 {
            return Class::Registers { general: 0, vector: 1 };
        }
        if self.form == Form::Complex && self.bytes == 32 {
            return Class::ComplexLongDouble;
        }
        let special = |kind: Scalar| matches!(kind, Scalar::LongDouble | Scalar::Packed);
        if self.bytes > 16 || self.scalars.iter().any(|&(_, kind)| special(kind)) {
            return Class::Memory;
        }
        let (mut general, mut vector) = (0, 0);
        for eight in 0..self.bytes.div_ceil(8) {
            let mut inside = self.scalars.iter().filter(|(offset, _)| offset / 8 == eight);
            if inside.any(|(_, kind)| !matches!(kind, Scalar::Float | Scalar::Double)) {
                general += 1;
            } else {
                vector += 1;
            }
        }
        Class::Registers { general, vector }
    }

    pub(crate) const fn words(&self) -> u64 {
        self.bytes.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kind: Type) -> Layout {
        let Type::Known(layout) = kind else { unreachable!("a scalar is known") };
        layout
    }

    fn structure(fields: &[Type]) -> Layout {
        let mut all = Fields::default();
        for field in fields {
            all.add(&known(field.clone()));
        }
        all.finish(Form::Aggregate)
    }

    #[test]
    fn structures_are_classified_as_the_convention_says() {
        let (int, long) = (Type::scalar(Scalar::Signed, 4), Type::scalar(Scalar::Signed, 8));
        let (float, double) = (Type::scalar(Scalar::Float, 4), Type::scalar(Scalar::Double, 8));
        let registers = |general, vector| Class::Registers { general, vector };
        assert_eq!(structure(&[int.clone(), double.clone()]).class(), registers(1, 1));
        assert_eq!(structure(&[float.clone(), float.clone(), float.clone()]).class(), registers(0, 2));
        assert_eq!(structure(&[float.clone(), int.clone(), double.clone()]).class(), registers(1, 1));
        assert_eq!(structure(&[long.clone(), long.clone()]).class(), registers(2, 0));
        assert_eq!(structure(&[long.clone(), long.clone(), int.clone()]).class(), Class::Memory);
        assert_eq!(structure(&[]).class(), Class::Nowhere);
        assert_eq!(structure(&[Type::scalar(Scalar::LongDouble, 16)]).class(), Class::LongDouble);
        assert_eq!(structure(&[int.clone(), Type::scalar(Scalar::LongDouble, 16)]).class(), Class::Memory);
        assert_eq!(structure(&[Type::scalar(Scalar::Signed, 1).array(3)]).class(), registers(1, 0));
        assert_eq!(structure(&[float.array(4)]).class(), registers(0, 2));
        let padded = structure(&[Type::scalar(Scalar::Signed, 1), double]);
        assert_eq!((padded.bytes, padded.align), (16, 8));
        let mut bits = Fields::default();
        for (width, named) in [(3, true), (30, true), (0, false), (1, true)] {
            bits.add_bits(&known(int.clone()), width, named);
        }
        assert_eq!(bits.finish(Form::Aggregate).bytes, 12);
        let mut union = Fields::default();
        union.overlay(&known(int));
        union.overlay(&known(Type::scalar(Scalar::Double, 8)));
        assert_eq!(union.finish(Form::Aggregate).class(), registers(1, 0));
    }
}
