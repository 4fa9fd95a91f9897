//! Real programs as their packages install them.

use banyan_tests::{Case, catalog, check, input};

#[test]
fn pigz_compresses() {
    check(&catalog::real("pigz"));
}

#[test]
fn pigz_replaces_a_file() {
    check(&catalog::real("pigz to a file"));
}

#[test]
fn xz_compresses() {
    check(&catalog::real("xz"));
}

#[test]
fn zstd_compresses() {
    check(&catalog::real("zstd"));
}

#[test]
fn pbzip2_compresses() {
    check(&catalog::real("pbzip2"));
}

#[test]
fn lbzip2_compresses() {
    check(&catalog::real("lbzip2"));
}

#[test]
fn seven_zip_archives() {
    check(&catalog::real("7zz"));
    check(&catalog::real("7zz bzip2"));
}

#[test]
fn sysbench_measures_the_processor() {
    check(&catalog::real("sysbench cpu"));
}

#[test]
fn sysbench_measures_mutexes() {
    check(&catalog::real("sysbench mutex"));
}

#[test]
fn sysbench_measures_threads() {
    check(&catalog::real("sysbench threads"));
}

// What one run compressed another must be able to unpack: the round trip, with threads on both ways.
#[test]
fn compressed_data_comes_back() {
    for (pack, unpack) in [
        ("pigz -p4 -c", "pigz -d -c"),
        ("xz -T4 -0 --block-size=512KiB -c", "xz -d -T4 -c"),
        ("pbzip2 -p4 -b2 -c", "pbzip2 -d -p4 -c"),
        ("lbzip2 -n4 -c", "lbzip2 -d -n4 -c"),
        ("zstd -q -T4 -B512K -c", "zstd -q -d -c"),
    ] {
        let script = format!(
            "$RUN {pack} data > packed && $RUN {unpack} packed | cmp - data && rm packed && echo same"
        );
        let case = Case::script(&script).file("data", input::text(2 << 20, 5)).any_stderr().deadline(120);
        check(&case);
    }
}

#[test]
fn a_bad_archive_is_told_as_by_a_native_run() {
    let mut bad = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bad.extend(input::noise(5000, 9));
    check(
        &Case::script("$RUN pigz -d -c bad.gz")
            .file("bad.gz", bad)
            .ends(banyan_tests::End::Status(1))
            .any_stderr(),
    );
}
