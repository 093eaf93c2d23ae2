//! The open streams and the questions asked over them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tidegate_domain::{EdgeId, InstanceId, SiteName, TagPattern};
use tidegate_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::sites::SiteSet;

/// Questions that wait on one stream.
const QUESTIONS_PER_STREAM: usize = 16;
/// Questions without an answer yet, over all streams.
const MAX_OPEN_QUESTIONS: usize = 10_000;

/// What an invalidation would match on an edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matched {
    /// Live tags.
    pub tags: u64,
    /// Cached responses; one that carries several of them counts once for each.
    pub responses: u64,
}

/// What one edge says to a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The edge.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// What it counted, if it answered in time.
    pub matched: Option<Matched>,
}

/// What one edge says of a URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The edge.
    pub edge: EdgeId,
    /// Its run.
    pub instance: InstanceId,
    /// What it would do and why, if it answered in time.
    pub answer: Option<v1::ExplainAnswer>,
}

/// What an edge is asked.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// What the patterns would match.
    Preview(Arc<[TagPattern]>),
    /// What it would do with a request.
    Explain(Arc<v1::ExplainQuery>),
}

/// What an edge answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// To what patterns would match.
    Preview(Matched),
    /// To what it would do with a request.
    Explain(Box<v1::ExplainAnswer>),
}

impl Ask {
    fn is_answered_by(&self, said: &Said) -> bool {
        matches!(
            (self, said),
            (Self::Preview(_), Said::Preview(_)) | (Self::Explain(_), Said::Explain(_))
        )
    }
}

/// A question on its way to an edge.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) site: SiteName,
    pub(crate) ask: Ask,
}

/// An answer nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no such question is open to this instance: it was answered, or its time is up")]
pub struct NoSuchQuestion;

/// Too many questions are open already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("edges are being asked {0} questions, which is all at once; try again")]
pub struct TooManyQuestions(pub usize);

#[derive(Debug, Default)]
pub(crate) struct Streams {
    next: u64,
    open: BTreeMap<InstanceId, Stream>,
    questions: HashMap<u64, Open>,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Open {
    instance: InstanceId,
    ask: Ask,
    answer: oneshot::Sender<Said>,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    edge: EdgeId,
    sites: SiteSet,
    ended: CancellationToken,
    begin_anew: CancellationToken,
    questions: mpsc::Sender<Question>,
}

/// An edge that was asked, and the question that is open if it could be sent.
struct Asked {
    edge: EdgeId,
    instance: InstanceId,
    open: Option<(u64, oneshot::Receiver<Said>)>,
}

/// What an edge that was asked said, if it answered in time.
pub(crate) struct Heard {
    pub(crate) edge: EdgeId,
    pub(crate) instance: InstanceId,
    pub(crate) said: Option<Said>,
}

/// What the task of a stream needs of its entry.
pub(crate) struct Opened {
    pub(crate) id: u64,
    /// Set when another stream takes this one's place.
    pub(crate) ended: CancellationToken,
    /// Set when the history it follows is no more.
    pub(crate) begin_anew: CancellationToken,
    pub(crate) questions: mpsc::Receiver<Question>,
}

impl Streams {
    /// Opens the stream of an instance. One that is still open, most likely over a
    /// dead connection, ends.
    pub(crate) fn open(&mut self, edge: EdgeId, instance: InstanceId, sites: SiteSet) -> Opened {
        self.next += 1;
        let (sender, questions) = mpsc::channel(QUESTIONS_PER_STREAM);
        let (ended, begin_anew) = (CancellationToken::new(), CancellationToken::new());
        let stream = Stream {
            id: self.next,
            edge,
            sites,
            ended: ended.clone(),
            begin_anew: begin_anew.clone(),
            questions: sender,
        };
        if let Some(before) = self.open.insert(instance, stream) {
            before.ended.cancel();
        }
        Opened {
            id: self.next,
            ended,
            begin_anew,
            questions,
        }
    }

    /// Asks every edge to come back and begin anew.
    pub(crate) fn begin_anew(&self) {
        for stream in self.open.values() {
            stream.begin_anew.cancel();
        }
    }

    /// Closes a stream. Returns whether its instance has none now.
    pub(crate) fn close(&mut self, instance: &InstanceId, id: u64) -> bool {
        let is_this = self.open.get(instance).is_some_and(|s| s.id == id);
        if is_this {
            self.open.remove(instance);
        }
        is_this
    }

