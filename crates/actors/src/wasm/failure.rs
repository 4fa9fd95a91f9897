//! What ended a guest's event, in the runtime's words.

use std::io;

use banyan_core::sponsors::Resource;
use wasmtime::Trap;

use super::engine::Module;
use super::host_functions::CallError;
use crate::model::behaviour::{Exhausted, Failure};

/// There is no place for its memory.
pub(super) fn no_room(module: &Module, error: &io::Error) -> Failure {
    let actors = module.0.engine.options().actors;
    Failure::because(format!("no memory for one more actor: {error}; {actors} are allowed at a time"))
}

/// The event has used its part of the time that it may keep its host, or leaves too much to be done.
pub(super) fn too_long(module: &Module) -> Failure {
    let limit = module.0.engine.options().event_time;
    Failure::Failed(format!(
        "the event ran for longer than {limit:?}, with what it leaves to be done; split the work into several messages"
    ))
}

/// What ended an event, in the runtime's terms.
pub(super) fn failure(error: &wasmtime::Error, module: &Module) -> Failure {
    match error.downcast_ref::<CallError>() {
        Some(CallError::Exhausted(resource)) => return Exhausted(*resource).into(),
        Some(error) => return Failure::Failed(error.to_string()),
        None => {}
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Exhausted(Resource::Cycles).into(),
        Some(Trap::Interrupt) => too_long(module),
        Some(trap) => Failure::Panicked(format!("{trap}{}", place(error))),
        None => Failure::Failed(format!("{error:#}")),
    }
}

/// The functions that were running when a guest trapped, innermost first.
fn place(error: &wasmtime::Error) -> String {
    const FRAMES: usize = 5;
    let Some(trace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else { return String::new() };
    let frames = trace.frames().iter().take(FRAMES).map(|frame| match frame.func_name() {
        Some(name) => name.to_owned(),
        None => format!("function {}", frame.func_index()),
    });
    let frames: Vec<String> = frames.collect();
    if frames.is_empty() { String::new() } else { format!(" in {}", frames.join(", called by ")) }
}
