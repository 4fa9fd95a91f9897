//! Structures of plain data, checked by field.

/// Makes a structure that may lie in an arena: of plain data, laid out as in C. Its fields, with their types
/// and places, are part of its type: opened as a structure that was changed, a collection is refused.
///
/// ```
/// banyan_arena::persist_struct! {
///     /// Someone who has an account.
///     #[derive(Debug, PartialEq)]
///     pub struct User {
///         pub id: u64,
///         pub age: u32,
///     }
/// }
/// ```
#[macro_export]
macro_rules! persist_struct {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$of_field:meta])* $seen:vis $field:ident : $type:ty),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$of_field])* $seen $field: $type,)*
        }

        // SAFETY: laid out as in C, of fields that are plain data; the name says each of them and its place.
        #[allow(unsafe_code, reason = "a promise that the macro checks")]
        unsafe impl $crate::collections::Persist for $name {
            fn type_name() -> String {
                let mut name = String::from(concat!(stringify!($name), " {"));
                $(
                    name.push_str(concat!(" ", stringify!($field), ": "));
                    name.push_str(&<$type as $crate::collections::Persist>::type_name());
                    name.push_str(&format!(" at {},", ::std::mem::offset_of!($name, $field)));
                )*
                name.push_str(" }");
                name
            }
        }
    };
}
