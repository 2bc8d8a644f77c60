//! A page in the browser, and what is checked of each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::devtools::{Browser, Event};
use super::pages::One;
use super::{CANARIES, Options, Outcome};
use crate::eventually;

/// How high a picture may be.
const HEIGHT_MAX: f64 = 1_500.0;

/// The page that is open.
pub(super) struct Page {
    browser: Browser,
    /// `http://127.0.0.1:7300`
    origin: String,
}

impl Page {
    pub(super) const fn new(browser: Browser, origin: String) -> Self {
        Self { browser, origin }
    }

    /// Dark or light, as the system would say it.
    pub(super) async fn prefer(&mut self, theme: &str) -> Result<()> {
        let feature = json!({ "name": "prefers-color-scheme", "value": theme });
        let parameters = json!({ "features": [feature] });
        self.browser.call("Emulation.setEmulatedMedia", parameters).await?;
        let size = json!({ "width": 1360, "height": 850, "deviceScaleFactor": 1, "mobile": false });
        self.browser.call("Emulation.setDeviceMetricsOverride", size).await?;
        Ok(())
    }

    /// Opens it and waits until it is drawn.
    pub(super) async fn open(&mut self, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.origin);
        self.browser.forget("Page.loadEventFired");
        let answer = self.browser.call("Page.navigate", json!({ "url": url })).await?;
        ensure!(answer["errorText"].is_null(), "{url}: {answer}");
        self.browser.wait_for("Page.loadEventFired").await
    }

    /// What a person reads.
    pub(super) async fn text(&mut self) -> Result<String> {
        let text = self.browser.evaluate("document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// A picture of it.
    pub(super) async fn picture(&mut self, file: &Path) -> Result<()> {
        self.browser.screenshot(file, HEIGHT_MAX).await
    }

    /// Looks at one page in one theme.
    pub(super) async fn visit(
        &mut self,
        one: &One,
        theme: &str,
        options: &Options,
        outcome: &mut Outcome,
    ) -> Result<()> {
        self.browser.events_within(Duration::ZERO).await?;
        self.open(one.path).await?;
        let before = self.heard().await?;
        let says = eventually("what it must say", async || {
            let text = self.text().await?;
            let absent: Vec<_> = one.says.iter().filter(|words| !text.contains(**words)).collect();
            ensure!(absent.is_empty(), "{absent:?} are not in {text}");
            Ok(())
        });
        let says = says.await;
        outcome.check(says.is_ok(), || format!("{} {theme}: {says:?}", one.path));
        let lives = eventually("news without a reload", async || {
            ensure!(self.heard().await? > before, "nothing was heard since {before}");
            Ok(())
        });
        let lives = lives.await;
        outcome.check(lives.is_ok(), || format!("{} {theme}: {lives:?}", one.path));
        let ground =
            self.browser.evaluate("getComputedStyle(document.body).backgroundColor").await?;
        let is_dark = ground == "rgb(15, 21, 22)";
        outcome.check(is_dark == (theme == "dark"), || {
            format!("{} {theme}: its ground is {ground}", one.path)
        });
        if one.has_canaries {
            self.canaries(one, outcome).await?;
        }
        self.overflows(one, theme, outcome).await?;
        if let Some(folder) = &options.screenshots {
            self.picture(&folder.join(format!("{}-{theme}.png", one.name))).await?;
        }
        let events = self.browser.events_within(Duration::from_millis(100)).await?;
        outcome.requests += self.judge(&format!("{} {theme}", one.path), &events, outcome);
        outcome.pages += 1;
        Ok(())
    }

    /// When the server was heard last, by the page's own attribute.
    async fn heard(&mut self) -> Result<f64> {
        let heard = self.browser.evaluate("Number(document.body.dataset.heard ?? 0)").await?;
        heard.as_f64().context("no number")
    }

    /// Names are text: all of each is read, and none has become an element.
    async fn canaries(&mut self, one: &One, outcome: &mut Outcome) -> Result<()> {
        let text = self.browser.evaluate("document.getElementById('main').innerText").await?;
        let text = text.as_str().unwrap_or_default();
        for canary in CANARIES {
            outcome.check(text.contains(canary), || {
                format!("{}: {canary} is not read there", one.path)
            });
        }
        let query = "document.querySelectorAll('main script, main img, main textarea, main [onload], main [onerror]').length";
        let made = self.browser.evaluate(query).await?;
        outcome.check(made == 0, || format!("{}: {made} elements out of names", one.path));
        Ok(())
    }

    /// Nothing runs out of the window: wide tables scroll inside their frame.
    async fn overflows(&mut self, one: &One, theme: &str, outcome: &mut Outcome) -> Result<()> {
        let query = "document.documentElement.scrollWidth - innerWidth";
        let over = self.browser.evaluate(query).await?;
        outcome.check(over.as_f64().is_some_and(|over| over <= 0.0), || {
            format!("{} {theme}: it is {over} wider than the window", one.path)
        });
        Ok(())
    }

    /// No request to elsewhere, no error, nothing forbidden; says how many requests there were.
    fn judge(&self, what: &str, events: &[Event], outcome: &mut Outcome) -> u64 {
        let (mut requests, mut wrong) = (0, Vec::new());
        for Event { method, parameters } in events {
            match method.as_str() {
                "Network.requestWillBeSent" => {
                    requests += 1;
                    let url = parameters["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with(&format!("{}/", self.origin)) {
                        wrong.push(format!("it asks for {url}"));
                    }
                }
                "Runtime.exceptionThrown" => {
                    let details = &parameters["exceptionDetails"];
                    wrong.push(format!(
                        "its script fails: {} {}",
                        details["text"], details["exception"]["description"]
                    ));
                }
                "Runtime.consoleAPICalled" => {
                    wrong.push(format!("its script says: {}", parameters["args"]))
                }
                "Log.entryAdded" => {
                    wrong.push(format!("the browser says: {}", parameters["entry"]["text"]))
                }
                "Audits.issueAdded"
                    if parameters["issue"]["code"] == "ContentSecurityPolicyIssue" =>
                {
                    wrong.push(format!("the policy forbids: {}", parameters["issue"]["details"]));
                }
                "Page.javascriptDialogOpening" => {
                    wrong.push(format!("a dialog: {}", parameters["message"]))
                }
                _ => {}
            }
        }
        outcome.check(wrong.is_empty(), || format!("{what}: {}", wrong.join("; ")));
        requests
    }

    /// What keys do.
    pub(super) async fn keys(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.open("/nodes").await?;
        self.browser.press("j").await?;
        self.browser.press("j").await?;
        let chosen = "[...document.querySelectorAll('main tbody tr')].findIndex((row) => row.matches('.chosen'))";
        self.holds("j chooses the second row", chosen, &json!(1), outcome).await?;
        self.browser.press("k").await?;
        self.holds("k goes back", chosen, &json!(0), outcome).await?;
        self.browser.press("?").await?;
        self.holds(
            "? shows the keys",
            "document.getElementById('help').open",
            &json!(true),
            outcome,
        )
        .await?;
        self.browser.press("?").await?;
        self.browser.press("/").await?;
        self.holds("/ goes to the search", "document.activeElement.id", &json!("find"), outcome)
            .await?;
        self.browser.press("Escape").await?;
        self.browser.press("d").await?;
        self.holds(
            "d turns the theme",
            "document.documentElement.dataset.theme",
            &json!("dark"),
            outcome,
        )
        .await?;
        self.browser.press("d").await?;
        self.browser.press("d").await?;
        self.browser.press("g").await?;
        self.browser.press("b").await?;
        let goes = eventually("g b goes to the bindings", async || {
            let path = self.browser.evaluate("location.pathname").await?;
            ensure!(path == "/bindings", "it is {path}");
            Ok(())
        });
        let goes = goes.await;
        outcome.check(goes.is_ok(), || format!("{goes:?}"));
        Ok(())
    }

    async fn holds(
        &mut self,
        what: &str,
        expression: &str,
        expected: &Value,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let found = self.browser.evaluate(expression).await?;
        outcome.check(found == *expected, || format!("{what}: {found}"));
        Ok(())
    }

    /// Tables are there for browsers that run no scripts.
    pub(super) async fn without_scripts(&mut self, outcome: &mut Outcome) -> Result<()> {
        let disabled = |value: bool| json!({ "value": value });
        self.browser.call("Emulation.setScriptExecutionDisabled", disabled(true)).await?;
        self.open("/bindings").await?;
        let mut attempts = 0..5;
        let html = loop {
            let root = self.browser.call("DOM.getDocument", json!({ "depth": 0 })).await?;
            let html = json!({ "nodeId": root["root"]["nodeId"] });
            match self.browser.call("DOM.getOuterHTML", html).await {
                // The page has come anew in between, as it does without scripts.
                Err(_) if attempts.next().is_some() => {}
                html => break html?,
            }
        };
        let html = html["outerHTML"].as_str().unwrap_or_default();
        outcome.check(html.contains("127.0.0.2"), || {
            "without scripts there are no bindings".to_owned()
        });
        outcome.check(html.contains("http-equiv=\"refresh\""), || {
            "without scripts it stands still".to_owned()
        });
        self.browser.call("Emulation.setScriptExecutionDisabled", disabled(false)).await?;
        Ok(())
    }

    /// Begins to wait until words are on the screen; [`Self::seen`] says when they were.
    pub(super) async fn send_seen(&mut self, words: &str) -> Result<u64> {
        let expression = format!(
            "new Promise((done) => {{
                const main = document.getElementById('main');
                const look = () => main.textContent.includes({words:?}) && (done(Date.now()), true);
                if (!look()) {{
                    const watch = new MutationObserver(() => look() && watch.disconnect());
                    watch.observe(main, {{ subtree: true, childList: true, characterData: true }});
                }}
            }})"
        );
        self.browser.send_evaluate(&expression).await
    }

    /// When it was, milliseconds since the Unix epoch.
    pub(super) async fn seen(&mut self, id: u64) -> Result<f64> {
        self.browser.evaluated(id, "what is waited for").await?.as_f64().context("no time")
    }
}
