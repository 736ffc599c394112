//! Rules of the tree that no compiler checks.

mod documents;
mod words;

use std::{fs, path::Path};

use crate::{Outcome, process};

pub(crate) fn run() -> Outcome {
    let mut problems = words::problems()?;
    problems.extend(documents::problems()?);
    if problems.is_empty() {
        println!("tidy");
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// A path as errors show it, on every system.
fn shown(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// All files of source below a folder: path from the top of the checkout, and text.
fn source_files(folder: &str) -> Result<Vec<(String, String)>, String> {
    fn visit(folder: &Path, found: &mut Vec<(String, String)>) -> Outcome {
        let failed = |error| format!("cannot read {}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                visit(&path, found)?;
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).map_err(failed)?;
                let top = process::top();
                found.push((shown(path.strip_prefix(top).unwrap_or(&path)), text));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    visit(&process::top().join(folder), &mut found)?;
    found.sort();
    Ok(found)
}
