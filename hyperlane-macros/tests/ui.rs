//! Programs that must compile, and programs whose errors must stand at the user's token and say the mend.

// Two sets, as programs that must not compile are only checked, which is faster than building them.

#[test]
fn programs_compile() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
