//! `Backup`: hands the bytes of a backup to one caller, no faster than it takes them.

use std::io::{self, Write};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidegate_proto::{Code, v1};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::context::Context;
use super::fault::Fault;
use crate::backup::{BeginError, TakeError};
use crate::log::PassError;

const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for the transport.
const PIECES_AHEAD: usize = 4;

type Piece = Result<v1::BackupResponse, Status>;

/// Begins a backup. It ends early when the caller goes away or takes nothing for too
/// long, and in a drain; what it has got by then is no backup.
pub(crate) async fn stream(context: &Context) -> Result<mpsc::Receiver<Piece>, Fault> {
    let backup = context.backups.begin().await?;
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let mut out = Pieces {
        sender: sender.clone(),
        stall: context.fleet.settings().send_stall,
        drain: context.fleet.draining().clone(),
        runtime: Handle::current(),
        piece: BytesMut::with_capacity(PIECE_BYTES),
    };
    tracing::info!("a backup begins");
    tokio::task::spawn_blocking(move || match backup.write(&mut out) {
        Ok(contents) => tracing::info!(
            revision = contents.revision.0,
            bytes = contents.bytes,
            blobs = contents.blobs,
            "a backup was taken"
        ),
        Err(error) => {
            tracing::error!(%error, "a backup was not taken to its end");
            // Whoever takes nothing now sees the stream end without it.
            let _ = sender.try_send(Err(Fault::from(error).into()));
        }
    });
    Ok(receiver)
}

/// Gathers bytes into pieces and sends them. Blocks until each is taken.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    stall: Duration,
    drain: CancellationToken,
    runtime: Handle,
    piece: BytesMut,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let chunk: Bytes = self.piece.split().freeze();
        let message = Ok(v1::BackupResponse { chunk });
        self.runtime.block_on(async {
            tokio::select! {
                () = self.drain.cancelled() => {
                    Err(io::Error::other("the control plane is about to end"))
                }
                sent = tokio::time::timeout(self.stall, self.sender.send(message)) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(io::Error::other("its receiver went away")),
                    Err(_) => {
                        let text = format!("its receiver took nothing for {:?}", self.stall);
                        Err(io::Error::other(text))
                    }
                },
            }
        })
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.piece.len();
        let taken = room.min(bytes.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.send()
    }
}

impl From<BeginError> for Fault {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::UnderWay => Self::new(
                Code::ResourceExhausted,
                format!("{error}; try again when it has ended"),
            ),
            BeginError::Log(error) => error.into(),
        }
    }
}

impl From<TakeError> for Fault {
    fn from(error: TakeError) -> Self {
        let code = match &error {
            TakeError::Out(_) => Code::Unavailable,
            TakeError::Pass(PassError::Overrun(_)) => Code::Aborted,
            TakeError::Pass(PassError::Store(_))
            | TakeError::Store(_)
            | TakeError::Blob(_)
            | TakeError::Missing(_)
            | TakeError::Damaged { .. } => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StoreError;

    #[test]
    fn who_may_take_it_again_is_told_so_and_a_fault_of_the_store_is_called_one() {
        let store = || StoreError::Read("x".to_owned());
        for (error, code) in [
            (TakeError::Out(io::Error::other("x")), Code::Unavailable),
            (TakeError::Pass(PassError::Overrun(1)), Code::Aborted),
            (TakeError::Pass(PassError::Store(store())), Code::Internal),
            (TakeError::Store(store()), Code::Internal),
        ] {
            assert_eq!(Fault::from(error).code(), code);
        }
    }
}
