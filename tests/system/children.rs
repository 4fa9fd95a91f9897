//! Programs that execute others: by children that are in the program's memory until then, and in their own
//! place.

use banyan_tests::compile::Link;
use banyan_tests::launch::{End, How};
use banyan_tests::{Case, catalog, check, compare, compile, workspace};

use crate::{c, linked};

#[test]
fn what_is_created_is_what_the_flags_say() {
    check(&c("creation_flags", []).on_every_node());
}

#[test]
fn programs_are_executed_by_posix_spawn_system_and_popen() {
    check(&c("children", ["spawn"]).on_every_node());
}

#[test]
fn a_child_has_its_own_signals_and_passes_them_on() {
    check(&c("children", ["signals"]).on_every_node());
}

#[test]
fn a_child_of_vfork_writes_in_its_parents_memory_and_ends_as_it_likes() {
    check(&c("children", ["vforked"]).on_every_node());
}

#[test]
fn clone_makes_children_with_stacks_words_and_descriptors() {
    check(&c("children", ["cloning"]).on_every_node());
}

#[test]
fn what_is_executed_finds_the_programs_surroundings() {
    check(&c("children", ["surroundings"]).variable("SHOWN_HERE", "value").on_every_node());
}

#[test]
fn threads_everywhere_start_programs_at_once() {
    check(&c("children", ["many"]).on_every_node());
}

#[test]
fn rust_starts_programs() {
    let program = compile::rust("rust_children").unwrap();
    check(&Case::new::<&str>(program, []).says_ok().on_every_node());
}

#[test]
fn python_starts_programs() {
    check(&catalog::python("subprocesses.py", &[]));
}

#[test]
fn a_program_that_is_executed_keeps_what_exec_keeps() {
    check(&c("execs", ["alone"]).on_every_node());
}

#[test]
fn a_program_is_executed_by_a_descriptor_too() {
    check(&c("executed_files", []));
}

#[test]
fn a_program_that_gave_up_root_executes_another() {
    check(&c("gives_up_root", []));
}

#[test]
fn exec_ends_the_other_threads_from_whichever_node() {
    check(&c("execs", ["threads"]).on_every_node());
    check(&c("execs", ["elsewhere"]).on_every_node());
}

#[test]
fn a_program_executes_another_one_many_times_over() {
    check(&c("execs", ["often"]).on_every_node());
}

#[test]
fn what_cannot_be_executed_is_refused_as_by_the_kernel() {
    check(&c("execs", ["refused"]).on_every_node());
}

/// A run that a program of a run asks for is the one that there is.
#[test]
fn a_run_within_a_run_is_that_run() {
    let banyan = workspace::banyan().unwrap();
    check(&Case::new(&banyan, ["run", "-n", "2", "--", "/bin/echo", "--", "x"]).any_stderr());
    let line =
        format!("'{}' run -n 2 -- /bin/echo child; exec '{0}' run -- /bin/echo --help", banyan.display());
    check(&Case::new("/bin/sh", ["-c", &line]).any_stderr());
}

#[test]
fn env_and_a_shell_execute_interpreters() {
    let script = workspace::program_source("subprocesses.py");
    let script = script.to_str().unwrap();
    check(&Case::new("/usr/bin/env", ["WORD=x", "/usr/bin/python3", script]).says_ok().deadline(120));
    let line = format!("exec /usr/bin/env /usr/bin/python3 '{script}'");
    check(&Case::new("/bin/sh", ["-c", &line]).says_ok().deadline(120));
}

/// What is executed keeps the filter, which traps code at low addresses if the program lies there.
#[test]
fn programs_start_themselves_wherever_they_are_linked() {
    for link in [Link::Dynamic, Link::DynamicFixed, Link::StaticFixed, Link::StaticPie] {
        check(&linked("children", link, ["itself"]).says_ok());
    }
}

/// With `--follow-exec` what children execute is a run, too, and a program notices as little of that as of
/// its own.
#[test]
fn children_are_followed_into_what_they_execute() {
    let followed = |case: Case| case.option("--follow-exec").deadline(120);
    check(&followed(c("children", ["spawn"])));
    check(&followed(Case::new("/bin/bash", [workspace::program_source("pipelines.sh")]).says_ok()));
    check(&followed(catalog::python("subprocesses.py", &[])));
    // What is no program is the kernel's to refuse, and the shell's to read.
    let line =
        "printf 'echo plain\\n' > plain; chmod +x plain; ./plain; mkdir d; ./d; echo $?; ./none; echo $?";
    check(&followed(Case::new("/bin/sh", ["-c", line])));
}

/// A program of a run lies where the kernel puts none by itself.
#[test]
fn what_is_followed_is_a_run_and_what_changes_its_identity_is_not() {
    let line = "head -1 /proc/self/maps; cp /bin/head ./head; chmod u+s ./head; ./head -1 /proc/self/maps; :";
    let case = Case::new("/bin/sh", ["-c", line]).any_stderr();
    if workspace::native_only() {
        return;
    }
    for (option, expected) in [(None, [false, false]), (Some("--follow-exec"), [true, false])] {
        let case = option.into_iter().fold(case.clone(), Case::option);
        let outcome = compare::once(&case, How::Banyan(2)).unwrap();
        assert_eq!(outcome.end, End::Status(0));
        let text = String::from_utf8(outcome.stdout).unwrap();
        let addresses =
            text.lines().map(|line| u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap());
        let of_a_run: Vec<bool> = addresses.map(|address| address < 0x5000_0000_0000).collect();
        assert_eq!(of_a_run, expected, "{option:?}: {text}");
    }
}
