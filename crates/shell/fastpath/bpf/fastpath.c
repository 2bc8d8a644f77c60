// SPDX-License-Identifier: Apache-2.0
//
// The common case of a home agent in XDP: IPv6-in-IPv6 towards home addresses, and out of it with
// the source check. Every rule is that of crates/core/forwarding, which decides what a line says;
// whatever is not decided here is passed on untouched (XDP_PASS) to that core.
//
// The layouts below are written by src/line.rs and src/program.rs. Nothing is included: the program
// builds wherever clang has the BPF target.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define BARRIER() asm volatile("" ::: "memory")

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
enum { XDP_DROP = 1, XDP_PASS = 2 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;
static u64 (*const coarse_ns)(void) = (void *)160;

enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LPM_TRIE = 11 };
enum { F_NO_PREALLOC = 1, F_MMAPABLE = 1024 };

#define UINT(name, value) int(*name)[value]

struct address {
	u64 high, low; // as in the packet
};

// One home address in one cache line.
struct line {
	struct address home;
	u32 seq; // odd while it is written
	u8 flags;
	u8 agent; // place in settings.agents
	u8 down_hop; // place in next_hops, for care_of[0]
	u8 reserved;
	u16 room; // octets of the largest inner packet
	u16 reserved2;
	u32 until; // CLOCK_MONOTONIC in units of 2^26 ns: not valid from there on
	struct address care_of[2];
};
enum {
	LINE_DOWN = 1, // packets for the home address go to care_of[0]
	LINE_UP0 = 2, // care_of[0] may send
	LINE_UP1 = 4,
	LINE_ALL = 8, // who else sends is spoofing
	LINE_KNOWN0 = 16, // care_of[0] is bound, but each of its packets is to be looked at
	LINE_KNOWN1 = 32,
};

#define AGENTS_MAX 16
struct settings {
	u32 on; // CLOCK_MONOTONIC in units of 2^26 ns: from there on everything is passed; 0: always
	u32 bucket_mask;
	u32 agents; // how many are there
	u8 hop_limit;
	u8 look_at_care_of; // care-of addresses may have come to lie in a mobile network
	u8 reserved[2];
	struct address agent[AGENTS_MAX];
};

struct next_hop {
	u32 ifindex; // 0: not known now
	u32 mtu;
	u8 macs[12]; // destination, source
	u8 reserved[4];
};

struct place_key {
	u32 len;
	u8 address[16];
};
struct place {
	u8 kind, hop;
	u8 reserved[2];
};
enum { PLACE_SERVED = 1, PLACE_BEYOND = 2 };

// Mirrors `Cause` of src/cause.rs.
enum cause {
	ENCAPSULATED,
	DECAPSULATED,
	DROP_TUNNEL_SOURCE_NOT_BOUND,
	DROP_CONGESTION_MARK_LOST,
	PASS_OFF,
	PASS_NOT_IPV6,
	PASS_LENGTH,
	PASS_NO_LINE,
	PASS_LAPSED,
	PASS_NOT_EXPRESSED,
	PASS_TORN,
	PASS_SOURCE,
	PASS_NEIGHBOUR_DISCOVERY,
	PASS_HOP_LIMIT,
	PASS_TOO_BIG,
	PASS_SERVED_DESTINATION,
	PASS_NO_NEXT_HOP,
	PASS_SPECIAL_DESTINATION,
	PASS_NO_ROOM,
	CAUSES,
};

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1024);
	UINT(map_flags, F_MMAPABLE);
	u32 *key;
	struct line *value;
} lines SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	UINT(map_flags, F_MMAPABLE);
	u32 *key;
	struct settings *value;
} settings SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 256);
	u32 *key;
	struct next_hop *value;
} next_hops SEC(".maps");

// Which router each next hop is: not for the program, but for the process that comes after.
struct router {
	u32 ifindex; // 0: the place is free
	u8 address[16];
};
struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 256);
	u32 *key;
	struct router *value;
} routers SEC(".maps");

