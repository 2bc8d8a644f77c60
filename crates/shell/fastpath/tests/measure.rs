//! With privileges: what is measured is what it says it is. How long it takes is no test's business.

use std::{io::Write as _, time::Duration};

use homeport_fastpath::{Error, FastPath, measure};

#[test]
fn a_line_that_is_written_all_the_time_is_never_read_half() {
    if let Err(error) = FastPath::load(16) {
        let is_root = rustix::process::geteuid().is_root();
        assert!(matches!(error, Error::NotBuilt) || !is_root, "{error}");
        let mut stderr = std::io::stderr();
        let said = format!("\n*** SKIPPED reading lines while they are written: {error}\n");
        stderr.write_all(said.as_bytes()).expect("standard error takes a line");
        return;
    }
    let seen = measure::contend(Duration::from_secs(1)).expect("root may run programs");
    assert!(seen.updates > 0 && seen.reads > 0, "{seen:?}");
    assert_eq!(seen.torn, 0, "{seen:?}");
    let cost = measure::cost(100).expect("root may run programs");
    assert!(cost.encapsulation_ns > 0, "{cost:?}");
}
