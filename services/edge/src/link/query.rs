//! Answers what the control plane asks about this edge, beside the order and never in
//! its way.

use std::sync::Arc;
use std::time::Duration;

use tidegate_domain::{InstanceId, TagPattern};
use tidegate_proto::v1;
use tidegate_proto::v1::answer_request::Kind as Answer;
use tidegate_proto::v1::query::Kind as Question;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Follower;
use super::channel::Client;

/// Questions that are answered at a time. Who asks more gets no answer, and says so.
const AT_ONCE: usize = 8;
/// How long an answer may take to be heard.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers questions.
#[derive(Debug)]
pub(super) struct Answers<F> {
    instance: InstanceId,
    client: Client,
    follower: Arc<F>,
    room: Arc<Semaphore>,
}

impl<F: Follower> Answers<F> {
    pub(super) fn new(instance: InstanceId, client: Client, follower: Arc<F>) -> Self {
        Self {
            instance,
            client,
            follower,
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Answers in the background: it may take a while, the order must not.
    pub(super) fn answer(&self, query: v1::Query) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            tracing::warn!("too many questions at once; one is not answered");
            return;
        };
        let Some(question) = query.kind else {
            tracing::warn!("a question of a kind that this version does not know");
            return;
        };
        let follower = self.follower.clone();
        let answering = move || answer(&*follower, question, permit);
        let instance_id = self.instance.to_string();
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let Ok((answer, _permit)) = tokio::task::spawn_blocking(answering).await else {
                return;
            };
            let mut request = tonic::Request::new(v1::AnswerRequest {
                instance_id,
                query_id: query.query_id,
                kind: Some(answer),
            });
            request.set_timeout(ANSWER_TIMEOUT);
            if let Err(status) = client.answer(request).await {
                tracing::debug!(message = status.message(), "an answer came too late");
            }
        });
    }
}

fn answer<F: Follower>(
    follower: &F,
    question: Question,
    permit: OwnedSemaphorePermit,
) -> (Answer, OwnedSemaphorePermit) {
    let answer = match question {
        Question::Preview(query) => {
            let patterns = query.patterns.iter();
            let patterns: Vec<_> = patterns.filter_map(|p| TagPattern::parse(p).ok()).collect();
            let (tags, responses) = follower.preview(&query.site, &patterns);
            Answer::Preview(v1::PreviewAnswer { tags, responses })
        }
        Question::Explain(query) => Answer::Explain(follower.explain(&query)),
    };
    (answer, permit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Channels, Event, SnapshotSite};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use tidegate_domain::{Cursor, Digest};
    use tidegate_net::Dialer;

    /// Explains as slowly as the test wants.
    #[derive(Default)]
    struct Slow {
        began: AtomicUsize,
        may_end: AtomicBool,
    }

    impl Follower for Slow {
        fn adopt(&self, _: Vec<SnapshotSite>, _: Cursor) {}

        async fn apply(&self, _: &Event, _: Cursor) -> Option<u64> {
            None
        }

        fn announce(&self, _: &Event, _: Cursor) {}

        fn settle(&self, _: Cursor) {}

        fn announce_reset(&self, _: Cursor, _: v1::ResetReason) {}

        fn stats(&self) -> v1::EdgeStats {
            v1::EdgeStats::default()
        }

        fn prepared(&self) -> Vec<Digest> {
            Vec::new()
        }

        fn preview(&self, _: &str, _: &[TagPattern]) -> (u64, u64) {
            (0, 0)
        }

        fn explain(&self, _: &v1::ExplainQuery) -> v1::ExplainAnswer {
            self.began.fetch_add(1, Ordering::SeqCst);
            while !self.may_end.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            v1::ExplainAnswer::default()
        }
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let look = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), look).await;
        in_time.expect("it did not happen in time");
    }

    #[tokio::test]
    async fn questions_are_bounded_and_keep_nobody_waiting() {
        let follower = Arc::new(Slow::default());
        // Nobody listens there: what comes of an answer is not looked at.
        let channels = Channels::new("http://127.0.0.1:1", &Dialer::Tcp).unwrap();
        let instance = InstanceId::parse("one").unwrap();
        let answers = Answers::new(instance, channels.order, follower.clone());
        let explain = Some(Question::Explain(v1::ExplainQuery::default()));
        for query_id in 0..20 {
            // Returns although none of them is answered.
            answers.answer(v1::Query {
                query_id,
                kind: explain.clone(),
            });
        }
        until(|| follower.began.load(Ordering::SeqCst) >= AT_ONCE).await;
        assert_eq!(answers.room.available_permits(), 0);
        follower.may_end.store(true, Ordering::SeqCst);
        until(|| answers.room.available_permits() == AT_ONCE).await;
        assert_eq!(follower.began.load(Ordering::SeqCst), AT_ONCE);
        answers.answer(v1::Query {
            query_id: 20,
            kind: explain,
        });
        until(|| follower.began.load(Ordering::SeqCst) == AT_ONCE + 1).await;
    }
}
