//! Runs one target of `tests/src/fuzz` under libFuzzer; `HOMEPORT_FUZZ_TARGET` names it. The program's
//! arguments are those of libFuzzer.
#![no_main]

#[expect(dead_code, reason = "what only the task and the replay of the corpora read")]
#[path = "../../src/fuzz/mod.rs"]
mod fuzz;

use std::sync::OnceLock;

static TARGET: OnceLock<fuzz::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("HOMEPORT_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = fuzz::by_name(&name) else {
            let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            eprintln!("HOMEPORT_FUZZ_TARGET is '{name}'; it must be one of {}", names.join(", "));
            std::process::exit(2);
        };
        TARGET.get_or_init(|| target);
    },
    |octets: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(octets);
        }
    }
);
