//! The image: from scratch, one static program and its bill of materials. It is built twice with one digest, and run as the
//! chart runs it: no capability, no user's name, nothing that can be written.

mod materials;
mod smoke;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::{packages, report::Report};

/// Without a library of the host: names are looked up by the program itself.
const TARGET: &str = "x86_64-unknown-linux-musl";
/// Another directory than everything else, for its flags are others.
const FOLDER: &str = "target-image";
const NAME: &str = "localhost/homeport";
/// More than this no platform team accepts.
const OCTETS_MAX: u64 = 40_000_000;
/// Neither root nor anybody of the host.
const USER: &str = "65532:65532";

/// How it is built.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A static program that is there already, instead of building one.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Compile the program twice too, in another directory, and compare; that takes twice as long.
    #[arg(long, conflicts_with = "program")]
    compile_twice: bool,
}

/// Builds it, looks at it, and runs it.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    if let Some(tool) = ["buildah", "musl-gcc"].into_iter().find(|tool| !packages::is_found(tool)) {
        eprintln!(
            "\n*** SKIPPED image: {tool} is not installed (apt-get install buildah musl-tools): NOT BUILT\n"
        );
        report.skipped = 1;
        return Ok(report);
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => compile(root, FOLDER)?,
    };
    if options.compile_twice {
        let again = compile(root, "target-image-again")?;
        let same = fs::read(&program)? == fs::read(&again)?;
        report.count(same);
        println!("image: compiled twice: {}", if same { "the same" } else { "NOT the same" });
    }
    let is_static = is_static(&program)?;
    report.count(is_static);
    ensure!(is_static, "{} is not static", program.display());

    let out = root.join(FOLDER).join("out");
    fs::create_dir_all(&out)?;
    let materials = materials::of(root, TARGET)?;
    fs::write(out.join("homeport.cdx.json"), &materials)?;
    let version = env!("CARGO_PKG_VERSION");
    let first = build(&program, &materials, &out.join(format!("homeport-{version}.tar")), version)?;
    let second = build(&program, &materials, &out.join("again.tar"), version)?;
    fs::remove_file(out.join("again.tar"))?;
    let reproducible = first == second;
    report.count(reproducible);
    if !reproducible {
        eprintln!("image: two builds have the digests {first} and {second}");
    }
    let octets = fs::metadata(&program)?.len() + u64::try_from(materials.len())?;
    report.count(octets < OCTETS_MAX);
    let archive = fs::metadata(out.join(format!("homeport-{version}.tar")))?.len();
    report.figure("image_mb", megabytes(octets), "MB");
    report.figure("image_archive_mb", megabytes(archive), "MB");
    report.detail.insert("image_mb".to_owned(), megabytes(octets).into());
    report.detail.insert("reproducible".to_owned(), reproducible.into());
    report.detail.insert("digest".to_owned(), first.clone().into());
    println!(
        "image: {first}, {:.1} MB, {:.1} MB as {}",
        megabytes(octets),
        megabytes(archive),
        out.join(format!("homeport-{version}.tar")).display()
    );
    smoke::run(&mut report, &format!("{NAME}:{version}"))?;
    Ok(report)
}

fn megabytes(octets: u64) -> f64 {
    let tenths = u32::try_from(octets / 100_000).unwrap_or(u32::MAX);
    f64::from(tenths) / 10.0
}

/// With paths that do not tell where it was built.
fn compile(root: &Path, folder: &str) -> anyhow::Result<PathBuf> {
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| home + "/.cargo"))?;
    let flags = format!(
        "--remap-path-prefix={}=/homeport --remap-path-prefix={home}=/cargo",
        root.display()
    );
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["build", "--release", "--locked", "--target", TARGET]);
    command.args(["--target-dir", folder, "-p", "homeport", "--bin", "homeport"]);
    command.env("RUSTFLAGS", flags).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    command.env(format!("CC_{}", TARGET.replace('-', "_")), "musl-gcc");
    ensure!(command.status()?.success(), "cargo has not built it (rustup target add {TARGET}?)");
    Ok(root.join(folder).join(TARGET).join("release/homeport"))
}

/// No interpreter is asked for: in an image from scratch there is none.
fn is_static(program: &Path) -> anyhow::Result<bool> {
    let output = Command::new("readelf").args(["-lW"]).arg(program).output();
    let output = output.context("cannot start readelf")?;
    ensure!(output.status.success(), "{} is no program", program.display());
    Ok(!String::from_utf8_lossy(&output.stdout).contains("INTERP"))
}

/// Makes the image; gives its digest.
fn build(program: &Path, materials: &str, archive: &Path, version: &str) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let bin = folder.path().join("usr/bin");
    let share = folder.path().join("usr/share/homeport");
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&share)?;
    fs::copy(program, bin.join("homeport"))?;
    for name in ["homeportctl", "mobile-node"] {
        std::os::unix::fs::symlink("homeport", bin.join(name))?;
    }
    fs::write(share.join("homeport.cdx.json"), materials)?;
    let container = buildah(&["from", "scratch"])?;
    let made = (|| {
        buildah(&["copy", "--quiet", &container, &folder.path().display().to_string(), "/"])?;
        let label = |key: &str, value: &str| format!("org.opencontainers.image.{key}={value}");
        let labels = [
            label("title", "homeport"),
            label("version", version),
            label("licenses", "Apache-2.0"),
            label("description", "A Mobile IPv6 home agent that runs as a cluster"),
        ];
        let mut config = vec!["config", "--entrypoint", r#"["/usr/bin/homeport"]"#, "--user", USER];
        config.extend(["--env", "PATH=/usr/bin", "--stop-signal", "SIGTERM"]);
        config.extend(labels.iter().flat_map(|it| ["--label", it]));
        config.push(&container);
        buildah(&config)?;
        let image = format!("{NAME}:{version}");
        // No time of today is in it.
        buildah(&["commit", "--quiet", "--timestamp", "0", "--format", "oci", &container, &image])?;
        let digest = folder.path().join("digest");
        let digest_file = digest.display().to_string();
        if archive.exists() {
            fs::remove_file(archive)?;
        }
        let to = format!("oci-archive:{}:homeport:{version}", archive.display());
        buildah(&["push", "--quiet", "--digestfile", &digest_file, &image, &to])?;
        Ok(fs::read_to_string(digest)?.trim().to_owned())
    })();
    buildah(&["rm", &container])?;
    made
}

fn buildah(arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new("buildah").args(arguments).output().context("cannot start buildah")?;
    if !output.status.success() {
        bail!("buildah {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
