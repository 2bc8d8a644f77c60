//! Policies, and the message that moves what stands behind them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use netlink_packet_xfrm::{
    AF_INET6, Address, IPPROTO_ESP, MigrateMessage, Selector, UserKmAddress, UserMigrate,
    UserPolicyId, UserPolicyInfo, UserTemplate, XFRM_MODE_TRANSPORT, XFRM_POLICY_ALLOW,
    XFRM_POLICY_IN, XFRM_POLICY_OUT, XfrmAttrs, XfrmMessage,
    policy::{DelGetMessage, ModifyMessage},
};

/// What associations in transport mode protect between this host and a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protected {
    /// This host's address.
    pub local: Ipv6Addr,
    /// The peer's address, wherever it is.
    pub remote: Ipv6Addr,
    /// Protocol inside, such as 135.
    pub protocol: u8,
    /// What binds policies and associations together; not 0.
    pub reqid: u32,
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, remote, protocol, reqid } = self;
        write!(f, "protocol {protocol} between {local} and {remote}, reqid {reqid}")
    }
}

/// Between which addresses IKE is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoints {
    /// This host's.
    pub local: Ipv6Addr,
    /// The peer's.
    pub remote: Ipv6Addr,
}

impl Protected {
    /// The selector of one direction, and that direction.
    fn selectors(&self) -> [(Selector, u8); 2] {
        let selector = |source: Ipv6Addr, destination: Ipv6Addr| {
            let mut selector = Selector::default();
            selector.source_prefix(&IpAddr::V6(source), 128);
            selector.destination_prefix(&IpAddr::V6(destination), 128);
            selector.proto = self.protocol;
            selector
        };
        [
            (selector(self.remote, self.local), XFRM_POLICY_IN),
            (selector(self.local, self.remote), XFRM_POLICY_OUT),
        ]
    }

    /// One for each direction; a policy that is there is replaced by the same.
    pub(super) fn policies(&self) -> [XfrmMessage; 2] {
        let mut template =
            UserTemplate { family: AF_INET6, reqid: self.reqid, ..Default::default() };
        template.protocol(IPPROTO_ESP);
        template.mode(XFRM_MODE_TRANSPORT);
        self.selectors().map(|(selector, direction)| {
            XfrmMessage::UpdatePolicy(ModifyMessage {
                user_policy_info: UserPolicyInfo {
                    selector,
                    direction,
                    action: XFRM_POLICY_ALLOW,
                    ..Default::default()
                },
                nlas: vec![XfrmAttrs::Template(vec![template])],
            })
        })
    }

    pub(super) fn removals(&self) -> [XfrmMessage; 2] {
        self.selectors().map(|(selector, direction)| {
            let user_policy_id = UserPolicyId { selector, index: 0, direction };
            XfrmMessage::DeletePolicy(DelGetMessage { user_policy_id, nlas: Vec::new() })
        })
    }

