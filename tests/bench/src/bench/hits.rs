//! How many requests a second a cache answers: hits, 304s, and with one miss in ten.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};

use super::TIDEGATE;
use crate::context::Context;
use crate::load::http::Connection;
use crate::load::{Round, h2load, runtime, wrk};
use crate::origin::{ETAG, Origin};
use crate::peer::nginx::CacheFiles;
use crate::peer::{Absent, Protocol, Server, nginx, tidegate, varnish};
use crate::report::{Budget, Column, Section};
use crate::stats::median;

const RATE: Column = Column {
    name: "req/s",
    decimals: 0,
};
const P50: Column = Column {
    name: "p50 ms",
    decimals: 2,
};
const P99: Column = Column {
    name: "p99 ms",
    decimals: 2,
};

const NGINX: &str = "nginx proxy_cache";
const NGINX_OPEN: &str = "nginx, open_file_cache";
const VARNISH: &str = "Varnish";
const FLOOR: &str = "nginx return (floor)";

/// Connections of HTTP/1.1, each with one request in flight.
const CONNECTIONS: usize = 32;

/// Bytes of the longest text that a configuration of nginx may hold.
const MAX_PARAMETER: usize = 2048;

/// One request in so many is a miss, of [`Work::Misses`].
const ONE_IN: u64 = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    /// What is stored.
    Hits,
    /// What is stored, by who has it.
    NotModified,
    /// What is stored, but for one request in ten.
    Misses,
}

/// A table of its own.
#[derive(Debug, Clone, Copy)]
struct Variant {
    work: Work,
    /// Bytes of a body.
    body: usize,
    protocol: Protocol,
    has_two_cores: bool,
    /// Also in the short form.
    is_quick: bool,
}

/// Everything that is measured, the first of all what DESIGN has budgets for.
fn variants() -> impl Iterator<Item = Variant> {
    let works = [
        (Work::Hits, 1024),
        (Work::NotModified, 1024),
        (Work::Misses, 1024),
        (Work::Hits, 100 * 1024),
        (Work::Misses, 100 * 1024),
        (Work::NotModified, 100 * 1024),
    ];
    let servers = [
        (Protocol::Http1, false),
        (Protocol::Http2, false),
        (Protocol::Http1, true),
        (Protocol::Http2, true),
    ];
    let short = |server: usize, work: usize| matches!((server, work), (0, 0 | 1) | (1, 0) | (3, 4));
    servers
        .into_iter()
        .enumerate()
        .flat_map(move |(server, (protocol, has_two_cores))| {
            works
                .into_iter()
                .enumerate()
                .map(move |(number, (work, body))| Variant {
                    work,
                    body,
                    protocol,
                    has_two_cores,
                    is_quick: short(server, number),
                })
        })
}

impl Variant {
    fn title(&self) -> String {
        let work = match self.work {
            Work::Hits => "hits",
            Work::NotModified => "304",
            Work::Misses => "one miss in ten",
        };
        let protocol = match self.protocol {
            Protocol::Http1 => format!("HTTP/1.1, {CONNECTIONS} connections"),
            Protocol::Http2 => format!(
                "HTTP/2, {} connections of {} streams",
                h2load::CONNECTIONS,
                h2load::STREAMS
            ),
        };
        let cores = if self.has_two_cores {
            "two cores"
        } else {
            "one core"
        };
        format!("{work}, {} KiB, {protocol}, {cores}", self.body / 1024)
    }

    /// Against `proxy_cache`, Varnish and the floor.
    fn budgets(&self) -> [Option<Budget>; 3] {
        let is_bound = self.work == Work::Hits
            && self.body == 1024
            && self.protocol == Protocol::Http1
            && !self.has_two_cores;
        [1.3, 1.7, 0.9].map(|bound| is_bound.then_some(Budget::AtLeast(bound)))
    }

    /// Whether a round of so many requests asked the origin as often as it should.
    fn is_fair(&self, requests: u64, asked: u64) -> bool {
        match self.work {
            Work::Hits | Work::NotModified => asked == 0,
            // Requests still under way at the end are not counted by all.
            Work::Misses => {
                let wanted = requests as f64 / ONE_IN as f64;
                (0.8..1.2).contains(&(asked as f64 / wanted))
            }
        }
    }
}

