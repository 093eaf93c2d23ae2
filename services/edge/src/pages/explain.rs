//! What the release would answer, decided as for a request, and not answered.

use tidegate_domain::Digest;
use tidegate_site::Kind;

use super::release::SitePages;
use super::serve::{Choice, PageRequest, choose};

/// What the release would answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageExplanation {
    /// The active release.
    pub release: Digest,
    /// Whether it answers that it cannot, for now.
    pub refuses: bool,
    /// Whether it answers that there is no such page. A pushed entry comes before that.
    pub is_missing: bool,
    /// What it is, for people, in a sentence.
    pub reason: String,
}

impl SitePages {
    /// Says what the active release would answer; `None` if it would answer nothing. Does
    /// not wait for a release that is coming.
    #[must_use]
    pub fn explain(&self, request: PageRequest<'_>, has_origin: bool) -> Option<PageExplanation> {
        let release = match self.current_now() {
            Ok(release) => release?,
            Err(coming) => {
                return Some(PageExplanation {
                    release: coming,
                    refuses: true,
                    is_missing: false,
                    reason: "the active release is not here yet: requests wait a while for it"
                        .to_owned(),
                });
            }
        };
        let choice = choose(&release, request, has_origin)?;
        let is_missing = matches!(choice, Choice::Missing);
        let refuses = matches!(choice, Choice::Behind) || (is_missing && request.is_behind);
        let reason = match choice {
            Choice::Redirect(status, to) => format!("the active release redirects to {to} ({status})"),
            Choice::Missing if !request.is_behind => "not in the active release, and no origin is configured".to_owned(),
            Choice::Behind | Choice::Missing => "the request asks for a revision that this edge has not applied, which may be of a newer release".to_owned(),
            Choice::Resource(Kind::Asset, _) => "an asset of the active release".to_owned(),
            Choice::Resource(Kind::Page, page) if page.has_state() && has_origin => {
                "a page of the active release, with a state that the origin is asked for each time"
                    .to_owned()
            }
            Choice::Resource(Kind::Page, _) => "a page of the active release".to_owned(),
            Choice::WrongMethod => "the active release is there to be read only".to_owned(),
        };
        Some(PageExplanation {
            release: release.active.release,
            refuses,
            is_missing,
            reason,
        })
    }
}
