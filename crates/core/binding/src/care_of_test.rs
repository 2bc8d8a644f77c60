//! Verification of care-of addresses (RFC 5648 §10): a mobile node that is who it says may still name
//! addresses that are not its own, and have its packets sent to a victim.
//!
//! A care-of address is believed when an authentic Binding Update came from it. Any other gets an Echo
//! Request with a type 2 routing header, which only a mobile node with that home address answers (RFC 6275
//! §6.4.1), and no packet of the mobile node's until the answer is there. What is asked for is a nonce that
//! every replica can make and nobody outside: request ids are random and stay inside.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use sha2::{Digest as _, Sha256};

use crate::cache::{BindingCache, Change};
use crate::command::RequestId;
use crate::home::{Bindings, CareOf, Home};
use crate::limits;
use crate::notice::{Dispatch, DispatchMessage};
use crate::time::LogTime;
use crate::verdict::{Outcome, Silence};

/// What the answer to a test repeats.
pub type Nonce = [u8; 16];

/// A care-of address that is tested, or was not long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CareOfTest {
    /// What the answer repeats.
    pub nonce: Nonce,
    /// No test goes there before.
    pub next: LogTime,
}

/// Tests of a home address by care-of address, at most [`limits::CARE_OF_TESTS_PER_HOME_ADDRESS_MAX`].
/// They outlive the bindings, so that who registers again does not have an address tested more often.
pub type CareOfTests = BTreeMap<Ipv6Addr, CareOfTest>;

/// The answer to the test of a care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CareOfVerified {
    /// Whose.
    pub home_address: Ipv6Addr,
    /// Out of the answer.
    pub nonce: Nonce,
}

/// The care-of addresses that get no packets.
fn unverified(bindings: &Bindings) -> impl Iterator<Item = Ipv6Addr> {
    bindings.values().filter(|binding| binding.unverified).filter_map(|it| match it.care_of {
        CareOf::Ipv6(address) => Some(address),
        CareOf::Ipv4 { .. } => None,
    })
}

fn nonce(request_id: &RequestId, care_of: Ipv6Addr) -> Nonce {
    let hash = Sha256::new().chain_update(request_id).chain_update(care_of.octets()).finalize();
    let mut nonce = Nonce::default();
    nonce.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    nonce
}

impl Home {
    /// A Binding Update has left `self.bindings` of `before`: what it has brought in unverified is tested.
    pub(crate) fn begin_care_of_tests(
        &mut self,
        before: &Bindings,
        request_id: &RequestId,
        now: LogTime,
    ) {
        let waiting: Vec<Ipv6Addr> = unverified(&self.bindings).collect();
        if waiting.is_empty() {
            return;
        }
        let tests = self.care_of_tests.get_or_insert_default();
        for address in waiting {
            let is_full = tests.len() >= limits::CARE_OF_TESTS_PER_HOME_ADDRESS_MAX;
            let nonce = nonce(request_id, address);
            match tests.get_mut(&address) {
                Some(_) if unverified(before).any(|known| known == address) => {}
                Some(test) => test.nonce = nonce,
                // An individual Binding Update from there verifies it all the same.
                None if is_full => {}
                None => drop(tests.insert(address, CareOfTest { nonce, next: now })),
            }
        }
    }

    /// When a test is due, or is forgotten.
    pub(crate) fn care_of_tests_deadline(&self) -> Option<LogTime> {
        self.care_of_tests.as_deref()?.values().map(|test| test.next).min()
    }

    /// Sends the tests that are due, and forgets those that nobody waits for.
    pub(crate) fn advance_care_of_tests(
        &mut self,
        home_address: Ipv6Addr,
        (now, revision): (LogTime, u64),
        out: &mut Vec<Dispatch>,
    ) {
        let Some(tests) = self.care_of_tests.as_deref_mut() else { return };
        tests.retain(|address, test| {
            let is_due = test.next <= now;
            let is_waited_for = unverified(&self.bindings).any(|waits| waits == *address);
            if is_due && is_waited_for {
                test.next = now.after(limits::CARE_OF_TEST_INTERVAL);
                out.push(Dispatch {
                    at: now,
                    revision,
                    home_address,
                    home_agent: self.home_agent,
                    care_of: CareOf::Ipv6(*address),
                    message: DispatchMessage::CareOfTest { nonce: test.nonce },
                    esp: None,
                });
            }
            is_waited_for || !is_due
        });
        if tests.is_empty() {
            self.care_of_tests = None;
        }
    }

    /// The unverified care-of address whose test has this nonce.
    pub(crate) fn tested_care_of(&self, nonce: &Nonce) -> Option<Ipv6Addr> {
        let tests = self.care_of_tests.as_deref()?;
        let is_answered =
            |address: &Ipv6Addr| tests.get(address).is_some_and(|it| it.nonce == *nonce);
        unverified(&self.bindings).find(is_answered)
    }
}

impl BindingCache {
    /// An unverified care-of address waits for this answer: what does not is not worth an entry of the log.
    #[must_use]
    pub fn awaits_care_of_test(&self, answer: &CareOfVerified) -> bool {
        let home = self.home(answer.home_address);
        home.is_some_and(|home| home.tested_care_of(&answer.nonce).is_some())
    }

    pub(crate) fn care_of_verified(&mut self, answer: CareOfVerified) -> Outcome {
        let CareOfVerified { home_address, nonce } = answer;
        let silent = Outcome::Silent(Silence::UnknownCareOfTest);
        let Some(mut home) = self.take_home(home_address) else { return silent };
        let verified = home.tested_care_of(&nonce).map(CareOf::Ipv6);
        if verified.is_some() {
            for binding in home.bindings.values_mut() {
                binding.unverified &= Some(binding.care_of) != verified;
            }
            home.revision = self.revision;
            self.changed(Change::Home(home_address));
        }
        self.put_home(home_address, home);
        if verified.is_some() { Outcome::Done } else { silent }
    }
}
