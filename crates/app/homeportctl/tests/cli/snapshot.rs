//! `homeportctl snapshot save` when what comes is not what it should be.

use std::{path::Path, time::Duration};

use homeport_api::{
    admin::{SaveSnapshotRequest, SaveSnapshotResponse, snapshots_server},
    backup::Encoder,
    backup_file::{BackupHeader, Counts},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _, iter, pending};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::{assert_exit, run, text};

type Message = Result<SaveSnapshotResponse, Status>;

/// Sends this; then ends the stream, or falls silent.
#[derive(Clone)]
struct Saving {
    messages: Vec<Message>,
    ends: bool,
}

#[tonic::async_trait]
impl snapshots_server::Snapshots for Saving {
    type SaveSnapshotStream = std::pin::Pin<Box<dyn Stream<Item = Message> + Send>>;

    async fn save_snapshot(
        &self,
        _: Request<SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let messages = iter(self.messages.clone());
        Ok(Response::new(if self.ends {
            Box::pin(messages)
        } else {
            Box::pin(messages.chain(pending()))
        }))
    }
}

async fn start(messages: Vec<Message>, ends: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let endpoint = listener.local_addr().expect("has an address").to_string();
    let service = snapshots_server::SnapshotsServer::new(Saving { messages, ends });
    let serving = Server::builder().add_service(service);
    let serving = serving.serve_with_incoming(TcpIncoming::from(listener));
    (endpoint, tokio::spawn(async move { serving.await.expect("serves") }))
}

fn message(octets: impl AsRef<[u8]>) -> Message {
    Ok(SaveSnapshotResponse { octets: octets.as_ref().to_vec().into() })
}

/// A file without any state in it.
fn pieces() -> [Message; 2] {
    let header = BackupHeader { counts: Some(Counts::default()), ..BackupHeader::default() };
    let (encoder, begin) = Encoder::begin(&header);
    [message(begin), message(encoder.end())]
}

fn left_in(directory: &Path) -> usize {
    directory.read_dir().expect("is there").count()
}

#[tokio::test]
async fn nothing_is_written_unless_all_of_it_came() {
    let [begin, end] = pieces();
    let broken = || Err(Status::aborted("the replica stops"));
    let rows = [
        (vec![], true, 2, "ends too early"),
        (vec![begin.clone()], true, 2, "ends too early"),
        (vec![begin.clone(), end.clone()], true, 2, "no state in it"),
        (vec![begin.clone(), end.clone(), message(b"more")], true, 2, "after its end"),
        (vec![message(b"<html>")], true, 2, "ends too early"),
        (vec![begin.clone(), broken()], true, 3, "the replica stops"),
        (vec![begin.clone()], false, 3, "sent nothing for 1 s"),
    ];
    for (messages, ends, code, said) in rows {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("store.hpb");
        std::fs::write(&file, "an older one").expect("writes");
        let (endpoint, server) = start(messages, ends).await;
        let name = file.to_str().expect("is UTF-8");
        let save = ["--timeout-secs", "1", "snapshot", "save", "--force", name];
        let output = tokio::time::timeout(Duration::from_secs(60), run(&[&endpoint], &save)).await;
        let output = output.expect("ends");
        assert_exit(&output, code);
        assert!(text(&output.stderr).contains(said), "{said}: {}", text(&output.stderr));
        assert_eq!(std::fs::read(&file).expect("is there"), b"an older one", "{said}");
        assert_eq!(left_in(directory.path()), 1, "{said}");
        server.abort();
    }
}
