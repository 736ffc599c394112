//! The examples with a page in a real browser.

use std::path::Path;

use crate::{Outcome, process};

pub(crate) fn run() -> Outcome {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        return Err(format!(
            "no browser at {chromium}: `apt-get install chromium`, or set CHROMIUM to one"
        ));
    }
    let packages = process::npm(&["playwright-core"])?;
    let chat = process::example("chat")?;
    let shots = process::target().join("shots");
    process::run(
        "node",
        [
            Path::new("xtask/browser/chat.mjs"),
            &chat,
            Path::new("--playwright"),
            &packages,
            Path::new("--shots"),
            &shots,
        ],
    )?;
    let compression = process::example("compression")?;
    process::run(
        "node",
        [
            Path::new("xtask/browser/compression.mjs"),
            &compression,
            &packages,
        ],
    )?;
    let sites = process::example("cross_site")?;
    process::run(
        "node",
        [Path::new("xtask/browser/sites.mjs"), &sites, &packages],
    )?;
    for name in ["channels", "llm_stream", "notifications"] {
        process::example(name)?;
    }
    let examples = process::target().join("debug").join("examples");
    process::run(
        "node",
        [
            Path::new("xtask/browser/channels.mjs"),
            &examples,
            &packages,
        ],
    )
}
