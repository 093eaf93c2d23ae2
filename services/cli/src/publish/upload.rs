//! Sending what is missing, and going on where a broken stream left off.
//!
//! One thread reads files and hands pieces to the call through a short channel, so
//! that a slow server slows the reading down and memory stays bounded.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate_domain::{Digest, SiteName};
use tidegate_proto::v1;
use tidegate_proto::v1::upload_blobs_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::Progress;
use super::blobs::{BlobError, Blobs};
use crate::client::{Client, DEADLINE};
use crate::failure::{Failure, is_transport};
use tidegate_net::Backoff;

/// Digests in one call of MissingBlobs.
const MISSING_PAGE: usize = 10_000;
/// Pieces read ahead of the connection.
const READ_AHEAD: usize = 8;
/// Tries in a row that bring nothing new.
const FRUITLESS_TRIES: u32 = 5;
/// An upload in which nothing moves for this long is broken.
const STALL: Duration = Duration::from_secs(60);

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
}

/// Why one stream ended early.
enum Broken {
    /// It may go better next time.
    Passing(Failure),
    /// It will not.
    Final(Failure),
}

/// Sends every blob that the control plane lacks; nothing if it lacks none.
pub(super) async fn upload(
    client: &Client,
    site: &SiteName,
    blobs: &Arc<Blobs>,
    progress: &Arc<dyn Progress>,
) -> Result<Sent, Failure> {
    let offered: Vec<Digest> = blobs.digests().collect();
    let mut missing = missing_of(client, site, &offered).await?;
    let sent = total(blobs, &missing)?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut fruitless = 0;
    while !missing.is_empty() {
        let before = missing.len();
        let rest = total(blobs, &missing)?;
        progress.uploading(rest.blobs, rest.bytes);
        let broken = match stream(client, site, blobs, &missing, progress).await {
            Ok(()) => None,
            Err(Broken::Passing(failure)) => Some(failure),
            Err(Broken::Final(failure)) => return Err(failure),
        };
        // The server's word, not ours, says what arrived.
        missing = missing_of(client, site, &missing).await?;
        if missing.len() < before {
            fruitless = 0;
            backoff.reset();
        } else {
            fruitless += 1;
        }
        if missing.is_empty() {
            break;
        }
        let failure = broken.unwrap_or_else(lost);
        if fruitless >= FRUITLESS_TRIES {
            return Err(failure);
        }
        let wait = backoff.next_wait();
        progress.broken(&failure.to_string(), wait);
        tokio::time::sleep(wait).await;
    }
    Ok(sent)
}

fn lost() -> Failure {
    Failure::new(
        "DATA_LOSS",
        "the control plane says that it stored blobs and that it lacks them; look at its log and its blob folder",
    )
}

fn total(blobs: &Blobs, digests: &[Digest]) -> Result<Sent, Failure> {
    let sizes = digests.iter().map(|digest| blobs.size(digest));
    let bytes: Result<u64, BlobError> = sizes.sum();
    Ok(Sent {
        blobs: digests.len() as u64,
        bytes: bytes.map_err(|error| blob_failure(&error))?,
    })
}

fn blob_failure(error: &BlobError) -> Failure {
    Failure::new("BUILD", error.to_string())
}

/// Which of these the control plane lacks, in the order given.
async fn missing_of(
    client: &Client,
    site: &SiteName,
    offered: &[Digest],
) -> Result<Vec<Digest>, Failure> {
    let mut missing = Vec::new();
    for page in offered.chunks(MISSING_PAGE) {
        let request = v1::MissingBlobsRequest {
            site: site.to_string(),
            digests: page.iter().map(ToString::to_string).collect(),
        };
        let answer = client
            .safe(DEADLINE, request, |request| async move {
                client.sites().missing_blobs(request).await
            })
            .await?;
        for digest in answer.missing {
            let parsed: Digest = digest.parse().map_err(|_| foreign(&digest))?;
            missing.push(parsed);
        }
    }
    let mut lacked: HashSet<Digest> = missing.into_iter().collect();
    let ordered = offered.iter().filter(|it| lacked.remove(*it));
    let ordered = ordered.copied().collect();
    match lacked.iter().next() {
        Some(other) => Err(foreign(&other.to_string())),
        None => Ok(ordered),
    }
}

fn foreign(digest: &str) -> Failure {
    Failure::new(
        "INTERNAL",
        format!("the control plane asks for the blob \"{digest}\", which was not offered"),
    )
}

/// One stream with all of these blobs.
async fn stream(
    client: &Client,
    site: &SiteName,
    blobs: &Arc<Blobs>,
    digests: &[Digest],
    progress: &Arc<dyn Progress>,
) -> Result<(), Broken> {
    let (send, receive) = mpsc::channel(READ_AHEAD);
    let moved = Arc::new(AtomicU64::new(0));
    let reader = Reader {
        site: site.clone(),
        blobs: blobs.clone(),
        digests: digests.to_vec(),
        send,
        moved: moved.clone(),
        progress: progress.clone(),
    };
    let reading = tokio::task::spawn_blocking(move || reader.run());
    let mut sites = client.sites();
    let call = sites.upload_blobs(ReceiverStream::new(receive));
    let answer = tokio::select! {
        answer = call => answer,
        () = stalled(&moved) => Err(Status::unavailable(format!(
            "nothing moved for {} s", STALL.as_secs()
        ))),
    };
    // The call is over and its end of the channel gone, so the thread ends too.
    match reading.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(Broken::Final(blob_failure(&error))),
        Err(ended) => {
            let failure = Failure::new("BUILD", format!("reading files ended: {ended}"));
            return Err(Broken::Final(failure));
        }
    }
    match answer {
        Ok(_) => Ok(()),
        Err(status) => {
            let failure = Failure::from_status(&status, client.address());
            let passing = is_transport(&status)
                || matches!(
                    status.code(),
                    Code::Unavailable | Code::Aborted | Code::Cancelled
                );
            Err(match passing {
                true => Broken::Passing(failure),
                false => Broken::Final(failure),
            })
        }
    }
}

/// Returns when nothing has moved for a while.
async fn stalled(moved: &AtomicU64) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(STALL).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// What the reading thread holds.
struct Reader {
    site: SiteName,
    blobs: Arc<Blobs>,
    digests: Vec<Digest>,
    send: mpsc::Sender<v1::UploadBlobsRequest>,
    moved: Arc<AtomicU64>,
    progress: Arc<dyn Progress>,
}

impl Reader {
    /// Sends every blob, or as many as are taken.
    fn run(&self) -> Result<(), BlobError> {
        for digest in &self.digests {
            let start = v1::BlobStart {
                site: self.site.to_string(),
                digest: digest.to_string(),
                size: self.blobs.size(digest)?,
            };
            if !self.hand_over(Part::Start(start)) {
                return Ok(());
            }
            let mut is_taken = true;
            self.blobs.read(digest, |piece: Bytes| {
                let bytes = piece.len() as u64;
                is_taken = self.hand_over(Part::Chunk(piece));
                if is_taken {
                    self.progress.sent(bytes);
                }
                is_taken
            })?;
            if !is_taken {
                return Ok(());
            }
        }
        Ok(())
    }

    fn hand_over(&self, part: Part) -> bool {
        let message = v1::UploadBlobsRequest { part: Some(part) };
        let is_taken = self.send.blocking_send(message).is_ok();
        self.moved.fetch_add(1, Ordering::Relaxed);
        is_taken
    }
}
