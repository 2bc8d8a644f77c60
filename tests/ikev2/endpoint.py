"""Tells an IKE daemon that its own address has changed, as the kernel of a mobile node does (RFC 4877 section 7.2).

Arguments: home address, home agent, reqid, former and present care-of address. By linux/xfrm.h alone, so that it
also checks what Homeport sends.
"""
import socket
import struct
import sys

UPDPOLICY, MIGRATE = 0x19, 0x21
TEMPLATE, MOVED, DAEMON = 5, 17, 19
ESP, MOBILITY = 50, 135

home_address, home_agent, former, present = (
    socket.inet_pton(socket.AF_INET6, sys.argv[place]) for place in (1, 2, 4, 5)
)
reqid = int(sys.argv[3])
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_XFRM)


def selector(source, destination):
    ports = bytes(8)
    rest = struct.pack("=HBBBxxxiI", socket.AF_INET6, 128, 128, MOBILITY, 0, 0)
    return destination + source + ports + rest


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value


def request(kind, body):
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)
    error = struct.unpack("=i", netlink.recv(4096)[16:20])[0]
    if error:
        sys.exit(f"message {kind:#x}: error {error}")


for direction, ends in enumerate([(home_agent, home_address), (home_address, home_agent)]):
    chosen = selector(*ends)
    limits = struct.pack("=8Q", *[2**64 - 1] * 4, *[0] * 4) + bytes(32)
    policy = chosen + limits + struct.pack("=IIBBBBxxxx", 0, 0, direction, 0, 0, 0)
    template = bytes(20) + struct.pack("=B3xHxx16xIBBBxIII", ESP, socket.AF_INET6, reqid, 0, 0, 0, *[2**32 - 1] * 3)
    request(UPDPOLICY, policy + attribute(TEMPLATE, template))
for direction, ends in enumerate([(home_agent, home_address), (home_address, home_agent)]):
    if direction == 1:
        addresses = home_agent + former + home_agent + present
    else:
        addresses = former + home_agent + present + home_agent
    moved = addresses + struct.pack("=BBxxIHH", ESP, 0, reqid, socket.AF_INET6, socket.AF_INET6)
    daemon = present + home_agent + struct.pack("=IHxx", 0, socket.AF_INET6)
    identity = selector(*ends) + struct.pack("=IB3x", 0, direction)
    request(MIGRATE, identity + attribute(DAEMON, daemon) + attribute(MOVED, moved))
