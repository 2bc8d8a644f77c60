//! Every bound of the forwarder, with its reason.

use std::{ops::RangeInclusive, time::Duration};

/// Packets taken from one port before the others have their turn.
pub const PACKETS_PER_WAKE_MAX: usize = 64;
/// Octets of one packet: IP allows no more.
pub const PACKET_OCTETS_MAX: usize = 65_535;
/// MTU of the TUN, and path MTU towards care-of addresses, unless configured.
pub const PATH_MTU_DEFAULT: u16 = 1500;
/// What every IPv6 link carries (RFC 8200 §5); below it the TUN has no IPv6.
pub const MTU_MIN: u16 = 1280;

/// Feed messages that wait for the engine. More would only be older; the store remembers for us
/// what we have not taken yet.
pub const FEED_EVENTS_WAITING_MAX: usize = 4;
/// A replica that says nothing for so long, although it proves its freshness each second, is left.
pub const FEED_SILENCE_MAX: Duration = Duration::from_secs(3);
/// A replica that has not reached after so long what this forwarder has applied is left.
pub const FEED_BEHIND_MAX: Duration = Duration::from_secs(3);
/// Octets of one feed message: 500 home addresses with 64 bindings each stay below.
pub const FEED_MESSAGE_OCTETS_MAX: usize = 16 << 20;

/// Packets that wait for one front-end. At the rate that one front-end serves this is about 100 ms;
/// what waits longer is sent again by the mobile node anyway.
pub const PUNTS_WAITING_MAX: usize = 1024;
/// Answers and news of front-ends that wait for the engine.
pub const ANSWERS_WAITING_MAX: usize = 1024;
/// Answers held until the table has reached their revision; beyond they go at once, and are
/// counted.
pub const ANSWERS_HELD_MAX: usize = 4096;
/// How long an answer is held (design: at most 50 ms, then it goes and is counted).
pub const ANSWER_HOLD_MAX: Duration = Duration::from_millis(50);

/// Traces under way. A packet that is never answered leaves one behind, which goes when there are so many.
pub const UPDATES_TRACED_MAX: usize = 2048;

/// Files and connections of a forwarder with as many stores and front-ends as it may have, and those who
/// look at its metrics and inspection.
pub const OPEN_FILES: u64 = 512;
/// Stores or front-ends in a configuration, and addresses that a name of front-ends may have.
pub const ENDPOINTS_MAX: usize = 64;
/// How often the name of front-ends is looked up: a new one gets packets after so long.
pub const NAME_LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
/// Connecting may take that long, then the next is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Opening a stream may take that long.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause between two attempts; it doubles in between.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`RETRY_PAUSE_MIN`].
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Keepalive of HTTP/2: a peer that vanished without a word is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// After this a peer that does not answer is gone.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who is to be drained is not ready for so long before it takes off its routes: health checks of routing and of
/// Kubernetes look each second or two, and take two or three failures.
pub const LEAVE_AFTER_MS: u64 = 6000;
/// Nothing has come for so long: it is drained. Longer than XDP is counted apart ([`FAST_LOOK_INTERVAL`]).
pub const QUIET_MS: u64 = 3000;
/// How often it is looked how far a drain is.
pub const DRAIN_LOOK_MS: u64 = 250;

/// Commands that wait for the store, and that are under way there.
pub const COMMANDS_WAITING_MAX: usize = 1024;
/// An outcome that has not come after so long is not waited for, and the replica is left.
pub const OUTCOME_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the link to the store sleeps at most when nothing is under way.
pub const IDLE_PAUSE: Duration = Duration::from_secs(3600);

/// Between two renewals of the lease of a home link: one may be lost.
pub const LEASE_RENEWAL: Duration = Duration::from_millis(500);
/// Between two attempts of which nothing is known; and never faster.
pub const LEASE_RETRY: Duration = Duration::from_millis(100);
/// So much earlier than the store says this node stops to defend: clocks run differently, and a packet
/// that is being sent is not called back.
pub const LEASE_MARGIN: Duration = Duration::from_millis(300);

/// How long the end of a forwarder waits until the leases of home links are given back; else they run out.
pub const LEAVE_MAX: Duration = Duration::from_millis(500);