/// A server that is ready to be asked, and what it was seen to do.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    server: Server,
    rounds: Vec<Round>,
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    let mut sections = Vec::new();
    let wanted = |it: &Variant| (it.is_quick || !context.quick) && context.wants(&it.title());
    for variant in variants().filter(wanted) {
        eprintln!("hits: {}", variant.title());
        let section = if variant.has_two_cores {
            let Some(context) = context.with_two_cores() else {
                let mut section = Section::new("hits", variant.title(), &[RATE, P50, P99]);
                let reason = "the machine has one core".to_owned();
                section.absent("all", Absent::Skipped(reason));
                sections.push(section);
                continue;
            };
            measure(&context, &variant)?
        } else {
            measure(context, &variant)?
        };
        sections.push(section);
    }
    ensure!(!sections.is_empty(), "--only: no table has such a title");
    Ok(sections)
}

fn measure(context: &Context, variant: &Variant) -> anyhow::Result<Section> {
    let mut section = Section::new("hits", variant.title(), &[RATE, P50, P99]);
    let (tool, ensured) = match variant.protocol {
        Protocol::Http1 => ("wrk", wrk::ensure()),
        Protocol::Http2 => ("h2load", h2load::ensure()),
    };
    if let Err(absent) = ensured {
        section.absent(tool, absent);
        return Ok(section);
    }
    let origin = Origin::start(variant.body)?;
    let mut subjects = Vec::new();
    for (name, server) in servers(context, variant, &origin) {
        let warmed = server.and_then(|server| {
            let warm = warm(&server, variant, &origin);
            warm.map_err(|error| server.process.explain(&error))?;
            Ok(server)
        });
        match warmed {
            Ok(server) => subjects.push(Subject {
                name,
                server,
                rounds: Vec::new(),
            }),
            Err(absent) => section.absent(name, absent),
        }
    }
    let has_budget = variant.budgets()[0].is_some();
    let (rounds, seconds) = context.or_quick(if has_budget { (7, 5) } else { (3, 3) }, (1, 1));
    for round in 0..rounds {
        for subject in &mut subjects {
            if let Err(error) = one_round(context, variant, subject, &origin, round, seconds) {
                section.fail(subject.name, &format!("{error:#}"));
            }
        }
    }
    for subject in &subjects {
        let middle = |figure: fn(&Round) -> f64| {
            let figures: Vec<f64> = subject.rounds.iter().map(figure).collect();
            median(&figures)
        };
        let values = vec![
            middle(|round| round.requests_per_second),
            middle(|round| round.p50_ms),
            middle(|round| round.p99_ms),
        ];
        section.row(subject.name, &subject.server.version, values);
    }
    section.compare(RATE.name, TIDEGATE, NGINX_OPEN, None);
    for (peer, budget) in [NGINX, VARNISH, FLOOR].into_iter().zip(variant.budgets()) {
        section.compare(RATE.name, TIDEGATE, peer, budget);
    }
    for peer in [NGINX, VARNISH] {
        section.compare(P99.name, TIDEGATE, peer, None);
    }
    section.note(format!(
        "Ratios are Tidegate's figure by the other's: of times, what is below 1 is shorter. Medians of {rounds} round(s) of \
         {seconds} s in turns; server on core {}, load on core {}. Before, each was asked \
         until it served the right body without asking the origin. {}",
        context.cores.server,
        context.cores.load,
        match variant.work {
            Work::Hits | Work::NotModified => "No request of a round reached the origin.",
            Work::Misses => "One request in ten was for what nobody had asked for, and reached the origin.",
        }
    ));
    Ok(section)
}

