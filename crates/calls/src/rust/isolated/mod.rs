//! Functions of a Rust program that run in a worker: what `#[isolated]` expands to.
//!
//! Arguments and results are any types of `serde`'s and travel as bytes ([`value`]); the worker is the
//! program itself, started again, which never reaches its `main`; where it runs, [`crate::rust::discovery`]
//! says. Encoding small arguments for workers of this machine allocates nothing.

pub mod value;

/// How `#[isolated]` has arguments and results of type `Vec<u8>` travel: as one piece, not byte by byte.
pub use serde_bytes::ByteBuf;

use crate::caller::connection::CallOptions;
use crate::error::CallError;
use crate::rust::discovery::Service;
use crate::rust::pending::cancellable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::sync::OnceLock;

static SERVICE: OnceLock<Result<Service, CallError>> = OnceLock::new();

thread_local! {
    /// The service of [`through`]; no destructor, nothing to set up.
    static CHOSEN: Cell<*const Service> = const { Cell::new(std::ptr::null()) };
}

/// The service that calls of this program's own functions go to, found at the first use: the one that
/// [`use_service`] or the environment names, else a process of one's own.
///
/// # Errors
/// [`CallError::NoService`] with the reason, the same at every call.
pub fn service() -> Result<&'static Service, CallError> {
    SERVICE.get_or_init(Service::from_environment).as_ref().map_err(Clone::clone)
}

/// Has all calls of this program go to `service`. Returns false when a call was made before.
pub fn use_service(service: Service) -> bool {
    SERVICE.set(Ok(service)).is_ok()
}

/// Has the calls that `work` makes on this thread go to `service`.
pub fn through<T>(service: &Service, work: impl FnOnce() -> T) -> T {
    struct Restore(*const Service);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(service));
    work()
}

/// Calls function `number` of this program in a worker.
///
/// # Errors
/// Any [`CallError`].
pub fn call<A: Serialize, R: DeserializeOwned>(
    number: u64,
    arguments: &A,
    options: &CallOptions,
) -> Result<R, CallError> {
    // SAFETY: set by `through` only, whose argument outlives the work that we are part of.
    let service = match unsafe { CHOSEN.get().as_ref() } {
        Some(chosen) => chosen,
        None => service()?,
    };
    service.call(number, arguments, &cancellable(options))
}

/// Runs a function on decoded arguments, in the worker.
///
/// # Errors
/// A text, when the arguments do not decode or the result does not encode.
pub fn serve<A: DeserializeOwned, R: Serialize>(
    bytes: &[u8],
    output: &mut Vec<u8>,
    function: impl FnOnce(A) -> R,
) -> Result<(), String> {
    let arguments = value::decode(bytes).map_err(|error| format!("the arguments do not decode: {error}"))?;
    value::encode(&function(arguments), output).map_err(|error| format!("the result: {error}"))
}
