//! With privileges: what outlives the process that made it, and what does not.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::Ipv6Addr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use homeport_fastpath::{
    Error, FastPath, Kept, Mode, NextHop, Pins, Place, Repaired, Settings, monotonic_ms,
};
use homeport_forwarding::{Fast, FastDown, Millis};
use homeport_wire::{PacketBuilder, protocol};
use rustix::mount::{UnmountFlags, unmount};

const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const CARE_OF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
const ROUTER: (u32, Ipv6Addr) = (1, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const ROOM: u32 = 1000;
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// A directory for a file system that is unmounted at the end.
struct Directory(PathBuf);

impl Directory {
    /// `None` where nothing can be tested, which is said loudly.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if let Err(error) = FastPath::load(16) {
            let is_root = rustix::process::geteuid().is_root();
            assert!(matches!(error, Error::NotBuilt) || !is_root, "{error}");
            let said = format!("\n*** SKIPPED what outlives the process: {error}\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("homeport-pins-{}-{count}", std::process::id());
        Some(Self(std::env::temp_dir().join(name)))
    }

    fn pins(&self) -> PathBuf {
        self.0.join("instance")
    }

    fn open(&self) -> Pins {
        Pins::open(&self.pins()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap_or_default();
        drop(fs::remove_dir(&self.0));
    }
}

fn home(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 1, host)
}

fn fast() -> Fast {
    Fast {
        until: Millis(1_000_000_000),
        down: Some(FastDown { agent: AGENT, care_of: CARE_OF, room: 1460 }),
        up: vec![(CARE_OF, true)],
        up_is_all: true,
    }
}

fn settings() -> Settings {
    Settings { on: true, agents: vec![AGENT], hop_limit: 64, look_at_care_of: false }
}

/// A program with a table.
fn taught() -> FastPath {
    let mut path = FastPath::load(ROOM).unwrap();
    let hop = path.place_of(ROUTER).unwrap().unwrap();
    path.set_places(BTreeMap::from([
        ((64, Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0)), Place::Served),
        ((0, Ipv6Addr::UNSPECIFIED), Place::Beyond(hop)),
    ]))
    .unwrap();
    let mac = [2, 0, 0, 0, 0, 1];
    let next = NextHop { interface: ROUTER.0, mtu: 1500, destination: mac, source: mac };
    path.set_next_hop(hop, next).unwrap();
    path.set_settings(settings()).unwrap();
    for host in 1..=300 {
        path.set_home(home(host), Some(&fast()), 0).unwrap();
    }
    path
}

fn verdict(path: &FastPath, host: u16) -> u32 {
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
    let packet = PacketBuilder::new(source, home(host)).build(protocol::UDP, &[1; 32]);
    let frame = [&[2; 12][..], &[0x86, 0xdd], &packet].concat();
    path.test_run(&frame, &mut [0; 256], 1).unwrap().verdict
}