    fn ask(&mut self, site: &SiteName, only: Option<&EdgeId>, ask: &Ask) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (instance, stream) in &self.open {
            let is_meant = only.is_none_or(|only| stream.edge == *only);
            if !is_meant || !stream.sites.contains(site.as_str()) {
                continue;
            }
            self.next += 1;
            let question = Question {
                id: self.next,
                site: site.clone(),
                ask: ask.clone(),
            };
            let (answer, answered) = oneshot::channel();
            let sent = self.questions.len() < MAX_OPEN_QUESTIONS
                && stream.questions.try_send(question).is_ok();
            if sent {
                let open = Open {
                    instance: instance.clone(),
                    ask: ask.clone(),
                    answer,
                };
                self.questions.insert(self.next, open);
            }
            let open = sent.then_some((self.next, answered));
            asked.push(Asked {
                edge: stream.edge.clone(),
                instance: instance.clone(),
                open,
            });
        }
        asked.sort_by(|a, b| (&a.edge, &a.instance).cmp(&(&b.edge, &b.instance)));
        asked
    }
}

/// Asks every edge that follows the site, or only one of them, and waits for the
/// answers until `deadline`. By edge and instance.
pub(crate) async fn ask(
    streams: &Mutex<Streams>,
    site: &SiteName,
    only: Option<&EdgeId>,
    ask: Ask,
    deadline: tokio::time::Instant,
) -> Vec<Heard> {
    let asked = streams.lock().ask(site, only, &ask);
    let ids = asked
        .iter()
        .filter_map(|a| a.open.as_ref().map(|(id, _)| *id));
    let _open = OpenQuestions {
        streams,
        ids: ids.collect(),
    };
    let mut heard = Vec::with_capacity(asked.len());
    for Asked {
        edge,
        instance,
        open,
    } in asked
    {
        let said = match open {
            Some((_, answered)) => tokio::time::timeout_at(deadline, answered)
                .await
                .ok()
                .and_then(Result::ok),
            None => None,
        };
        heard.push(Heard {
            edge,
            instance,
            said,
        });
    }
    heard
}

/// Takes the answer of an edge.
pub(crate) fn answer(
    streams: &Mutex<Streams>,
    instance: &InstanceId,
    question: u64,
    said: Said,
) -> Result<(), NoSuchQuestion> {
    let mut streams = streams.lock();
    let open = streams.questions.get(&question).ok_or(NoSuchQuestion)?;
    // Only who was asked may answer, and only what was asked.
    if open.instance != *instance || !open.ask.is_answered_by(&said) {
        return Err(NoSuchQuestion);
    }
    let open = streams.questions.remove(&question).ok_or(NoSuchQuestion)?;
    open.answer.send(said).map_err(|_| NoSuchQuestion)
}

/// Questions nobody waits for any more are taken back.
struct OpenQuestions<'a> {
    streams: &'a Mutex<Streams>,
    ids: Vec<u64>,
}

impl Drop for OpenQuestions<'_> {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        for id in &self.ids {
            streams.questions.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn site() -> SiteName {
        SiteName::parse("s").unwrap()
    }

    fn open(streams: &Mutex<Streams>, instance: &str, sites: SiteSet) -> Opened {
        let edge = EdgeId::parse("e").unwrap();
        streams.lock().open(edge, id(instance), sites)
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_waits_for_those_who_follow_the_site_and_no_longer_than_its_deadline() {
        let streams = Mutex::new(Streams::default());
        let other = SiteSet::of([SiteName::parse("other").unwrap()]);
        let _elsewhere = open(&streams, "elsewhere", other);
        let mut quick = open(&streams, "quick", SiteSet::All);
        let _silent = open(&streams, "silent", SiteSet::All);
        let preview = Ask::Preview([TagPattern::everything()].into());
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
        let matched = Matched {
            tags: 1,
            responses: 2,
        };
        let edge = async {
            let question = quick.questions.recv().await.unwrap();
            let explained = Said::Explain(Box::default());
            let (counted, next) = (Said::Preview(matched), question.id + 1_000);
            for (who, what, said) in [
                ("silent", question.id, &counted),
                ("quick", next, &counted),
                ("quick", question.id, &explained),
            ] {
                let refused = answer(&streams, &id(who), what, said.clone());
                assert_eq!(refused, Err(NoSuchQuestion));
            }
            answer(&streams, &id("quick"), question.id, counted.clone()).unwrap();
            let again = answer(&streams, &id("quick"), question.id, counted);
            assert_eq!(again, Err(NoSuchQuestion));
        };
        let site = site();
        let (heard, ()) = tokio::join!(ask(&streams, &site, None, preview, deadline), edge);
        let found: Vec<_> = heard
            .into_iter()
            .map(|heard| (heard.instance.to_string(), heard.said))
            .collect();
        let counted = Some(Said::Preview(matched));
        assert_eq!(
            found,
            [("quick".to_owned(), counted), ("silent".to_owned(), None)]
        );
        assert!(streams.lock().questions.is_empty());
    }

    #[test]
    fn a_second_stream_of_an_instance_ends_the_first() {
        let streams = Mutex::new(Streams::default());
        let first = open(&streams, "a", SiteSet::All);
        let second = open(&streams, "a", SiteSet::All);
        assert!(first.ended.is_cancelled());
        assert!(!streams.lock().close(&id("a"), first.id));
        assert!(streams.lock().close(&id("a"), second.id));
    }
}
