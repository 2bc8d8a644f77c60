//! `homeport certificates`: an authority of one's own, for laboratories and `homeport dev`.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use homeport_runtime::clock::unix_ms;
use homeport_tls::{
    Identity, Role, TlsConfig, facts,
    mint::{Authority, Pair},
};

const DAY_SECS: u64 = 86_400;
/// An authority lives as long as a laboratory may.
const AUTHORITY_DAYS: u32 = 3_650;
/// How long certificates last that say nothing else.
const DAYS: u32 = 30;

/// What there is to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a certificate and its key, and the authority that signs it where the directory has none yet: files
    /// ca.crt, ca.key, NAME.crt and NAME.key. Keep ca.key where no process is
    New {
        /// What it is for: store, front-end, forwarder, ike-agent, noc or operator
        role: Role,
        /// Which one of them, such as store-1
        name: String,
        /// Where the files are
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// For how many days it is valid
        #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
        /// The cluster's tls.trust_domain
        #[arg(long, default_value = "homeport", value_name = "NAME")]
        trust_domain: String,
    },
    /// Say whose the certificates of a file are, who has signed them, and when they end. Exit status 1 when one is
    /// not valid now
    Show {
        /// PEM files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The cluster's tls.trust_domain
        #[arg(long, default_value = "homeport", value_name = "NAME")]
        trust_domain: String,
    },
}

/// Does it; whether all is well.
pub(crate) fn run(action: &Action) -> anyhow::Result<bool> {
    match action {
        Action::New { role, name, dir, days, trust_domain } => {
            let identity = Identity::new(*role, name)
                .map_err(|expected| anyhow::anyhow!("{name:?} is no name; expected {expected}"))?;
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            let files = Lab::open(dir)?.new_certificate(&identity, trust_domain, *days)?;
            println!(
                "{}: {} for {days} days",
                files.certificate_file.display(),
                identity.uri(trust_domain)
            );
            println!("{}: its key", files.key_file.display());
            println!("{}: the authority", files.ca_file.display());
            Ok(true)
        }
        Action::Show { files, trust_domain } => show(files, trust_domain),
    }
}

fn show(files: &[PathBuf], trust_domain: &str) -> anyhow::Result<bool> {
    let now = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
    let mut all_valid = true;
    for file in files {
        for fact in facts(file, trust_domain).map_err(anyhow::Error::msg)? {
            let whose = fact.identity.map_or(fact.subject, |it| it.uri(trust_domain));
            let days = fact.not_after.saturating_sub(now).div_euclid(86_400);
            let valid = match (fact.not_before <= now, now <= fact.not_after) {
                (true, true) => format!("valid for {days} more days"),
                (false, _) => "not valid yet".to_owned(),
                (_, false) => "EXPIRED".to_owned(),
            };
            all_valid &= fact.not_before <= now && now <= fact.not_after;
            println!("{}: {whose}, signed by {}, {valid}", file.display(), fact.issuer);
        }
    }
    Ok(all_valid)
}

/// A directory with an authority and what it has signed.
pub(crate) struct Lab {
    dir: PathBuf,
    authority: Authority,
}

impl Lab {
    /// The authority of a directory, made where there is none.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let (certificate_file, key_file) = (dir.join("ca.crt"), dir.join("ca.key"));
        let authority = match (certificate_file.exists(), key_file.exists()) {
            (true, true) => {
                let read = |file: &Path| {
                    fs::read_to_string(file).with_context(|| file.display().to_string())
                };
                let pair = Pair { certificate: read(&certificate_file)?, key: read(&key_file)? };
                Authority::of(&pair).with_context(|| certificate_file.display().to_string())?
            }
            (false, false) => {
                let (authority, pair) =
                    Authority::new("Homeport laboratory", days(AUTHORITY_DAYS))?;
                write(&key_file, &pair.key)?;
                write(&certificate_file, &pair.certificate)?;
                authority
            }
            _ => bail!(
                "{}: only one of ca.crt and ca.key is there; expected both or neither",
                dir.display()
            ),
        };
        Ok(Self { dir: dir.to_owned(), authority })
    }

    /// Writes a certificate and its key, and says where.
    pub(crate) fn new_certificate(
        &self,
        identity: &Identity,
        trust_domain: &str,
        for_days: u32,
    ) -> anyhow::Result<TlsConfig> {
        let pair = self.authority.sign(identity, trust_domain, days(for_days))?;
        let certificate_file = self.dir.join(format!("{}.crt", identity.name));
        let key_file = self.dir.join(format!("{}.key", identity.name));
        if identity.name == "ca" {
            bail!("ca is the authority's; expected another name");
        }
        write(&key_file, &pair.key)?;
        write(&certificate_file, &pair.certificate)?;
        Ok(TlsConfig::new(certificate_file, key_file, self.dir.join("ca.crt")))
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days).saturating_mul(DAY_SECS))
}

/// A reader sees the old file or the new one. All but certificates are their owner's alone.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let mode = if file.extension().is_some_and(|it| it == "crt") { 0o644 } else { 0o600 };
    let fresh = file.with_extension("new");
    let context = || file.display().to_string();
    let removed = fs::remove_file(&fresh);
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).with_context(context);
    }
    let options = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh);
    let mut new = options.with_context(context)?;
    new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).with_context(context)?;
    fs::rename(&fresh, file).with_context(context)
}
