//! `preload`.

use tidegate_proto::v1;

use super::Session;
use crate::args::PreloadArgs;
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::report::{Position, count};

pub(super) async fn run(session: &mut Session<'_>, args: PreloadArgs) -> Result<Exit, Failure> {
    let urls = args.urls.len() as u64;
    let request = v1::PreloadHintRequest {
        site: session.site.to_string(),
        urls: args.urls,
        audience: args.audience.iter().map(ToString::to_string).collect(),
    };
    let mut cache = session.client.cache();
    let call = cache.preload_hint(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: answer.cursor,
        done: format!("hinted at {}", count(urls, "URL", "URLs")),
    })
}
