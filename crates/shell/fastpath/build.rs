//! Compiles the XDP programs where clang is there. Without it the crate builds all the same, and says
//! at run time that it has no program.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    let directory = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let wanted = env::var_os("CARGO_FEATURE_XDP").is_some();
    // Readers order their loads by x86's rules; other machines would need barriers in the program.
    let readers_ordered = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    for name in ["fastpath", "testbed"] {
        let source = format!("bpf/{name}.c");
        println!("cargo::rerun-if-changed={source}");
        let object = directory.join(name).with_extension("o");
        if !(wanted && readers_ordered && compile(&source, &object)) {
            fs::write(&object, []).unwrap_or_else(|error| panic!("{}: {error}", object.display()));
        }
    }
}

fn compile(source: &str, object: &Path) -> bool {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-c", source]);
    match command.arg("-o").arg(object).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).replace('\n', " | ");
            println!("cargo::warning=built without the XDP program: {said}");
            false
        }
        Err(_not_there) => false,
    }
}
