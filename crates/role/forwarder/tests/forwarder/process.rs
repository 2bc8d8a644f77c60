//! A forwarder as a process of its own, which can be killed: this test program, told to be one.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use homeport_forwarder::Config;
use homeport_hostnet::privileges;
use homeport_runtime::{Shutdown, config, telemetry};

use crate::fakes::{free_port, in_time, page, sample};

/// Names the configuration to whoever is to be a forwarder.
const CONFIG: &str = "FORWARDER_OF_A_TEST";

/// Becomes a forwarder where that is asked for; true when it was one. Every test that starts processes
/// begins with this.
pub(crate) async fn was_a_forwarder() -> bool {
    let Some(path) = std::env::var_os(CONFIG) else { return false };
    let config: Config = config::load(Path::new(&path)).unwrap();
    let _telemetry = telemetry::init(&config.telemetry, "forwarder").unwrap();
    homeport_forwarder::run(config, Shutdown::on_signals().unwrap()).await.unwrap();
    true
}

/// A directory of a test, with a file system for pins that goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("homeport-forwarder-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.0.join("bpf/instance")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if privileges().is_ok() {
            drop(Command::new("umount").arg(self.0.join("bpf")).stderr(Stdio::null()).status());
        }
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A running process; killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    ops: SocketAddr,
}

impl Process {
    /// Starts one for a test, by its whole name; `rest` are lines of its configuration.
    pub(crate) fn start(scratch: &Scratch, test: &str, store: u16, rest: &str) -> Self {
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!(
            "name = \"restarted\"\nstores = [\"127.0.0.1:{store}\"]\n\
             front_ends = [\"127.0.0.1:9\"]\n{rest}\n[ops]\nlisten = \"{ops}\"\n"
        );
        let file = scratch.0.join("forwarder.toml");
        fs::write(&file, text).unwrap();
        let log = fs::File::options().create(true).append(true).open(scratch.0.join("log"));
        let log = log.unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CONFIG, file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self { child: child.unwrap(), ops }
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let ops = self.ops;
        sample(&tokio::task::spawn_blocking(move || page(ops, "/metrics")).await.unwrap(), name)
    }

    pub(crate) async fn until(&self, name: &str, is: impl Fn(f64) -> bool) {
        in_time(name, async {
            while !is(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        in_time("the end of a forwarder", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return assert!(status.success(), "{status}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
