//! `homeport preflight` as an operator runs it, on hosts that lack something: network namespaces and
//! processes without some of root's powers.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use homeport_fastpath::{Error as FastError, FastPath, Pins};
use homeport_hostnet::{Namespace, Network, TemporaryNamespace, Tun, privileges, write_sysctl};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_homeport");

/// An edge host: a namespace with a link that is up, and a directory.
struct Host {
    edge: TemporaryNamespace,
    world: TemporaryNamespace,
    directory: tempfile::TempDir,
    is_mounted: bool,
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.is_mounted {
            drop(Command::new("umount").arg(self.bpf()).status());
        }
    }
}

impl Host {
    async fn build() -> Option<Self> {
        if let Err(unprivileged) = privileges() {
            skipped(&unprivileged.to_string());
            return None;
        }
        if let Err(FastError::NotBuilt) = FastPath::load(1) {
            skipped(&FastError::NotBuilt.to_string());
            return None;
        }
        let edge = TemporaryNamespace::create("hppreflight").unwrap();
        let world = TemporaryNamespace::create("hpworld").unwrap();
        let network = Network::open(&edge.namespace()).unwrap();
        network.add_veth("up", "down", &world.namespace()).await.unwrap();
        network.link_up("up").await.unwrap();
        let set = |name, value| write_sysctl(&edge.namespace(), name, value).unwrap();
        set("net.ipv6.conf.all.forwarding", "1");
        set("net.ipv4.ip_forward", "1");
        set("net.ipv4.conf.all.rp_filter", "0");
        set("net.ipv4.conf.default.rp_filter", "0");
        let directory = tempfile::tempdir().unwrap();
        Some(Self { edge, world, directory, is_mounted: false })
    }

    /// Where file systems of type bpf are mounted.
    fn bpf(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    fn pins(&self) -> PathBuf {
        self.bpf().join("instance")
    }

    fn mount(&mut self) {
        fs::create_dir(self.bpf()).unwrap();
        let mount = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(self.bpf()).status();
        assert!(mount.unwrap().success());
        self.is_mounted = true;
    }

    /// Writes a configuration; each part of `changed` stands for another.
    fn config(&self, changed: &[(&str, &str)]) -> PathBuf {
        let mut text = format!(
            "name = \"edge\"\nstores = [\"192.0.2.1:7101\"]\nfront_ends = [\"192.0.2.1:7201\"]\n\
             [tun]\nnetns = \"{}\"\n[xdp]\nmode = \"native\"\ninterfaces = [\"up\"]\n\
             home_addresses_max = 1000\npin_dir = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n",
            self.edge.name(),
            self.pins().display(),
        );
        for (before, after) in changed {
            assert!(text.contains(before), "{before} in {text}");
            text = text.replace(before, after);
        }
        let file = self.directory.path().join("forwarder.toml");
        fs::write(&file, text).unwrap();
        file
    }

    /// The configuration for a process that is within the namespace.
    fn config_inside(&self) -> PathBuf {
        self.config(&[(&format!("netns = \"{}\"\n", self.edge.name()), "")])
    }

    fn interfaces(&self) -> Vec<u8> {
        let list = || Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        self.edge.namespace().run(list).unwrap()
    }
}

fn skipped(why: &str) {
    // Not by the macro: the test harness would keep that to itself.
    drop(writeln!(std::io::stderr(), "\n*** SKIPPED preflight of a forwarder: {why}\n"));
}

/// What the program said about a forwarder.
#[derive(Debug)]
struct Answer {
    code: i32,
    json: Value,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let code = output.status.code().unwrap();
        let json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { code, json }
    }

    fn checks(&self) -> &[Value] {
        self.json["checks"].as_array().unwrap()
    }

    /// Verdict, what was found, and remedy of a check.
    fn check(&self, name: &str) -> (&str, &str, &str) {
        let check = self.checks().iter().find(|it| it["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no {name}: {self:?}"));
        let text = |key: &str| check[key].as_str().unwrap();
        (text("verdict"), text("found"), text("remedy"))
    }