fn adopted(pins: &Pins) -> (FastPath, Repaired) {
    match pins.adopt(ROOM).unwrap() {
        Kept::Table(path, repaired) => (*path, repaired),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_outlives_its_process_and_says_all_that_it_said() {
    let Some(directory) = Directory::new() else { return };
    let pins = directory.open();
    assert!(matches!(pins.adopt(ROOM), Ok(Kept::Nothing)));
    let path = taught();
    pins.keep(&path, ROOM).unwrap();
    let settings = path.settings().clone();
    drop((path, pins));

    let pins = directory.open();
    assert!(matches!(Pins::open(&directory.pins()), Err(Error::Taken { .. })));
    let (mut path, repaired) = adopted(&pins);
    assert_eq!(repaired, Repaired::default());
    assert_eq!(path.settings(), &settings);
    assert_eq!(path.slots().len(), 300);
    assert_eq!(path.routers(), [(ROUTER, 0)]);
    assert_eq!(path.hop_towards(CARE_OF), Some(0));
    assert_eq!(path.hop_towards(home(5)), None, "it is served");
    for host in 1..=300 {
        assert_eq!(verdict(&path, host), REDIRECT);
    }
    // The router has its place for as long as something names it.
    let kept = [home(1)].into();
    assert_eq!(path.keep_homes(&kept), 299);
    path.set_places(BTreeMap::new()).unwrap();
    path.tidy_routers().unwrap();
    assert_eq!(path.routers(), [(ROUTER, 0)]);
    path.set_home(home(1), None, 0).unwrap();
    path.tidy_routers().unwrap();
    assert_eq!(path.routers(), []);
    assert_eq!(path.place_of((1, home(9))).unwrap(), Some(1), "the place rests");
    drop(path);

    // Another size is another table.
    assert!(matches!(pins.adopt(ROOM * 100), Ok(Kept::Other)));
    pins.keep(&taught(), ROOM).unwrap();
    pins.remove().unwrap();
    assert!(!directory.pins().exists());
    assert!(Pins::find(&directory.pins()).unwrap().is_none());
}

#[test]
fn what_a_killed_writer_left_is_mended_when_its_table_is_taken_up() {
    let Some(directory) = Directory::new() else { return };
    let pins = directory.open();
    let path = taught();
    pins.keep(&path, ROOM).unwrap();
    let half = path.slots().halve(home(7));
    assert!(half);
    assert_eq!(verdict(&path, 7), PASS, "nobody reads a half line");
    drop((path, pins));
    let (mut path, repaired) = adopted(&directory.open());
    assert_eq!(repaired, Repaired { half: 1, double: 0 });
    assert_eq!((verdict(&path, 7), verdict(&path, 8)), (PASS, REDIRECT));
    path.set_home(home(7), Some(&fast()), 0).unwrap();
    assert_eq!(verdict(&path, 7), REDIRECT);
}

#[test]
fn a_table_that_nobody_looks_after_ends() {
    let Some(_directory) = Directory::new() else { return };
    let mut path = taught();
    assert_eq!(verdict(&path, 1), REDIRECT);
    path.go_on_until(monotonic_ms() + 60_000);
    assert_eq!(verdict(&path, 1), REDIRECT);
    assert!((50_000..=60_000).contains(&path.goes_on_ms(monotonic_ms())));
    path.go_on_until(monotonic_ms());
    assert_eq!(verdict(&path, 1), PASS);
    assert_eq!(path.goes_on_ms(monotonic_ms()), 0);
    path.go_on_until(monotonic_ms() + 60_000);
    assert_eq!(verdict(&path, 1), REDIRECT);
    path.set_settings(Settings { on: false, ..settings() }).unwrap();
    path.go_on_until(monotonic_ms() + 60_000);
    assert_eq!(verdict(&path, 1), PASS, "off is off");
}

#[test]
fn a_directory_with_other_things_in_it_is_refused_with_the_remedy() {
    let Some(directory) = Directory::new() else { return };
    fs::create_dir(&directory.0).unwrap();
    fs::write(directory.0.join("file"), "").unwrap();
    let error = Pins::open(&directory.pins()).expect_err("no file system of the kind").to_string();
    assert!(error.contains("mount -t bpf") && error.contains("xdp.pin_dir"), "{error}");
    fs::remove_file(directory.0.join("file")).unwrap();
}

/// What `ip link` says of the loopback interface of the calling thread's namespace.
fn shown() -> String {
    let shown = Command::new("ip").args(["link", "show", "lo"]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn a_program_stays_on_its_interface_until_it_is_taken_off() {
    let Some(directory) = Directory::new() else { return };
    #[expect(
        deprecated,
        reason = "the successor is unsafe because of flags that concern open files"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
    let mut pins = directory.open();
    let path = taught();
    pins.keep(&path, ROOM).unwrap();
    pins.attach(&path, "lo", Mode::Generic).unwrap();
    let first = shown();
    assert!(first.contains("xdpgeneric"), "{first}");
    drop((path, pins));
    assert_eq!(shown(), first);

    // Another process goes on with the same program, or puts its own in that place.
    let mut pins = directory.open();
    assert_eq!((pins.mode_of("lo"), pins.mode_of("nowhere")), (Some(Mode::Generic), None));
    let (path, _) = adopted(&pins);
    pins.attach(&path, "lo", Mode::Generic).unwrap();
    assert_eq!(shown(), first);
    let other = taught();
    pins.attach(&other, "lo", Mode::Generic).unwrap();
    let second = shown();
    assert!(second.contains("xdpgeneric") && second != first, "{second}");
    assert_eq!(pins.detach_others(&["lo".to_owned()]).unwrap(), []);
    assert!(pins.is_attached());
    assert_eq!(pins.detach_others(&[]).unwrap(), [1]);
    assert!(!pins.is_attached() && !shown().contains("xdp"));

    // By hand: the directory is removed.
    pins.attach(&other, "lo", Mode::Generic).unwrap();
    drop((pins, path, other));
    assert!(shown().contains("xdp"));
    fs::remove_dir_all(directory.pins()).unwrap();
    for _ in 0..500 {
        if !shown().contains("xdp") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it is still there: {}", shown());
}
