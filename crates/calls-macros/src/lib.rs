//! The attribute `#[isolated]`, which moves functions into another process.
//!
//! On a function of a Rust program whose arguments and result `serde` can write and read: its body runs in a
//! worker. On an `extern "C"` block: the functions of a C library that a worker loads. Calling
//! either returns `Result<T, CallError>`. Not for methods, generics, arguments that borrow, or
//! variadic functions. Use it through `banyan_calls::isolated`.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::{format_ident, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Expr, ExprLit, FnArg, ForeignItem, Item, ItemFn, ItemForeignMod, Lit, Meta, Pat, ReturnType, Token,
    parse_macro_input, parse_quote,
};

/// Runs the function, or the functions of the block, in another process.
///
/// Options: `deadline = "50ms"` (units `us`, `ms`, `s`), `retry = 3` (only with `idempotent`:
/// a call that failed may have run), `idempotent`, `cpu = "1s"`; for a block also
/// `library = "libz.so.1"`, a soname or a path, `memory = "64MiB"` (units `KiB`, `MiB`, `GiB`), what the
/// library may allocate, and `allow = "files-read, network"`, the sandbox: the groups of system calls that it
/// may make, of `files-read`, `files-write`, `network`, `processes`, or none. Without `allow` it may do all.
#[proc_macro_attribute]
pub fn isolated(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as Item);
    let expanded = Options::parse(attribute).and_then(|options| match &item {
        Item::Fn(function) => expand(&options, function),
        Item::ForeignMod(block) => expand_block(&options, block),
        other => Err(syn::Error::new(other.span(), "a function or an extern \"C\" block is expected")),
    });
    match expanded {
        Ok(tokens) => tokens,
        Err(error) => error.into_compile_error().into(),
    }
}

struct Options {
    retries: u32,
    deadline_us: u64,
    cpu_us: Option<u64>,
    library: Option<String>,
    memory: Option<u64>,
    groups: Option<proc_macro2::TokenStream>,
}

/// A number and its unit, of those that there are.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let (_, scale) = units.iter().find(|(unit, _)| *unit == &text[split..])?;
    text[..split].parse::<u64>().ok()?.checked_mul(*scale)
}

fn bytes(text: &str) -> Option<u64> {
    amount(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]).filter(|&bytes| bytes > 0)
}

