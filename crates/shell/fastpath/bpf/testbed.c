// SPDX-License-Identifier: Apache-2.0
//
// What stands around the router when its data path is measured over links: a generator, a sink that
// counts, and in the router's place the least that sends a packet on. Only `cargo xtask bench` loads it.
//
// The layouts below are written by src/testbed.rs.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
enum { XDP_DROP = 1, XDP_PASS = 2 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*const monotonic_ns)(void) = (void *)5;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const adjust_head)(struct xdp_md *ctx, int delta) = (void *)44;

enum { MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6 };

// Room before the frame. With it an skb that has got an outer header still has what XDP asks of its
// headroom, and the far end of a veth pair need not copy it.
#define ROOM_BEFORE 64
// Ethernet and one IPv6 header, or two, in words; frames are longer than that.
#define PLAIN_WORDS 7
#define TUNNELLED_WORDS 12
#define DESTINATION (14 + 24)
#define PLAIN_HOME (DESTINATION + 12) // the last 32 bits of the destination
#define TUNNELLED_HOME (14 + 40 + 8 + 12) // the last 32 bits of the inner source

struct traffic {
	u64 state; // of the random numbers
	u32 home_addresses; // ...:1, ...:2 and so on
	u32 interface;
	u32 is_tunnelled;
	u32 interval_ns; // from frame to frame on average; 0: none
	u64 next_ns; // CLOCK_MONOTONIC
	u64 headers[TUNNELLED_WORDS]; // how each frame begins
};
struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	u32 *key;
	struct traffic *value;
} traffic SEC(".maps");

struct router {
	u32 interface; // to which frames are redirected
	u32 len; // of the frames that the sink counts
	u32 macs[3]; // of the next hop: destination, source
	u32 halves; // both halves of a frame's destination are to say the same: `care_of` of src/measure.rs
};
struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	u32 *key;
	struct router *value;
} router SEC(".maps");

// Frames of the right length, others, and those whose destination is half of one and half of another.
enum { RIGHT, OTHER, TORN, KINDS };
struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, KINDS);
	u32 *key;
	u64 *value;
} received SEC(".maps");

// The time for a frame has come. What was missed for long is not made up for.
#define LAG_MAX_NS 1000000
static __attribute__((always_inline)) inline int is_due(struct traffic *t)
{
	if (!t->interval_ns)
		return 1;
	u64 now = monotonic_ns();
	if (now < t->next_ns)
		return 0;
	t->next_ns += t->interval_ns;
	if (t->next_ns + LAG_MAX_NS < now)
		t->next_ns = now;
	return 1;
}

// Test runs with live frames use a frame again as the router left it: its headers are written anew.
SEC("xdp") int generate(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct traffic *t = map_lookup(&traffic, &zero);
	if (!t || !is_due(t) || adjust_head(ctx, ROOM_BEFORE))
		return XDP_DROP;
	u64 *frame = (u64 *)(long)ctx->data, *end = (u64 *)(long)ctx->data_end;
	if (frame + PLAIN_WORDS > end)
		return XDP_DROP;
	u64 x = t->state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	t->state = x;
	u32 home = __builtin_bswap32(1 + (u32)((x >> 32) * t->home_addresses >> 32));
#pragma unroll
	for (int word = 0; word < PLAIN_WORDS; word++)
		frame[word] = t->headers[word];
	if (t->is_tunnelled) {
		if (frame + TUNNELLED_WORDS > end)
			return XDP_DROP;
#pragma unroll
		for (int word = PLAIN_WORDS; word < TUNNELLED_WORDS; word++)
			frame[word] = t->headers[word];
		*(u32 *)((u8 *)frame + TUNNELLED_HOME) = home;
	} else {
		*(u32 *)((u8 *)frame + PLAIN_HOME) = home;
	}
	return redirect(t->interface, 0);
}

// The least that a router does: the link-layer addresses of the next hop.
SEC("xdp") int addressed(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct router *r = map_lookup(&router, &zero);
	u32 *frame = (u32 *)(long)ctx->data;
	if (!r || frame + 3 > (u32 *)(long)ctx->data_end)
		return XDP_DROP;
	frame[0] = r->macs[0];
	frame[1] = r->macs[1];
	frame[2] = r->macs[2];
	return redirect(r->interface, 0);
}

// Less than that: the frame is not even read.
SEC("xdp") int bare(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct router *r = map_lookup(&router, &zero);
	return r ? redirect(r->interface, 0) : XDP_DROP;
}

// Before the kernel's own forwarding: without a program the router's interface takes no frames.
SEC("xdp") int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp") int sink(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct router *r = map_lookup(&router, &zero);
	if (!r)
		return XDP_DROP;
	u32 key = (u32)(ctx->data_end - ctx->data) == r->len ? RIGHT : OTHER;
	const u8 *destination = (u8 *)(long)ctx->data + DESTINATION;
	if (key == RIGHT && r->halves && destination + 16 <= (u8 *)(long)ctx->data_end &&
	    *(u32 *)(destination + 4) != *(u32 *)(destination + 12))
		key = TORN;
	u64 *count = map_lookup(&received, &key);
	if (count)
		*count += 1;
	return XDP_DROP;
}

char copying[] SEC("license") = "Apache-2.0";
