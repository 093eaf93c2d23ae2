//! How many cache hits a second one core serves.

use anyhow::ensure;
use bytes::Bytes;
use http::Method;

use super::TIDEGATE;
use crate::context::Context;
use crate::load::http::Connection;
use crate::load::{runtime, wrk};
use crate::origin::Origin;
use crate::peer::nginx::CacheFiles;
use crate::peer::{Server, nginx, tidegate, varnish};
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

/// A kind of hit.
#[derive(Debug)]
struct Variant {
    title: &'static str,
    body: usize,
    connections: usize,
    /// Against `proxy_cache`, Varnish and the floor.
    budgets: [Option<Budget>; 3],
}

const VARIANTS: &[Variant] = &[Variant {
    title: "1 KiB, 32 kept-alive connections, one core",
    body: 1024,
    connections: 32,
    budgets: [
        Some(Budget::AtLeast(1.3)),
        Some(Budget::AtLeast(1.7)),
        Some(Budget::AtLeast(0.9)),
    ],
}];

/// A server that is ready to be asked, and what it was seen to do.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    server: Server,
    rounds: Vec<wrk::Round>,
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Vec<Section>> {
    VARIANTS
        .iter()
        .map(|variant| measure(context, variant))
        .collect()
}

fn measure(context: &Context, variant: &Variant) -> anyhow::Result<Section> {
    let mut section = Section::new("hits", variant.title, &[RATE, P50, P99]);
    if let Err(absent) = wrk::ensure() {
        section.absent("wrk", absent);
        return Ok(section);
    }
    let origin = Origin::start(variant.body)?;
    let started = [
        (
            TIDEGATE,
            tidegate::dev(context, origin.address).map(|dev| dev.server),
        ),
        (
            NGINX,
            nginx::proxy_cache(context, origin.address, CacheFiles::OpenedEachTime),
        ),
        (
            NGINX_OPEN,
            nginx::proxy_cache(context, origin.address, CacheFiles::KeptOpen),
        ),
        (VARNISH, varnish::start(context, origin.address)),
        (FLOOR, nginx::return_bytes(context, &origin.body)),
    ];
    let mut subjects = Vec::new();
    for (name, server) in started {
        let warmed = server.and_then(|server| {
            let warm = warm(&server, &origin);
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
    let (rounds, seconds) = context.or_quick((7, 5), (1, 1));
    for round in 0..rounds {
        eprintln!("hits: round {} of {rounds}", round + 1);
        for subject in &mut subjects {
            if let Err(error) = one_round(context, variant, subject, &origin, seconds) {
                section.fail(subject.name, &format!("{error:#}"));
            }
        }
    }
    for subject in &subjects {
        let middle = |figure: fn(&wrk::Round) -> f64| {
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
    for (peer, budget) in [NGINX, VARNISH, FLOOR].into_iter().zip(variant.budgets) {
        section.compare(RATE.name, TIDEGATE, peer, budget);
    }
    section.note(format!(
        "Medians of {rounds} round(s) of {seconds} s in turns. Before, each was asked until it served the right body \
         without asking the origin; no request of a round reached the origin."
    ));
    Ok(section)
}

fn one_round(
    context: &Context,
    variant: &Variant,
    subject: &mut Subject,
    origin: &Origin,
    seconds: u64,
) -> anyhow::Result<()> {
    let before = origin.asked();
    let round = wrk::round(
        context.cores.load,
        subject.server.address,
        PATH,
        variant.connections,
        seconds,
    )?;
    let asked = origin.asked() - before;
    ensure!(
        asked == 0,
        "{asked} requests of a round reached the origin: no hits were measured"
    );
    subject.server.process.must_be_alive()?;
    subject.rounds.push(round);
    Ok(())
}

const PATH: &str = "/item/1";

/// Asks until the copy is there, then proves that it is served.
fn warm(server: &Server, origin: &Origin) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut connection = Connection::open(server.address).await?;
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
            response.status() == 200,
            "answered with {}",
            response.status()
        );
        ensure!(
            response.body() == &origin.body,
            "answered with another body of {} bytes",
            response.body().len()
        );
        Ok(())
    })
}
