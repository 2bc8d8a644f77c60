//! `homeportctl snapshot`: backups of the store, and a new cluster out of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use homeport_api::{
    admin::{SaveSnapshotRequest, SaveSnapshotResponse, snapshots_client::SnapshotsClient},
    backup::{self, Verified},
};
use homeport_store::{Restore, Restored};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::{
    arguments::{Format, RestoreSnapshot, SnapshotAction},
    cluster::{Cluster, Effect},
    failure::{Failure, reason},
    output,
};

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &SnapshotAction,
) -> Result<String, Failure> {
    match action {
        SnapshotAction::Save { file, force, local, keep } => {
            let saved = save(cluster, file, *force, *local).await?;
            if let Some(keep) = keep {
                prune(file, usize::try_from(*keep).unwrap_or(usize::MAX))?;
            }
            Ok(shown(format, file, &saved))
        }
        SnapshotAction::Verify { file } => {
            let verified = backup::verify(file).map_err(unusable)?;
            Ok(shown(format, file, &verified))
        }
        SnapshotAction::Restore(order) => restore(format, order),
    }
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// Removes the oldest snapshots beside this one.
fn prune(saved: &Path, keep: usize) -> Result<(), Failure> {
    let folder = match saved.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let read = |error: io::Error| failed("read", folder, &error);
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "hpb") {
            let modified = entry.metadata().and_then(|it| it.modified()).map_err(read)?;
            snapshots.push((modified, path));
        }
    }
    snapshots.sort();
    for (_, path) in snapshots.iter().rev().skip(keep) {
        fs::remove_file(path).map_err(|error| failed("remove", path, &error))?;
        eprintln!("removed {}", path.display());
    }
    Ok(())
}

/// The file gets its name when it is whole, on the disk, and verified.
async fn save(
    cluster: &Cluster,
    file: &Path,
    force: bool,
    local: bool,
) -> Result<Verified, Failure> {
    let partial = Partial::create(file, force)?;
    let request = SaveSnapshotRequest { local };
    let call = async |channel| SnapshotsClient::new(channel).save_snapshot(request).await;
    let mut stream = cluster.call(Effect::Read, call).await?;
    while let Some(message) = next(cluster, &mut stream).await? {
        partial.write(&message.octets)?;
    }
    partial.sync()?;
    let verified = backup::verify(&partial.path).map_err(|error| {
        let told = format!("what came is no whole snapshot, {} is not written", file.display());
        Failure::Usage(format!("{told}: {error}"))
    })?;
    partial.publish(file, force)?;
    Ok(verified)
}

async fn next(
    cluster: &Cluster,
    stream: &mut Streaming<SaveSnapshotResponse>,
) -> Result<Option<SaveSnapshotResponse>, Failure> {
    let broken = |answer: &Status| {
        let told = "the store that was saving the snapshot".to_owned();
        Failure::Unreached(vec![(told, reason(answer))])
    };
    match timeout(cluster.deadline(), stream.message()).await {
        Ok(message) => message.map_err(|answer| broken(&answer)),
        Err(_) => {
            let waited = format!("sent nothing for {} s", cluster.deadline().as_secs());
            Err(broken(&Status::deadline_exceeded(waited)))
        }
    }
}

/// A file under another name; removed unless it gets its own.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(target: &Path, force: bool) -> Result<Self, Failure> {
        refuse_existing(target, force)?;
        let Some(name) = target.file_name() else {
            return Err(Failure::Usage(format!("{} is not the name of a file", target.display())));
        };
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = target.with_file_name(name);
        // It holds the keys of subscribers.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed("create", &path, &error))?;
        Ok(Self { path, file })
    }

    fn write(&self, octets: &[u8]) -> Result<(), Failure> {
        (&self.file).write_all(octets).map_err(|error| failed("write", &self.path, &error))
    }

    fn sync(&self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| failed("sync", &self.path, &error))
    }

    /// A link never replaces a file that has come meanwhile; not every file system has links.
    fn publish(&self, target: &Path, force: bool) -> Result<(), Failure> {
        let named = if force {
            fs::rename(&self.path, target)
        } else {
            match fs::hard_link(&self.path, target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    refuse_existing(target, force)?;
                    fs::rename(&self.path, target)
                }
                linked => linked,
            }
        };
        named.map_err(|error| failed("write", target, &error))?;
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("sync", directory, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn refuse_existing(target: &Path, force: bool) -> Result<(), Failure> {
    if !force && target.exists() {
        let told = format!("{} exists already; --force replaces it", target.display());
        return Err(Failure::Usage(told));
    }
    Ok(())
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot {operation} {}: {error}", path.display()))
}

fn restore(format: Format, order: &RestoreSnapshot) -> Result<String, Failure> {
    let order = Restore {
        file: order.file.clone(),
        data_dir: order.data_dir.clone(),
        node_id: order.node_id,
        address: order.address.clone(),
        cluster_name: order.cluster_name.clone(),
    };
    let Restored { founded, header } = homeport_store::restore(&order).map_err(unusable)?;
    if founded.finished {
        eprintln!("an interrupted restore of this directory is finished now: {}", founded.origin);
    }
    let (name, id, node_id) = (&founded.cluster_name, founded.cluster_id, founded.node_id);
    let id = format!("{id:016x}");
    match format {
        Format::Json => Ok(output::document(&json!({
            "cluster": name,
            "cluster_id": id,
            "node_id": node_id,
            "data_dir": order.data_dir.display().to_string(),
            "origin": founded.origin,
        }))),
        Format::Table | Format::Wide | Format::Csv => Ok(format!(
            "{} holds replica {node_id} of the new cluster {:?} with id {id}\n\
             it was {}\n\
             what was acknowledged after that revision is not in it\n\
             \n\
             next:\n\
             1. see that no replica of the old cluster runs or starts again: it would go on as the old cluster\n\
             2. start replica {node_id} on this directory\n\
             3. start the others with empty data directories, and add each: homeportctl raft add NODE HOST:PORT\n",
            order.data_dir.display(),
            output::plain(name),
            output::plain(&founded.origin),
        )),
    }
    .inspect(|_| tell_age(header.taken_ms))
}

/// To standard error: how long ago the backup was taken, by this machine's clock.
fn tell_age(taken_ms: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let minutes = now.saturating_sub(taken_ms) / 60_000;
    eprintln!(
        "the backup was taken {minutes} minutes ago; bindings that have ended since end at once"
    );
}

fn shown(format: Format, file: &Path, verified: &Verified) -> String {
    let Verified { header, digest, octets, counts } = verified;
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let fields = [
        ("file", json!(file.display().to_string())),
        ("octets", json!(octets)),
        ("sha256", json!(digest)),
        ("format", json!(backup::FORMAT_VERSION)),
        ("state_format", json!(header.state_format)),
        ("version", json!(header.version)),
        ("cluster", json!(header.cluster)),
        ("cluster_id", json!(format!("{:016x}", header.cluster_id))),
        ("node_id", json!(header.node_id)),
        ("revision", json!(header.revision)),
        ("term", json!(header.term)),
        ("log_time_ms", json!(header.log_time_ms)),
        ("taken_ms", json!(header.taken_ms)),
        ("home_prefixes", json!(counts.home_prefixes)),
        ("subscribers", json!(counts.subscribers)),
        ("home_addresses", json!(counts.home_addresses)),
        ("bindings", json!(counts.bindings)),
    ];
    if format == Format::Json {
        let object = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        return output::document(&Value::Object(object.collect()));
    }
    let rows = fields.into_iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        vec![name.replace('_', "-"), value]
    });
    output::table(&["WHAT", "VALUE"], rows)
}
