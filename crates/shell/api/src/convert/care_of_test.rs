use std::collections::BTreeMap;

use homeport_binding as core;
use prost::bytes::Bytes;

use super::{Invalid, invalid, ipv6, ipv6_octets};
use crate::binding as proto;

pub(super) fn messages(tests: Option<Box<core::CareOfTests>>) -> Vec<proto::CareOfTest> {
    let tests = tests.map(|tests| *tests).unwrap_or_default();
    let message = |(care_of, test): (_, core::CareOfTest)| proto::CareOfTest {
        care_of: ipv6_octets(care_of),
        nonce: nonce_octets(test.nonce),
        next_ms: test.next.0,
    };
    tests.into_iter().map(message).collect()
}

/// No message is no test: what has none is always the same.
pub(super) fn tests_of(
    messages: Vec<proto::CareOfTest>,
) -> Result<Option<Box<core::CareOfTests>>, Invalid> {
    if messages.len() > core::limits::CARE_OF_TESTS_PER_HOME_ADDRESS_MAX {
        return Err(invalid("home.care_of_tests", "at most 64"));
    }
    let mut tests = BTreeMap::new();
    for message in messages {
        let care_of = ipv6(&message.care_of, "home.care_of_tests.care_of")?;
        let nonce = nonce_of(&message.nonce, "home.care_of_tests.nonce")?;
        let next = core::LogTime(message.next_ms);
        if tests.insert(care_of, core::CareOfTest { nonce, next }).is_some() {
            return Err(invalid("home.care_of_tests", "each care-of address once"));
        }
    }
    Ok((!tests.is_empty()).then(|| Box::new(tests)))
}

pub(super) fn nonce_octets(nonce: core::Nonce) -> Bytes {
    Bytes::copy_from_slice(&nonce)
}

pub(super) fn nonce_of(octets: &[u8], field: &'static str) -> Result<core::Nonce, Invalid> {
    octets.try_into().map_err(|_| invalid(field, "16 octets"))
}

impl From<core::CareOfVerified> for proto::CareOfVerified {
    fn from(answer: core::CareOfVerified) -> Self {
        Self { home_address: ipv6_octets(answer.home_address), nonce: nonce_octets(answer.nonce) }
    }
}

impl TryFrom<proto::CareOfVerified> for core::CareOfVerified {
    type Error = Invalid;

    fn try_from(message: proto::CareOfVerified) -> Result<Self, Invalid> {
        Ok(Self {
            home_address: ipv6(&message.home_address, "care_of_verified.home_address")?,
            nonce: nonce_of(&message.nonce, "care_of_verified.nonce")?,
        })
    }
}
