//! Which registers and stack words a function's arguments and result use.
//!
//! x86-64 System V ABI, section 3.2.3, from the types of a signature. Pure. What does not fit a
//! call frame, or has no place in it, is refused with the reason.

use super::types::{Class, Form, Layout, Scalar, Type};
use crate::shared::frame::{
    FIXED_WORDS_MAX, GENERAL_MAX, VARIABLE_WORDS, VECTOR_MAX, WANT_ANY_ST, WANT_ST0, WANT_ST1, WANT_VECTOR,
};

/// What is known of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub(crate) result: Type,
    pub(crate) arguments: Vec<Type>,
    /// More arguments may follow.
    pub(crate) is_variadic: bool,
    /// File and line of the declaration.
    pub(crate) place: String,
}

impl Signature {
    /// Bytes of the result, if that is one number; else 0.
    pub(crate) fn scalar_bytes(&self) -> u64 {
        match &self.result {
            Type::Known(layout) if layout.form == Form::Scalar => layout.bytes,
            _ => 0,
        }
    }
}

/// What a program reads as a function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// An integer or pointer, signed or not, or nothing.
    Signed,
    Unsigned,
    Float,
    Double,
    /// All else: zero in every register.
    Zero,
}

/// How the arguments and the result of a function travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passing {
    pub(crate) general: u8,
    pub(crate) vector: u8,
    /// Words, or [`VARIABLE_WORDS`].
    pub(crate) stack: u8,
    /// `WANT_` bits.
    pub(crate) results: u8,
    /// The first of the integer registers, that are known to hold arguments.
    pub(crate) named: u8,
    /// Bytes that the first argument points to, a hidden one, for the result; 0 if there is none.
    pub(crate) result_bytes: u32,
    pub(crate) returned: Returned,
}

impl Passing {
    /// For a function of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        general: GENERAL_MAX as u8,
        vector: VECTOR_MAX as u8,
        stack: VARIABLE_WORDS,
        results: (WANT_VECTOR | WANT_ANY_ST) as u8,
        named: 0,
        result_bytes: 0,
        returned: Returned::Zero,
    };
}

fn known<'a>(kind: &'a Type, what: &str) -> Result<Option<&'a Layout>, String> {
    match kind {
        Type::Nothing => Ok(None),
        Type::Known(layout) => Ok(Some(layout)),
        Type::Unknown(reason) => Err(format!("{what} {reason}")),
    }
}

/// Finds the places of a signature's arguments and result.
///
/// # Errors
/// Why the function cannot be called from afar.
pub(crate) fn passing(signature: &Signature) -> Result<Passing, String> {
    let (mut general, mut vector, mut stack) = (0_usize, 0_usize, 0_u64);
    let mut results = 0;
    let mut result_bytes = 0;
    let mut returned = Returned::Unsigned;
    if let Some(layout) = known(&signature.result, "it returns")? {
        match layout.class() {
            Class::ComplexLongDouble => {
                results |= WANT_ST0 | WANT_ST1;
                returned = Returned::Zero;
            }
            Class::Memory => {
                general = 1;
                result_bytes = u32::try_from(layout.bytes).map_err(|_| "its result is too large")?;
            }
            Class::LongDouble => {
                results |= WANT_ST0;
                returned = Returned::Zero;
            }
            Class::Registers { vector, .. } if vector > 0 => results |= WANT_VECTOR,
            Class::Registers { .. } | Class::Nowhere => {}
        }
        if result_bytes == 0 {
            returned = match (layout.form != Form::Scalar, layout.scalars.first()) {
                (false, Some((0, Scalar::Signed))) => Returned::Signed,
                (false, Some((0, Scalar::Unsigned | Scalar::Pointer))) => Returned::Unsigned,
                (false, Some((0, Scalar::Float))) => Returned::Float,
                (false, Some((0, Scalar::Double))) => Returned::Double,
                _ => Returned::Zero,
            };
        }
    }
    for (number, argument) in signature.arguments.iter().enumerate() {
        let Some(layout) = known(argument, &format!("argument {} is", number + 1))? else { continue };
        if let Class::Registers { general: more, vector: wide } = layout.class()
            && general + usize::from(more) <= GENERAL_MAX
            && vector + usize::from(wide) <= VECTOR_MAX
        {
            general += usize::from(more);
            vector += usize::from(wide);
        } else {
            if layout.align >= 16 {
                stack = stack.next_multiple_of(layout.align / 8);
            }
            stack = stack.saturating_add(layout.words());
        }
    }
    let named = general as u8;
    if stack > FIXED_WORDS_MAX as u64 {
        return Err(format!(
            "its arguments take {} bytes of stack, more than {}",
            stack * 8,
            FIXED_WORDS_MAX * 8
        ));
    }
    let mut stack = stack as u8;
    if signature.is_variadic {
        (general, vector) = (GENERAL_MAX, VECTOR_MAX);
        stack = VARIABLE_WORDS;
    }
    Ok(Passing {
        general: general as u8,
        vector: vector as u8,
        stack,
        results: results as u8,
        named,
        result_bytes,
        returned,
    })
}

/// Whether a function of this signature can be called from afar.
///
/// # Errors
/// Why not.
pub fn can_pass(signature: &Signature) -> Result<(), String> {
    passing(signature).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::types::Fields;

    fn signature(result: Type, arguments: Vec<Type>) -> Signature {
        Signature { result, arguments, is_variadic: false, place: String::new() }
    }

    #[test]
    fn arguments_spill_to_the_stack_in_order() {
        let (long, double) = (Type::scalar(Scalar::Signed, 8), Type::scalar(Scalar::Double, 8));
        let wide = Type::scalar(Scalar::LongDouble, 16);
        let mut pair = Fields::default();
        for _ in 0..2 {
            pair.add(&Layout {
                bytes: 8,
                align: 8,
                scalars: vec![(0, Scalar::Signed)],
                form: Form::Scalar,
                name: None,
            });
        }
        let pair = Type::Known(pair.finish(Form::Aggregate));
        let found = passing(&signature(long.clone(), vec![long.clone(); 8])).unwrap();
        assert_eq!((found.general, found.vector, found.stack), (6, 0, 2));
        // Five taken: the pair does not fit and goes to the stack whole; the next integer still gets r9.
        let mut arguments = vec![long.clone(); 5];
        arguments.extend([pair, long.clone()]);
        let found = passing(&signature(double.clone(), arguments)).unwrap();
        assert_eq!((found.general, found.stack, found.results), (6, 2, WANT_VECTOR as u8));
        // A long double is aligned to sixteen bytes.
        let mut arguments = vec![long.clone(); 7];
        arguments.push(wide.clone());
        assert_eq!(passing(&signature(wide.clone(), arguments)).unwrap().stack, 4);
        assert_eq!(passing(&signature(wide, vec![double; 9])).unwrap().stack, 1);
        let large = long.array(65);
        assert!(passing(&signature(Type::Nothing, vec![large])).unwrap_err().contains("520 bytes"));
        let odd = Type::unknown("of an unknown kind");
        assert!(
            passing(&signature(Type::Nothing, vec![long, odd])).unwrap_err().starts_with("argument 2 is")
        );
    }
}
