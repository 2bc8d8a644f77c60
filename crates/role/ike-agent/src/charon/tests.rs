//! Against a daemon that says what charon 5.9.8 has said, octet by octet as strongSwan's README of vici has it.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

use super::*;

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const CONFIRM: u8 = 5;
const EVENT: u8 = 7;

fn named(kind: u8, name: &str) -> Vec<u8> {
    let len = u8::try_from(name.len()).expect("short");
    [&[kind, len], name.as_bytes()].concat()
}

fn long(value: &str) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("short");
    [&len.to_be_bytes(), value.as_bytes()].concat()
}

fn pairs(text: &str) -> Vec<u8> {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').expect("a pair"));
    pairs.flat_map(|(key, value)| [named(3, key), long(value)].concat()).collect()
}

fn list(name: &str, item: &str) -> Vec<u8> {
    [named(4, name), vec![5], long(item), vec![6]].concat()
}

/// As `swanctl --list-sas --raw` has shown it.
fn association() -> Vec<u8> {
    let ike = "uniqueid=4 version=2 state=ESTABLISHED local-host=2001:db8:a::1 local-port=500 \
               local-id=2001:db8:a::1 remote-host=2001:db8:f1::2 remote-port=500 established=3";
    let child = "name=bu uniqueid=9 reqid=101 state=INSTALLED mode=TRANSPORT_PROXY protocol=ESP \
                 spi-in=c86370e0 spi-out=c62edef1 encr-alg=AES_GCM_16 encr-keysize=128 bytes-in=0";
    [
        named(1, "mn"),
        pairs(ike),
        named(1, "child-sas"),
        named(1, "bu-9"),
        pairs(child),
        list("local-ts", "2001:db8:a::1/128[mobility-header]"),
        list("remote-ts", "2001:db8:a::100/128[mobility-header]"),
        vec![2, 2, 2],
    ]
    .concat()
}

/// One that is just being made: nothing is known of the peer, and nothing under it.
fn beginning() -> Vec<u8> {
    let ike = "uniqueid=5 version=2 state=CREATED local-host=%any remote-host=%any";
    [named(1, "mn"), pairs(ike), vec![2]].concat()
}

async fn send(stream: &mut UnixStream, packet: Vec<u8>) {
    let len = u32::try_from(packet.len()).expect("short");
    stream.write_all(&[&len.to_be_bytes(), packet.as_slice()].concat()).await.expect("written");
}

/// Answers until the other side has gone.
async fn serve(mut stream: UnixStream, is_gone: bool) {
    while let Ok(len) = stream.read_u32().await {
        let mut packet = vec![0; usize::try_from(len).expect("short")];
        stream.read_exact(&mut packet).await.expect("a packet");
        if packet[0] != REQUEST {
            send(&mut stream, vec![CONFIRM]).await;
            continue;
        }
        if packet.starts_with(&named(REQUEST, "list-sas")) {
            for event in [association(), beginning()] {
                send(&mut stream, [named(EVENT, "list-sa"), event].concat()).await;
            }
            send(&mut stream, vec![RESPONSE]).await;
        } else {
            assert!(packet.starts_with(&named(REQUEST, "terminate")), "{packet:?}");
            let asked = String::from_utf8_lossy(&packet).into_owned();
            assert!(asked.contains("ike-id") && asked.contains("force"), "{asked}");
            let answer = if is_gone { "success=no errmsg=none" } else { "success=yes" };
            send(&mut stream, [vec![RESPONSE], pairs(answer)].concat()).await;
        }
    }
}

fn daemon(is_gone: bool) -> (tempfile::TempDir, Charon) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("vici");
    let listener = UnixListener::bind(&socket).expect("listens");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, is_gone));
        }
    });
    (folder, Charon::new(socket))
}

#[tokio::test]
async fn what_the_daemon_says_is_read() {
    let (_folder, charon) = daemon(false);
    let mut listed = charon.list().await.expect("a list");
    listed.sort_by_key(|it| it.id);
    let [ike, beginning] = listed.try_into().expect("two");
    assert!(ike.is_at("2001:db8:f1::2".parse().expect("an address")));
    assert!(ike.has(101) && !ike.has(102));
    let child = ike.child_sas.get("bu-9").expect("a child");
    assert_eq!((child.id, child.spi_in.as_deref()), (9, Some("c86370e0")));
    assert_eq!(child.remote_ts, ["2001:db8:a::100/128[mobility-header]"]);
    assert_eq!((beginning.remote_host, beginning.child_sas.len()), (None, 0));

    assert_eq!(charon.find(4).await.expect("an answer"), Some(ike));
    assert_eq!(charon.find(6).await.expect("an answer"), None);
}

#[tokio::test]
async fn what_is_gone_cannot_be_closed() {
    let (_folder, charon) = daemon(false);
    assert!(charon.close(4).await.expect("an answer"));
    let (_folder, charon) = daemon(true);
    assert!(!charon.close(4).await.expect("an answer"));
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_told_with_its_socket() {
    let error =
        Charon::new(PathBuf::from("/nonexistent/vici")).list().await.expect_err("no daemon");
    assert_eq!(error.reason(), "daemon_unreachable");
    assert!(error.to_string().starts_with("/nonexistent/vici cannot be used: "), "{error}");
}
