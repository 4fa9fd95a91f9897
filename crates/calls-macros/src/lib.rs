//! The attribute `#[isolated]`, which moves a function into another process.
//!
//! For functions of a Rust program whose arguments and result are `Portable`. The function's body
//! runs in a worker; calling it returns `Result<T, CallError>`. Not for methods, generics, or
//! arguments that borrow. Use it through `banyan_calls::isolated`.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, FnArg, ItemFn, Lit, Meta, Pat, ReturnType, Token, parse_macro_input};

/// Runs the function in another process.
///
/// Options: `deadline = "50ms"` (units `us`, `ms`, `s`), `retry = 3` (only with `idempotent`:
/// a call that failed may have run), `idempotent`, `cpu = "1s"`.
#[proc_macro_attribute]
pub fn isolated(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    match expand(attribute, &function) {
        Ok(tokens) => tokens,
        Err(error) => error.into_compile_error().into(),
    }
}

fn time_us(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit())?;
    let scale = match &text[split..] {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        _ => return None,
    };
    text[..split].parse::<u64>().ok()?.checked_mul(scale)
}

fn expand(attribute: TokenStream, function: &ItemFn) -> Result<TokenStream, syn::Error> {
    let options = Punctuated::<Meta, Token![,]>::parse_terminated.parse(attribute)?;
    let (mut retries, mut deadline_us, mut cpu_us, mut idempotent) = (0_u32, 60_000_000_u64, None, false);
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
            _ => {
                return Err(syn::Error::new(
                    option.span(),
                    "known are retry = N, deadline = \"TIME\", cpu = \"TIME\" and idempotent",
                ));
            }
        }
    }
    if let Some(span) = retry_span.filter(|_| retries > 0 && !idempotent) {
        return Err(syn::Error::new(span, "retry needs idempotent: a call that failed may have run"));
    }
    if !function.sig.generics.params.is_empty() || function.sig.asyncness.is_some() {
        return Err(syn::Error::new(
            function.sig.span(),
            "an isolated function is neither generic nor async",
        ));
    }
    let mut names = Vec::new();
    let mut kinds = Vec::new();
    for argument in &function.sig.inputs {
        let FnArg::Typed(argument) = argument else {
            return Err(syn::Error::new(argument.span(), "an isolated function is not a method"));
        };
        let Pat::Ident(name) = &*argument.pat else {
            return Err(syn::Error::new(argument.pat.span(), "a plain name is expected"));
        };
        names.push(name.ident.clone());
        kinds.push((*argument.ty).clone());
    }
    if names.len() > 6 {
        return Err(syn::Error::new(function.sig.span(), "an isolated function has at most six arguments"));
    }
    let result = match &function.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, kind) => quote!(#kind),
    };
    let (attributes, visibility, name, body) =
        (&function.attrs, &function.vis, &function.sig.ident, &function.block);
    let section = format_ident!("__BANYAN_ISOLATED_{}", name.to_string().to_uppercase());
    let cpu =
        cpu_us.map_or_else(|| quote!(None), |time| quote!(Some(::std::time::Duration::from_micros(#time))));
    let (pack, kind) = if names.is_empty() {
        (quote!(()), quote!(()))
    } else {
        (quote!((#(#names,)*)), quote!((#(#kinds,)*)))
    };
    Ok(quote! {
        #(#attributes)*
        #visibility fn #name(#(#names: #kinds),*) -> ::std::result::Result<#result, ::banyan_calls::CallError> {
            const NUMBER: u64 = ::banyan_calls::registry::number_of(::std::concat!(::std::module_path!(), "::", ::std::stringify!(#name)));
            fn body(#(#names: #kinds),*) -> #result #body
            fn serve(bytes: &[u8], output: &mut ::std::vec::Vec<u8>) -> ::std::result::Result<(), ::std::string::String> {
                ::banyan_calls::isolated::serve::<#kind, #result>(bytes, output, |#pack| body(#(#names),*))
            }
            #[used]
            #[unsafe(link_section = "banyan_calls")]
            static #section: ::banyan_calls::registry::Entry = ::banyan_calls::registry::Entry { number: NUMBER, function: serve };
            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = ::banyan_calls::registry::before_main;
            let options = ::banyan_calls::CallOptions {
                deadline: ::std::time::Duration::from_micros(#deadline_us),
                retries: #retries,
                cpu_limit: #cpu,
                ..::std::default::Default::default()
            };
            ::banyan_calls::isolated::call::<#kind, #result>(NUMBER, &#pack, &options)
        }
    }
    .into())
}