    fn has(&self, name: &str) -> bool {
        self.checks().iter().any(|it| it["name"] == name)
    }

    /// Names of checks with another verdict than `ok`. Whether somebody keeps the clock of this machine
    /// right is not for these tests.
    fn lacks(&self) -> Vec<&str> {
        let checks = self.checks().iter().filter(|it| it["verdict"] != "ok");
        checks.map(|it| it["name"].as_str().unwrap()).filter(|name| *name != "clock").collect()
    }
}

fn preflight(config: &Path, role: &str) -> Answer {
    let mut command = Command::new(PROGRAM);
    command.args(["preflight", "--role", role, "-o", "json", "--config"]).arg(config);
    Answer::of(&command.output().unwrap())
}

/// The same without some of root's powers, inside a namespace.
fn preflight_without(capabilities: &str, config: &Path, inside: &Namespace) -> Answer {
    let run = || {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", capabilities, PROGRAM]);
        command.args(["preflight", "--role", "forwarder", "-o", "json", "--config"]).arg(config);
        command.output().unwrap()
    };
    Answer::of(&inside.run(run).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_host_has_all_and_is_left_as_it_was() {
    let Some(mut host) = Host::build().await else { return };
    let before = host.interfaces();
    let config = host.config(&[]);
    // No file system for pins yet: it could be mounted, and is not.
    let answer = preflight(&config, "forwarder");
    assert_eq!((answer.code, answer.lacks()), (0, vec![]), "{answer:?}");
    assert!(answer.check("xdp.pin_dir").1.contains("can be mounted at"), "{answer:?}");
    assert!(answer.check("xdp.mode").1.contains("native and generic"), "{answer:?}");
    assert!(answer.check("xdp.interfaces: up").1.contains("MTU 1500"), "{answer:?}");
    assert!(!host.bpf().exists());

    host.mount();
    let files = || fs::read_dir(host.bpf()).unwrap().count();
    let before_files = files();
    let answer = preflight(&config, "forwarder");
    assert_eq!((answer.code, answer.lacks()), (0, vec![]), "{answer:?}");
    assert!(answer.check("xdp.pin_dir").1.contains("is of type bpf and writable"), "{answer:?}");
    assert_eq!(files(), before_files);
    assert_eq!(String::from_utf8(host.interfaces()), String::from_utf8(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarder_that_runs_keeps_its_own() {
    let Some(mut host) = Host::build().await else { return };
    host.mount();
    let tun = Tun::open(&host.edge.namespace(), "hp0", 1500).unwrap();
    let mut path = FastPath::load(1000).unwrap();
    let mut pins = Pins::open(&host.pins()).unwrap();
    pins.keep(&path, 1000).unwrap();
    let attach = || pins.attach(&path, "up", homeport_fastpath::Mode::Native);
    host.edge.namespace().run(attach).unwrap().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let names = || {
        let listed = fs::read_dir(host.pins()).unwrap();
        let mut names: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = (host.interfaces(), names());

    let config = host.config(&[("127.0.0.1:0", &taken.1.to_string())]);
    let answer = preflight(&config, "forwarder");
    // What it has is taken, and nothing else is wrong: its program on the interface is expected there.
    assert_eq!((answer.code, answer.lacks()), (3, vec!["ops.listen", "tun.name"]), "{answer:?}");
    assert!(answer.check("tun.name").2.contains("runs already"), "{answer:?}");
    assert_eq!((host.interfaces(), names()), before);
    path.set_settings(homeport_fastpath::Settings::default()).unwrap();
    drop(tun);

    // Without what is kept it is somebody else's.
    let config = host.config(&[("/instance", "/other")]);
    let answer = preflight(&config, "forwarder");
    let (verdict, found, remedy) = answer.check("xdp.interfaces: up");
    assert_eq!((verdict, found), ("fail", "another XDP program is on it"));
    assert!(remedy.contains("xdp off"), "{remedy}");
    pins.remove().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_dir_without_its_file_system_is_told_with_the_remedy() {
    let Some(host) = Host::build().await else { return };
    fs::create_dir(host.bpf()).unwrap();
    fs::write(host.bpf().join("something"), "").unwrap();
    let answer = preflight(&host.config(&[]), "forwarder");
    let (verdict, found, remedy) = answer.check("xdp.pin_dir");
    assert_eq!((answer.code, verdict), (3, "fail"));
    assert!(found.contains("is in no file system of type bpf"), "{found}");
    assert!(remedy.contains("mount -t bpf bpf"), "{remedy}");
    assert_eq!(answer.lacks(), ["xdp.pin_dir"]);
    // In this mode a forwarder goes on without XDP.
    let answer = preflight(&host.config(&[("native", "auto")]), "forwarder");
    assert_eq!((answer.code, answer.check("xdp.pin_dir").0), (0, "warn"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_capability_is_named() {
    let Some(mut host) = Host::build().await else { return };
    host.mount();
    let config = host.config_inside();
    let inside = host.edge.namespace();
    let before = host.interfaces();
    // As a container has it that loads XDP: no namespaces of its own, and all is well.
    let enough = "-all,+net_admin,+bpf,+perfmon,+dac_override";
    let answer = preflight_without(enough, &config, &inside);
    assert_eq!((answer.code, answer.lacks()), (0, vec![]), "{answer:?}");

    let answer = preflight_without("-bpf,-sys_admin", &config, &inside);
    assert_eq!(answer.code, 3, "{answer:?}");
    let (verdict, found, remedy) = answer.check("CAP_BPF");
    assert_eq!(verdict, "fail");
    assert!(found.contains("CAP_BPF is missing"), "{found}");
    assert!(remedy.contains("AmbientCapabilities"), "{remedy}");
    assert_eq!(answer.check("xdp.program").0, "fail");
    assert_eq!(answer.check("CAP_NET_ADMIN").0, "ok");
    assert_eq!(answer.check("tun.device").0, "ok");

    let answer = preflight_without("-all,+dac_override", &config, &inside);
    assert_eq!((answer.code, answer.check("CAP_NET_ADMIN").0), (3, "fail"), "{answer:?}");
    let (verdict, found, remedy) = answer.check("tun.device");
    assert_eq!(verdict, "fail", "{found}");
    assert!(remedy.contains("CAP_NET_ADMIN"), "{remedy}");
    assert_eq!(String::from_utf8(host.interfaces()), String::from_utf8(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_link_is_opened() {
    let Some(host) = Host::build().await else { return };
    let inside = host.edge.namespace();
    Network::open(&host.world.namespace()).unwrap().link_up("down").await.unwrap();
    let addresses = || {
        let list = Command::new("ip").args(["-6", "-o", "address", "show", "up"]).output();
        String::from_utf8(list.unwrap().stdout).unwrap()
    };
    while !inside.run(addresses).unwrap().contains("fe80::") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let config = host.config_inside();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[tun]", "[tun]\nhome_link = \"up\"")).unwrap();
    let answer = preflight_without("-sys_boot", &config, &inside);
    assert_eq!((answer.code, answer.check("tun.home_link").0), (0, "ok"), "{answer:?}");
    let answer = preflight_without("-net_raw", &config, &inside);
    assert_eq!(answer.code, 3);
    assert_eq!(answer.lacks(), ["CAP_NET_RAW", "tun.home_link"], "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_is_not_told_is_found_where_the_tun_is() {
    let Some(host) = Host::build().await else { return };
    let inside = host.edge.namespace();
    let set = |name, value| write_sysctl(&inside, name, value).unwrap();
    set("net.ipv6.conf.all.forwarding", "0");
    set("net.ipv4.ip_forward", "0");
    set("net.ipv4.conf.all.rp_filter", "1");
    let network = Network::open(&inside).unwrap();
    network.set_mtu("up", 1400).await.unwrap();
    let answer = preflight(&host.config(&[]), "forwarder");
    assert_eq!(answer.code, 3);
    let (verdict, _, remedy) = answer.check("net.ipv6.conf.all.forwarding");
    assert_eq!(verdict, "fail");
    assert!(remedy.contains("sysctl -w net.ipv6.conf.all.forwarding=1"), "{remedy}");
    assert_eq!(answer.check("net.ipv4.ip_forward").0, "warn");
    assert_eq!(answer.check("net.ipv4.conf.all.rp_filter").0, "warn");
    let (verdict, _, remedy) = answer.check("xdp.interfaces: up");
    assert_eq!(verdict, "warn");
    assert!(remedy.contains("tun.path_mtu = 1400"), "{remedy}");

    let absent = [("interfaces = [\"up\"]", "interfaces = [\"gone\"]")];
    let answer = preflight(&host.config(&absent), "forwarder");
    assert!(answer.check("xdp.interfaces: gone").1.contains("no interface gone"), "{answer:?}");
    let name = host.edge.name().to_owned();
    let answer = preflight(&host.config(&[(&name, "hp-no-such-namespace")]), "forwarder");
    assert_eq!(answer.check("tun.netns").0, "fail");
    assert!(!answer.has("xdp.program"));
}

#[test]
fn a_store_hears_of_its_disk() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let file = directory.path().join("store.toml");
    let write = |peer: &str| {
        let text = format!(
            "node_id = 1\ncluster_name = \"c\"\ndata_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n\
             [peers]\n1 = \"{peer}\"\n",
            data_dir.display()
        );
        fs::write(&file, text).unwrap();
    };
    write("127.0.0.1:7101");
    let answer = preflight(&file, "store");
    assert_eq!(answer.code, 0, "{answer:?}");
    let (_, found, _) = answer.check("data_dir.sync");
    assert!(found.contains("ms (median)"), "{found}");
    assert!(!data_dir.exists());

    write("nowhere");
    let answer = preflight(&file, "store");
    let (verdict, found, _) = answer.check("configuration");
    assert_eq!((answer.code, verdict), (3, "fail"));
    assert!(found.contains("`peers.1` is \"nowhere\"; expected a host and port"), "{found}");

    write("127.0.0.1:7101\"\n[admin]\ntokens_file = \"/nonexistent/tokens.toml");
    let answer = preflight(&file, "store");
    let (verdict, found, _) = answer.check("admin.tokens_file");
    assert_eq!((answer.code, verdict), (3, "fail"));
    assert!(found.contains("/nonexistent/tokens.toml: cannot be read"), "{found}");
}

#[test]
fn exit_codes_and_forms_do_not_change() {
    let run = |arguments: &[&str]| {
        Command::new(PROGRAM).arg("preflight").args(arguments).output().unwrap()
    };
    assert_eq!(run(&["--config", "x.toml"]).status.code(), Some(2), "--config needs --role");
    assert_eq!(run(&["--role", "noc"]).status.code(), Some(2));
    let output = run(&["--role", "signalling", "--config", "/nonexistent/x.toml"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    let [clock, configuration] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(clock.contains("  host       clock  "), "{clock}");
    let fields: Vec<&str> = configuration.split_whitespace().take(4).collect();
    assert_eq!(fields, ["fail", "front-end", "configuration", "/nonexistent/x.toml:"]);
    assert!(configuration.contains("; remedy: "), "{configuration}");

    // All roles, without configuration: what fails depends on the machine, and the code says it.
    let output = run(&["-o", "json"]);
    let answer = Answer::of(&output);
    let fails = answer.json["verdict"] == "fail";
    assert_eq!(answer.code, if fails { 3 } else { 0 });
    for role in ["host", "forwarder", "front-end", "store"] {
        assert!(answer.checks().iter().any(|it| it["role"] == role), "{answer:?}");
    }
}
