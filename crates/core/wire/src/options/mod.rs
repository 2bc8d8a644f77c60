//! Mobility options (RFC 6275 §6.2): the area, kept as the octets it was, and views of its options.

mod bid;
mod builder;
mod flow;
mod option;
mod selector;

use alloc::borrow::Cow;
use core::fmt;

pub use bid::{BidCareOf, BidOption};
pub(crate) use builder::pad;
pub use builder::{OptionsBuilder, Refusal};
pub use flow::{FlowIdentification, FlowIds, FlowSubOption, TrafficSelector};
pub use option::{MobilityOption, kind};
pub use selector::{BinarySelector, Selector, SelectorRefusal};

use crate::error::Malformed;
use crate::limits::MOBILITY_OPTIONS_MAX;
use crate::reader::Reader;

/// The option area of a message: checked once that no option overruns it, then kept as octets, so
/// that order, duplicates, padding and unknown options survive.
///
/// Two areas are equal when they hold the same octets up to the end of the last option: padding
/// behind it belongs to the length of the header, which is rounded up to eight octets.
#[derive(Clone, Default)]
pub struct Options<'p>(Cow<'p, [u8]>);

impl<'p> Options<'p> {
    /// No options.
    pub const EMPTY: Options<'static> = Options(Cow::Borrowed(&[]));

    /// Checks an area which begins at octet `at` of the Mobility Header.
    pub fn parse(area: &'p [u8], at: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::new(area);
        let mut count = 0_usize;
        loop {
            match next_option(&mut reader) {
                Ok(Some(_)) => count = count.saturating_add(1),
                Ok(None) => break,
                Err(Overrun(begin)) => {
                    return Err(Malformed::OptionOverrun { at: at.saturating_add(begin) });
                }
            }
            if count > MOBILITY_OPTIONS_MAX {
                return Err(Malformed::TooManyOptions);
            }
        }
        Ok(Self(Cow::Borrowed(area)))
    }

    /// The octets of the area.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// True when there is no option; padding does not count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The options in order, without padding.
    pub fn iter(&self) -> impl Iterator<Item = MobilityOption<'_>> + '_ {
        self.entries().map(|(_, option)| option)
    }

    /// The options in order, each with the place of its Option Type in [`Options::octets`].
    pub fn entries(&self) -> impl Iterator<Item = (usize, MobilityOption<'_>)> + '_ {
        let mut reader = Reader::new(&self.0);
        core::iter::from_fn(move || {
            // The area was checked when it was built: an error cannot come up, and would end the
            // walk.
            let (at, kind, data) = next_option(&mut reader).ok().flatten()?;
            Some((at, MobilityOption::decode(kind, data)))
        })
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Options<'static> {
        Options(Cow::Owned(self.0.into_owned()))
    }

    /// The same with the last octets of the authenticator at the end of the area (RFC 4285 §5, RFC
    /// 6275 §6.2.7) replaced by `authenticator`. Without such an option at the very end, or with
    /// one shorter than `authenticator`, nothing is replaced.
    #[must_use]
    pub fn with_authenticator(self, authenticator: &[u8]) -> Options<'static> {
        let room = self.authenticator_len().unwrap_or(0);
        let mut octets = self.0.into_owned();
        if authenticator.len() <= room {
            let at = octets.len().saturating_sub(authenticator.len());
            for (octet, new) in octets.iter_mut().skip(at).zip(authenticator) {
                *octet = *new;
            }
        }
        Options(Cow::Owned(octets))
    }

    /// Octets of the authenticator when the last option is one and nothing follows it.
    #[must_use]
    pub fn authenticator_len(&self) -> Option<usize> {
        let (at, last) = self.entries().last()?;
        let (head, len) = match last {
            MobilityOption::Authentication { data, .. } => (7, data.len()),
            MobilityOption::BindingAuthorizationData(data) => (2, data.len()),
            _ => return None,
        };
        let end = at.saturating_add(head).saturating_add(len);
        (end == self.0.len()).then_some(len)
    }

    /// The octets up to the end of the last option.
    fn significant(&self) -> &[u8] {
        self.fitting(usize::MAX)
    }

    /// The octets of as many whole options, without padding behind, as end within `room` octets.
    pub(crate) fn fitting(&self, room: usize) -> &[u8] {
        let mut reader = Reader::new(&self.0);
        let mut end = 0;
        while let Ok(Some(_)) = next_option(&mut reader) {
            if reader.at() > room {
                break;
            }
            end = reader.at();
        }
        self.0.get(..end).unwrap_or_default()
    }

    pub(crate) const fn from_checked(octets: alloc::vec::Vec<u8>) -> Options<'static> {
        Options(Cow::Owned(octets))
    }
}

impl PartialEq<Options<'_>> for Options<'_> {
    fn eq(&self, other: &Options<'_>) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for Options<'_> {}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An option as octets: place of its type, type, data.
type RawOption<'p> = (usize, u8, &'p [u8]);

/// Where the option begins that runs past the end of its area.
struct Overrun(usize);

/// The next option that is not padding; `None` at the end.
fn next_option<'p>(reader: &mut Reader<'p>) -> Result<Option<RawOption<'p>>, Overrun> {
    while !reader.is_empty() {
        let at = reader.at();
        let overrun = |_| Overrun(at);
        let kind = reader.u8("option type").map_err(overrun)?;
        if kind == kind::PAD1 {
            continue;
        }
        let len = reader.u8("option length").map_err(overrun)?;
        let data = reader.slice(usize::from(len), "option data").map_err(overrun)?;
        if kind != kind::PADN {
            return Ok(Some((at, kind, data)));
        }
    }
    Ok(None)
}
