//! Who is logged in: one token out of a file, a cookie for who has shown it, and a form token without which
//! that cookie changes nothing.
//!
//! The cookie is `HttpOnly` and `SameSite=Strict`; forms carry a second secret of the session (RFC 9110 has
//! no safe POST, and browsers have had holes in SameSite). It is not `Secure`: the dashboard itself speaks
//! HTTP, so put it behind something that speaks TLS wherever the network is not trusted.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, header};
use homeport_runtime::config::Refusal;
use rand::{TryRngCore as _, rngs::OsRng};
use subtle::ConstantTimeEq as _;

use crate::{
    config::LoginConfig,
    limits::{LOGIN_FAILURES_MAX, LOGIN_WINDOW_MS, SESSION_MS, SESSIONS_MAX, TOKEN_OCTETS_MIN},
};

/// The cookie's name.
const COOKIE: &str = "homeport_noc";

/// Everybody who is logged in.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Nobody can log in without.
    token: Option<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the cookie's value.
    sessions: BTreeMap<String, Session>,
    /// When wrong tokens came.
    failures: VecDeque<u64>,
}

/// One login.
#[derive(Clone, Debug)]
struct Session {
    form_token: String,
    since_ms: u64,
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no `[login]`.
    Closed,
    /// Not the token.
    Wrong,
    /// Too many wrong tokens: nobody's is looked at for a while.
    TooMany,
    /// The machine has no randomness.
    Random,
}

impl Refused {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Closed => {
                "nobody can log in: there is no [login] in this dashboard's configuration"
            }
            Self::Wrong => "this is not the token of login.token_file",
            Self::TooMany => "too many wrong tokens: wait a minute",
            Self::Random => "this machine gives no random octets",
        }
    }

    /// The label of its counter.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Wrong => "wrong_token",
            Self::TooMany => "too_many",
            Self::Random => "no_randomness",
        }
    }
}

impl Sessions {
    /// Reads the token.
    pub(crate) fn new(config: Option<&LoginConfig>) -> Result<Self, Refusal> {
        let token = config.map(read).transpose()?;
        Ok(Self { token, state: Mutex::default() })
    }

    pub(crate) const fn can_log_in(&self) -> bool {
        self.token.is_some()
    }

    /// A `Set-Cookie` for who knows the token.
    pub(crate) fn log_in(&self, token: &str, now_ms: u64) -> Result<String, Refused> {
        let expected = self.token.as_ref().ok_or(Refused::Closed)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures.retain(|at_ms| now_ms.saturating_sub(*at_ms) < LOGIN_WINDOW_MS);
        if state.failures.len() >= LOGIN_FAILURES_MAX {
            return Err(Refused::TooMany);
        }
        // The time that this takes tells the length alone.
        if !bool::from(expected.as_slice().ct_eq(token.trim().as_bytes())) {
            state.failures.push_back(now_ms);
            return Err(Refused::Wrong);
        }
        let (cookie, form_token) = (secret()?, secret()?);
        state.forget_old(now_ms);
        state.sessions.insert(cookie.clone(), Session { form_token, since_ms: now_ms });
        let secs = SESSION_MS / 1_000;
        Ok(format!("{COOKIE}={cookie}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict"))
    }

    /// The form token of who sends these headers; none for who is not logged in.
    pub(crate) fn form_token(&self, headers: &HeaderMap, now_ms: u64) -> Option<String> {
        let cookie = cookie(headers)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let session = state.sessions.get(cookie)?;
        (now_ms.saturating_sub(session.since_ms) < SESSION_MS).then(|| session.form_token.clone())
    }

    /// Whether these headers and this form are of one session.
    pub(crate) fn may_change(&self, headers: &HeaderMap, form_token: &str, now_ms: u64) -> bool {
        self.form_token(headers, now_ms)
            .is_some_and(|expected| expected.as_bytes().ct_eq(form_token.as_bytes()).into())
    }

    /// Ends the session of these headers; a `Set-Cookie` that takes the cookie away.
    pub(crate) fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(cookie) = cookie(headers) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.sessions.remove(cookie);
        }
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }
}

