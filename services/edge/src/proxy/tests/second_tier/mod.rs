//! What edges share, seen from one of them: the control plane says what the test says.

mod look_ups;
mod shares;
mod turns;

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use parking_lot::Mutex;
use tidegate_domain::Tag;
use tidegate_domain::site::SecondTier as Rules;
use tokio::sync::Semaphore;

use super::*;
use crate::proxy::{
    FetchNumber, PushedEntry, SecondTier, TierAnswer, TierPlace, TierQuestion, TierShare,
    TierStored, TierTurn, Unanswered,
};

type Fields = &'static [(&'static str, &'static str)];
type Answered = Result<TierAnswer, Unanswered>;

/// The control plane.
#[derive(Default)]
struct Plane {
    answers: Mutex<VecDeque<Answered>>,
    /// Look-ups are answered once there is a permit.
    gate: Option<Arc<Semaphore>>,
    questions: Mutex<Vec<TierQuestion>>,
    /// What becomes of shares; all are stored if there is nothing, and with `None` it gives
    /// no answer.
    stores: Mutex<VecDeque<Option<Result<TierStored, Unanswered>>>>,
    shares: Mutex<Vec<TierShare>>,
    released: Mutex<Vec<(TierPlace, FetchNumber)>>,
}

impl SecondTier for Plane {
    fn look(&self, question: TierQuestion) -> BoxFuture<'static, Answered> {
        self.questions.lock().push(question);
        let answer = self.answers.lock().pop_front();
        let answer = answer.unwrap_or_else(|| Ok(told(TierTurn::Yours)));
        let gate = self.gate.clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            answer
        })
    }

    fn share(&self, share: TierShare) -> BoxFuture<'static, Result<TierStored, Unanswered>> {
        self.shares.lock().push(share);
        let stored = self.stores.lock().pop_front();
        match stored.unwrap_or(Some(Ok(TierStored::Stored))) {
            Some(stored) => Box::pin(std::future::ready(stored)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn release(
        &self,
        place: TierPlace,
        number: FetchNumber,
    ) -> BoxFuture<'static, Result<(), Unanswered>> {
        self.released.lock().push((place, number));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Plane {
    fn answering(answers: impl IntoIterator<Item = Answered>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }

    /// One that answers so many look-ups as the gate has got permits.
    fn behind_a_gate(answers: impl IntoIterator<Item = Answered>) -> (Arc<Semaphore>, Self) {
        let gate = Arc::new(Semaphore::new(0));
        let plane = Self {
            gate: Some(gate.clone()),
            ..Self::answering(answers)
        };
        (gate, plane)
    }

    fn asked(&self) -> usize {
        self.questions.lock().len()
    }

    fn given_back(&self) -> usize {
        self.released.lock().len()
    }

    /// Waits until so many turns have been given back.
    async fn gives_back(&self, so_many: usize) {
        let look = async {
            while self.given_back() < so_many {
                tokio::task::yield_now().await;
            }
        };
        patiently(look).await;
        settle().await;
        assert_eq!(self.given_back(), so_many);
    }
}

fn told(turn: TierTurn) -> TierAnswer {
    TierAnswer { entry: None, turn }
}

fn found(entry: PushedEntry) -> Answered {
    Ok(TierAnswer {
        entry: Some(entry),
        turn: TierTurn::Nobody,
    })
}

fn share_as_of(as_of: u64) -> PushedEntry {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_static("max-age=100"));
    headers.insert(
        "date",
        HeaderValue::from_static("Thu, 01 Jan 1970 00:16:30 GMT"),
    );
    PushedEntry {
        status: StatusCode::OK,
        headers,
        body: "shared".into(),
        tags: vec![Tag::parse("item:1").unwrap()],
        fresh_for: Duration::from_secs(60),
        age: Duration::from_secs(40),
        validated_as_of: Revision(as_of),
        is_shared: true,
    }
}

fn silent() -> Unanswered {
    Unanswered("on purpose".into())
}

async fn world_with(plane: Plane, edit: impl FnOnce(&mut SiteConfig)) -> (World, Arc<Plane>) {
    let world = World::with(|config| {
        config.cache.second_tier = Some(Rules::default());
        edit(config);
    })
    .await;
    let plane = Arc::new(plane);
    world.site.set_second_tier(plane.clone());
    (world, plane)
}

async fn world(plane: Plane) -> (World, Arc<Plane>) {
    world_with(plane, |_| {}).await
}

/// An edge that waits for no answer that is not there at once.
async fn hurried_world(plane: Plane) -> (World, Arc<Plane>) {
    world_with(plane, |config| {
        config.cache.second_tier = Some(Rules {
            look_up_timeout: Duration::from_millis(1),
            ..Rules::default()
        });
    })
    .await
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
