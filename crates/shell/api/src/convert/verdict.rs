use homeport_binding as core;
use homeport_wire::{FlowStatus, Lifetime, Sequence, Status};

use super::{Invalid, invalid, u8_of, u16_of};
use crate::binding as proto;

impl From<core::Verdict> for proto::Verdict {
    fn from(verdict: core::Verdict) -> Self {
        use proto::verdict::Outcome;
        let outcome = match verdict.outcome {
            core::Outcome::Answer(answer) => Outcome::Answer(answer.into()),
            core::Outcome::Silent(silence) => Outcome::Silence(silence.name().to_owned()),
            core::Outcome::StalePolicy => Outcome::StalePolicy(proto::Unit {}),
            core::Outcome::Done => Outcome::Done(proto::Unit {}),
            core::Outcome::Refused(refusal) => Outcome::Refusal(refusal.into()),
            core::Outcome::Pending => Outcome::Pending(proto::Unit {}),
        };
        let esp = verdict.esp.map(Into::into);
        Self { revision: verdict.revision, outcome: Some(outcome), esp }
    }
}

impl TryFrom<proto::Verdict> for core::Verdict {
    type Error = Invalid;

    fn try_from(message: proto::Verdict) -> Result<Self, Invalid> {
        use proto::verdict::Outcome;
        let outcome = match message.outcome {
            Some(Outcome::Answer(answer)) => core::Outcome::Answer(answer.try_into()?),
            Some(Outcome::Silence(name)) => core::Outcome::Silent(
                core::Silence::ALL.into_iter().find(|silence| silence.name() == name).ok_or_else(
                    || invalid("verdict.silence", "a reason that this version knows"),
                )?,
            ),
            Some(Outcome::StalePolicy(_)) => core::Outcome::StalePolicy,
            Some(Outcome::Done(_)) => core::Outcome::Done,
            Some(Outcome::Refusal(refusal)) => core::Outcome::Refused(refusal.try_into()?),
            Some(Outcome::Pending(_)) => core::Outcome::Pending,
            None => return Err(invalid("verdict.outcome", "a kind that this version knows")),
        };
        Ok(Self { revision: message.revision, outcome, esp: message.esp.map(Into::into) })
    }
}

impl From<core::Answer> for proto::Answer {
    fn from(answer: core::Answer) -> Self {
        Self {
            status: answer.status.0.into(),
            bid_statuses: answer.bid_statuses.iter().map(|status| status.0.into()).collect(),
            lifetime: answer.lifetime.0.into(),
            sequence: answer.sequence.0.into(),
            nat_detection: answer.nat_detection.map(|nat| proto::NatDetection {
                force_udp: nat.force_udp,
                refresh_secs: nat.refresh_secs,
            }),
            ntp_secs: answer.ntp_secs,
            mobile_router: answer.mobile_router,
            ipv4_address: answer.ipv4_address.map(Into::into),
            flow_statuses: answer.flow_statuses.iter().map(|status| status.0.into()).collect(),
            flows_not_found: answer.flows_not_found.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Answer> for core::Answer {
    type Error = Invalid;

    fn try_from(message: proto::Answer) -> Result<Self, Invalid> {
        let status = |value| u8_of(value, "answer.status").map(Status);
        Ok(Self {
            status: status(message.status)?,
            bid_statuses: message.bid_statuses.into_iter().map(status).collect::<Result<_, _>>()?,
            lifetime: Lifetime(u16_of(message.lifetime, "answer.lifetime")?),
            sequence: Sequence(u16_of(message.sequence, "answer.sequence")?),
            nat_detection: message.nat_detection.map(|nat| core::NatDetection {
                force_udp: nat.force_udp,
                refresh_secs: nat.refresh_secs,
            }),
            ntp_secs: message.ntp_secs,
            mobile_router: message.mobile_router,
            ipv4_address: message.ipv4_address.map(TryInto::try_into).transpose()?,
            flow_statuses: message
                .flow_statuses
                .into_iter()
                .map(|value| u8_of(value, "answer.flow_statuses").map(FlowStatus))
                .collect::<Result<_, _>>()?,
            flows_not_found: message
                .flows_not_found
                .into_iter()
                .map(|fid| u16_of(fid, "answer.flows_not_found"))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<core::Refusal> for proto::Refusal {
    fn from(refusal: core::Refusal) -> Self {
        use proto::refusal::Kind;
        let kind = match refusal.kind {
            core::RefusalKind::Exists => Kind::Exists,
            core::RefusalKind::NotFound => Kind::NotFound,
            core::RefusalKind::Invalid => Kind::Invalid,
            core::RefusalKind::InUse => Kind::InUse,
            core::RefusalKind::Full => Kind::Full,
            core::RefusalKind::Changed => Kind::Changed,
        };
        Self { kind: kind.into(), field: refusal.field.into_owned(), message: refusal.message }
    }
}

impl TryFrom<proto::Refusal> for core::Refusal {
    type Error = Invalid;

    fn try_from(message: proto::Refusal) -> Result<Self, Invalid> {
        use proto::refusal::Kind;
        let kind = match message.kind() {
            Kind::Exists => core::RefusalKind::Exists,
            Kind::NotFound => core::RefusalKind::NotFound,
            Kind::Invalid => core::RefusalKind::Invalid,
            Kind::InUse => core::RefusalKind::InUse,
            Kind::Full => core::RefusalKind::Full,
            Kind::Changed => core::RefusalKind::Changed,
            Kind::Unspecified => return Err(invalid("refusal.kind", "a known kind")),
        };
        Ok(Self { kind, field: message.field.into(), message: message.message })
    }
}
