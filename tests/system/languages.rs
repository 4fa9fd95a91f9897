//! Programs of other languages and runtimes, and the calls that threads of all of them make.

use banyan_tests::{Case, catalog, check, compile};

use crate::c;

#[test]
fn rust_threads_run() {
    let program = compile::rust("rust_threads").unwrap();
    check(&Case::new::<&str>(program, []).says_ok().on_every_node());
}

#[test]
fn openmp_runs() {
    check(&c("openmp", []).on_every_node());
}

#[test]
fn python_threads_hash() {
    check(&catalog::real("python hashlib threads"));
}

#[test]
fn a_python_thread_pool_works() {
    check(&catalog::real("python thread pool"));
}

#[test]
fn python_shares_objects_by_name() {
    check(&catalog::real("python shared objects"));
}

#[test]
fn pipes_and_sockets_join_threads() {
    check(&c("pipes", []).on_every_node());
}

#[test]
fn threads_wait_for_events() {
    check(&c("polling", []).on_every_node());
}

#[test]
fn clocks_chance_and_identity_are_one() {
    check(&c("clocks", []).on_every_node());
}

/// What is refused is mentioned on standard error.
#[test]
fn emulated_and_refused_calls_answer_as_the_kernel_does() {
    check(&c("emulated_calls", []).on_every_node().any_stderr());
}
