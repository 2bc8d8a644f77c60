//! Compiles the replicas' own protocol in pure Rust, so that `cargo build` needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../../proto";
    println!("cargo:rerun-if-changed={root}/homeport/raft");
    let descriptors = protox::compile(["homeport/raft/v1/raft.proto"], [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