/// Home links of one interface: prefixes that are advertised there.
pub const HOME_LINKS_MAX: usize = 16;
/// Packets for the home link that wait for its task; about a tenth of a second of what one core sends.
pub const LINK_PACKETS_WAITING_MAX: usize = 1024;
/// Packets that go back from the home link to the engine.
pub const LINK_RETURNS_WAITING_MAX: usize = 256;
/// Results of Duplicate Address Detection that wait to be told: as many as there can be probes.
pub const RESULTS_WAITING_MAX: usize = homeport_home_link::limits::PROBES_MAX;
/// Results told together.
pub const RESULTS_AT_ONCE_MAX: usize = 256;
/// A result that could not be told for so long is wanted by nobody: a probe is forgotten like that.
pub const RESULT_AGE_MAX: Duration = homeport_binding::limits::MAX_DELETE_BCE_TIMEOUT;
/// Frames sent in one go: one millisecond later the next, so that a take-over of all addresses does not
/// flood the link.
pub const FRAMES_PER_WAKE_MAX: usize = 64;
/// Replies to Home Agent Address Discovery in one second (RFC 6275 §10.5: rate-limited).
pub const DISCOVERY_REPLIES_PER_SEC_MAX: u32 = 100;
/// Octets of a frame: no Ethernet interface carries more.
pub const FRAME_OCTETS_MAX: usize = 65_550;
/// IPv4 addresses that are answered for on one home link. The kernel looks through a list of them,
/// 2 ms for each new one at this number; a link with more nodes than this is not a link.
pub const PROXIES_MAX: usize = 20_000;

/// Between two attempts to set routes that the host has refused.
pub const ROUTES_RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Home addresses of the fast path unless configured: 32 MiB of lines.
pub const FAST_HOME_ADDRESSES_DEFAULT: u32 = 400_000;
/// Between two looks at the host's routes and neighbours, and at the counters of the fast path. Until the
/// next look packets for a new neighbour take the TUN.
pub const FAST_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Where Linux has its file system of type bpf.
pub const FAST_PIN_PLACE: &str = "/sys/fs/bpf";
/// How long the fast path may go on without a process. It hears of one with each look, so less would end
/// it when the machine is busy; more than a day is no restart.
pub const FAST_KEEP_SECS: RangeInclusive<u64> = 5..=86_400;
/// Unless configured: a restart takes less, and a mobile node that has moved meanwhile is reached late, but
/// not for ever.
pub const FAST_KEEP_SECS_DEFAULT: u64 = 60;

/// Nobody has heard from a store for so long: the table is marked stale. All replicas were asked twice.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// How long a forwarder may go on without a store: longer than until it is stale, at most a week.
pub const HEADLESS_SECS: RangeInclusive<u64> = 6..=604_800;
/// Unless configured: nearly all bindings have ended by then, since they cannot be refreshed.
pub const HEADLESS_SECS_DEFAULT: u64 = 3600;

/// Traces at once. Each has a queue of packets, and each packet is looked at once for each.
pub const TRACES_MAX: u32 = 16;
/// Unless configured.
pub const TRACES_DEFAULT: u32 = 4;
/// How long a trace may last, seconds: while it does, the home address has no fast path.
pub const TRACE_SECS: RangeInclusive<u32> = 1..=3600;
/// Packets of one trace.
pub const TRACE_PACKETS: RangeInclusive<u32> = 1..=1_000_000;
/// Octets of one packet that a trace shows.
pub const TRACE_SNAP_OCTETS: RangeInclusive<u32> = 1..=65_535;
/// Packets that wait for the reader of a trace; at most 16 MiB. What comes on top is counted as missed.
pub const TRACE_WAITING_MAX: usize = 256;
/// Between two looks for traces that have ended or whose reader has gone.
pub const TRACE_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Requests that wait for the engine.
pub const INSPECTIONS_WAITING_MAX: usize = 16;
/// How long a request may wait for the engine.
pub const INSPECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Home addresses that are counted, 48 octets each and as much again for the map.
pub const HOME_ADDRESSES_COUNTED_MAX: u32 = 1_000_000;
/// Home addresses in one answer.
pub const TRAFFIC_LIMIT: RangeInclusive<u32> = 1..=1000;

/// The largest limit on signalling that can be set: more than a forwarder can hand on.
pub const SIGNALLING_PER_SECOND_MAX: u32 = 1_000_000;
