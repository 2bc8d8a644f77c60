//! `homeportctl token`: who may use the admin API. A token is made here and nowhere kept; stores know its digest.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use homeport_store::token_line;
use rand::{TryRngCore as _, rngs::OsRng};
use serde_json::json;

use crate::{
    arguments::{Format, NewToken, TokenAction},
    failure::Failure,
    output,
};

/// What a token begins with: whoever finds one in a log knows what it is.
const PREFIX: &str = "homeport_";

pub(crate) fn run(format: Format, action: &TokenAction) -> Result<String, Failure> {
    match action {
        TokenAction::New(new) => make(format, new),
    }
}

fn make(format: Format, new: &NewToken) -> Result<String, Failure> {
    let token = draw()?;
    let line = token_line(&new.name, new.role, &token)
        .map_err(|wrong| Failure::Usage(format!("--name: {wrong}")))?;
    if let Some(file) = &new.write {
        // Only its owner may read it, and nothing is replaced.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut file| writeln!(file, "{token}"));
        written.map_err(|error| Failure::Usage(format!("--write: {}: {error}", file.display())))?;
    }
    let shown = new.write.is_none().then_some(&token);
    Ok(match (format, shown) {
        (Format::Json, _) => output::document(&json!({
            "name": new.name,
            "role": new.role.name(),
            "token": shown,
            "line": line,
        })),
        (_, Some(token)) => format!(
            "token, shown only now:\n  {token}\nline for admin.tokens_file of each store replica:\n  {line}\n"
        ),
        // As it goes into the file: >> tokens.toml
        (_, None) => format!("{line}\n"),
    })
}

/// 256 random bits.
fn draw() -> Result<String, Failure> {
    let mut octets = [0; 32];
    OsRng
        .try_fill_bytes(&mut octets)
        .map_err(|error| Failure::Usage(format!("this machine gives no random octets: {error}")))?;
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(format!("{PREFIX}{digits}"))
}
