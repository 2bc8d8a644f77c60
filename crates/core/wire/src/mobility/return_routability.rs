//! The four messages of return routability (RFC 6275 §6.1.3 to §6.1.6, RFC 5648 §6.1).

use alloc::vec::Vec;

use super::{map_options, options};
use crate::error::Malformed;
use crate::options::{Options, OptionsBuilder};
use crate::reader::Reader;

/// Starts the test of the home address (RFC 6275 §6.1.3).
///
/// ```text
///  6: reserved, dropped
///  8: home init cookie
/// 16: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeTestInit<'p> {
    /// Home init cookie.
    pub cookie: [u8; 8],
    /// Options.
    pub options: Options<'p>,
}

/// Starts the test of a care-of address (RFC 6275 §6.1.4); drawn like [`HomeTestInit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CareOfTestInit<'p> {
    /// Care-of init cookie.
    pub cookie: [u8; 8],
    /// Options.
    pub options: Options<'p>,
}

/// Answers a Home Test Init (RFC 6275 §6.1.5).
///
/// ```text
///  6: home nonce index
///  8: home init cookie   16: home keygen token
/// 24: options
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeTest<'p> {
    /// Home nonce index.
    pub nonce_index: u16,
    /// Home init cookie, copied.
    pub cookie: [u8; 8],
    /// Home keygen token.
    pub token: [u8; 8],
    /// Options.
    pub options: Options<'p>,
}

/// Answers a Care-of Test Init (RFC 6275 §6.1.6); drawn like [`HomeTest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CareOfTest<'p> {
    /// Care-of nonce index.
    pub nonce_index: u16,
    /// Care-of init cookie, copied.
    pub cookie: [u8; 8],
    /// Care-of keygen token.
    pub token: [u8; 8],
    /// Options.
    pub options: Options<'p>,
}

macro_rules! test_init {
    ($name:ident) => {
        impl<'p> $name<'p> {
            /// Composes its options.
            #[must_use]
            pub const fn builder() -> OptionsBuilder {
                OptionsBuilder::for_test_init()
            }

            pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
                reader.u16("reserved")?;
                Ok(Self { cookie: reader.take("init cookie")?, options: options(&reader)? })
            }

            pub(super) fn emit(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&self.cookie);
            }
        }
        map_options!($name { cookie });
    };
}

macro_rules! test {
    ($name:ident) => {
        impl<'p> $name<'p> {
            /// Composes its options.
            #[must_use]
            pub const fn builder() -> OptionsBuilder {
                OptionsBuilder::for_test()
            }

            pub(super) fn parse(mut reader: Reader<'p>) -> Result<Self, Malformed> {
                Ok(Self {
                    nonce_index: reader.u16("nonce index")?,
                    cookie: reader.take("init cookie")?,
                    token: reader.take("keygen token")?,
                    options: options(&reader)?,
                })
            }

            pub(super) fn emit(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.nonce_index.to_be_bytes());
                out.extend_from_slice(&self.cookie);
                out.extend_from_slice(&self.token);
            }
        }
        map_options!($name { nonce_index, cookie, token });
    };
}

test_init!(HomeTestInit);
test_init!(CareOfTestInit);
test!(HomeTest);
test!(CareOfTest);
