//! The mobile node's side: test messages, Binding Updates, and what the correspondent answers.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use homeport_correspondent::keys::BindingKey;
use homeport_correspondent::{
    Arrival, Correspondent, DropReason, Event, Input, Millis, Output, Secret, Settings,
};
use homeport_wire::{
    Bid, BidOption, BindingUpdate, BuFlags, CareOfTestInit, HomeTestInit, Lifetime, Message,
    MobilityOption, Options, Sequence, Status, mobility_packet, walk,
};

pub const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
pub const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
pub const COA1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);
pub const COA2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x22);
pub const COA3: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x33);

/// A value of `vectors.json`. The file is a list of flat objects: no JSON library is needed.
pub fn field(id: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/golden/vectors/vectors.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once(&format!("\"id\": \"{id}\"")).unwrap();
    let object = rest.split_once('}').unwrap().0;
    let (_, rest) = object.split_once(&format!("\"{name}\": \"")).unwrap();
    let (hex, _) = rest.split_once('"').unwrap();
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A correspondent node at a moment, which gets a fresh secret whenever it asks for one.
pub struct Lab {
    pub node: Correspondent,
    pub now: Millis,
    secrets: u16,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Settings::new(OWN))
    }

    pub fn with(settings: Settings) -> Self {
        let node = Correspondent::new(settings).unwrap();
        let mut lab = Self { node, now: Millis(1_000), secrets: 0x4000 };
        lab.supply();
        lab
    }

    fn supply(&mut self) {
        self.secrets += 1;
        let secret = Input::Secret(secret(self.secrets));
        assert_eq!(self.node.handle(self.now, secret), []);
    }

    pub fn handle(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut outputs = self.node.handle(self.now, input);
        if outputs.last() == Some(&Output::SecretWanted) {
            outputs.pop();
            self.supply();
        }
        outputs
    }

    pub fn arrive(&mut self, packet: &[u8]) -> Vec<Output> {
        self.handle(Input::Packet(Arrival::new(packet)))
    }

    /// Seconds later, with nothing done about it.
    pub fn wait(&mut self, secs: u64) {
        self.now = self.now.plus(secs * 1000);
    }

    /// Seconds later, every timer worked off at its time.
    pub fn pass(&mut self, secs: u64) -> Vec<Output> {
        let until = self.now.plus(secs * 1000);
        let mut outputs = Vec::new();
        while let Some(deadline) = self.node.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            outputs.extend(self.handle(Input::Timeout));
        }
        self.now = until;
        outputs
    }

    /// Both tests of RFC 6275 §5.2.5.
    pub fn tokens(&mut self, home: Ipv6Addr, care_of: Ipv6Addr) -> Tokens {
        let (home_index, home) = self.home_token(home);
        let (care_of_index, care_of) = self.care_of_token(care_of);
        Tokens { home_index, home, care_of_index, care_of }
    }

    pub fn home_token(&mut self, home: Ipv6Addr) -> (u16, [u8; 8]) {
        let init = HomeTestInit { cookie: *b"homecook", options: Options::EMPTY };
        let packet = plain(home, &Message::HomeTestInit(init));
        let answer = sent(&self.arrive(&packet));
        let walked = walk(&answer).unwrap();
        assert_eq!((walked.header.source, walked.header.destination), (OWN, home));
        let Ok(Message::HomeTest(test)) = Message::parse(walked.payload, walked.pseudo_header())
        else {
            panic!("no Home Test");
        };
        assert_eq!(test.cookie, *b"homecook");
        (test.nonce_index, test.token)
    }

    pub fn care_of_token(&mut self, care_of: Ipv6Addr) -> (u16, [u8; 8]) {
        let init = CareOfTestInit { cookie: *b"carecook", options: Options::EMPTY };
        let packet = plain(care_of, &Message::CareOfTestInit(init));
        let answer = sent(&self.arrive(&packet));
        let walked = walk(&answer).unwrap();
        assert_eq!((walked.header.source, walked.header.destination), (OWN, care_of));
        let Ok(Message::CareOfTest(test)) = Message::parse(walked.payload, walked.pseudo_header())
        else {
            panic!("no Care-of Test");
        };
        assert_eq!(test.cookie, *b"carecook");
        (test.nonce_index, test.token)
    }

    /// Registers and expects it to be accepted.
    pub fn bind(&mut self, draft: Draft, care_of: Ipv6Addr) -> Draft {
        let tokens = self.tokens(draft.home, care_of);
        let draft = Draft { tokens, covered: care_of, ..draft };
        let outputs = self.arrive(&draft.packet());
        assert_eq!(answer(&outputs, &draft).status, Status::ACCEPTED);
        draft
    }

    pub fn care_ofs(&self, home: Ipv6Addr) -> Vec<(Option<Bid>, Ipv6Addr)> {
        let known = self.node.home(home);
        known.map_or_else(Vec::new, |home| {
            home.bindings.iter().map(|(bid, binding)| (*bid, binding.care_of)).collect()
        })
    }
}

/// The secret that a lab's node gets under this index.
pub fn secret(index: u16) -> Secret {
    let mut random = [0x5a; 30];
    for at in [0, 2, 22] {
        random[at..at + 2].copy_from_slice(&index.to_be_bytes());
    }
    Secret::from_random(random)
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    pub home_index: u16,
    pub home: [u8; 8],
    pub care_of_index: u16,
    pub care_of: [u8; 8],
}

