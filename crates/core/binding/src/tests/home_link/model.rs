//! Random histories of one home address against a model that knows nothing but the rules of waiting.

use alloc::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Update { ahead: u16, lifetime: u16, link_local: bool },
    Again(prop::sample::Index),
    Found(prop::sample::Index, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Pending,
    Superseded,
    Status(u8),
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u8,
    sequence: u16,
    lifetime: u16,
    link_local: bool,
}

/// What is known of the home address.
#[derive(Default, Clone, Debug)]
struct Record {
    sequence: u16,
    bound_until: Option<u64>,
    forget: Option<u64>,
    /// Request, whether with the link-local address, result.
    waits: Option<(u8, bool, Option<bool>)>,
    said: VecDeque<(u8, Said)>,
}

impl Record {
    fn say(&mut self, id: u8, said: Said) -> Said {
        if self.said.len() == limits::REMEMBERED_PER_HOME_ADDRESS {
            self.said.pop_front();
        }
        self.said.push_back((id, said));
        said
    }
}

#[derive(Default)]
struct Model {
    now: u64,
    record: Option<Record>,
}

impl Model {
    fn pass(&mut self, secs: u64) {
        self.now += secs;
        let Some(record) = &mut self.record else { return };
        if record.bound_until.is_some_and(|end| end <= self.now) {
            (record.bound_until, record.forget) = (None, Some(self.now + 10));
        }
        if record.forget.is_some_and(|end| end <= self.now) {
            self.record = None;
        }
    }

    fn found(&mut self, id: u8, duplicate: bool) {
        if let Some((waiting, _, result @ None)) =
            self.record.as_mut().and_then(|r| r.waits.as_mut())
            && *waiting == id
        {
            *result = Some(duplicate);
        }
    }

    fn register(&mut self, asked: Asked) -> Said {
        let Asked { id, sequence, lifetime, link_local } = asked;
        let existed = self.record.is_some();
        let mut record = self.record.take().unwrap_or_default();
        if let Some((_, said)) = record.said.iter().find(|(of, _)| *of == id) {
            let said = *said;
            self.record = Some(record);
            return said;
        }
        let waits = record.waits;
        let is_own = waits.is_some_and(|(waiting, ..)| waiting == id);
        let ahead = sequence.wrapping_sub(record.sequence);
        if existed && !is_own && !(1..0x8000).contains(&ahead) {
            let said = if waits.is_some() { Said::Superseded } else { Said::Status(135) };
            record.say(id, said);
            self.record = Some(record);
            return said;
        }
        record.sequence = sequence;
        if let Some((older, ..)) = waits.filter(|_| !is_own) {
            record.say(older, Said::Superseded);
        }
        record.waits = None;
        let is_bound = record.bound_until.is_some();
        let known = waits.and_then(|(_, looked, result)| {
            result.filter(|duplicate| *duplicate || looked || !link_local)
        });
        let said = match (lifetime, is_bound, known) {
            (0, true, _) => {
                (record.bound_until, record.forget) = (None, Some(self.now + 10));
                Said::Status(0)
            }
            (0, false, _) => Said::Status(133),
            (_, true, _) | (_, false, Some(false)) => {
                let ends = self.now + u64::from(lifetime) * 4;
                (record.bound_until, record.forget) = (Some(ends), None);
                Said::Status(0)
            }
            (_, false, Some(true)) => Said::Status(134),
            (_, false, None) => {
                record.waits = Some((id, link_local, None));
                Said::Pending
            }
        };
        if record.waits != waits && record.bound_until.is_none() {
            record.forget = Some(self.now + 10);
        }
        if said != Said::Pending {
            record.say(id, said);
        }
        self.record = (existed || said != Said::Status(133)).then_some(record);
        said
    }
}

fn step() -> impl Strategy<Value = Step> {
    let update = (0_u16..3, 0_u16..6, any::<bool>());
    let update = update.prop_map(|(ahead, lifetime, link_local)| Step::Update {
        ahead,
        lifetime,
        link_local,
    });
    prop_oneof![
        2 => (0_u64..12).prop_map(Step::Pass),
        4 => update,
        4 => any::<prop::sample::Index>().prop_map(Step::Again),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, d)| Step::Found(i, d)),
    ]
}

fn ask(lab: &mut Lab, asked: Asked) -> Result<Said, TestCaseError> {
    let r = bu(asked.sequence, asked.lifetime, Vec::new());
    let r = if asked.link_local { link_local(r) } else { r };
    Ok(match submit(lab, asked.id, r) {
        Outcome::Pending => Said::Pending,
        Outcome::Silent(Silence::Superseded) => Said::Superseded,
        Outcome::Answer(answer) => Said::Status(answer.status.0),
        other => return Err(TestCaseError::fail(alloc::format!("{other:?}"))),
    })
}

fn check(lab: &Lab, model: &Model) -> Result<(), TestCaseError> {
    let home = lab.cache.home(HOME);
    prop_assert_eq!(home.is_some(), model.record.is_some());
    let (Some(home), Some(record)) = (home, &model.record) else { return Ok(()) };
    prop_assert_eq!(home.sequence.0, record.sequence);
    prop_assert_eq!(home.bindings.is_empty(), record.bound_until.is_none());
    let waits = home.probe.as_ref().map(|p| (p.request_id[0], p.link_local, p.verdict));
    prop_assert_eq!(waits, record.waits);
    prop_assert_eq!(home.forget.map(|at| at.0), record.forget.map(|at| 1_000_000 + at * 1000));
    prop_assert!(home.probe.is_none() || (home.bindings.is_empty() && home.forget.is_some()));
    Ok(())
}

proptest! {
    #[test]
    fn waiting_follows_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let (mut one, mut two, mut model) = (lab(), lab(), Model::default());
        let mut asked: Vec<Asked> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(secs) => {
                    one.pass(secs);
                    two.pass(secs);
                    model.pass(secs);
                }
                Step::Update { ahead, lifetime, link_local } => {
                    let last = asked.last().map_or(65_530, |last| last.sequence);
                    let id = u8::try_from(asked.len()).unwrap();
                    let sequence = last.wrapping_add(ahead);
                    asked.push(Asked { id, sequence, lifetime, link_local });
                }
                Step::Again(_) | Step::Found(..) if asked.is_empty() => {}
                Step::Again(at) => {
                    let again = *at.get(&asked);
                    let said = ask(&mut one, again)?;
                    prop_assert_eq!(ask(&mut two, again)?, said);
                    prop_assert_eq!(model.register(again), said, "{:?}", again);
                }
                Step::Found(at, duplicate) => {
                    let id = at.get(&asked).id;
                    found(&mut one, id, duplicate);
                    found(&mut two, id, duplicate);
                    model.found(id, duplicate);
                }
            }
            check(&one, &model)?;
            prop_assert_eq!(&one.cache, &two.cache);
            let restored = BindingCache::from_records(one.cache.records()).unwrap();
            one.cache.take_changes();
            two.cache.take_changes();
            prop_assert_eq!(&restored, &one.cache);
        }
    }
}
