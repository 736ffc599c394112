//! Rules of the tree that no compiler checks.
//!
//! A rule that is not kept everywhere yet has its exceptions in `baseline.txt`, which may only shrink.

mod baseline;
mod documents;
mod floor_plan;
mod foreign;
mod methods;
mod modules;
mod order;
mod prose;
mod size;
mod surface;
mod syntax;
#[cfg(test)]
mod tests;
mod wire;
mod words;

use std::{fs, path::Path};

use self::{baseline::Exception, modules::Tree};
use crate::{Outcome, process};

/// Crates whose modules have an order.
const ORDERED: [&str; 3] = ["hyperlane-core", "hyperlane-broadcast", "hyperlane-macros"];

const USAGE: &str = "usage: cargo xtask tidy [--write | --order | --prose]

  --write  writes the order of modules into ARCHITECTURE.md, and lowers the numbers of baseline.txt
  --order  lists the imports that go upward
  --prose  lists the lines that the rules of prose count";

/// A crate whose modules have an order: its name, and its source.
type Ordered = (&'static str, Tree);

/// The outcome of all rules.
#[derive(Default)]
struct Report {
    /// Breaks of rules without exceptions.
    problems: Vec<String>,
    /// Breaks of rules whose exceptions are in the baseline.
    found: Vec<Exception>,
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let crates = ORDERED
        .into_iter()
        .map(|krate| Ok((krate, load(&format!("{krate}/src/lib.rs"))?)))
        .collect::<Result<Vec<Ordered>, String>>()?;
    match args.as_slice() {
        [] => check(&crates, false),
        ["--write"] => check(&crates, true),
        ["--order"] => {
            let mut report = Report::default();
            check_order(&crates, &mut report);
            for exception in report.found {
                println!("{}: {}", exception.key, exception.number);
                for place in exception.places {
                    println!("    {place}");
                }
            }
            Ok(())
        }
        ["--prose"] => {
            print!("{}", prose::listing(&count_prose()?));
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn check(crates: &[Ordered], write: bool) -> Outcome {
    let mut report = Report {
        problems: words::problems()?,
        found: Vec::new(),
    };
    report.problems.extend(documents::problems()?);
    check_order(crates, &mut report);
    if let Some((_, core)) = crates.first() {
        let methods = methods::of_types(core);
        let counts = methods
            .iter()
            .map(|(name, all)| format!("{name} {}", all.len()));
        println!("methods: {}", counts.collect::<Vec<_>>().join(", "));
        report.problems.extend(methods::missing(&methods));
        report.found.extend(methods::over(&methods));
        report.found.extend(wire::outside(core));
    }
    let prose = count_prose()?;
    println!("prose: {}", prose::summary(&prose));
    report.found.extend(prose::over(&prose));
    check_surface(crates, &mut report)?;
    check_sizes(crates, &mut report)?;
    check_document(crates, write, &mut report)?;

    if write {
        baseline::write(&report.found)?;
    }
    let verdict = baseline::compare(&baseline::read()?, &report.found)?;
    report.problems.extend(verdict.problems);
    if verdict.slack > 0 {
        let (slack, file) = (verdict.slack, baseline::FILE);
        println!("{slack} numbers of {file} can be lower: cargo xtask tidy --write");
    }
    println!("exceptions: {}", report.found.len());
    if report.problems.is_empty() {
        println!("tidy");
        Ok(())
    } else {
        Err(report.problems.join("\n"))
    }
}

fn check_order(crates: &[Ordered], report: &mut Report) {
    let mut cycles = Vec::new();
    for (krate, tree) in crates {
        let name = krate.trim_start_matches("hyperlane-");
        let list = order::list(order::LISTS, krate);
        let (edges, unknown) = order::edges(tree);
        report.problems.extend(unknown);
        report.problems.extend(order::unlisted(tree, krate, &list));
        report.problems.extend(order::missing(tree, krate, &list));
        report
            .problems
            .extend(floor_plan::without_docs(tree, krate));
        report.found.extend(order::upward(&edges, name, &list));
        let (pairs, circle) = order::cycles(&edges);
        let circle = match circle.len() {
            0 => String::new(),
            modules => format!(" ({modules} modules in one circle)"),
        };
        cycles.push(format!("{name} {pairs} pairs{circle}"));
    }
    println!("cycles: {}", cycles.join(", "));
}

fn check_surface(crates: &[Ordered], report: &mut Report) -> Outcome {
    let facade = ("hyperlane", load("src/lib.rs")?);
    let lists = read(foreign::FILE)?;
    for (krate, tree) in crates.iter().chain([&facade]) {
        report.problems.extend(surface::globs(tree));
        report.problems.extend(surface::repeated(tree));
        let manifest = match *krate == facade.0 {
            true => "Cargo.toml".to_owned(),
            false => format!("{krate}/Cargo.toml"),
        };
        let externs = foreign::dependencies(&read(&manifest)?);
        let names = foreign::names(tree, &externs);
        let differences = foreign::differences(krate, &names, &lists);
        report.problems.extend(differences);
    }
    let lists = read(surface::LISTS)?;
    for file in surface::DECLARING {
        let unlisted = surface::unlisted(&lists, file, &read(file)?)?;
        report.problems.extend(unlisted);
    }
    Ok(())
}

fn check_sizes(crates: &[Ordered], report: &mut Report) -> Outcome {
    let mut more = vec![load("src/lib.rs")?, load("xtask/src/main.rs")?];
    for path in examples()? {
        more.push(load(&path)?);
    }
    for tree in crates.iter().map(|(_, tree)| tree).chain(&more) {
        report.found.extend(size::files(tree));
        report.found.extend(size::functions(tree));
    }
    Ok(())
}

fn check_document(crates: &[Ordered], write: bool, report: &mut Report) -> Outcome {
    let name = floor_plan::DOCUMENT;
    let document = read(name)?;
    let written = floor_plan::replaced(&document, &floor_plan::section(crates))?;
    if write {
        return fs::write(process::top().join(name), written)
            .map_err(|error| format!("cannot write {name}: {error}"));
    }
    if written != document {
        report.problems.push(format!(
            "{name}: the list of modules is not today's; run cargo xtask tidy --write"
        ));
    }
    Ok(())
}

fn count_prose() -> Result<Vec<prose::Count>, String> {
    let mut files = Vec::new();
    for krate in ORDERED {
        files.extend(source_files(&format!("{krate}/src"))?);
    }
    Ok(prose::count(&files))
}

/// Reads a crate of the workspace, from the path of its root.
fn load(root: &str) -> Result<Tree, String> {
    Tree::load(Path::new(root), &|path| {
        fs::read_to_string(process::top().join(path)).ok()
    })
}

/// The main files of the examples.
fn examples() -> Result<Vec<String>, String> {
    let files = source_files("examples")?.into_iter().map(|(path, _)| path);
    Ok(files.filter(|path| path.ends_with("/main.rs")).collect())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(process::top().join(path))
        .map_err(|error| format!("cannot read {path}: {error}"))
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