/// A set of groups of system calls, as an expression.
fn groups(text: &str) -> Option<proc_macro2::TokenStream> {
    let groups = quote!(::banyan_calls::service::Groups);
    let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.try_fold(quote!(#groups(0)), |set, name| {
        let group = match name {
            "files-read" => quote!(FILES_READ),
            "files-write" => quote!(FILES_WRITE),
            "network" => quote!(NETWORK),
            "processes" => quote!(PROCESSES),
            _ => return None,
        };
        Some(quote!(#set.with(#groups::#group)))
    })
}

fn time_us(text: &str) -> Option<u64> {
    amount(text, &[("us", 1), ("ms", 1000), ("s", 1_000_000)])
}

impl Options {
    fn parse(attribute: TokenStream) -> Result<Self, syn::Error> {
        let options = Punctuated::<Meta, Token![,]>::parse_terminated.parse(attribute)?;
        let (mut retries, mut deadline_us, mut cpu_us, mut idempotent) = (0_u32, 60_000_000_u64, None, false);
        let (mut library, mut memory, mut allowed) = (None, None, None);
        let mut retry_span = None;
        for option in &options {
            let name = option.path().get_ident().map(ToString::to_string).unwrap_or_default();
            let value = match option {
                Meta::NameValue(pair) => match &pair.value {
                    Expr::Lit(ExprLit { lit, .. }) => Some(lit),
                    other => return Err(syn::Error::new(other.span(), "a literal is expected")),
                },
                _ => None,
            };
            let time = |lit: &Lit| match lit {
                Lit::Str(text) => time_us(&text.value())
                    .ok_or_else(|| syn::Error::new(text.span(), "a time like \"50ms\" is expected")),
                other => Err(syn::Error::new(other.span(), "a time like \"50ms\" is expected")),
            };
            match (name.as_str(), value) {
                ("retry", Some(Lit::Int(count))) => {
                    retries = count.base10_parse()?;
                    retry_span = Some(option.span());
                }
                ("deadline", Some(lit)) => deadline_us = time(lit)?,
                ("cpu", Some(lit)) => cpu_us = Some(time(lit)?),
                ("idempotent", None) => idempotent = true,
                ("library", Some(Lit::Str(text))) => library = Some(text.value()),
                ("memory", Some(Lit::Str(text))) => {
                    let bad = || syn::Error::new(text.span(), "an amount like \"64MiB\" is expected");
                    memory = Some(bytes(&text.value()).ok_or_else(bad)?);
                }
                ("allow", Some(Lit::Str(text))) => {
                    let known = "groups are files-read, files-write, network and processes";
                    allowed = Some(groups(&text.value()).ok_or_else(|| syn::Error::new(text.span(), known))?);
                }
                _ => {
                    return Err(syn::Error::new(
                        option.span(),
                        "known are retry = N, deadline = \"TIME\", cpu = \"TIME\", idempotent and, for a block, library = \"NAME\", memory = \"AMOUNT\" and allow = \"GROUPS\"",
                    ));
                }
            }
        }
        if let Some(span) = retry_span.filter(|_| retries > 0 && !idempotent) {
            return Err(syn::Error::new(span, "retry needs idempotent: a call that failed may have run"));
        }
        Ok(Self { retries, deadline_us, cpu_us, library, memory, groups: allowed })
    }

    /// The options as an expression.
    fn tokens(&self) -> proc_macro2::TokenStream {
        let (retries, deadline_us) = (self.retries, self.deadline_us);
        let cpu = self.cpu_us.map_or_else(
            || quote!(::std::option::Option::None),
            |time| quote!(::std::option::Option::Some(::std::time::Duration::from_micros(#time))),
        );
        quote! {
            ::banyan_calls::CallOptions {
                deadline: ::std::time::Duration::from_micros(#deadline_us),
                retries: #retries,
                cpu_limit: #cpu,
                ..::std::default::Default::default()
            }
        }
    }
}

/// The names and types of arguments.
type Signature = (Vec<syn::Ident>, Vec<syn::Type>);

fn signature(inputs: &Punctuated<FnArg, Token![,]>) -> Result<Signature, syn::Error> {
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    for argument in inputs {
        let FnArg::Typed(argument) = argument else {
            return Err(syn::Error::new(argument.span(), "an isolated function is not a method"));
        };
        let Pat::Ident(name) = &*argument.pat else {
            return Err(syn::Error::new(argument.pat.span(), "a plain name is expected"));
        };
        names.push(name.ident.clone());
        kinds.push((*argument.ty).clone());
    }
    Ok((names, kinds))
}

fn expand_block(options: &Options, block: &ItemForeignMod) -> Result<TokenStream, syn::Error> {
    let Some(library) = &options.library else {
        return Err(syn::Error::new(block.abi.span(), "which library? say library = \"NAME\""));
    };
    let mut functions = Vec::new();
    for item in &block.items {
        let ForeignItem::Fn(function) = item else {
            return Err(syn::Error::new(item.span(), "only functions can be isolated"));
        };
        if let Some(variadic) = &function.sig.variadic {
            return Err(syn::Error::new(variadic.span(), "a variadic function needs `banyan call wrap`"));
        }
        functions.push(function);
    }
    let symbols: Vec<String> = functions.iter().map(|function| function.sig.ident.to_string()).collect();
    let first = symbols.first().map_or("NONE", String::as_str).to_uppercase();
    let shared = format_ident!("__BANYAN_LIBRARY_{first}");
    let memory = options.memory.map(|bytes| quote!(.with_memory(#bytes)));
    let groups = options.groups.as_ref().map(|groups| quote!(.with_groups(#groups)));
    let options = options.tokens();
    let mut expanded = quote! {
        static #shared: ::banyan_calls::foreign::Library =
            ::banyan_calls::foreign::Library::new(#library, &[#(#symbols),*]) #memory #groups;
    };
    for (number, function) in functions.iter().enumerate() {
        let (names, kinds) = signature(&function.sig.inputs)?;
        if names.len() > 40 {
            return Err(syn::Error::new(
                function.sig.span(),
                "an isolated function has at most forty arguments",
            ));
        }
        let result = match &function.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, kind) => quote!(#kind),
        };
        let (attributes, visibility, name) = (&function.attrs, &function.vis, &function.sig.ident);
        let number = number as u64;
        // Never an argument's own name.
        let laid_out = syn::Ident::new("arguments", Span::mixed_site());
        expanded.extend(quote! {
            #(#attributes)*
            ///
            /// # Errors
            /// Any `CallError`.
            ///
            /// # Safety
            /// As the C function's: the arguments must be right for it.
            #[allow(clippy::too_many_arguments)]
            #visibility unsafe fn #name(#(#names: #kinds),*) -> ::std::result::Result<#result, ::banyan_calls::CallError> {
                let put = |#laid_out: &mut ::banyan_calls::foreign::Arguments| {
                    let _ = &#laid_out;
                    #(::banyan_calls::foreign::Scalar::put(#names, #laid_out);)*
                };
                // SAFETY: the caller's contract.
                unsafe { #shared.call::<#result>(#number, put, &#options) }
            }
        });
    }
    Ok(expanded.into())
}

fn expand(options: &Options, function: &ItemFn) -> Result<TokenStream, syn::Error> {
    if let Some(library) = &options.library {
        let reason = format!("`{library}` is for an extern \"C\" block: this function is the program's own");
        return Err(syn::Error::new(function.sig.span(), reason));
    }
    if options.memory.is_some() || options.groups.is_some() {
        let reason = "memory and allow are for an extern \"C\" block: the program's own functions share their \
                      workers, whose limits are those of the `Configuration` that `Service::find` gets";
        return Err(syn::Error::new(function.sig.span(), reason));
    }
    if !function.sig.generics.params.is_empty() || function.sig.asyncness.is_some() {
        return Err(syn::Error::new(
            function.sig.span(),
            "an isolated function is neither generic nor async",
        ));
    }
    let (names, kinds) = signature(&function.sig.inputs)?;
    if names.len() > ARGUMENTS_MAX {
        let reason = format!("an isolated function has at most {ARGUMENTS_MAX} arguments");
        return Err(syn::Error::new(function.sig.span(), reason));
    }
    let result = match &function.sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, kind) => (**kind).clone(),
    };
    let (attributes, visibility, name, body) =
        (&function.attrs, &function.vis, &function.sig.ident, &function.block);
    let section = format_ident!("__BANYAN_ISOLATED_{}", name.to_string().to_uppercase());
    let options = options.tokens();
    let inputs = &function.sig.inputs;
    // Byte buffers travel in one piece, on both sides in the same bytes as without.
    let travels = |kind: &syn::Type| {
        if is_bytes(kind) { quote!(::banyan_calls::isolated::ByteBuf) } else { quote!(#kind) }
    };
    let wrap = |kind: &syn::Type| is_bytes(kind).then(|| quote!(::banyan_calls::isolated::ByteBuf::from));
    let unwrap =
        |kind: &syn::Type| is_bytes(kind).then(|| quote!(::banyan_calls::isolated::ByteBuf::into_vec));
    let kinds_sent = kinds.iter().map(travels);
    let sent = names.iter().zip(&kinds).map(|(name, kind)| {
        let wrap = wrap(kind);
        quote!(#wrap(#name))
    });
    let received = names.iter().zip(&kinds).map(|(name, kind)| {
        let unwrap = unwrap(kind);
        quote!(#unwrap(#name))
    });
    let (result_sent, wrap_result) = (travels(&result), wrap(&result));
    let unwrap_result = unwrap(&result).map(|unwrap| quote!(.map(#unwrap)));
    // Where a compiler puts spaces between tokens is its own affair, and differs.
    let written: String =
        quote!(#name(#(#names: #kinds),*) -> #result).to_string().split_whitespace().collect();
    // The names of items below are seen by the arguments' own; only such a prefix keeps them apart.
    Ok(quote! {
        #(#attributes)*
        #visibility fn #name(#(#names: #kinds),*) -> ::std::result::Result<#result, ::banyan_calls::CallError> {
            const __BANYAN_NUMBER: u64 =
                ::banyan_calls::registry::number_of(::std::concat!(::std::module_path!(), "::", #written));
            type __BanyanArguments = (#(#kinds_sent,)*);
            fn __banyan_body(#inputs) -> #result #body
            fn __banyan_serve(bytes: &[u8], output: &mut ::std::vec::Vec<u8>) -> ::std::result::Result<(), ::std::string::String> {
                ::banyan_calls::isolated::serve::<__BanyanArguments, #result_sent>(
                    bytes,
                    output,
                    |(#(#names,)*)| #wrap_result(__banyan_body(#(#received),*)),
                )
            }
            #[used]
            #[unsafe(link_section = "banyan_calls")]
            static #section: ::banyan_calls::registry::Entry =
                ::banyan_calls::registry::Entry { number: __BANYAN_NUMBER, function: __banyan_serve };
            #[used]
            #[unsafe(link_section = ".init_array")]
            static __BANYAN_BEFORE_MAIN: extern "C" fn() = ::banyan_calls::registry::before_main;
            ::banyan_calls::isolated::call::<__BanyanArguments, #result_sent>(
                __BANYAN_NUMBER,
                &(#(#sent,)*),
                &#options,
            ) #unwrap_result
        }
    }
    .into())
}

/// Most arguments of an isolated function: `serde` knows no longer tuples.
const ARGUMENTS_MAX: usize = 16;

/// Whether a type is written `Vec<u8>`.
fn is_bytes(kind: &syn::Type) -> bool {
    let (vec, std_vec): (syn::Type, syn::Type) = (parse_quote!(Vec<u8>), parse_quote!(std::vec::Vec<u8>));
    *kind == vec || *kind == std_vec
}
