//! The columns of the system call table agree with each other: what one column says of an argument, the shape
//! says too.
#![forbid(unsafe_code)]

use banyan_wire::syscalls::{
    Argument, Class, DescriptorArguments, Handling, MemoryCall, NUMBERS, Notice, SystemCall, find,
    memory_call, table,
};

/// What the shape says of an argument. A column that names an argument needs it in the shape.
fn argument(row: SystemCall, index: usize) -> Argument {
    *row.arguments()
        .get(index)
        .unwrap_or_else(|| panic!("{} has no argument {index} in its shape", row.name()))
}

fn handled() -> impl Iterator<Item = (SystemCall, Handling)> {
    table().filter_map(|row| match row.class {
        Class::Deputy(handling) => Some((row, handling)),
        _ => None,
    })
}

#[test]
fn a_number_is_found_and_unknown_ones_are_not() {
    for row in table() {
        let found = find(i64::from(row.number)).expect("every row is found by its number");
        assert_eq!((found.number, found.name()), (row.number, row.name()));
    }
    for unknown in [-1, 336, 423, NUMBERS as i64, i64::MAX, i64::MIN] {
        assert!(find(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn names_are_those_of_the_kernel() {
    let name = |number| find(number).map(SystemCall::name);
    assert_eq!((name(0), name(9), name(334)), (Some("read"), Some("mmap"), Some("rseq")));
    assert!(table().all(|row| !row.name().is_empty()));
    let mut names: Vec<&str> = table().map(SystemCall::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), table().count());
}

#[test]
fn a_link_is_a_path_followed_by_a_buffer_and_its_size() {
    let mut links = Vec::new();
    for (row, handling) in handled() {
        let Handling::Link { path } = handling else { continue };
        assert_eq!(argument(row, path.into()), Argument::Path, "{}", row.name());
        assert_eq!(argument(row, usize::from(path) + 1), Argument::Out(path + 2), "{}", row.name());
        assert_eq!(argument(row, usize::from(path) + 2), Argument::Value, "{}", row.name());
        links.push(row.name());
    }
    assert_eq!(links, ["readlink", "readlinkat"]);
}

#[test]
fn a_mask_is_a_pointer_that_is_not_shipped() {
    let mut masked = Vec::new();
    for row in table() {
        let mask = match row.class {
            Class::Deputy(Handling::Mask(mask)) => mask,
            _ => continue,
        };
        assert_eq!(argument(row, mask.argument().into()), Argument::Pointer, "{}", row.name());
        masked.push(row.name());
    }
    assert_eq!(masked, ["rt_sigsuspend", "pselect6", "ppoll", "epoll_pwait", "epoll_pwait2"]);
}

#[test]
fn descriptors_are_never_pointers() {
    let mut guarded = Vec::new();
    for (row, handling) in handled() {
        let Handling::Descriptors(descriptors) = handling else { continue };
        let count = match descriptors {
            DescriptorArguments::First => 1,
            DescriptorArguments::FirstAndSecond => 2,
        };
        assert!(
            row.arguments().iter().take(count).all(|argument| *argument == Argument::Value),
            "{}",
            row.name()
        );
        guarded.push(row.name());
    }
    assert_eq!(guarded, ["close", "dup2", "fcntl", "dup3"]);
}

#[test]
fn buffers_name_their_length_within_the_call() {
    for row in table() {
        for (index, argument) in row.arguments().iter().enumerate() {
            let length = match *argument {
                Argument::In(of) | Argument::Out(of) | Argument::VectorIn(of) | Argument::VectorOut(of) => of,
                Argument::Value
                | Argument::Pointer
                | Argument::Path
                | Argument::FixedIn(_)
                | Argument::FixedOut(_) => continue,
            };
            assert!(length < 6 && usize::from(length) != index, "{}", row.name());
            let stated = row.arguments().get(usize::from(length)).copied().unwrap_or(Argument::Value);
            assert_eq!(stated, Argument::Value, "{}", row.name());
        }
    }
}

#[test]
fn only_calls_that_are_made_with_their_arguments_have_a_shape() {
    for row in table() {
        let made = match row.class {
            Class::Local | Class::Deputy(_) => true,
            Class::Emulate(_) | Class::Execute | Class::Refuse { .. } => false,
        };
        assert!(made || row.arguments().is_empty(), "{}", row.name());
    }
}

#[test]
fn memory_calls_are_told_by_their_numbers() {
    let count = table().filter(|row| memory_call(row.number.into()).is_some()).count();
    assert_eq!(count, 15);
    assert_eq!(memory_call(9), Some(MemoryCall::Map));
    assert_eq!((memory_call(0), memory_call(u64::MAX)), (None, None));
}

#[test]
fn what_programs_do_without_is_refused_without_a_word() {
    let silent: Vec<&str> = table()
        .filter(|row| matches!(row.class, Class::Refuse { notice: Notice::Never, .. }))
        .map(SystemCall::name)
        .collect();
    for quiet in ["rseq", "io_uring_setup", "pkey_alloc", "userfaultfd", "mseal", "tuxcall"] {
        assert!(silent.contains(&quiet), "{quiet}");
    }
    for told in ["ptrace", "seccomp", "io_setup", "bpf", "modify_ldt", "remap_file_pages"] {
        assert!(!silent.contains(&told), "{told}");
    }
}
