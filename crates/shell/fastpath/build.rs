//! Compiles the XDP program where clang is there. Without it the crate builds all the same, and says
//! at run time that it has no program.

use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=bpf/fastpath.c");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    let object = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("fastpath.o");
    let wanted = env::var_os("CARGO_FEATURE_XDP").is_some();
    // Readers order their loads by x86's rules; other machines would need barriers in the program.
    let readers_ordered = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if !(wanted && readers_ordered && compile(&object)) {
        fs::write(&object, []).unwrap_or_else(|error| panic!("{}: {error}", object.display()));
    }
}

fn compile(object: &PathBuf) -> bool {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"]);
    match command.args(["-c", "bpf/fastpath.c", "-o"]).arg(object).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).replace('\n', " | ");
            println!("cargo::warning=built without the XDP program: {said}");
            false
        }
        Err(_not_there) => false,
    }
}
