//! `UploadBlobs`: any number of blobs, one after the other.

use bytes::Bytes;
use tidegate_domain::FieldError;
use tidegate_proto::v1;
use tidegate_proto::v1::upload_blobs_request::Part;
use tidegate_proto::{Code, Error};
use tonic::{Status, Streaming};

use super::context::Context;
use super::fault::Fault;
use super::fields;
use crate::blobs::{BlobError, BlobWriter};

const MAX_CHUNK_BYTES: usize = 1 << 20;

/// A blob that is being received.
struct Open {
    writer: Box<dyn BlobWriter>,
    digest: String,
    size: u64,
    left: u64,
}

/// Receives blobs until the caller ends. What is whole is kept.
pub(crate) async fn receive(
    context: &Context,
    mut parts: Streaming<v1::UploadBlobsRequest>,
) -> Result<v1::UploadBlobsResponse, Status> {
    let Ok(_turn) = context.uploads.clone().try_acquire_owned() else {
        return Err(Fault::new(
            Code::ResourceExhausted,
            "too many uploads at once; try again later",
        )
        .into());
    };
    let mut stored = v1::UploadBlobsResponse::default();
    let mut open: Option<Open> = None;
    while let Some(part) = next(context, &mut parts).await? {
        open = match (open.take(), part) {
            (None, Part::Start(start)) => Some(begin(context, start).await?),
            (Some(blob), Part::Chunk(chunk)) => Some(write(blob, chunk).await?),
            (Some(blob), Part::Start(_)) => return Err(cut_short(&blob).into()),
            (None, Part::Chunk(_)) => {
                let error =
                    FieldError::new("chunk", "", "chunks only after a start, up to its size");
                return Err(Fault::from(error).into());
            }
        };
        if let Some(blob) = open.take_if(|blob| blob.left == 0) {
            stored.blobs = stored.blobs.saturating_add(1);
            stored.bytes = stored.bytes.saturating_add(blob.size);
            blocking(move || blob.writer.finish()).await?;
        }
    }
    match open {
        None => Ok(stored),
        Some(blob) => Err(cut_short(&blob).into()),
    }
}

/// The next part; a caller that says nothing for too long has gone.
async fn next(
    context: &Context,
    parts: &mut Streaming<v1::UploadBlobsRequest>,
) -> Result<Option<Part>, Status> {
    let idle = context.limits.upload_idle;
    let message = tokio::select! {
        () = context.fleet.draining().cancelled() => {
            return Err(Error::new(
                Code::Unavailable,
                "the control plane is about to end; ask MissingBlobs again and go on elsewhere",
            )
            .into());
        }
        message = tokio::time::timeout(idle, parts.message()) => message,
    };
    let Ok(message) = message else {
        let text = format!("nothing was received for {idle:?}");
        return Err(Error::new(Code::DeadlineExceeded, text).into());
    };
    match message? {
        None => Ok(None),
        Some(message) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(Fault::from(FieldError::new("part", "", "a start or a chunk")).into()),
        },
    }
}

async fn begin(context: &Context, start: v1::BlobStart) -> Result<Open, Fault> {
    let site = fields::site_name(&start.site).map_err(|e| e.within("start"))?;
    context.site(&site)?;
    let digest = fields::digest("start.digest", &start.digest)?;
    let (blobs, size) = (context.blobs.clone(), start.size);
    Ok(Open {
        writer: blocking(move || blobs.begin(digest, size)).await?,
        digest: start.digest,
        size,
        left: size,
    })
}

async fn write(mut blob: Open, chunk: Bytes) -> Result<Open, Fault> {
    let length = chunk.len();
    if length > MAX_CHUNK_BYTES {
        let error = FieldError::new("chunk", format!("{length} bytes"), "at most 1 MiB");
        return Err(error.into());
    }
    let Some(left) = blob.left.checked_sub(length as u64) else {
        let found = format!("more than {} bytes of {}", blob.size, blob.digest);
        return Err(FieldError::new("chunk", found, "as many bytes as start.size says").into());
    };
    blob.left = left;
    let mut writer = blob.writer;
    blob.writer = blocking(move || writer.write(&chunk).map(|()| writer)).await?;
    Ok(blob)
}

fn cut_short(blob: &Open) -> Fault {
    let found = format!("{} bytes of {}", blob.size - blob.left, blob.digest);
    FieldError::new(
        "chunk",
        found,
        format!("{} bytes, as start.size says", blob.size),
    )
    .into()
}

/// Uploads have turns of their own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, Fault> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