// Prefixes that are served here, and routes beyond.
struct {
	UINT(type, MAP_LPM_TRIE);
	UINT(max_entries, 65536);
	UINT(map_flags, F_NO_PREALLOC);
	struct place_key *key;
	struct place *value;
} places SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, CAUSES);
	u32 *key;
	u64 *value;
} counters SEC(".maps");

struct ethernet {
	u8 macs[12];
	u16 type;
} __attribute__((packed));

struct ipv6 {
	u32 first; // version, traffic class, flow label
	u16 payload_len;
	u8 next_header, hop_limit;
	u32 source[4], destination[4];
};

#define ETHERTYPE_IPV6 0xdd86 // as in the packet
enum { HOP_BY_HOP = 0, TCP = 6, UDP = 17, IPV6 = 41, ROUTING = 43, FRAGMENT = 44 };
enum { ESP = 50, AH = 51, ICMPV6 = 58, DESTINATION_OPTIONS = 60 };
enum { ECN = 3, ECT_1 = 1, ECT_0 = 2, CE = 3 };

INLINE int counted(enum cause cause, int verdict)
{
	u32 key = cause;
	u64 *counter = map_lookup(&counters, &key);
	if (counter)
		*counter += 1;
	return verdict;
}
#define PASS(cause) return counted(cause, XDP_PASS)

// In words, which the packet may have at any address: left alone the compiler copies octets.
INLINE struct address read_address(const void *from)
{
	const u64 *words = from;
	return (struct address){ words[0], words[1] };
}
INLINE void write_address(void *to, struct address a)
{
	u64 *words = to;
	words[0] = a.high;
	words[1] = a.low;
}
INLINE void copy_macs(void *to, const void *from)
{
	u32 *words = to;
	const u32 *source = from;
	words[0] = source[0];
	words[1] = source[1];
	words[2] = source[2];
}
INLINE int same(struct address a, struct address b)
{
	return ((a.high ^ b.high) | (a.low ^ b.low)) == 0;
}

// is_unicast_routable_v6 of crates/core/wire/src/address.rs.
INLINE int is_routable(struct address a)
{
	u64 high = __builtin_bswap64(a.high), low = __builtin_bswap64(a.low);
	if (high == 0 && (low >> 32 == 0 || low >> 32 == 0xffff))
		return 0;
	return high >> 56 != 0xff && high >> 54 != 0x3fa; // multicast, fe80::/10
}

INLINE int agent_place(const struct settings *s, struct address a)
{
#pragma unroll
	for (u32 i = 0; i < AGENTS_MAX; i++) {
		if (i >= s->agents)
			return -1;
		if (same(s->agent[i], a))
			return i;
	}
	return -1;
}

// `Mix` of crates/core/forwarding/src/hash.rs.
INLINE u64 mix(u64 state, u64 word)
{
	u64 mixed = ((state << 5 | state >> 59) ^ word) * 0x9e3779b97f4a7c15ull;
	return mixed ^ mixed >> 32;
}
INLINE u64 mix_address(u64 state, struct address a)
{
	return mix(mix(state, __builtin_bswap64(a.high)), __builtin_bswap64(a.low));
}
INLINE u64 mix_finish(u64 v)
{
	v = (v ^ v >> 33) * 0xff51afd7ed558ccdull;
	v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53ull;
	return v ^ v >> 33;
}

INLINE struct line *in_slot(u32 slot, struct address home)
{
	struct line *line = map_lookup(&lines, &slot);
	if (!line)
		return 0;
	struct address there = { READ_ONCE(line->home.high), READ_ONCE(line->home.low) };
	return same(there, home) ? line : 0;
}

#define LINE_SEED 0x6c696e65
// Two buckets of two slots: src/slots.rs.
INLINE struct line *slot_of(struct address home, u32 mask)
{
	u64 hash = mix_finish(mix_address(LINE_SEED, home));
	u32 bucket = (u32)hash & mask;
	struct line *line = in_slot(bucket * 2, home);
	if (!line)
		line = in_slot(bucket * 2 + 1, home);
	if (line)
		return line;
	bucket = (u32)(hash >> 32) & mask;
	line = in_slot(bucket * 2, home);
	return line ? line : in_slot(bucket * 2 + 1, home);
}

