//! A trace of a real forwarder, and its file read by another program.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use homeport_forwarder::{Config, InspectionConfig, UdpConfig};
use homeport_runtime::{Shutdown, Task, config::OpsConfig};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::UdpSocket,
    process::Command,
};

use crate::{
    assert_exit, dead,
    fake::{Fake, Script},
    run, text,
};

const HOME: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0];
const CORRESPONDENT: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99];
/// How many packets the forwarder is sent; each is seen as it comes and as it is dropped.
const SENT: usize = 5;
const TRIES: u32 = 5;

struct Forwarder {
    udp: SocketAddr,
    inspection: String,
    task: Task<Result<(), homeport_forwarder::Error>>,
}

impl Forwarder {
    /// One that serves. Its ports are free when they are chosen, and somebody else's now and then when they
    /// are taken: others are tried then.
    async fn start() -> Self {
        for _ in 0..TRIES {
            let forwarder = Self::try_start();
            while !forwarder.task.is_finished() {
                if tokio::net::TcpStream::connect(&forwarder.inspection).await.is_ok() {
                    return forwarder;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            eprintln!("a forwarder ended: {:?}", forwarder.task.await);
        }
        panic!("no forwarder in {TRIES} tries");
    }

    /// It knows no binding: no store is there.
    fn try_start() -> Self {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let udp = udp.local_addr().expect("has an address");
        let inspection = dead();
        let config = Config {
            name: "forwarder-1".to_owned(),
            stores: vec![dead()],
            front_ends: vec![dead()],
            udp: Some(UdpConfig { listen: udp.to_string().parse().expect("is IPv4") }),
            tun: None,
            xdp: None,
            tunnels: Default::default(),
            signalling: Default::default(),
            headless_secs: 3600,
            inspection: Some(InspectionConfig {
                listen: inspection.parse().expect("is an address"),
                traces_max: 1.into(),
                home_addresses_counted_max: 10,
            }),
            tls: None,
            telemetry: Default::default(),
            ops: OpsConfig { listen: dead().parse().expect("is an address") },
        };
        let run = homeport_forwarder::run(config, Shutdown::manual());
        Self { udp, inspection, task: Task::spawn("forwarder", run) }
    }
}

fn packet() -> Vec<u8> {
    let header = [0x60, 0, 0, 0, 0, 8, 17, 64];
    let udp = [0x14, 0xe9, 0, 53, 0, 8, 0, 0];
    [&header[..], &HOME, &CORRESPONDENT, &udp].concat()
}

async fn tshark(file: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("tshark").arg("-r").arg(file).args(arguments).output().await;
    let Ok(output) = output else {
        eprintln!("*** SKIPPED reading the file by tshark, which is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_printed_and_its_file_is_whole() {
    let store = Fake::start(Script::leader()).await;
    let create = ["subscribers", "create", "2001:db8:0:1::100", "--nai", "node-7@example.net"];
    assert_exit(&run(&[&store.endpoint], &create).await, 0);
    let forwarder = Forwarder::start().await;
    let directory = tempfile::tempdir().expect("is made");
    let file = directory.path().join("trace.pcapng");
    let packets = (SENT * 2).to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_homeportctl"))
        .args(["--endpoint", &store.endpoint, "trace", "node-7@example.net"])
        .args(["--forwarder", &forwarder.inspection, "--packets", &packets, "--write"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let mut said = BufReader::new(child.stderr.take().expect("is piped")).lines();
    let begun = said.next_line().await.expect("reads").expect("says so");
    assert_eq!(begun, format!("{}: watching 2001:db8:0:1::100", forwarder.inspection));

    let node = UdpSocket::bind("127.0.0.2:0").await.expect("binds");
    for _ in 0..SENT {
        node.send_to(&packet(), forwarder.udp).await.expect("sends");
    }
    let ended = said.next_line().await.expect("reads").expect("says so");
    assert!(ended.ends_with(": 10 packets, 0 missed, ended by packets"), "{ended}");
    let output = child.wait_with_output().await.expect("ends");
    assert_exit(&output, 0);
    let printed = text(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), SENT * 2, "{printed}");
    assert!(lines[0].contains(" from-mn arrived: 127.0.0.2 > 127.0.0.1 UDP "), "{printed}");
    let drops = lines.iter().filter(|line| line.contains(" dropped (")).count();
    assert_eq!(drops, SENT, "{printed}");

    let fields = ["-T", "fields", "-e", "ipv6.src", "-e", "frame.comment", "-d"];
    let decode = format!("udp.port=={},ipv6", forwarder.udp.port());
    if let Some(read) = tshark(&file, &[&fields[..], &[&decode]].concat()).await {
        assert_eq!(read.lines().count(), SENT * 2, "{read}");
        assert!(read.lines().all(|line| line.starts_with("2001:db8:0:1::100\t")), "{read}");
        assert_eq!(read.matches("dropped (").count(), SENT, "{read}");
        let wrong = tshark(&file, &["-Y", "_ws.malformed || ip.checksum.status == 0"]).await;
        assert_eq!(wrong.as_deref(), Some(""));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_trace_is_said() {
    let store = Fake::start(Script::leader()).await;
    let gone = dead();
    let nobody = ["trace", "nobody@example.net", "--forwarder", &gone];
    let output = run(&[&store.endpoint], &nobody).await;
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("is neither an address nor the NAI"));
    let unreached = ["trace", "2001:db8:0:1::100", "--forwarder", &gone];
    assert_exit(&run(&[&store.endpoint], &unreached).await, 3);
    assert_exit(&run(&[&store.endpoint], &["trace", "2001:db8:0:1::100"]).await, 2);
    let forwarder = Forwarder::start().await;
    let short = ["trace", "::1", "--seconds", "0", "--forwarder", &forwarder.inspection];
    let output = run(&[&store.endpoint], &short).await;
    assert_exit(&output, 1);
    assert!(text(&output.stderr).contains("duration_secs: 0; expected 1 to 3600"));
    let top = run(&[&store.endpoint], &["top", "--forwarder", &forwarder.inspection]).await;
    assert_exit(&top, 0);
    assert_eq!(text(&top.stdout), "none\n");
}
