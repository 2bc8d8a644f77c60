//! With privileges: IPv6 care-of addresses and a TUN device, in network namespaces.
