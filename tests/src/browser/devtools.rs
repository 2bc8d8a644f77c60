//! Chromium without a screen, spoken to by the DevTools protocol over a pipe: JSON messages that end with
//! an octet of zero.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::PATIENCE;

/// What it is called: Debian's name, and that of others.
const PROGRAMS: [&str; 2] = ["chromium", "chromium-browser"];

/// The browser reads commands at descriptor 3 and answers at 4; the shell puts our pipe there.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// Headless; nothing of its own over the network, no name but addresses, and no sandbox, which root has none of.
const ARGUMENTS: [&str; 13] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--lang=en",
];

/// A running browser with one page; it ends when this is dropped.
pub(super) struct Browser {
    _child: Child,
    _profile: TempDir,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What has come of the next message.
    partial: Vec<u8>,
    events: VecDeque<Event>,
    session: Option<String>,
    next_id: u64,
}

/// Something that the browser tells without having been asked.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) method: String,
    pub(super) parameters: Value,
}

/// The browser's program, when there is one.
pub(super) fn program() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found =
        |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    PROGRAMS.into_iter().find(is_found)
}

impl Browser {
    /// Starts it and opens a page.
    pub(super) async fn start(program: &str) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut child = Command::new("sh")
            .args(["-c", START, program])
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .env("TZ", "Europe/Berlin")
            .spawn()
            .context(program.to_owned())?;
        let commands = child.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut browser = Self {
            _child: child,
            _profile: profile,
            commands,
            answers,
            partial: Vec::new(),
            events: VecDeque::new(),
            session: None,
            next_id: 1,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            browser.call(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(browser)
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.send(method, parameters).await?;
        self.answer(id).await.with_context(|| method.to_owned())
    }

    /// Sends a command; [`Self::answer`] waits for what comes of it.
    pub(super) async fn send(&mut self, method: &str, parameters: Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        self.commands.write_all(&octets).await?;
        Ok(id)
    }

    /// The answer to a command.
    pub(super) async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = timeout(PATIENCE, self.read()).await.context("no answer in time")??;
            if message["id"] == id {
                if let Some(error) = message.get("error") {
                    bail!("{error}");
                }
                return Ok(message["result"].clone());
            }
            self.keep(message);
        }
    }

    /// Everything that it has told so far, and within so long.
    pub(super) async fn events_within(&mut self, wait: Duration) -> Result<Vec<Event>> {
        let until = tokio::time::Instant::now() + wait;
        while let Ok(message) = tokio::time::timeout_at(until, self.read()).await {
            let message = message?;
            self.keep(message);
        }
        Ok(self.events.drain(..).collect())
    }

    /// Forgets events that were told so far, of one name.
    pub(super) fn forget(&mut self, method: &str) {
        self.events.retain(|event| event.method != method);
    }

    /// Waits for an event that is named, which stays among the others.
    pub(super) async fn wait_for(&mut self, method: &str) -> Result<()> {
        let wait = async {
            while !self.events.iter().any(|event| event.method == method) {
                let message = self.read().await?;
                self.keep(message);
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, wait).await.with_context(|| format!("no {method} in time"))?
    }

    /// Runs an expression in the page; a promise is waited for.
    pub(super) async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let id = self.send_evaluate(expression).await?;
        self.evaluated(id, expression).await
    }

    /// Starts an expression.
    pub(super) async fn send_evaluate(&mut self, expression: &str) -> Result<u64> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        self.send("Runtime.evaluate", parameters).await
    }

    /// What came of an expression.
    pub(super) async fn evaluated(&mut self, id: u64, expression: &str) -> Result<Value> {
        let answer = self.answer(id).await?;
        if let Some(details) = answer.get("exceptionDetails") {
            bail!("{expression}: {details}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// A picture of the page, at most so high.
    pub(super) async fn screenshot(&mut self, file: &Path, height_max: f64) -> Result<()> {
        use base64::Engine as _;
        let metrics = self.call("Page.getLayoutMetrics", json!({})).await?;
        let size = &metrics["cssContentSize"];
        let height = size["height"].as_f64().unwrap_or(height_max).min(height_max);
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1 });
        let parameters = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
        let shot = self.call("Page.captureScreenshot", parameters).await?;
        let data = shot["data"].as_str().context("no picture")?;
        let octets = base64::engine::general_purpose::STANDARD.decode(data)?;
        std::fs::write(file, octets).with_context(|| file.display().to_string())
    }

    /// Presses a key.
    pub(super) async fn press(&mut self, key: &str) -> Result<()> {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let mut parameters = json!({ "type": kind, "key": key });
            if kind == "keyDown" && !text.is_empty() {
                parameters["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", parameters).await?;
        }
        Ok(())
    }

    fn keep(&mut self, message: Value) {
        if let Some(method) = message["method"].as_str() {
            let event = Event { method: method.to_owned(), parameters: message["params"].clone() };
            self.events.push_back(event);
        }
    }

    /// The next message. What was read of one stays when this is given up, so it may be.
    async fn read(&mut self) -> Result<Value> {
        if self.answers.read_until(0, &mut self.partial).await? == 0 {
            bail!("the browser has ended");
        }
        if self.partial.last() == Some(&0) {
            self.partial.pop();
        }
        let message = serde_json::from_slice(&self.partial);
        self.partial.clear();
        Ok(message?)
    }
}
