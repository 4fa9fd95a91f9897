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

// To be turned round when it works: then the outcome is that of a native run.
#[test]
fn fork_is_refused_with_an_error() {
    use banyan_tests::compile::Link;
    use banyan_tests::launch::{End, How, excerpt};
    use banyan_tests::{compare, gate, workspace};

    let _pass = gate::enter();
    let case = Case::new::<&str>(compile::c("fork", Link::Dynamic).unwrap(), []);
    let native = compare::once(&case, How::Native).unwrap();
    assert_eq!(String::from_utf8_lossy(&native.stdout).trim(), "fork works");
    if workspace::native_only() {
        return;
    }
    let outcome = compare::once(&case, How::Banyan(2)).unwrap();
    let stdout = String::from_utf8_lossy(&outcome.stdout);
    assert!(stdout.contains("refused: "), "{stdout}");
    assert_eq!(outcome.end, End::Status(0));
    assert!(!outcome.stderr.is_empty(), "no line says that it was refused: {}", excerpt(&outcome.stderr));
}
