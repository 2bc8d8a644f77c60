//! A new cluster out of a backup: its first replica.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::homeportctl::{Homeportctl, text};
use super::{rows, utf8};
use crate::dev::program;
use crate::{eventually, free_address};

/// A running replica; it ends with this.
pub(super) struct Store {
    pub(super) ctl: Homeportctl,
    child: Child,
}

impl Store {
    /// Restores the backup as docs/operations/backup.md says, and waits until the replica leads.
    pub(super) async fn from(backup: &Path, desk: &Path) -> Result<Self> {
        let (address, ops) = (free_address()?.to_string(), free_address()?.to_string());
        let data_dir = desk.join("restored");
        let ctl = Homeportctl::at(vec![address.clone()]);
        let whose = ["--node-id", "1", "--address", &address, "--data-dir", utf8(&data_dir)?];
        let restore = ["snapshot", "restore", utf8(backup)?];
        ctl.json(&[&restore[..], &whose].concat()).await?;
        let config = desk.join("restored.toml");
        let written = format!(
            "node_id = 1\ncluster_name = \"dev\"\ndata_dir = {:?}\nlisten = \"{address}\"\n\
             [peers]\n1 = \"{address}\"\n[ops]\nlisten = \"{ops}\"\n",
            utf8(&data_dir)?
        );
        std::fs::write(&config, written)?;
        let log = std::fs::File::create(desk.join("restored.log"))?;
        let child = Command::new(program("homeport")?)
            .args(["store", "--config", utf8(&config)?])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("homeport store")?;
        let store = Self { ctl, child };
        eventually("the restored replica to lead", async || {
            let status = store.ctl.json(&["status"]).await?;
            let leads =
                rows(&status)?.iter().any(|it| text(it, "role").is_ok_and(|it| it == "leader"));
            ensure!(leads, "{status}");
            Ok(())
        })
        .await
        .with_context(|| std::fs::read_to_string(desk.join("restored.log")).unwrap_or_default())?;
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for ended in [self.child.kill(), self.child.wait().map(drop)] {
            if let Err(error) = ended {
                eprintln!("the restored replica: {error}");
            }
        }
    }
}