enum { NOT_HERE, FOUND, TORN };

// Copies the line of a home address. Readers never wait: a line that is being written is tried again
// twice.
INLINE int find(struct address home, struct line *out, u32 mask)
{
	struct line *line = slot_of(home, mask);
	if (!line)
		return NOT_HERE;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		u32 before = READ_ONCE(line->seq);
		BARRIER();
		u64 *from = (u64 *)line, *to = (u64 *)out;
#pragma unroll
		for (int word = 0; word < 8; word++)
			to[word] = READ_ONCE(from[word]);
		BARRIER();
		if (READ_ONCE(line->seq) == before && !(before & 1))
			return same(out->home, home) ? FOUND : NOT_HERE;
	}
	return TORN;
}

// The line has ended, or nobody has looked after the table for too long.
INLINE int is_lapsed(const struct settings *s, const struct line *line)
{
	u32 now = coarse_ns() >> 26;
	return now >= line->until || UNLIKELY(now >= READ_ONCE(s->on));
}

INLINE struct next_hop *hop_of(u8 place)
{
	u32 key = place;
	struct next_hop *hop = map_lookup(&next_hops, &key);
	return hop && hop->ifindex ? hop : 0;
}

INLINE struct place *place_of(struct address a)
{
	struct place_key key = { .len = 128 };
	__builtin_memcpy(key.address, &a, sizeof(a));
	return map_lookup(&places, &key);
}

INLINE u8 class_of(u32 first)
{
	return __builtin_bswap32(first) >> 20;
}
INLINE u32 with_class(u32 first, u8 class)
{
	u32 host = __builtin_bswap32(first);
	return __builtin_bswap32((host & ~(0xffu << 20)) | (u32)class << 20);
}

INLINE int down(struct xdp_md *ctx, struct settings *s, struct line *line, struct ipv6 *ip, void *end,
		u32 packet_len)
{
	struct address source = read_address(ip->source), home = read_address(ip->destination);
	int found = find(home, line, s->bucket_mask);
	if (found == TORN)
		PASS(PASS_TORN);
	if (found == NOT_HERE)
		PASS(PASS_NO_LINE);
	if (!(line->flags & LINE_DOWN))
		PASS(PASS_NOT_EXPRESSED);
	if (is_lapsed(s, line))
		PASS(PASS_LAPSED);
	if (UNLIKELY(!is_routable(source) || agent_place(s, source) >= 0))
		PASS(PASS_SOURCE);
	if (UNLIKELY(ip->hop_limit <= 1))
		PASS(PASS_HOP_LIMIT);
	struct next_hop *hop = hop_of(line->down_hop);
	if (packet_len > line->room || (hop && packet_len + sizeof(struct ipv6) > hop->mtu))
		PASS(PASS_TOO_BIG);
	if (!hop)
		PASS(PASS_NO_NEXT_HOP);
	if (s->look_at_care_of) {
		struct place *place = place_of(line->care_of[0]);
		if (place && place->kind == PLACE_SERVED)
			PASS(PASS_SERVED_DESTINATION);
	}
	// Flow label: crates/core/forwarding/src/flow.rs.
	u8 upper = ip->next_header;
	// They may hold a tunnel encapsulation limit (RFC 2473 section 4.1.1).
	if (UNLIKELY(upper == HOP_BY_HOP || upper == ROUTING || upper == FRAGMENT || upper == AH ||
		     upper == DESTINATION_OPTIONS))
		PASS(PASS_NOT_EXPRESSED);
	u32 ports = 0;
	u8 *payload = (u8 *)(ip + 1);
	if (upper == TCP || upper == UDP || upper == ESP || upper == ICMPV6) {
		if ((void *)(payload + 4) <= end && packet_len >= sizeof(*ip) + 4) {
			ports = __builtin_bswap32(*(u32 *)payload);
		} else if (upper == ICMPV6) {
			PASS(PASS_LENGTH);
		}
		if (upper == ICMPV6) {
			u8 type = ports >> 24;
			if (type >= 133 && type <= 136)
				PASS(PASS_NEIGHBOUR_DISCOVERY);
			ports = 0;
		}
	}
	u32 first = ip->first;
	u32 label = __builtin_bswap32(first) & 0xfffff;
	u64 hash = mix_address(mix_address(0x666c6f77, source), home);
	hash = mix_finish(mix(mix(hash, upper), (u64)label << 32 | ports));
	label = (u32)hash & 0xfffff;
	if (label == 0)
		label = 1;
	u32 agent = line->agent;
	if (agent >= AGENTS_MAX)
		PASS(PASS_NOT_EXPRESSED);
	asm volatile("%0 &= 15" : "+r"(agent)); // for the verifier, which has lost the bound
	if (adjust_head(ctx, -(int)sizeof(struct ipv6)))
		PASS(PASS_NO_ROOM);
	u8 *data = (u8 *)(long)ctx->data;
	struct ethernet *eth = (void *)data;
	struct ipv6 *outer = (void *)(eth + 1), *inner = outer + 1;
	if ((void *)(inner + 1) > (void *)(long)ctx->data_end)
		return counted(PASS_NO_ROOM, XDP_DROP); // cannot be: the packet has grown
	copy_macs(eth, hop->macs);
	eth->type = ETHERTYPE_IPV6;
	inner->hop_limit -= 1;
	outer->first = __builtin_bswap32(6u << 28 | (u32)class_of(first) << 20 | label);
	outer->payload_len = __builtin_bswap16(packet_len);
	outer->next_header = IPV6;
	outer->hop_limit = s->hop_limit;
	write_address(outer->source, s->agent[agent]);
	write_address(outer->destination, line->care_of[0]);
	return counted(ENCAPSULATED, redirect(hop->ifindex, 0));
}

