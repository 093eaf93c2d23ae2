//! `ReadBlob`: a blob in pieces.

use std::io::Read;

use bytes::Bytes;
use tidegate_domain::Digest;
use tidegate_proto::{Code, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::context::Context;
use super::fault::Fault;

const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for the transport.
const PIECES_AHEAD: usize = 2;

type Piece = Result<v1::ReadBlobResponse, Status>;
type Reader = Box<dyn Read + Send>;

/// Begins to send a blob. A reader that takes nothing for too long loses its stream,
/// and so does everyone in a drain.
pub(crate) async fn stream(
    context: &Context,
    digest: Digest,
) -> Result<mpsc::Receiver<Piece>, Fault> {
    let blobs = context.blobs.clone();
    let opened = context.read(move || blobs.open(&digest)).await??;
    let blob = opened
        .ok_or_else(|| Fault::new(Code::NotFound, format!("digest: there is no blob {digest}")))?;
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let stall = context.fleet.settings().send_stall;
    let drain = context.fleet.draining().clone();
    tokio::spawn(async move {
        tokio::select! {
            () = send_all(blob.reader, blob.size, &sender, stall) => {}
            () = drain.cancelled() => {
                let ended = Fault::new(Code::Unavailable, "the control plane is about to end");
                // Whoever takes nothing now sees the stream end.
                let _ = sender.try_send(Err(ended.into()));
            }
        }
    });
    Ok(receiver)
}

async fn send_all(
    mut reader: Reader,
    size: u64,
    sender: &mpsc::Sender<Piece>,
    stall: std::time::Duration,
) {
    let mut first = true;
    loop {
        let (back, piece) = match tokio::task::spawn_blocking(move || piece(reader)).await {
            Ok(read) => read,
            Err(error) => {
                let _ = sender.try_send(Err(Fault::internal(error).into()));
                return;
            }
        };
        reader = back;
        let message = match piece {
            Ok(chunk) if chunk.is_empty() && !first => return,
            Ok(chunk) => Ok(v1::ReadBlobResponse {
                size: if first { size } else { 0 },
                chunk,
            }),
            Err(error) => Err(Fault::internal(error).into()),
        };
        first = false;
        let failed = message.is_err();
        let sent = tokio::time::timeout(stall, sender.send(message)).await;
        if failed || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

fn piece(mut reader: Reader) -> (Reader, std::io::Result<Bytes>) {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let read = reader
        .by_ref()
        .take(PIECE_BYTES as u64)
        .read_to_end(&mut piece);
    let piece = read.map(|_| Bytes::from(piece));
    (reader, piece)
}