    /// Where the daemon is to speak from and to is the same in both directions.
    pub(super) fn migrations(&self, from: &Endpoints, to: &Endpoints) -> [XfrmMessage; 2] {
        let pair = |it: &Endpoints| (Address::from_ipv6(&it.local), Address::from_ipv6(&it.remote));
        let ((old_local, old_remote), (local, remote)) = (pair(from), pair(to));
        let daemon = UserKmAddress { local, remote, reserved: 0, family: AF_INET6 };
        self.selectors().map(|(selector, direction)| {
            let ((old_daddr, old_saddr), (new_daddr, new_saddr)) = if direction == XFRM_POLICY_IN {
                ((old_local, old_remote), (local, remote))
            } else {
                ((old_remote, old_local), (remote, local))
            };
            let moved = UserMigrate {
                old_daddr,
                old_saddr,
                new_daddr,
                new_saddr,
                proto: IPPROTO_ESP,
                mode: XFRM_MODE_TRANSPORT,
                reserved: 0,
                reqid: self.reqid,
                old_family: AF_INET6,
                new_family: AF_INET6,
            };
            XfrmMessage::Migrate(MigrateMessage {
                user_policy_id: UserPolicyId { selector, index: 0, direction },
                nlas: vec![XfrmAttrs::KmAddress(daemon), XfrmAttrs::Migrate(moved)],
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_xfrm::{XFRM_MSG_MIGRATE, XFRM_MSG_UPDPOLICY};
    use rtnetlink::packet_core::NetlinkSerializable as _;

    use super::*;

    fn octets(text: &str) -> [u8; 16] {
        text.parse::<Ipv6Addr>().expect("an address").octets()
    }

    fn protected() -> Protected {
        Protected {
            local: octets("2001:db8:a::1").into(),
            remote: octets("2001:db8:a::100").into(),
            protocol: 135,
            reqid: 101,
        }
    }

    fn emit(message: &XfrmMessage) -> Vec<u8> {
        let mut buffer = vec![0xa5; message.buffer_len()];
        message.serialize(&mut buffer);
        buffer
    }

    /// Offsets of `linux/xfrm.h`, printed by a C compiler on x86-64.
    #[test]
    fn a_migration_by_the_kernels_offsets() {
        let endpoints = |remote: &str| Endpoints {
            local: octets("2001:db8:a::1").into(),
            remote: octets(remote).into(),
        };
        let (from, to) = (endpoints("2001:db8:f1::2"), endpoints("2001:db8:f2::2"));
        let [inbound, outbound] = protected().migrations(&from, &to);
        assert_eq!(inbound.message_type(), XFRM_MSG_MIGRATE);
        let inbound = emit(&inbound);
        // xfrm_userpolicy_id 64, attribute headers 4, xfrm_user_kmaddress 40, xfrm_user_migrate 76.
        assert_eq!(inbound.len(), 64 + 4 + 40 + 4 + 76);
        let (selector, rest) = inbound.split_at(64);
        assert_eq!(selector[..16], octets("2001:db8:a::1"), "daddr");
        assert_eq!(selector[16..32], octets("2001:db8:a::100"), "saddr");
        assert_eq!(selector[32..40], [0; 8], "ports: the type of the message is none");
        assert_eq!(selector[40..42], 10_u16.to_ne_bytes(), "family");
        assert_eq!(selector[42..45], [128, 128, 135], "prefix lengths and protocol");
        assert_eq!(selector[60], 0, "in");
        let (daemon, moved) = rest.split_at(44);
        assert_eq!(daemon[..4], [44_u16.to_ne_bytes(), 19_u16.to_ne_bytes()].concat());
        assert_eq!(daemon[4..20], octets("2001:db8:a::1"), "local");
        assert_eq!(daemon[20..36], octets("2001:db8:f2::2"), "remote");
        assert_eq!(daemon[40..42], 10_u16.to_ne_bytes(), "family");
        assert_eq!(moved[..4], [80_u16.to_ne_bytes(), 17_u16.to_ne_bytes()].concat());
        let moved = &moved[4..];
        assert_eq!(moved[..16], octets("2001:db8:a::1"), "old daddr");
        assert_eq!(moved[16..32], octets("2001:db8:f1::2"), "old saddr");
        assert_eq!(moved[32..48], octets("2001:db8:a::1"), "new daddr");
        assert_eq!(moved[48..64], octets("2001:db8:f2::2"), "new saddr");
        assert_eq!(moved[64..66], [50, 0], "ESP, transport mode");
        assert_eq!(moved[68..72], 101_u32.to_ne_bytes(), "reqid");
        assert_eq!(moved[72..76], [10_u16.to_ne_bytes(), 10_u16.to_ne_bytes()].concat());

        let outbound = emit(&outbound);
        assert_eq!(outbound[..16], octets("2001:db8:a::100"), "daddr");
        assert_eq!(outbound[60], 1, "out");
        assert_eq!(outbound[64..108], inbound[64..108], "the daemon's addresses");
        assert_eq!(outbound[112..128], octets("2001:db8:f1::2"), "old daddr");
        assert_eq!(outbound[144..160], octets("2001:db8:f2::2"), "new daddr");
    }

    #[test]
    fn a_policy_by_the_kernels_offsets() {
        let [inbound, outbound] = protected().policies();
        assert_eq!(inbound.message_type(), XFRM_MSG_UPDPOLICY);
        let (inbound, outbound) = (emit(&inbound), emit(&outbound));
        // xfrm_userpolicy_info 168, attribute header 4, xfrm_user_tmpl 64.
        assert_eq!(inbound.len(), 168 + 4 + 64);
        assert_eq!(inbound[56..64], u64::MAX.to_ne_bytes(), "no limit of octets");
        assert_eq!((inbound[160], outbound[160]), (0, 1), "directions");
        assert_eq!(inbound[161], 0, "allow");
        let template = &inbound[172..];
        assert_eq!(template[..16], [0; 16], "any destination");
        assert_eq!(template[20], 50, "ESP");
        assert_eq!(template[24..26], 10_u16.to_ne_bytes(), "family");
        assert_eq!(template[44..48], 101_u32.to_ne_bytes(), "reqid");
        assert_eq!(template[48], 0, "transport mode");
    }
}