impl State {
    /// Makes room for one.
    fn forget_old(&mut self, now_ms: u64) {
        self.sessions.retain(|_, session| now_ms.saturating_sub(session.since_ms) < SESSION_MS);
        while self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.since_ms);
            let Some(cookie) = oldest.map(|(cookie, _)| cookie.clone()) else { break };
            self.sessions.remove(&cookie);
        }
    }
}

fn read(config: &LoginConfig) -> Result<Vec<u8>, Refusal> {
    let failed = |why: String| {
        let expected = format!("a file with at least {TOKEN_OCTETS_MIN} octets");
        let wrong = format!("is {:?}: {why}", config.token_file);
        Refusal::new("login.token_file", wrong, expected)
    };
    let octets = fs::read(&config.token_file).map_err(|error| failed(error.to_string()))?;
    let token = octets.trim_ascii();
    if token.len() < TOKEN_OCTETS_MIN {
        return Err(failed(format!("has {} octets", token.len())));
    }
    Ok(token.to_vec())
}

/// 256 random bits in hexadecimal.
fn secret() -> Result<String, Refused> {
    let mut octets = [0; 32];
    OsRng.try_fill_bytes(&mut octets).map_err(|_| Refused::Random)?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct horse battery staple";

    fn sessions() -> Sessions {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), format!("  {TOKEN}\n")).expect("writes");
        let config = LoginConfig { token_file: file.path().to_owned() };
        Sessions::new(Some(&config)).expect("a token")
    }

    /// Headers of a browser that was given this.
    fn headers(set_cookie: &str) -> HeaderMap {
        let pair = set_cookie.split(';').next().expect("a pair");
        let value = format!("other=1; {pair}").parse().expect("a value");
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn a_cookie_alone_changes_nothing() {
        let sessions = sessions();
        let cookie = sessions.log_in(TOKEN, 1_000).expect("is the token");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let headers = headers(&cookie);
        let form_token = sessions.form_token(&headers, 2_000).expect("is logged in");
        assert!(!cookie.contains(&form_token));
        assert!(sessions.may_change(&headers, &form_token, 2_000));
        for wrong in ["", "x", &form_token.replace(['a', '1'], "b"), &cookie] {
            assert!(!sessions.may_change(&headers, wrong, 2_000), "{wrong}");
        }
        assert!(!sessions.may_change(&HeaderMap::new(), &form_token, 2_000));
        assert!(!sessions.may_change(&headers, &form_token, 1_000 + SESSION_MS));
        sessions.log_out(&headers);
        assert!(!sessions.may_change(&headers, &form_token, 2_000));
    }

    #[test]
    fn wrong_tokens_are_counted_and_then_nobody_is_let_in() {
        let sessions = sessions();
        for _ in 0..LOGIN_FAILURES_MAX {
            assert_eq!(sessions.log_in("guess", 1_000), Err(Refused::Wrong));
        }
        assert_eq!(sessions.log_in(TOKEN, 1_000 + LOGIN_WINDOW_MS - 1), Err(Refused::TooMany));
        assert!(sessions.log_in(TOKEN, 1_000 + LOGIN_WINDOW_MS).is_ok());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_goes() {
        let sessions = sessions();
        let first = headers(&sessions.log_in(TOKEN, 0).expect("is the token"));
        for n in 1..=SESSIONS_MAX {
            let now_ms = u64::try_from(n).expect("small");
            sessions.log_in(TOKEN, now_ms).expect("is the token");
        }
        assert_eq!(sessions.form_token(&first, 100), None);
        let state = sessions.state.lock().expect("nobody has panicked");
        assert_eq!(state.sessions.len(), SESSIONS_MAX);
    }

    #[test]
    fn without_a_configuration_nobody_can() {
        let sessions = Sessions::new(None).expect("nothing to read");
        assert_eq!(sessions.log_in(TOKEN, 0), Err(Refused::Closed));
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "short").expect("writes");
        let token_file = file.path().to_owned();
        let config = LoginConfig { token_file };
        let error = Sessions::new(Some(&config)).expect_err("is short").to_string();
        assert!(error.contains("has 5 octets; expected a file with at least 16 octets"), "{error}");
    }
}