INLINE int up(struct xdp_md *ctx, struct settings *s, struct line *line, struct ipv6 *outer, void *end,
	      u32 outer_len)
{
	struct ipv6 *inner = outer + 1;
	if ((void *)(inner + 1) > end)
		PASS(PASS_LENGTH);
	u32 inner_first = inner->first;
	u32 inner_len = sizeof(struct ipv6) + __builtin_bswap16(inner->payload_len);
	if ((__builtin_bswap32(inner_first) >> 28) != 6 || inner_len + sizeof(struct ipv6) != outer_len)
		PASS(PASS_LENGTH);
	struct address care_of = read_address(outer->source), home = read_address(inner->source);
	struct address destination = read_address(inner->destination);
	int found = find(home, line, s->bucket_mask);
	if (found == TORN)
		PASS(PASS_TORN);
	if (found == NOT_HERE)
		PASS(PASS_NO_LINE);
	if (is_lapsed(s, line))
		PASS(PASS_LAPSED);
	u8 may = 0, known = 0;
	if (same(care_of, line->care_of[0])) {
		may = line->flags & LINE_UP0;
		known = line->flags & LINE_KNOWN0;
	} else if (same(care_of, line->care_of[1])) {
		may = line->flags & LINE_UP1;
		known = line->flags & LINE_KNOWN1;
	}
	if (UNLIKELY(!may)) {
		if (known || !(line->flags & LINE_ALL))
			PASS(PASS_NOT_EXPRESSED);
		if (!is_routable(care_of) || agent_place(s, care_of) >= 0)
			PASS(PASS_SOURCE);
		return counted(DROP_TUNNEL_SOURCE_NOT_BOUND, XDP_DROP);
	}
	// RFC 6040 section 4.2, figure 4.
	u8 class = class_of(inner_first), mark = class_of(outer->first) & ECN;
	u8 own = class & ECN;
	if (mark == CE) {
		if (own == 0)
			return counted(DROP_CONGESTION_MARK_LOST, XDP_DROP);
		own = CE;
	} else if (own == ECT_0 && mark == ECT_1) {
		own = ECT_1;
	}
	class = (class & ~ECN) | own;
	if (UNLIKELY(!is_routable(destination)))
		PASS(PASS_SPECIAL_DESTINATION);
	struct place *place = place_of(destination);
	if (place && place->kind == PLACE_SERVED)
		PASS(PASS_SERVED_DESTINATION);
	if (UNLIKELY(inner->hop_limit <= 1))
		PASS(PASS_HOP_LIMIT);
	struct next_hop *hop = place ? hop_of(place->hop) : 0;
	if (!hop)
		PASS(PASS_NO_NEXT_HOP);
	if (inner_len > hop->mtu)
		PASS(PASS_TOO_BIG);
	if (adjust_head(ctx, sizeof(struct ipv6)))
		PASS(PASS_NO_ROOM);
	struct ethernet *eth = (void *)(long)ctx->data;
	inner = (void *)(eth + 1);
	if ((void *)(inner + 1) > (void *)(long)ctx->data_end)
		return counted(PASS_NO_ROOM, XDP_DROP); // cannot be: its length was looked at
	copy_macs(eth, hop->macs);
	eth->type = ETHERTYPE_IPV6;
	inner->first = with_class(inner_first, class);
	inner->hop_limit -= 1;
	return counted(DECAPSULATED, redirect(hop->ifindex, 0));
}

