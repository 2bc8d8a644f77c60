//! What can go wrong, as the operator reads it and as a script sees it.

use std::fmt;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::output::plain;

/// Why nothing was printed to standard output.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, or a file that it names.
    Usage(String),
    /// The store understood and said no.
    Refused(Box<Status>),
    /// There is nothing of that name.
    NotFound(String),
    /// No store that could answer was reached; what each endpoint did.
    Unreached(Vec<(String, String)>),
    /// Something that was looked at is not as it should be; what was found, for standard output.
    Checked(String),
    /// Who read the output has gone.
    NobodyReads,
    /// A change was sent and the answer was lost: it may have happened.
    Unknown { endpoint: String, answer: Box<Status> },
}

impl Failure {
    /// The codes that `--help` promises.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::Refused(_) | Self::NotFound(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreached(_) | Self::Unknown { .. } => 3,
            Self::Checked(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::NotFound(what) => writeln!(f, "error: {what}"),
            Self::Checked(found) => f.write_str(found),
            Self::NobodyReads => Ok(()),
            Self::Refused(answer) => refused(f, answer),
            Self::Unreached(tried) => {
                writeln!(f, "error: no store could answer")?;
                for (endpoint, reason) in tried {
                    writeln!(f, "  {}: {}", plain(endpoint), plain(reason))?;
                }
                Ok(())
            }
            Self::Unknown { endpoint, answer } => {
                writeln!(
                    f,
                    "error: {} did not say whether the change was made ({}); look before repeating it",
                    plain(endpoint),
                    plain(&reason(answer)),
                )
            }
        }
    }
}

fn refused(f: &mut fmt::Formatter<'_>, answer: &Status) -> fmt::Result {
    writeln!(f, "error: refused, {}: {}", answer.code(), plain(answer.message()))?;
    for violation in violations(answer) {
        writeln!(f, "  {}: {}", plain(&violation.field), plain(&violation.description))?;
    }
    for (what, missing) in preconditions(answer) {
        writeln!(f, "  {}: {}", plain(&what), plain(&missing))?;
    }
    if let Some(delay) = answer.get_details_retry_info().and_then(|it| it.retry_delay) {
        writeln!(f, "  ask again after {} s", delay.as_secs_f64())?;
    }
    for link in answer.get_details_help().map(|help| help.links).unwrap_or_default() {
        writeln!(f, "  see {}", plain(&link.url))?;
    }
    Ok(())
}

/// What stands in the way, beside the fields that are named anyway.
fn preconditions(answer: &Status) -> Vec<(String, String)> {
    let fields = violations(answer);
    let is_field = |subject: &str| fields.iter().any(|it| it.field == subject);
    let failed = answer.get_details_precondition_failure().map(|failure| failure.violations);
    let failed = failed.unwrap_or_default().into_iter();
    let others = failed.filter(|it| !is_field(&it.subject));
    others.map(|it| (it.subject, it.description)).collect()
}

/// The reason of an answer of the admin API, for programs.
pub(crate) fn reason_of(answer: &Status) -> Option<String> {
    let info = answer.get_details_error_info()?;
    (info.domain == "homeport").then_some(info.reason)
}

/// The fields that `google.rpc.BadRequest` names.
pub(crate) fn violations(answer: &Status) -> Vec<tonic_types::FieldViolation> {
    answer.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default()
}

/// An answer's text with the innermost cause, which is what an operator can act on.
pub(crate) fn reason(answer: &Status) -> String {
    let mut cause = std::error::Error::source(answer);
    let mut text = answer.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if text.is_empty() { answer.code().to_string() } else { text }
}
