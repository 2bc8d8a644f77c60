//! The operator's client as a process.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::dev::{DevCluster, program};

/// Knows where the stores are.
pub(super) struct Homeportctl {
    endpoints: Vec<String>,
    /// Its configuration, with the operator's certificate.
    context: PathBuf,
}

impl Homeportctl {
    /// For the stores of a cluster.
    pub(super) fn of(cluster: &DevCluster) -> Result<Self> {
        let stores = cluster.endpoints()?.stores;
        let endpoints = stores.into_iter().filter_map(|store| store.grpc).collect();
        Ok(Self { endpoints, context: cluster.context() })
    }

    /// Without a certificate.
    pub(super) fn at(endpoints: Vec<String>) -> Self {
        Self { endpoints, context: "/nonexistent/homeport.toml".into() }
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("homeportctl")?);
        command.args(arguments).args(["--output", "json", "--timeout-secs", "20"]);
        for endpoint in &self.endpoints {
            command.args(["--endpoint", endpoint]);
        }
        command.env("HOMEPORT_CONFIG", &self.context).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    async fn output(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.command(arguments)?.output().await;
        output.with_context(|| format!("homeportctl {arguments:?}"))
    }

    /// What it prints.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "homeportctl {arguments:?}: {}: {told}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(super) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.run(arguments).await?;
        serde_json::from_str(&printed).with_context(|| format!("{arguments:?} printed {printed}"))
    }

    /// What it complains of when it ends with this code.
    pub(super) async fn fails(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}: {told}", output.status);
        Ok(told)
    }

    /// Starts what prints a line of JSON for each thing that happens.
    pub(super) fn follow(&self, arguments: &[&str]) -> Result<Following> {
        let mut child = self.command(arguments)?.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Following { _child: child, lines })
    }
}

/// Ends with this.
pub(super) struct Following {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    /// Until it has seen what it wants.
    pub(super) async fn until(&mut self, mut seen: impl AsyncFnMut(&Value) -> bool) -> Result<()> {
        loop {
            let line =
                timeout(PATIENCE, self.lines.next_line()).await.context("nothing more")??;
            let line = line.context("it has ended")?;
            let value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if seen(&value).await {
                return Ok(());
            }
        }
    }
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {value}"))
}

pub(super) fn number(value: &Value, key: &str) -> Result<u64> {
    value.get(key).and_then(Value::as_u64).with_context(|| format!("no {key} in {value}"))
}
