//! `publish-event`.

use tidegate_proto::v1;

use super::Session;
use crate::args::{FileOrDash, PublishEventArgs};
use crate::client::{DEADLINE, with_deadline};
use crate::failure::{Exit, Failure};
use crate::input;
use crate::report::Position;

/// The longest text of an event, in bytes.
const MAX_DATA_BYTES: usize = 16 * 1024;

pub(super) async fn run(
    session: &mut Session<'_>,
    args: PublishEventArgs,
) -> Result<Exit, Failure> {
    let request = v1::PublishEventRequest {
        site: session.site.to_string(),
        r#type: args.event_type.to_string(),
        data: data(args.data).await?,
        audience: args.audience.iter().map(ToString::to_string).collect(),
    };
    let mut cache = session.client.cache();
    let call = cache.publish_event(with_deadline(DEADLINE, request));
    let answer = session.client.once(DEADLINE, call).await?;
    session.show(&Position {
        revision: answer.revision,
        cursor: answer.cursor,
        done: format!("event \"{}\" published", args.event_type),
    })
}

async fn data(argument: String) -> Result<String, Failure> {
    if argument == "-" {
        let bytes = input::read(FileOrDash::Dash, MAX_DATA_BYTES).await?;
        return String::from_utf8(bytes)
            .map_err(|_| Failure::new("STDIN", "standard input is not UTF-8; events are text"));
    }
    if argument.len() > MAX_DATA_BYTES {
        return Err(Failure::usage(format!(
            "DATA has {} bytes; allowed: at most {MAX_DATA_BYTES}",
            argument.len()
        )));
    }
    Ok(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn data_that_is_too_long_is_refused_before_anything_is_sent() {
        assert!(data("x".repeat(MAX_DATA_BYTES)).await.is_ok());
        let failure = data("x".repeat(MAX_DATA_BYTES + 1)).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("at most 16384"));
    }
}