INLINE int forward(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct settings *s = map_lookup(&settings, &zero);
	if (!s || !s->on)
		PASS(PASS_OFF);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethernet *eth = data;
	struct ipv6 *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || eth->type != ETHERTYPE_IPV6)
		PASS(PASS_NOT_IPV6);
	if (__builtin_bswap32(ip->first) >> 28 != 6)
		PASS(PASS_NOT_IPV6);
	u32 packet_len = sizeof(*ip) + __builtin_bswap16(ip->payload_len);
	// What follows the packet in the frame would have to be cut off.
	if (packet_len != (u32)(end - (void *)ip))
		PASS(PASS_LENGTH);
	struct line line;
	if (ip->next_header == IPV6 && agent_place(s, read_address(ip->destination)) >= 0)
		return up(ctx, s, &line, ip, end, packet_len);
	return down(ctx, s, &line, ip, end, packet_len);
}

SEC("xdp") int fastpath(struct xdp_md *ctx)
{
	return forward(ctx);
}

// For benchmarks: gives the packet another home address in each run, and takes back what was done,
// so that the next run finds it as it was.
struct measuring {
	u64 state;
	u32 home_addresses; // ...:1, ...:2 and so on, with the packet's prefix of 64 bits
	u32 without; // only give and take back
};
struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	u32 *key;
	struct measuring *value;
} measuring SEC(".maps");

INLINE u32 next_home(struct measuring *m)
{
	u64 x = m->state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	m->state = x;
	return 1 + (u32)((x >> 32) * m->home_addresses >> 32);
}

SEC("xdp") int measure(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct measuring *m = map_lookup(&measuring, &zero);
	struct ethernet *eth = (void *)(long)ctx->data;
	struct ipv6 *ip = (void *)(eth + 1);
	if (!m || (void *)(ip + 2) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	int is_tunnelled = ip->next_header == IPV6;
	u32 macs[3];
	copy_macs(macs, eth);
	struct ipv6 outer = *ip;
	u32 host = __builtin_bswap32(next_home(m));
	if (is_tunnelled)
		(ip + 1)->source[3] = host;
	else
		ip->destination[3] = host;
	int verdict = m->without ? 4 : forward(ctx);
	if (verdict != 4)
		return verdict; // ends the measurement: something is wrong
	if (!m->without && adjust_head(ctx, is_tunnelled ? -(int)sizeof(*ip) : (int)sizeof(*ip)))
		return XDP_DROP;
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 2) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	copy_macs(eth, macs);
	eth->type = ETHERTYPE_IPV6;
	if (is_tunnelled) {
		*ip = outer;
		ip++;
	}
	if (!m->without)
		ip->hop_limit += 1;
	return verdict;
}

// For the far end of a veth pair: frames are redirected only to a peer that has a program.
SEC("xdp") int accept(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char copying[] SEC("license") = "Apache-2.0";
