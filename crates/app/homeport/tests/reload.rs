//! SIGHUP to a process: what may change is taken, what may not is named, and what is wrong changes nothing.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// For a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

struct Role {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Lines that were looked at already.
    seen: usize,
    folder: TempDir,
    ops: SocketAddr,
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Role {
    /// A front-end whose store is not there.
    fn start(text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("role.toml");
        fs::write(&file, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_homeport"))
            .args(["signalling", "--set", "ops.listen=127.0.0.1:0", "--config"])
            .arg(&file)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let ops = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut role = Self { process, log, seen: 0, folder, ops };
        let line = role.wait_for("operations port address=");
        role.ops = line.rsplit('=').next().unwrap().trim().parse().unwrap();
        role.wait_for("signalling front-end");
        role
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("role.toml")
    }

    fn reload(&mut self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.seen = self.log.lock().unwrap().len();
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// The first new line that has it.
    fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.log.lock().unwrap();
            if let Some(line) = log.iter().skip(self.seen).find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(Instant::now() < until, "no {text:?} in {log:#?}");
            drop(log);
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.ops).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
    }

    fn is_good(&self) -> bool {
        self.metric("homeport_config_good") == 1
    }
}

fn configuration(listen: &str, deadline_ms: &str, log: &str) -> String {
    format!(
        "listen = \"{listen}\"\nstores = [\"127.0.0.1:1\"]\ndeadline_ms = {deadline_ms}\n\
         [telemetry]\nlog = \"{log}\"\n"
    )
}

#[test]
fn what_may_change_is_taken_and_the_rest_is_named() {
    let mut role = Role::start(&configuration("127.0.0.1:0", "1000", "info"));
    assert!(role.is_good());

    role.reload(&configuration("127.0.0.1:9", "2000", "info,homeport_runtime=debug"));
    let taken = role.wait_for("the configuration was read again");
    assert!(taken.contains("taken=\"deadline_ms, telemetry.log\""), "{taken}");
    let waiting = role.wait_for("need a restart");
    assert!(waiting.contains(" WARN ") && waiting.contains("keys=\"listen\""), "{waiting}");
    assert!(role.is_good());

    // What waits is told again, what was taken is not.
    role.reload(&configuration("127.0.0.1:9", "2000", "info,homeport_runtime=debug"));
    let taken = role.wait_for("the configuration was read again");
    assert!(taken.contains("nothing of it is taken"), "{taken}");
    role.wait_for("need a restart");
}

#[test]
fn the_log_follows_its_filter() {
    let mut role = Role::start(&configuration("127.0.0.1:0", "1000", "info"));
    role.reload(&configuration("127.0.0.1:0", "1000", "debug"));
    // The store is not there, which libraries tell at debug.
    role.wait_for(" DEBUG ");
    role.reload(&configuration("127.0.0.1:0", "1000", "info"));
    role.wait_for("the configuration was read again");
}

#[test]
fn a_wrong_configuration_changes_nothing_and_is_told() {
    let mut role = Role::start(&configuration("127.0.0.1:0", "1000", "info"));
    let read_at = role.metric("homeport_config_read_timestamp_seconds");
    role.reload(&configuration("127.0.0.1:0", "0", "debug"));
    let line = role.wait_for("the configuration is wrong: nothing of it is taken");
    assert!(line.contains("ERROR") && line.contains("role.toml: `deadline_ms` is 0; "), "{line}");
    assert!(line.contains("expected a whole number, 1 to 60000 milliseconds"), "{line}");
    assert!(!role.is_good());
    assert_eq!(role.metric("homeport_config_read_timestamp_seconds"), read_at);
    fs::remove_file(role.file()).unwrap();
    let pid = role.process.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    role.wait_for("role.toml: cannot be read");

    // Once it is right, so is everything: the filter of the wrong one was never taken.
    role.reload(&configuration("127.0.0.1:0", "1500", "info"));
    let taken = role.wait_for("the configuration was read again");
    assert!(taken.contains("taken=\"deadline_ms\""), "{taken}");
    assert!(role.is_good());
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(role.process.wait().unwrap().success());
}
