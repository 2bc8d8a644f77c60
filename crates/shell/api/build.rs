//! Compiles the protos in pure Rust, so that `cargo build` needs no protoc.

use prost::Message as _;
use std::path::PathBuf;

const PARTS: [&str; 10] = [
    "binding",
    "store",
    "feed",
    "signalling",
    "admin",
    "backup",
    "forwarder",
    "ike",
    "node",
    "replica",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = PARTS.map(|part| {
        let file = if part == "forwarder" { "inspection" } else { part };
        format!("homeport/{part}/v1/{file}.proto")
    });
    let descriptors = protox::compile(files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut paths = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            let calls = service.method.iter();
            paths.extend(
                calls.map(|it| format!("/{}.{}/{}", file.package(), service.name(), it.name())),
            );
        }
    }
    std::fs::write(out.join("paths.rs"), format!("&{paths:?}"))?;
    tonic_prost_build::configure().bytes(".").include_file("mod.rs").compile_fds(descriptors)?;
    Ok(())
}
