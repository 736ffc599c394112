//! The order of modules as ARCHITECTURE.md prints it.

use super::{
    modules::{Module, Tree},
    order,
};

/// The document with the section.
pub(super) const DOCUMENT: &str = "ARCHITECTURE.md";

const BEGIN: &str = "<!-- modules: written by `cargo xtask tidy --write` -->\n";
const END: &str = "<!-- end of modules -->\n";

/// The section: a table per crate, bottom to top.
pub(super) fn section(crates: &[(&str, Tree)]) -> String {
    let mut out = String::new();
    for (krate, tree) in crates {
        out.push_str(&format!("\n| {krate} | is |\n| --- | --- |\n"));
        let tops = tree.tops();
        for name in order::list(order::LISTS, krate) {
            // A listed module need not exist yet.
            if let Some(module) = tops.iter().find(|module| module.name == name) {
                out.push_str(&row(module));
            }
        }
    }
    out.push('\n');
    out
}

fn row(module: &Module) -> String {
    let summary = module.summary.as_deref().unwrap_or_default();
    let summary = summary.replace("[`", "`").replace("`]", "`");
    format!("| `{}` | {} |\n", module.name, summary.replace('|', "\\|"))
}

/// Modules without docs, as problems.
pub(super) fn without_docs(tree: &Tree, krate: &str) -> Vec<String> {
    tree.tops()
        .iter()
        .filter(|module| module.summary.is_none())
        .map(|module| format!("{krate}: module `{}` has no `//!` docs", module.name))
        .collect()
}

/// A document with another section between its marks.
pub(super) fn replaced(document: &str, section: &str) -> Result<String, String> {
    let (head, rest) = document
        .split_once(BEGIN)
        .ok_or_else(|| format!("{DOCUMENT}: no line {BEGIN}"))?;
    let (_, tail) = rest
        .split_once(END)
        .ok_or_else(|| format!("{DOCUMENT}: no line {END}"))?;
    Ok(format!("{head}{BEGIN}{section}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(
            replaced(&document, "new\n").unwrap(),
            format!("a\n{BEGIN}new\n{END}b\n")
        );
        assert!(replaced("a\n", "new\n").is_err());
    }

    #[test]
    fn a_row_is_the_first_sentence_of_the_docs() {
        let files = [
            ("lib.rs", "mod a;"),
            (
                "a.rs",
                "//! Says what\n//! [`A`] is. More.\n//!\n//! And more.",
            ),
        ];
        let tree = super::super::tests::tree(&files);
        let rows: Vec<_> = tree.tops().into_iter().map(row).collect();
        assert_eq!(rows, ["| `a` | Says what `A` is |\n"]);
    }
}
