//! Who operates the site: publishes releases, and says what edges do without a lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tidegate_e2e::v1::FencedMode;
use tidegate_history::{Activate, Position, Record, Status};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::reader::{What, read};
use crate::rig::{EDGES, Rig, cli};
use crate::site::{self, MAX_STALE, MIN_STALE, PAGES};

/// A configuration that is right was refused.
pub const REFUSED: &str = "site: refused";

/// Between two acts.
const PAUSE_MS: std::ops::Range<u64> = 100..700;
/// How long a switch waits for all edges. It waits for those that are cut off, too.
const WAIT: Duration = Duration::from_secs(3);
/// What it may take besides.
const GRACE: Duration = Duration::from_secs(4);

/// An operator. There is one: of two releases the later one has the higher version.
pub struct Operator {
    rig: Arc<Rig>,
    random: StdRng,
    folder: PathBuf,
    version: u64,
}

impl Operator {
    /// An operator who does what `seed` says, with a folder for his pages.
    #[must_use]
    pub fn new(rig: Arc<Rig>, folder: PathBuf, seed: u64) -> Self {
        Self {
            rig,
            random: StdRng::seed_from_u64(seed),
            folder,
            version: 0,
        }
    }

    /// Works until `stop`. Gives himself back for [`Operator::publish_surely`].
    ///
    /// # Errors
    /// The pages cannot be written.
    pub async fn work(mut self, stop: CancellationToken) -> anyhow::Result<Self> {
        while !stop.is_cancelled() {
            if self.random.random_bool(0.5) {
                self.publish().await?;
            } else {
                self.change_policy().await;
            }
            let pause = Duration::from_millis(self.random.random_range(PAUSE_MS));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(self)
    }

    /// Says anew what edges do without a lease.
    async fn change_policy(&mut self) {
        let bound = Duration::from_millis(self.random.random_range(stale_ms()));
        let mode = match self.random.random_range(0..6) {
            0..4 => FencedMode::ServeStale,
            4 => FencedMode::Revalidate,
            _ => FencedMode::Fail,
        };
        match self.rig.put_site(mode, bound).await {
            Ok(()) => self.rig.tally.add(format!("site: {mode:?}").to_lowercase()),
            Err(error) => {
                let status = error.downcast_ref::<tonic::Status>();
                let is_refused = status.is_some_and(|it| it.code() == Code::InvalidArgument);
                self.rig.tally.add(match is_refused {
                    true => REFUSED,
                    false => "site: not known to be changed",
                });
                let told = format!("the site is not known to be changed: {error:#}");
                self.rig.recorder.note(told);
            }
        }
    }

    /// Publishes a release with new pages and switches to it.
    async fn publish(&mut self) -> anyhow::Result<Status> {
        self.version += 1;
        for page in PAGES {
            let file = self.folder.join(page.trim_start_matches('/'));
            let parent = file.parent().context("a page is in a folder")?;
            std::fs::create_dir_all(parent).context("the pages")?;
            std::fs::write(file, site::page(self.version)).context("the pages")?;
        }
        let rig = self.rig.clone();
        let folder = self.folder.display().to_string();
        let wait = format!("{}ms", WAIT.as_millis());
        let words = [
            "site",
            "publish",
            &folder,
            "--fast",
            "--wait",
            "--wait-timeout",
            &wait,
        ];
        let cli = cli().flag("--site", site::NAME).flag("--output", "json");
        let before = rig.epoch().await;
        let invoked = rig.recorder.now();
        let said = tokio::time::timeout(WAIT + GRACE, cli.run(words)).await;
        let completed = rig.recorder.now();
        let answer = said.ok().and_then(|said| read_answer(&said.stdout));
        let epoch = rig.still(before).await;
        let (status, position) = match answer.zip(epoch) {
            Some(((status, revision), epoch)) => (status, Some(Position { epoch, revision })),
            None => (Status::Unknown, None),
        };
        rig.recorder.add(&Record::Activate(Activate {
            site: site::NAME.to_owned(),
            urls: PAGES.map(str::to_owned).to_vec(),
            version: self.version,
            position,
            status,
            invoked,
            completed,
        }));
        rig.tally
            .add(format!("releases: {status:?}").to_lowercase());
        if status == Status::Complete {
            for edge in 0..EDGES.len() {
                read(&rig, edge, What::Page(PAGES[0]), None).await;
            }
        }
        Ok(status)
    }

    /// Publishes while nothing fails.
    ///
    /// # Errors
    /// It does not complete.
    pub async fn publish_surely(&mut self) -> anyhow::Result<()> {
        let status = self.publish().await?;
        anyhow::ensure!(
            status == Status::Complete,
            "nothing fails, and a release is {status:?}"
        );
        Ok(())
    }
}

fn stale_ms() -> std::ops::RangeInclusive<u64> {
    let ms = |bound: Duration| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    ms(MIN_STALE)..=ms(MAX_STALE)
}

/// What became of the switch, and where it is in the order.
fn read_answer(stdout: &str) -> Option<(Status, u64)> {
    let report: Value = serde_json::from_str(stdout).ok()?;
    let switched = &report["activated"];
    let status = match switched["status"].as_str()? {
        "COMPLETE" => Status::Complete,
        "PARTIAL" => Status::Partial,
        _ => Status::Accepted,
    };
    Some((status, switched["revision"].as_u64()?))
}
