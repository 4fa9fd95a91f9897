//! Which groups of system calls a library needs, by the functions that it imports.
//!
//! A function of the C library may do more than its name says: the first use of the time of day reads the
//! time zone, a look-up of a user asks a service. Not for what a policy allows beside these.

use crate::sys::sandbox::Groups;

const RULES: &[(Groups, &[&str])] = &[
    (
        Groups::FILES_READ,
        &[
            "__open64_2",
            "__open_2",
            "__openat64_2",
            "__openat_2",
            "__realpath_chk",
            "__xstat",
            "__xstat64",
            "__lxstat",
            "__lxstat64",
            "__fxstatat",
            "__fxstatat64",
            "access",
            "canonicalize_file_name",
            "dlopen",
            "faccessat",
            "fopen",
            "fopen64",
            "freopen",
            "freopen64",
            "fstatat",
            "fstatat64",
            "fts_open",
            "ftw",
            "ftw64",
            "glob",
            "glob64",
            "gzopen",
            "gzopen64",
            "lstat",
            "lstat64",
            "nftw",
            "nftw64",
            "open",
            "open64",
            "openat",
            "openat64",
            "opendir",
            "readlink",
            "readlinkat",
            "realpath",
            "scandir",
            "scandir64",
            "stat",
            "stat64",
            "statfs",
            "statfs64",
            "statvfs",
            "statvfs64",
            "statx",
            "xmlReadFile",
            // The time zone.
            "ctime",
            "ctime_r",
            "localtime",
            "localtime_r",
            "mktime",
            "strftime",
            "strftime_l",
            "timelocal",
            "tzset",
            "wcsftime",
            // Locales, translations, conversions of characters.
            "catopen",
            "dcgettext",
            "dcngettext",
            "dgettext",
            "dngettext",
            "gettext",
            "iconv_open",
            "newlocale",
            "ngettext",
            "setlocale",
        ],
    ),
    (
        Groups::FILES_WRITE,
        &[
            "__open64_2",
            "__open_2",
            "__openat64_2",
            "__openat_2",
            "chmod",
            "creat",
            "creat64",
            "fchmod",
            "fopen",
            "fopen64",
            "freopen",
            "freopen64",
            "ftruncate",
            "ftruncate64",
            "gzopen",
            "gzopen64",
            "link",
            "mkdir",
            "mkdtemp",
            "mkostemp",
            "mkostemp64",
            "mkstemp",
            "mkstemp64",
            "mkstemps",
            "open",
            "open64",
            "openat",
            "openat64",
            "rename",
            "renameat",
            "rmdir",
            "symlink",
            "tmpfile",
            "tmpfile64",
            "truncate",
            "truncate64",
            "unlink",
            "unlinkat",
            "utime",
            "utimensat",
            "utimes",
        ],
    ),
    (
        Groups::NETWORK,
        &["bind", "connect", "getnameinfo", "recv", "send", "socket", "socketpair", "syslog", "vsyslog"],
    ),
    (
        Groups::PROCESSES,
        &[
            "execl",
            "execle",
            "execlp",
            "execv",
            "execve",
            "execvp",
            "fork",
            "kill",
            "popen",
            "posix_spawn",
            "posix_spawnp",
            "system",
            "vfork",
            "waitpid",
            "wordexp",
        ],
    ),
    // Names of users, machines and services are in files or asked of a service.
    (
        Groups::FILES_READ.with(Groups::NETWORK),
        &[
            "getaddrinfo",
            "getgrgid",
            "getgrgid_r",
            "getgrnam",
            "getgrnam_r",
            "getgrouplist",
            "gethostbyaddr",
            "gethostbyname",
            "gethostbyname2",
            "gethostbyname2_r",
            "gethostbyname_r",
            "getprotobyname",
            "getpwent",
            "getpwnam",
            "getpwnam_r",
            "getpwuid",
            "getpwuid_r",
            "getservbyname",
            "getservbyname_r",
            "getservbyport",
            "initgroups",
        ],
    ),
];

/// Classes of the C++ library that open files by themselves, as their mangled names have them.
const FILE_CLASSES: &[&str] =
    &["basic_filebuf", "basic_fstream", "basic_ifstream", "basic_ofstream", "10filesystem"];

/// Which groups of system calls a library needs that imports these functions.
#[must_use]
pub fn derive_groups(imports: &[String]) -> Groups {
    let is_file_class = |name: &String| FILE_CLASSES.iter().any(|class| name.contains(class));
    let files = if imports.iter().any(is_file_class) {
        Groups::FILES_READ.with(Groups::FILES_WRITE)
    } else {
        Groups::default()
    };
    RULES
        .iter()
        .filter(|(_, names)| imports.iter().any(|import| names.contains(&import.as_str())))
        .fold(files, |groups, (group, _)| groups.with(*group))
}
