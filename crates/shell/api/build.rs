//! Compiles the protos in pure Rust, so that `cargo build` needs no protoc.

use prost::Message as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = ["binding", "store", "feed", "signalling", "admin", "backup", "forwarder", "node"]
        .map(|part| {
            let file = if part == "forwarder" { "inspection" } else { part };
            format!("homeport/{part}/v1/{file}.proto")
        });
    let descriptors = protox::compile(files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").include_file("mod.rs").compile_fds(descriptors)?;
    Ok(())
}
