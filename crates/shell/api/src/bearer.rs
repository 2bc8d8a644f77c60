//! The token that says who calls the admin API: `authorization: Bearer TOKEN` (RFC 6750 section 2.1).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The metadata that carries it.
pub const HEADER: &str = "authorization";
/// Octets of a token at most, the same in a file and on the wire.
pub const TOKEN_OCTETS_MAX: usize = 512;

/// A connection on which each call says who calls.
pub type Link = InterceptedService<Channel, Bearer>;

/// What stores keep of a token.
#[must_use]
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Puts a token on each call. Clones share it, so that one that has changed is used by all.
#[derive(Clone, Default)]
pub struct Bearer(Arc<RwLock<Option<MetadataValue<Ascii>>>>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer")
    }
}

/// What is wrong with a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{0}; expected a file with a token")]
    Read(#[from] std::io::Error),
    /// It is no token.
    #[error(
        "has no token; expected 1 to {TOKEN_OCTETS_MAX} printable ASCII characters without spaces"
    )]
    NoToken,
}

impl Bearer {
    /// With this token, white space around it not counted.
    ///
    /// # Errors
    /// When no call can carry it.
    pub fn new(token: &str) -> Result<Self, TokenError> {
        let bearer = Self::default();
        bearer.set(token)?;
        Ok(bearer)
    }

    /// With the token of a file.
    ///
    /// # Errors
    /// When the file cannot be read, or has none.
    pub fn of_file(path: &Path) -> Result<Self, TokenError> {
        Self::new(&read(path)?)
    }

    /// From now on with this token.
    ///
    /// # Errors
    /// When no call can carry it: the former one stays.
    pub fn set(&self, token: &str) -> Result<(), TokenError> {
        let token = token.trim();
        let is_token = !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic());
        let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
        let value = value.ok().filter(|_| is_token && token.len() <= TOKEN_OCTETS_MAX);
        let mut value = value.ok_or(TokenError::NoToken)?;
        value.set_sensitive(true);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// Calls over this channel carry the token.
    #[must_use]
    pub fn over(&self, channel: Channel) -> Link {
        InterceptedService::new(channel, self.clone())
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(value) = value {
            request.metadata_mut().insert(HEADER, value);
        }
        Ok(request)
    }
}

/// What stands in a file that holds a token, as far as it could be one.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> std::io::Result<String> {
    let max = u64::try_from(TOKEN_OCTETS_MAX).unwrap_or(u64::MAX).saturating_mul(2);
    let mut text = String::new();
    File::open(path)?.take(max).read_to_string(&mut text)?;
    Ok(text)
}

/// The token of what a caller has sent.
#[must_use]
pub fn token_of(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    let is_one = scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_OCTETS_MAX;
    (is_one && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bearer: &Bearer) -> Option<String> {
        let request = bearer.clone().call(Request::new(())).expect("goes on");
        let value = request.metadata().get(HEADER)?;
        assert!(value.is_sensitive());
        token_of(value.to_str().expect("is text")).map(str::to_owned)
    }

    #[test]
    fn what_is_put_on_a_call_is_what_is_read_from_it() {
        let bearer = Bearer::new(" secret-1\n").expect("is one");
        assert_eq!(sent(&bearer).as_deref(), Some("secret-1"));
        bearer.clone().set("secret-2").expect("is one");
        for wrong in ["", " \n", "two words", "caf\u{e9}", &"x".repeat(TOKEN_OCTETS_MAX + 1)] {
            assert!(bearer.set(wrong).is_err(), "{wrong}");
        }
        assert_eq!(sent(&bearer).as_deref(), Some("secret-2"));
        assert_eq!(sent(&Bearer::default()), None);
        assert_eq!(format!("{bearer:?}"), "Bearer");
    }

    #[test]
    fn only_the_scheme_of_bearers_is_read() {
        assert_eq!(token_of("bearer  x"), Some("x"));
        for wrong in ["", "x", "Bearer", "Bearer ", "Basic eDp4"] {
            assert_eq!(token_of(wrong), None, "{wrong}");
        }
    }
}
