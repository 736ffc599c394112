//! Programs that must compile, and programs that must not. Their errors point at the user's token and say how to
//! correct it.

// Two sets, since a set without `pass` is only checked, which is faster than a build.

#[test]
fn programs_compile() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
