//! The token by which the stores know this dashboard.

use std::path::{Path, PathBuf};

use homeport_api::bearer::{self, Bearer};
use homeport_runtime::config::Refusal;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::TOKEN_LOOK_INTERVAL;

/// The one of this file; without, calls have none.
pub(crate) fn open(file: Option<&Path>) -> Result<Bearer, Refusal> {
    let Some(path) = file else { return Ok(Bearer::default()) };
    Bearer::of_file(path).map_err(|error| {
        let wrong = format!("is {path:?}: {error}");
        Refusal::new("token_file", wrong, "a file with a token that the stores know")
    })
}

/// Takes what the file says from now on; what is no token changes nothing.
pub(crate) async fn look_after(file: PathBuf, bearer: Bearer) {
    let mut ticks = interval(TOKEN_LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::new();
    loop {
        ticks.tick().await;
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || bearer::read(&path)).await;
        let Ok(Ok(text)) = read else { continue };
        if text == last {
            continue;
        }
        if let Err(error) = bearer.set(&text) {
            tracing::warn!(file = %file.display(), %error, "token_file has changed and cannot be used");
        }
        last = text;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use homeport_runtime::Task;
    use tonic::{Request, service::Interceptor as _};

    use super::*;

    fn sent(bearer: &Bearer) -> Option<String> {
        let request = bearer.clone().call(Request::new(())).expect("goes on");
        let value = request.metadata().get(bearer::HEADER)?;
        Some(value.to_str().expect("is text").to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_used_and_what_is_none_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let error = open(Some(&file)).expect_err("is not there").to_string();
        assert!(error.starts_with("token_file: ") && error.contains("token\": "), "{error}");
        assert_eq!(sent(&open(None).expect("nothing to read")), None);

        fs::write(&file, "one\n").expect("writes");
        let bearer = open(Some(&file)).expect("is one");
        let _looking = Task::spawn("token", look_after(file.clone(), bearer.clone()));
        assert_eq!(sent(&bearer).as_deref(), Some("Bearer one"));
        fs::write(&file, "two words").expect("writes");
        tokio::time::sleep(TOKEN_LOOK_INTERVAL * 3).await;
        assert_eq!(sent(&bearer).as_deref(), Some("Bearer one"));
        fs::write(&file, "three").expect("writes");
        while sent(&bearer).as_deref() != Some("Bearer three") {
            tokio::time::sleep(TOKEN_LOOK_INTERVAL).await;
        }
    }
}