/// A Binding Update before it is sealed.
#[derive(Clone, Debug)]
pub struct Draft {
    pub home: Ipv6Addr,
    pub source: Ipv6Addr,
    pub home_address_option: bool,
    pub sequence: u16,
    pub flags: BuFlags,
    pub lifetime: u16,
    pub nonces: bool,
    pub alternate: Option<Ipv6Addr>,
    pub bids: Vec<BidOption>,
    pub tokens: Tokens,
    /// The address that the authenticator covers.
    pub covered: Ipv6Addr,
}

impl Draft {
    pub fn new(sequence: u16, source: Ipv6Addr) -> Self {
        Self {
            home: HOME,
            source,
            home_address_option: true,
            sequence,
            flags: BuFlags::ACKNOWLEDGE,
            lifetime: 50,
            nonces: true,
            alternate: None,
            bids: Vec::new(),
            tokens: Tokens::default(),
            covered: source,
        }
    }

    pub fn bid(self, option: BidOption) -> Self {
        let mut bids = self.bids;
        bids.push(option);
        Self { bids, ..self }
    }

    pub fn flag(self, flag: BuFlags) -> Self {
        Self { flags: self.flags.with(flag), ..self }
    }

    pub fn lifetime(self, lifetime: u16) -> Self {
        Self { lifetime, ..self }
    }

    pub fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    pub fn key(&self) -> BindingKey {
        match self.lifetime {
            0 => BindingKey::to_delete(self.tokens.home),
            _ => BindingKey::to_register(self.tokens.home, self.tokens.care_of),
        }
    }

    /// What the authenticators of update and acknowledgement cover.
    pub fn covered(&self) -> Ipv6Addr {
        if self.lifetime == 0 { self.home } else { self.covered }
    }

    pub fn message(&self) -> Message<'static> {
        let mut options = BindingUpdate::builder();
        if self.nonces {
            let (home, care_of) = (self.tokens.home_index, self.tokens.care_of_index);
            options.push(&MobilityOption::NonceIndices { home, care_of });
        }
        if let Some(address) = self.alternate {
            options.push(&MobilityOption::AlternateCareOf(address));
        }
        for option in &self.bids {
            options.push(&MobilityOption::BindingIdentifier(*option));
        }
        options.push_binding_authorization();
        Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(self.sequence),
            flags: self.flags,
            lifetime: Lifetime(self.lifetime),
            options: options.finish(),
        })
    }

    pub fn packet(&self) -> Vec<u8> {
        let message = self.message();
        let octets = message.emit_unchecked();
        let authenticator = self.key().authenticator(self.covered(), OWN, &octets);
        self.wrap(&message.with_authenticator(&authenticator))
    }

    pub fn wrap(&self, message: &Message<'_>) -> Vec<u8> {
        let octets = message.emit(self.home, OWN);
        if self.home_address_option {
            mobility_packet(self.source, OWN, Some(self.home), None, &octets)
        } else {
            mobility_packet(self.home, OWN, None, None, &octets)
        }
    }
}

/// A packet without extension headers.
pub fn plain(source: Ipv6Addr, message: &Message<'_>) -> Vec<u8> {
    mobility_packet(source, OWN, None, None, &message.emit(source, OWN))
}

/// The only packet that was sent.
pub fn sent(outputs: &[Output]) -> Vec<u8> {
    let mut packets = outputs.iter().filter_map(|output| match output {
        Output::Send(packet) => Some(packet.clone()),
        _ => None,
    });
    let packet = packets.next().unwrap_or_else(|| panic!("nothing sent: {outputs:?}"));
    assert_eq!(packets.next(), None);
    packet
}

pub fn is_silent(outputs: &[Output]) -> bool {
    !outputs.iter().any(|output| matches!(output, Output::Send(_)))
}

pub fn dropped(outputs: &[Output]) -> DropReason {
    assert!(is_silent(outputs), "{outputs:?}");
    match outputs {
        [Output::Dropped(reason)] => *reason,
        other => panic!("not one drop: {other:?}"),
    }
}

pub fn events(outputs: &[Output]) -> Vec<Event> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Event(event) => Some(event.clone()),
            _ => None,
        })
        .collect()
}

/// A Binding Acknowledgement as its mobile node reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    pub sequence: u16,
    pub lifetime: u16,
    pub bids: Vec<BidOption>,
    /// The authenticator is there and right.
    pub authentic: bool,
}

/// The acknowledgement to this update, its addressing checked.
pub fn answer(outputs: &[Output], draft: &Draft) -> Answer {
    let packet = sent(outputs);
    let walked = walk(&packet).unwrap();
    assert_eq!(walked.header.source, OWN);
    if draft.home_address_option {
        assert_eq!(walked.header.destination, draft.source);
        assert_eq!(walked.routing_home_address, Some(draft.home));
    } else {
        assert_eq!(walked.header.destination, draft.home);
        assert_eq!(walked.routing_home_address, None);
    }
    let message = Message::parse(walked.payload, walked.pseudo_header()).unwrap();
    let Message::BindingAcknowledgement(ba) = &message else { panic!("{message:?}") };
    assert_eq!(ba.flags.0, 0, "K is never set");
    let authorization = ba
        .options
        .iter()
        .any(|option| matches!(option, MobilityOption::BindingAuthorizationData(_)));
    let right = draft.key().authenticates(draft.covered(), OWN, walked.payload);
    assert_eq!(authorization, right, "an authenticator that is there is right");
    Answer {
        status: ba.status,
        sequence: ba.sequence.0,
        lifetime: ba.lifetime.0,
        bids: ba
            .options
            .iter()
            .filter_map(|option| match option {
                MobilityOption::BindingIdentifier(option) => Some(option),
                _ => None,
            })
            .collect(),
        authentic: authorization,
    }
}
