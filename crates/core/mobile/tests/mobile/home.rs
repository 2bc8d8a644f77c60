//! On the home link: with the only interface, and beside foreign links (RFC 5648 §5.6).

use homeport_mobile::{CareOf, Command, Event, Mode, Outcome, Output, Path, Settings, Transmit};
use homeport_wire::{
    Bid, BidCareOf, BindingAcknowledgement, Lifetime, Message, OptionsBuilder, PacketBuilder,
    Status, mobility_packet, protocol,
};

use crate::support::*;

fn at_both() -> Lab {
    let link_layer_address = Some(vec![2, 0, 0, 0xab, 0xcd, 0xef]);
    Lab::registered(Settings { link_layer_address, ..settings() }, &[address(1, COA1)])
}

#[test]
fn with_the_only_interface_everything_ends_from_the_home_address() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1), address(2, COA2)]);
    let request = lab.command(Command::ReturnHome);
    let seen = lab.update();
    assert_eq!((seen.path, seen.lifetime, seen.names()), (Path::Home, Lifetime(0), vec![]));
    assert!(seen.options.is_empty(), "{:?}", seen.options);
    // Nothing changes before the answer.
    assert!(!lab.events().contains(&Event::ReturnedHome));
    lab.accept(&seen);
    let ended = Outcome::Deregistered { status: Status::ACCEPTED };
    assert_eq!(lab.results(request), [(None, ended)]);
    assert!(lab.events().contains(&Event::ReturnedHome));
    assert_eq!(lab.node.next_deadline(), None);
    // Away again: at once, and anew.
    lab.register(&[address(1, COA3)], false);
    let away = lab.update();
    assert_eq!((away.path, away.bids[0].home), (COA3.path(), false));
}

#[test]
fn a_home_agent_that_knows_of_no_binding_has_the_node_at_home_too() {
    let mut lab = Lab::registered(settings(), &[address(1, COA1)]);
    lab.command(Command::ReturnHome);
    let seen = lab.update();
    lab.refuse(&seen, Status::NOT_HOME_AGENT);
    assert!(lab.events().contains(&Event::ReturnedHome));
}

#[test]
fn beside_a_foreign_link_with_either_status() {
    // Whether the home agent goes on answering neighbours: status 5.
    for status in [Status::ACCEPTED, Status::MCOA_RETURNHOME_WO_NDP] {
        let mut lab = at_both();
        lab.register(&[address(9, CareOf::Home)], false);
        let seen = lab.update();
        assert_eq!((seen.path, seen.names()), (Path::Home, vec![9]));
        assert!(seen.bids[0].home);
        assert_eq!(seen.bids[0].care_of, BidCareOf::V6(HOME));
        assert!(seen.options.contains(&"link-layer address"));
        lab.answer(&seen, status, &[(9, Status::ACCEPTED)]);
        assert!(lab.events().contains(&Event::Registered {
            bid: Bid(9),
            care_of: CareOf::Home,
            lifetime: ASKED,
            status,
            renewed: false,
        }));
        // Packets go without a tunnel there, and come without one.
        let packet = PacketBuilder::new(HOME, CORRESPONDENT).build(protocol::NO_NEXT, &[]);
        let sent = lab.node.encapsulate(Some(Bid(9)), &packet).unwrap();
        assert_eq!(sent, Transmit::Ipv6 { from: HOME, packet });
        let packet = PacketBuilder::new(CORRESPONDENT, HOME).build(protocol::NO_NEXT, &[]);
        lab.arrive(Path::Home, &packet);
        assert_eq!(lab.take().pop(), Some(Output::Deliver { path: Path::Home, packet }));
        // The home binding never goes along in updates from elsewhere.
        lab.command(Command::Refresh { bids: vec![], bulk: true });
        for seen in lab.updates() {
            assert_eq!(seen.path == Path::Home, seen.names() == [9]);
        }
    }
}

#[test]
fn leaving_the_home_link_ends_the_home_binding_only() {
    let mut lab = at_both();
    lab.register(&[address(9, CareOf::Home)], false);
    let seen = lab.update();
    lab.accept(&seen);
    lab.command(Command::Deregister { bids: vec![Bid(9)], bulk: false });
    let seen = lab.update();
    assert_eq!((seen.names(), seen.lifetime, seen.bids[0].home), (vec![9], Lifetime(0), false));
    lab.accept(&seen);
    assert_eq!(lab.node.bindings().len(), 1);
    // Or it moves: the home interface has gone to another link.
    let mut lab = at_both();
    lab.register(&[address(9, CareOf::Home)], false);
    let seen = lab.update();
    lab.accept(&seen);
    lab.command(Command::Move { bid: Bid(9), care_of: COA3 });
    let seen = lab.update();
    assert_eq!((seen.path, seen.bids[0].home), (COA3.path(), false));
}

#[test]
fn a_home_agent_without_the_option_ends_everything() {
    let mut lab = at_both();
    let request = lab.register(&[address(9, CareOf::Home)], false);
    let seen = lab.update();
    // It took the update from the home address for the end of all bindings.
    let message = Message::BindingAcknowledgement(BindingAcknowledgement {
        status: Status::ACCEPTED,
        flags: homeport_wire::BaFlags::default(),
        sequence: seen.sequence,
        lifetime: Lifetime(0),
        options: OptionsBuilder::for_binding_acknowledgement().finish(),
    });
    let header = message.emit(HOME_AGENT, HOME);
    lab.arrive(Path::Home, &mobility_packet(HOME_AGENT, HOME, None, None, &header));
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::SingleCareOf)]);
    assert!(lab.events().contains(&Event::ReturnedHome));
    assert_eq!(lab.node.mode(), Mode::Single { active: None });
    assert!(lab.node.bindings().is_empty());
    // From now on a home binding is no wish that can be met.
    let request = lab.register(&[address(9, CareOf::Home)], false);
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::SingleCareOf)]);
}

#[test]
fn a_home_agent_that_forbids_both_leaves_the_foreign_binding() {
    let mut lab = at_both();
    let request = lab.register(&[address(9, CareOf::Home)], false);
    let seen = lab.update();
    let status = Status::MCOA_SIMULTANEOUS_HOME_AND_FOREIGN_PROHIBITED;
    lab.refuse(&seen, status);
    assert_eq!(lab.results(request), [(Some(Bid(9)), Outcome::Refused { status })]);
    let registered = lab.node.bindings().into_iter().filter(|view| view.registered.is_some());
    assert_eq!(registered.map(|view| view.bid.0).collect::<Vec<_>>(), [1]);
}