type Started = (&'static str, Result<Server, Absent>);

fn servers(context: &Context, variant: &Variant, origin: &Origin) -> Vec<Started> {
    let (address, protocol) = (origin.address, variant.protocol);
    let nginx = |files| nginx::proxy_cache(context, address, files, protocol);
    let mut started = vec![
        (
            TIDEGATE,
            tidegate::dev(context, address).map(|dev| dev.server),
        ),
        (NGINX, nginx(CacheFiles::OpenedEachTime)),
        (NGINX_OPEN, nginx(CacheFiles::KeptOpen)),
        (VARNISH, varnish::start(context, address)),
    ];
    // It has no origin to ask and no copy that could be current, and its body stands in its
    // configuration.
    if variant.work == Work::Hits && variant.body <= MAX_PARAMETER {
        let floor = nginx::return_bytes(context, &origin.body, protocol);
        started.push((FLOOR, floor));
    }
    started
}

fn one_round(
    context: &Context,
    variant: &Variant,
    subject: &mut Subject,
    origin: &Origin,
    number: usize,
    seconds: u64,
) -> anyhow::Result<()> {
    let before = origin.asked();
    let round = match variant.protocol {
        Protocol::Http1 => http1(context, variant, subject, number, seconds),
        Protocol::Http2 => http2(context, variant, subject, number, seconds),
    }?;
    let asked = origin.asked() - before;
    ensure!(
        variant.is_fair(round.requests, asked),
        "{asked} of {} requests of a round reached the origin",
        round.requests
    );
    subject.server.process.must_be_alive()?;
    subject.rounds.push(round);
    Ok(())
}

const PATH: &str = "/item/1";

fn field(variant: &Variant) -> Option<String> {
    (variant.work == Work::NotModified).then(|| format!("If-None-Match: {ETAG}"))
}

fn http1(
    context: &Context,
    variant: &Variant,
    subject: &Subject,
    number: usize,
    seconds: u64,
) -> anyhow::Result<Round> {
    let script = context.memory().join("misses.lua");
    if variant.work == Work::Misses {
        write(&script, &lua(number))?;
    }
    wrk::round(&wrk::Plan {
        cores: context.cores.load,
        address: subject.server.address,
        path: PATH,
        connections: CONNECTIONS,
        field: field(variant).as_deref(),
        script: (variant.work == Work::Misses).then_some(script.as_path()),
        seconds,
    })
}

/// A script for wrk: every thread asks for what no other thread or round has asked for.
fn lua(round: usize) -> String {
    format!(
        "local threads = 0
         function setup(thread) thread:set('id', threads); threads = threads + 1 end
         local count = 0
         local hit
         function init() hit = wrk.format('GET', '{PATH}') end
         function request()
             count = count + 1
             if count % {ONE_IN} ~= 0 then return hit end
             return wrk.format('GET', '/item/{round}-' .. id .. '-' .. count)
         end"
    )
}

/// More paths than a connection asks for in a second of a round.
const PATHS_A_SECOND: u64 = 20_000;

fn http2(
    context: &Context,
    variant: &Variant,
    subject: &Subject,
    number: usize,
    seconds: u64,
) -> anyhow::Result<Round> {
    let field = field(variant);
    let plan = h2load::Plan {
        cores: context.cores.load,
        address: subject.server.address,
        field: field.as_deref(),
        seconds,
        folder: context.memory(),
    };
    h2load::round(&plan, |connection| match variant.work {
        Work::Hits | Work::NotModified => vec![PATH.to_owned()],
        Work::Misses => (1..=PATHS_A_SECOND * seconds)
            .map(|count| match count % ONE_IN {
                0 => format!("/item/{number}-{connection}-{count}"),
                _ => PATH.to_owned(),
            })
            .collect(),
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("file {}", path.display()))
}

/// Asks until the copy is there, then proves that it is served.
fn warm(server: &Server, variant: &Variant, origin: &Origin) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut connection = Connection::open_with(server.address, variant.protocol).await?;
        for _ in 0..3 {
            connection.send(Method::GET, PATH, Bytes::new()).await?;
        }
        let before = origin.asked();
        let response = connection.send(Method::GET, PATH, Bytes::new()).await?;
        ensure!(
            origin.asked() == before,
            "the fourth request was no hit: {:?}",
            response.headers()
        );
        ensure!(
            response.status() == StatusCode::OK,
            "answered with {}",
            response.status()
        );
        ensure!(
            response.body() == &origin.body,
            "answered with another body of {} bytes",
            response.body().len()
        );
        if variant.work == Work::NotModified {
            let asked = [("if-none-match", ETAG)];
            let response = connection.send_with(Method::GET, PATH, Bytes::new(), &asked);
            let status = response.await?.status();
            ensure!(
                status == StatusCode::NOT_MODIFIED,
                "answered who has the copy with {status}"
            );
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_is_measured_on_every_server() {
        let titles: Vec<String> = variants().map(|variant| variant.title()).collect();
        let mut different = titles.clone();
        different.sort();
        different.dedup();
        assert_eq!((titles.len(), different.len()), (24, 24));
        let bound = variants().filter(|variant| variant.budgets()[0].is_some());
        assert_eq!(bound.count(), 1);
    }

    #[test]
    fn a_round_counts_only_if_the_origin_was_asked_as_it_should_be() {
        let with = |work| Variant {
            work,
            ..variants().next().unwrap()
        };
        assert!(with(Work::Hits).is_fair(1000, 0));
        assert!(!with(Work::Hits).is_fair(1000, 1));
        assert!(with(Work::Misses).is_fair(1000, 101));
        assert!(!with(Work::Misses).is_fair(1000, 50));
        assert!(!with(Work::Misses).is_fair(1000, 200));
    }
}
