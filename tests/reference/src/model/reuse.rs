//! Whether a copy could be used for a request without the origin's word (RFC 9111, sections
//! 3, 4 and 5.2; RFC 5861; RFC 8246).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::directives::{Directives, Said, said};
use super::{
    Failure, Settings, Source, Violation, Way, failure_during, freshness, invalidation, merged,
    vary,
};
use crate::fields::Fields;
use crate::history::{Exchange, History, Outcome, Token, Version, Visit};

/// Checks a copy that is made of these exchanges and shows this version.
pub(super) fn check(
    history: &History,
    settings: &Settings,
    visit: &Visit,
    sources: &[Source<'_>],
    version: &Arc<Version>,
) -> Result<Way, Violation> {
    check_request(visit)?;
    if visit.token == Token::Unknown {
        let what = "a copy, and a token of another history";
        return Err(Violation::new("token", what));
    }
    check_for_others(visit, sources, version)?;
    let copy = Copy::of(history, settings, visit, sources, version);
    check_fields(visit, &copy, &["private", "no-cache"])?;
    check_age(visit, &copy)?;
    check_invalidated(visit, &copy)?;
    let way = check_freshness(history, settings, visit, &copy)?;
    let was_under_way = sources.last().is_some_and(|last| last.was_under_way(visit));
    Ok(match was_under_way {
        true => Way::Collapsed,
        false => way,
    })
}

/// Checks an answer to what was asked of the origin for another, after this visit came
/// (section 4: requests may be collapsed if all may use the response). It is as good as if
/// it had been asked for this visit, unless it is for the other alone.
pub(super) fn check_shared(
    history: &History,
    settings: &Settings,
    visit: &Visit,
    sources: &[Source<'_>],
    version: &Arc<Version>,
) -> Result<Way, Violation> {
    check_request(visit)?;
    check_for_others(visit, sources, version)?;
    let copy = Copy::of(history, settings, visit, sources, version);
    check_own(visit, &copy, settings)?;
    // What `no-cache` names has been asked for since the visit came.
    check_fields(visit, &copy, &["private"])?;
    Ok(Way::Collapsed)
}

/// Whether others than those who brought it about may have it, this visit among them.
fn check_for_others(
    visit: &Visit,
    sources: &[Source<'_>],
    version: &Arc<Version>,
) -> Result<(), Violation> {
    let mut fields = Fields::default();
    for source in sources {
        fields = source.fields.over(&fields);
        check_storable(visit, source, version.status, &fields)?;
    }
    check_selected(visit, sources, &fields)?;
    check_confirmed_by_head(sources, version)
}

/// A copy, in the state in which the visit finds it. Times are milliseconds.
struct Copy<'a> {
    fields: Fields,
    said: Said,
    version: &'a Version,
    /// When the visit could have it at the earliest.
    now: u64,
    hit: invalidation::Hit,
    age: u64,
    lifetime: u64,
}

impl<'a> Copy<'a> {
    fn of(
        history: &History,
        settings: &Settings,
        visit: &Visit,
        sources: &[Source<'_>],
        version: &'a Version,
    ) -> Self {
        let fields = merged(sources);
        let said = said(&fields);
        let (mut age, mut lifetime) = (0, 0);
        let mut now = visit.at;
        if let Some(last) = sources.last() {
            let (asked_at, came_at) = (last.exchange.at, last.came_at);
            now = now.max(came_at);
            age = freshness::age(last.fields, asked_at, came_at, now);
            // Who gets a response without a date adds one (RFC 9110, section 6.6.1).
            let date = last.fields.date("date").unwrap_or(came_at / 1_000);
            lifetime = freshness::lifetime(version.status, &fields, &said, settings, date);
            if let Some(at) = contradicted_by_head(history, visit, sources, version) {
                let then = freshness::age(last.fields, asked_at, came_at, at);
                lifetime = lifetime.min(then);
            }
        }
        Self {
            hit: invalidation::hit(history, visit, sources),
            fields,
            said,
            version,
            now,
            age,
            lifetime,
        }
    }

    fn directives(&self) -> &Directives {
        &self.said.directives
    }

    /// Stale copies may not be used, whatever a request or the site says (section 4.2.4).
    fn is_never_stale(&self) -> bool {
        let says = |name| self.directives().has(name);
        says("must-revalidate") || says("proxy-revalidate")
    }

    fn is_stale(&self) -> bool {
        self.age >= self.lifetime || self.hit.soft_since.is_some()
    }

    /// For how long it has been stale.
    fn over(&self) -> u64 {
        let by_age = self.age.saturating_sub(self.lifetime);
        let by_soft = self.hit.soft_since.map_or(0, |since| self.now - since);
        by_age.max(by_soft)
    }

    /// A window of RFC 5861: of the response itself, else of the site, unless something
    /// speaks against that.
    fn window(&self, name: &str, of_site: u64) -> u64 {
        let stated = self.directives().seconds(name).map(|s| s * 1_000);
        let is_exempt =
            self.directives().has("s-maxage") || freshness::is_negative(self.version.status);
        match stated {
            _ if self.is_never_stale() => 0,
            Some(stated) => stated,
            None if is_exempt => 0,
            None => of_site,
        }
    }
}

/// Conditions that a cache must not evaluate are for the origin (section 4.3.2), and so is
/// what changes something.
fn check_request(visit: &Visit) -> Result<(), Violation> {
    if !super::is_read(&visit.method) {
        let what = format!("a copy in answer to {}", visit.method);
        return Err(Violation::new("method", what));
    }
    for name in ["if-match", "if-unmodified-since"] {
        if visit.request.has(name) {
            return Err(Violation::new("condition", format!("a copy, and {name}")));
        }
    }
    Ok(())
}

/// Section 3: whether the response could be stored, each time that something was learned
/// about it. `fields` are what was known then.
fn check_storable(
    visit: &Visit,
    source: &Source<'_>,
    status: u16,
    fields: &Fields,
) -> Result<(), Violation> {
    let said = said(fields);
    let says = |name| said.directives.has(name);
    let forbidden = |rule, what: &str| {
        let what = format!("{what} (exchange {})", source.exchange.number);
        Err(Violation::new(rule, what))
    };
    // What such a request brings may not be stored. Who came while it was under way may have
    // it: either of them could have been the one to bring it.
    let request = source.exchange.request.list("cache-control");
    if request.contains(&"no-store".to_owned()) && !source.was_under_way(visit) {
        return forbidden("no-store", "it answered a request with no-store");
    }
    // Section 5.2.2.3: who understands the status may overlook no-store.
    let is_understood = [200, 203, 204, 301, 302, 404, 410, 500, 501, 503].contains(&status);
    match says("must-understand") {
        true if !is_understood => {
            return forbidden("must-understand", "a status unknown to caches");
        }
        false if says("no-store") => return forbidden("no-store", "the origin forbids storing"),
        _ => {}
    }
    if said.directives.whole("private") {
        return forbidden("private", "it is for one");
    }
    let named = said.directives.named("private");
    if fields.has("set-cookie") && !named.contains(&"set-cookie".to_owned()) {
        return forbidden("set-cookie", "it sets a cookie");
    }
    // Section 3.5; where everybody has to ask for himself, nothing of one is for another.
    let request = &source.exchange.request;
    let may_share =
        is_for_all(&said) || (says("must-revalidate") && !is_asked_about_each_time(fields, &said));
    if request.has("authorization") && !may_share {
        return forbidden("authorization", "it answered a request with credentials");
    }
    if request.has("cookie") && !is_for_all(&said) && !is_usable_unasked(fields, &said) {
        return forbidden("cookie", "it answered a request with a cookie");
    }
    Ok(())
}

/// The origin says that all are told the same.
fn is_for_all(said: &Said) -> bool {
    said.directives.has("public") || said.directives.has("s-maxage")
}

/// It says itself that it may be used for a time without asking, fresh or stale.
fn is_usable_unasked(fields: &Fields, said: &Said) -> bool {
    let directives = &said.directives;
    let says = |name| directives.has(name);
    let is_forbidden = says("must-revalidate") || says("proxy-revalidate");
    let window = directives.seconds("stale-while-revalidate").unwrap_or(0);
    let is_ever_fresh = stated_lifetime(fields, said).is_some_and(|stated| stated > 0);
    !directives.whole("no-cache") && (is_ever_fresh || (window > 0 && !is_forbidden))
}

/// It says itself that it may not.
fn is_asked_about_each_time(fields: &Fields, said: &Said) -> bool {
    said.directives.whole("no-cache") || stated_lifetime(fields, said) == Some(0)
}

fn stated_lifetime(fields: &Fields, said: &Said) -> Option<u64> {
    freshness::stated_lifetime(fields, said, fields.date("date").unwrap_or(0))
}

/// Who is known by something has to ask for himself what is to be asked about each time,
/// whatever else the origin says, unless it may be used stale for a while.
fn check_own(visit: &Visit, copy: &Copy<'_>, settings: &Settings) -> Result<(), Violation> {
    let is_known = visit.request.has("cookie") || visit.request.has("authorization");
    let of_site = settings.stale_while_revalidate;
    let is_usable_stale =
        copy.window("stale-while-revalidate", of_site) > 0 && !copy.directives().whole("no-cache");
    let is_each_ones = is_asked_about_each_time(&copy.fields, &copy.said) && !is_usable_stale;
    match is_known && is_each_ones {
        true => Err(Violation::new("own", "what another one was told")),
        false => Ok(()),
    }
}

/// Section 4.1: it was selected by the same, or a 304 has confirmed it to one who asked the
/// same.
fn check_selected(visit: &Visit, sources: &[Source<'_>], fields: &Fields) -> Result<(), Violation> {
    let Some(first) = sources.first() else {
        return Ok(());
    };
    let names = fields.list("vary");
    let mut asked = sources
        .iter()
        .filter(|source| source.exchange.method == "GET");
    match asked.any(|source| vary::selects(&names, &source.exchange.request, &visit.request)) {
        true => Ok(()),
        false => Err(Violation::new(
            "vary",
            format!(
                "it varies on {names:?}, and exchange {} differs",
                first.exchange.number
            ),
        )),
    }
}

/// Section 4.3.5: a HEAD updates what has the validators that it names; without any it may
/// speak of something else.
fn check_confirmed_by_head(sources: &[Source<'_>], version: &Version) -> Result<(), Violation> {
    let modified = version.modified.map(crate::fields::write_date);
    for head in sources.iter().filter(|it| it.exchange.method == "HEAD") {
        let told = [
            ("etag", version.etag.as_deref()),
            ("last-modified", modified.as_deref()),
        ]
        .map(|(name, own)| head.fields.first(name).map(|said| Some(said) == own));
        let is_confirmed = told.contains(&Some(true)) && !told.contains(&Some(false));
        if !is_confirmed || head.status != version.status {
            let what = format!("a HEAD with {} does not speak of {version:?}", head.status);
            return Err(Violation::new("head", what));
        }
    }
    Ok(())
}

/// Section 5.1.
fn check_age(visit: &Visit, copy: &Copy<'_>) -> Result<(), Violation> {
    let stated = visit.answer.fields.first("age");
    let stated = stated.and_then(|age| age.parse::<u64>().ok());
    match stated.is_none_or(|seconds| seconds < copy.age / 1_000) {
        true => Err(Violation::new(
            "age",
            format!("Age is {stated:?}, and it is {} ms old", copy.age),
        )),
        false => Ok(()),
    }
}

/// What leaves is what was stored, without what these directives name.
fn check_fields(
    visit: &Visit,
    copy: &Copy<'_>,
    directives: &[&'static str],
) -> Result<(), Violation> {
    let answer = &visit.answer.fields;
    for directive in directives {
        for name in copy.directives().named(directive) {
            if answer.has(&name) {
                let what = format!("{name}, which {directive} names");
                return Err(Violation::new("fields for one", what));
            }
        }
    }
    let of_version = [
        ("etag", copy.version.etag.clone()),
        (
            "last-modified",
            copy.version.modified.map(crate::fields::write_date),
        ),
    ];
    for (name, expected) in of_version {
        let is_other = answer.has(name)
            && expected.is_some()
            && answer.first(name).map(super::content::opaque)
                != expected.as_deref().map(super::content::opaque);
        if is_other {
            let what = format!("{name} is {:?} and not {expected:?}", answer.first(name));
            return Err(Violation::new("fields", what));
        }
    }
    if answer.all("x-kind").ne(copy.fields.all("x-kind")) {
        return Err(Violation::new("fields", "x-kind is another"));
    }
    let names = |fields: &Fields| {
        let names = fields.list("vary");
        let names = names.iter().map(|name| name.to_ascii_lowercase());
        names.collect::<BTreeSet<_>>()
    };
    if names(answer) != names(&copy.fields) {
        return Err(Violation::new("fields", "vary is another"));
    }
    Ok(())
}

fn check_invalidated(visit: &Visit, copy: &Copy<'_>) -> Result<(), Violation> {
    match copy.hit.hard {
        true => Err(Violation::new(
            "invalidated",
            format!("a copy that was invalidated, with {:?}", visit.token),
        )),
        false => Ok(()),
    }
}

fn check_freshness(
    history: &History,
    settings: &Settings,
    visit: &Visit,
    copy: &Copy<'_>,
) -> Result<Way, Violation> {
    let directives = copy.directives();
    if directives.whole("no-cache") {
        return Err(Violation::new("no-cache", "the origin wants to be asked"));
    }
    let request = Directives::read(&visit.request, "cache-control");
    let millis = |name| request.seconds(name).map(|s| s * 1_000);
    let over = copy.over();
    let failure = failure_during(history, visit);
    let is_refused = refused_by_request(&request, copy);
    if is_refused.is_none() && !copy.is_stale() {
        return Ok(Way::Fresh);
    }
    let max_stale = match request.whole("max-stale") {
        true => Some(u64::MAX),
        false => millis("max-stale"),
    };
    let takes_stale = max_stale.is_some_and(|max| over <= max);
    // Section 5.2.1.1: nothing stale, unless the request takes that.
    let wants_fresher = request.has("min-fresh") || (request.has("max-age") && !takes_stale);
    let while_revalidating = copy.window("stale-while-revalidate", settings.stale_while_revalidate);
    if is_refused.is_none() && over < while_revalidating && !wants_fresher {
        return Ok(Way::WhileRevalidating);
    }
    let on_request =
        !copy.is_never_stale() && !directives.has("s-maxage") && copy.hit.soft_since.is_none();
    if is_refused.is_none() && on_request && takes_stale {
        return Ok(Way::MaxStale);
    }
    if failure.is_some() && !copy.is_stale() {
        return Ok(Way::IfError);
    }
    let if_error = copy.window("stale-if-error", settings.stale_if_error);
    let on_error = failure.is_some()
        && (over < if_error
            || (on_request && millis("stale-if-error").is_some_and(|max| over <= max)));
    // Section 4.2.4, and no longer than the site says. What states an extension itself is
    // not exempt from s-maxage in this.
    let unreachable = match directives.has("s-maxage") || copy.is_never_stale() {
        true => 0,
        false => settings.stale_if_unreachable,
    };
    let on_silence = failure == Some(Failure::NoAnswer) && over < unreachable;
    if on_error || on_silence {
        return Ok(Way::IfError);
    }
    Err(Violation::new(
        if copy.is_stale() { "stale" } else { "request" },
        format!(
            "age {} of {} ms, over by {over}, soft since {:?}; the request refuses it by \
             {is_refused:?}, failure {failure:?}",
            copy.age, copy.lifetime, copy.hit.soft_since
        ),
    ))
}

/// The directive of a request that a copy does not meet (section 5.2.1).
fn refused_by_request(request: &Directives, copy: &Copy<'_>) -> Option<&'static str> {
    let millis = |name| request.seconds(name).map(|s| s * 1_000);
    // RFC 8246: what does not change while it is fresh need not be reloaded, which is to ask for
    // the age of zero.
    let is_immutable = copy.directives().has("immutable") && !copy.is_stale();
    let is_reload = millis("max-age") == Some(0);
    if request.has("no-cache") {
        return Some("no-cache");
    }
    if !(is_immutable && is_reload) && millis("max-age").is_some_and(|max| copy.age > max) {
        return Some("max-age");
    }
    let left = copy.lifetime.saturating_sub(copy.age);
    match millis("min-fresh") {
        Some(min) if left < min && !copy.is_stale() => Some("min-fresh"),
        _ => None,
    }
}

/// When a HEAD last showed that a GET would bring something else (section 4.3.5).
fn contradicted_by_head(
    history: &History,
    visit: &Visit,
    sources: &[Source<'_>],
    version: &Version,
) -> Option<u64> {
    let (first, last) = (sources.first()?, sources.last()?);
    let names = merged(sources).list("vary");
    let stored_at = last.exchange.ended?;
    // What was asked for in between may have taken its place: then the HEAD spoke of nothing
    // that was kept here, and it may come back as what edges share.
    let may_have_gone = |head: &Exchange| {
        let between = last.order() + 1..head.order;
        let is_in_between = |it: &Exchange| {
            it.method == "GET" && it.url == visit.url && between.contains(&it.order)
        };
        history.shares && history.exchanges.iter().any(is_in_between)
    };
    history
        .exchanges
        .iter()
        .filter(|head| head.method == "HEAD" && head.url == visit.url)
        // An edge learns what it has asked, of what it has.
        .filter(|head| head.edge == visit.edge && last.exchange.edge == visit.edge)
        // What is for the origin alone, and what wants nothing stored, teaches nothing.
        .filter(|head| !head.request.has("if-match"))
        .filter(|head| {
            !head
                .request
                .list("cache-control")
                .contains(&"no-store".into())
        })
        .filter(|head| head.order > stored_at && !may_have_gone(head))
        .filter(|head| head.ended.is_some_and(|ended| ended < visit.order))
        .filter(|head| vary::selects(&names, &first.exchange.request, &head.request))
        .find_map(|head| match &head.outcome {
            Outcome::Answered {
                status: 200,
                version: other,
                at,
                ..
            } => {
                let differs = other.etag.is_some() && other.etag != version.etag
                    || other.body.len() != version.body.len();
                (differs || version.status != 200).then_some(*at)
            }
            _ => None,
        })
}
