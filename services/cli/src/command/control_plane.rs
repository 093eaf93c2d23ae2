//! `control-plane backup|restore`.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;
use tidegate_clock::{Clock, SystemClock};
use tidegate_control_plane::backup::{Contents, RestoreError, check, restore};
use tidegate_proto::v1;
use tokio::sync::mpsc;

use super::Session;
use crate::args::{BackupArgs, ControlPlaneCommand, FileOrDash, RestoreArgs};
use crate::failure::{Exit, Failure};
use crate::report::backup::{Restored, Taken};

/// A control plane that sends nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(60);
/// Pieces that wait to be checked.
const PIECES_AHEAD: usize = 4;

pub(super) async fn run(
    session: &mut Session<'_>,
    command: ControlPlaneCommand,
) -> Result<Exit, Failure> {
    match command {
        ControlPlaneCommand::Backup(args) => backup(session, args).await,
        ControlPlaneCommand::Restore(args) => fill(session, args).await,
    }
}

async fn backup(session: &mut Session<'_>, args: BackupArgs) -> Result<Exit, Failure> {
    match args.file {
        FileOrDash::Dash => {
            let contents = receive(session, None).await?;
            let taken = Taken::new("-".to_owned(), &contents);
            session.output.note(&taken.sentence());
        }
        FileOrDash::File(path) => {
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            let failed = |error: io::Error| Failure::file(&path, &error);
            // Beside its place, so that a rename puts it there whole.
            let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
            let contents = receive(session, Some((&mut file, &path))).await?;
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&path).map_err(|error| failed(error.error))?;
            let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed)?;
            let taken = Taken::new(path.display().to_string(), &contents);
            session.output.result(&taken)?;
        }
    }
    Ok(Exit::Done)
}

/// Receives a backup and writes it to the file, or to standard output, while it is
/// checked. Returns once all of it has come and is whole.
async fn receive(
    session: &mut Session<'_>,
    mut file: Option<(&mut NamedTempFile, &PathBuf)>,
) -> Result<Contents, Failure> {
    let bar = progress(session.output.shows_progress());
    let address = session.client.address().to_owned();
    let refused = |status: &tonic::Status| Failure::from_status(status, &address);
    let silent = |_| Failure::deadline(&address, SILENCE.as_secs_f64());
    let mut admin = session.client.admin();
    let begun = tokio::time::timeout(SILENCE, admin.backup(v1::BackupRequest {}));
    let begun = begun.await.map_err(silent)?;
    let mut stream = begun.map_err(|status| refused(&status))?.into_inner();
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let checking = tokio::task::spawn_blocking(move || check(&mut Pieces::from(pieces)));
    loop {
        let piece = tokio::time::timeout(SILENCE, stream.message()).await;
        let piece = piece.map_err(silent)?.map_err(|status| refused(&status))?;
        let Some(v1::BackupResponse { chunk }) = piece else {
            break;
        };
        match &mut file {
            Some((file, path)) => file
                .write_all(&chunk)
                .map_err(|error| Failure::file(path, &error))?,
            None => session.output.raw(&chunk)?,
        }
        bar.inc(chunk.len() as u64);
        if sender.send(chunk).await.is_err() {
            // It is found to be wrong already.
            break;
        }
    }
    drop(sender);
    bar.finish_and_clear();
    let checked = checking.await;
    let checked = checked.map_err(|error| Failure::new("BACKUP", error.to_string()))?;
    checked.map_err(|error| Failure::new("BACKUP", format!("what was received: {error}")))
}

fn progress(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("backup  {spinner} {bytes} {bytes_per_sec}");
    let bar = ProgressBar::new_spinner();
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

/// Pieces as they come, to be read in a row.
struct Pieces {
    coming: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl From<mpsc::Receiver<Bytes>> for Pieces {
    fn from(coming: mpsc::Receiver<Bytes>) -> Self {
        Self {
            coming,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.coming.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

async fn fill(session: &mut Session<'_>, args: RestoreArgs) -> Result<Exit, Failure> {
    let RestoreArgs {
        data,
        longest_lease,
        file,
    } = args;
    let (from, to) = (file.clone(), data.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let filled = tokio::task::spawn_blocking(move || restore(&from, &to, &clock, longest_lease));
    let filled = filled
        .await
        .map_err(|error| Failure::new("RESTORE", error.to_string()))?;
    let restored = filled.map_err(|error| failure(&error))?;
    session
        .output
        .result(&Restored::new(&file, &data, &restored))?;
    Ok(Exit::Done)
}

fn failure(error: &RestoreError) -> Failure {
    let failure = Failure::new("RESTORE", error.to_string());
    match error {
        RestoreError::Backup { .. }
        | RestoreError::NewerSchema { .. }
        | RestoreError::Folder(_) => failure.advise("Nothing was written."),
        RestoreError::Log(_) | RestoreError::Store(_) | RestoreError::Blob(_) => failure,
    }
}
