//! The dashboard in a browser: every page, dark and light, with pictures.

use std::{fs, path::Path};

use anyhow::Context as _;
use homeport_tests::browser::{self, Options};

use crate::report::Report;

/// Looks at every page; pictures go to `target/screenshots`, and with `write` to `docs/noc` too.
pub(crate) fn run(root: &Path, write: bool) -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Some(missing) = browser::missing() {
        eprintln!("\n*** SKIPPED, all pages: {missing}\n");
        report.skipped = 1;
        return Ok(report);
    }
    let folder = root.join("target/screenshots");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let options = Options { screenshots: Some(folder.clone()), themes: &["dark", "light"] };
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(browser::run(&options))?;
    report.passed = outcome.passed;
    report.failed = u64::try_from(outcome.failed.len())?;
    let mut delays = outcome.delays_ms;
    delays.sort_by(f64::total_cmp);
    let middle = delays.get(delays.len() / 2).copied().context("no delay was measured")?;
    let most = delays.last().copied().context("no delay was measured")?;
    let figures = [
        ("delay_ms", middle, "ms"),
        ("delay_ms_max", most, "ms"),
        ("pages", figure(outcome.pages)?, "1"),
        ("requests", figure(outcome.requests)?, "1"),
    ];
    for (name, value, unit) in figures {
        println!("{name:20} {value:8.0} {unit}");
        report.figure(name, value, unit);
    }
    if write {
        copy(&folder, &root.join("docs/noc"))?;
    }
    Ok(report)
}

fn figure(count: u64) -> anyhow::Result<f64> {
    Ok(u32::try_from(count)?.into())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from)? {
        let file = entry?.path();
        if let Some(name) = file.file_name() {
            fs::copy(&file, to.join(name)).with_context(|| file.display().to_string())?;
        }
    }
    println!("pictures copied to {}; pngquant makes them small", to.display());
    Ok(())
}
