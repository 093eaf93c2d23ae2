//! A service's own metrics, and their Prometheus text.
//!
//! There is no process-wide registry: tests run several edges in one process. Names begin with `tidegate_` and the
//! service (`tidegate_edge_requests_total`), end with the unit, and carry no label but those of [`labels!`](crate::labels).

use std::marker::PhantomData;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder,
};

use crate::labels::LabelSet;

/// The media type of [`Registry::encode`]'s text.
pub const TEXT_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bucket bounds for latencies in seconds, from 100 us to 30 s.
pub const LATENCY_SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Why a metric could not be registered or written: a malformed name, or one given twice.
#[derive(Debug, thiserror::Error)]
#[error("metric {name:?}: {source}")]
pub struct MetricError {
    name: String,
    source: prometheus::Error,
}

/// The metrics of one service.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A count that only grows. By custom its name ends with `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricError> {
        self.register(name, IntCounter::new(name, help))
    }

    /// A count for each value of a label.
    pub fn counter_by<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<CounterBy<L>, MetricError> {
        let family = IntCounterVec::new(Opts::new(name, help), &L::names());
        let family = self.register(name, family)?;
        Ok(Cells::new(|values| family.with_label_values(values)))
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricError> {
        self.register(name, IntGauge::new(name, help))
    }

    /// A number that is asked for when metrics are read. `read` must be quick and may not block.
    pub fn gauge_from(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        let asked = IntGauge::new(name, help).map(|gauge| Asked { gauge, read });
        let asked = asked.and_then(|asked| self.inner.register(Box::new(asked)));
        asked.map_err(|source| named(name, source))
    }

    /// A distribution over `buckets` (upper bounds, rising). By custom its name ends with the unit, such as `_seconds`.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricError> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(name, Histogram::with_opts(options))
    }

    /// All metrics in Prometheus' text exposition format, version 0.0.4 ([`TEXT_CONTENT_TYPE`]).
    pub fn encode(&self) -> Result<String, MetricError> {
        TextEncoder::new()
            .encode_to_string(&self.inner.gather())
            .map_err(|source| named("all", source))
    }

    fn register<M>(&self, name: &str, made: prometheus::Result<M>) -> Result<M, MetricError>
    where
        M: Collector + Clone + 'static,
    {
        let metric = made.map_err(|source| named(name, source))?;
        self.inner
            .register(Box::new(metric.clone()))
            .map_err(|source| named(name, source))?;
        Ok(metric)
    }
}

fn named(name: &str, source: prometheus::Error) -> MetricError {
    MetricError {
        name: name.to_owned(),
        source,
    }
}

/// One counter for each value of a label.
pub type CounterBy<L> = Cells<L, IntCounter>;

/// The metrics of all values of a label, made at once: finding one is an index, and all series exist from the start.
#[derive(Clone, Debug)]
pub struct Cells<L, M> {
    cells: Box<[M]>,
    labels: PhantomData<L>,
}

impl<L: LabelSet, M> Cells<L, M> {
    fn new(make: impl Fn(&[&str]) -> M) -> Self {
        Self {
            cells: L::all().iter().map(|values| make(values)).collect(),
            labels: PhantomData,
        }
    }

    /// The metric of `labels`.
    #[inline]
    pub fn get(&self, labels: L) -> &M {
        // Every value of an enum made by `labels!` has its cell.
        &self.cells[labels.index()]
    }
}

/// A gauge that asks for its value when it is read.
struct Asked<F> {
    gauge: IntGauge,
    read: F,
}

impl<F: Fn() -> i64 + Send + Sync> Collector for Asked<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.read)());
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::labels! {
        enum Outcome as "outcome" { Hit = "hit", Miss = "miss" }
    }
    crate::labels! {
        enum Kind as "kind" { Page = "page", Asset = "asset" }
    }

    #[test]
    fn metrics_are_written_in_prometheus_text() {
        let registry = Registry::new();
        registry
            .counter("tidegate_events_total", "Events.")
            .unwrap()
            .inc_by(3);
        registry
            .gauge_from("tidegate_entries", "Entries.", || 42)
            .unwrap();
        registry
            .histogram("tidegate_apply_seconds", "Time to apply.", LATENCY_SECONDS)
            .unwrap()
            .observe(0.003);

        let text = registry.encode().unwrap();
        for line in [
            "# HELP tidegate_events_total Events.",
            "# TYPE tidegate_events_total counter",
            "tidegate_events_total 3",
            "tidegate_entries 42",
            "tidegate_apply_seconds_bucket{le=\"0.0025\"} 0",
            "tidegate_apply_seconds_bucket{le=\"0.005\"} 1",
            "tidegate_apply_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn every_combination_of_labels_has_a_series_of_its_own() {
        let registry = Registry::new();
        let requests = registry
            .counter_by::<(Outcome, Kind)>("tidegate_requests_total", "Requests.")
            .unwrap();
        requests.get((Outcome::Hit, Kind::Asset)).inc();
        requests.get((Outcome::Miss, Kind::Page)).inc_by(2);

        let text = registry.encode().unwrap();
        for line in [
            "tidegate_requests_total{kind=\"asset\",outcome=\"hit\"} 1",
            "tidegate_requests_total{kind=\"page\",outcome=\"hit\"} 0",
            "tidegate_requests_total{kind=\"asset\",outcome=\"miss\"} 0",
            "tidegate_requests_total{kind=\"page\",outcome=\"miss\"} 2",
        ] {
            assert!(
                text.lines().any(|it| it == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn registries_do_not_share_metrics() {
        let (one, other) = (Registry::new(), Registry::new());
        one.counter("tidegate_events_total", "Events.")
            .unwrap()
            .inc();
        other.counter("tidegate_events_total", "Events.").unwrap();
        assert!(other.encode().unwrap().contains("tidegate_events_total 0"));
    }

    #[test]
    fn a_name_given_twice_is_an_error_that_names_it() {
        let registry = Registry::new();
        registry
            .counter("tidegate_events_total", "Events.")
            .unwrap();
        let error = registry
            .gauge("tidegate_events_total", "Events.")
            .unwrap_err();
        assert!(
            error.to_string().contains("tidegate_events_total"),
            "{error}"
        );
    }
}
