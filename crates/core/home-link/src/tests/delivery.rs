use alloc::format;
use alloc::vec::Vec;
use homeport_wire::{PacketBuilder, protocol};

use super::support::{ASKER, defender, home, home_agent, ip, objection, sent, solicitation};
use crate::{DropReason, Output, limits};

fn answer() -> Vec<u8> {
    PacketBuilder::new(home_agent(), home()).build(protocol::MOBILITY, &[0; 16])
}

#[test]
fn who_was_heard_is_found() {
    let mut link = defender();
    let update = PacketBuilder::new(home(), home_agent()).build(protocol::MOBILITY, &[0; 16]);
    assert_eq!(link.receive(6000, ASKER, &update), Err(DropReason::NotConcerned));
    link.deliver(6100, home(), None, answer()).unwrap();
    let frames = sent(&mut link, 6100);
    assert_eq!((frames[0].to_link, frames[0].to, frames.len()), (ASKER, home(), 1));
}

#[test]
fn a_known_link_layer_address_needs_no_question() {
    let mut link = defender();
    link.deliver(6000, home(), Some([5; 6]), answer()).unwrap();
    assert_eq!(sent(&mut link, 6000)[0].to_link, [5; 6]);
}

#[test]
fn others_are_asked_for_three_times_and_then_given_up() {
    let mut link = defender();
    link.deliver(6000, home(), None, answer()).unwrap();
    for at_ms in [6000, 7000, 8000] {
        let frames = sent(&mut link, at_ms);
        assert_eq!(frames.len(), 1, "{at_ms}");
        assert_eq!((frames[0].to, frames[0].from), (ip("ff02::1:ff00:100"), ip("fe80::1")));
    }
    assert_eq!(link.poll(9000), Some(Output::Undeliverable(answer())));
    assert_eq!(link.poll(15_000), None);
}

#[test]
fn what_waits_goes_out_with_the_answer() {
    let mut link = defender();
    link.deliver(6000, home(), None, answer()).unwrap();
    link.deliver(6000, home(), None, answer()).unwrap();
    sent(&mut link, 6000);
    link.receive(6100, ASKER, &objection(home())).unwrap();
    let frames = sent(&mut link, 6100);
    assert_eq!(frames.iter().map(|frame| frame.to_link).collect::<Vec<_>>(), [ASKER, ASKER]);
}

#[test]
fn what_waits_and_who_is_known_is_bounded() {
    let mut link = defender();
    for _ in 0..limits::WAITING_PACKETS_MAX {
        link.deliver(6000, home(), None, answer()).unwrap();
    }
    assert_eq!(link.deliver(6000, home(), None, answer()), Err(DropReason::Full));
    let mut link = defender();
    let max = u16::try_from(limits::NEIGHBOURS_MAX).unwrap();
    for host in 0..=max {
        let from = format!("fe80::2:{host:x}");
        let request = solicitation(&from, "ff02::1:ff00:1", home_agent(), true);
        link.receive(6000 + u64::from(host), ASKER, &request).unwrap();
        sent(&mut link, 6000 + u64::from(host));
    }
    let now_ms = 6000 + u64::from(max);
    link.deliver(now_ms, ip("fe80::2:0"), None, answer()).unwrap();
    assert_eq!(sent(&mut link, now_ms)[0].octets[0], 135, "the oldest made room");
    link.deliver(now_ms, ip("fe80::2:1"), None, answer()).unwrap();
    assert_eq!(sent(&mut link, now_ms)[0].to_link, ASKER);
}
