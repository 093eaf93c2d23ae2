//! One trace from the call through the control plane to the edges and back.

use std::collections::BTreeSet;

use tidegate_e2e::telemetry::{OtlpReceiver, ReceivedSpan};
use tidegate_e2e::{ControlPlane, Edge, Events, Launch, Origin, PATIENCE, eventually};
use tonic::Request;

use crate::support::{HOST, of_tags, put_site, site_of};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn traced(launch: Launch, receiver: &OtlpReceiver) -> Launch {
    launch
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
        .flag("--log-format", "json")
        .flag("--log", "info,access=info")
}

fn of_trace<'a>(spans: &'a [ReceivedSpan], trace: &str) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|span| span.trace_id == trace).collect()
}

fn components(spans: &[ReceivedSpan], trace: &str) -> BTreeSet<String> {
    let spans = of_trace(spans, trace).into_iter();
    spans.map(|span| span.component().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_id_is_seen_in_the_call_the_control_plane_the_edge_and_the_browser() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let origin = Origin::start().await;
    let control = ControlPlane::start_with(|launch| traced(launch, &receiver)).await;
    put_site(control.calls(), site_of(&origin)).await;
    let edge = Edge::start_with(control.calls(), "edge-a", |launch| {
        traced(launch, &receiver)
    })
    .await;
    control.calls().settled(1).await;
    let mut events = Events::open(&edge.http(HOST), "/_tidegate/events?detail=1", None).await;
    events.next_of("connected").await;

    let mut request = Request::new(of_tags(&["item:1"]));
    let parent = format!("00-{TRACE}-{CALLER}-01");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    control.calls().cache().invalidate(request).await.unwrap();

    let both = BTreeSet::from(["control-plane".to_owned(), "edge".to_owned()]);
    let spans = receiver
        .wait_for(|spans| components(spans, TRACE) == both, PATIENCE)
        .await
        .unwrap();
    let mine = of_trace(&spans, TRACE);
    let served = mine
        .iter()
        .find(|span| span.name.ends_with("CacheService/Invalidate"))
        .unwrap_or_else(|| panic!("{mine:#?}"));
    assert_eq!(served.parent_span_id, CALLER);
    let ids: BTreeSet<_> = mine.iter().map(|span| span.span_id.as_str()).collect();
    for span in &mine {
        let parent = span.parent_span_id.as_str();
        assert!(
            parent == CALLER || ids.contains(parent),
            "{span:#?} hangs in the air"
        );
    }
    let heard = events.next_of("invalidate").await.json();
    let trace = heard["trace"].as_str().unwrap_or_default();
    assert!(trace.contains(TRACE), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_carries_its_trace_through_the_edge_to_the_origin_and_into_the_log() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let origin = Origin::start().await;
    origin.set("/a", tidegate_e2e::Answer::ok("a"));
    let control = ControlPlane::start_with(|launch| traced(launch, &receiver)).await;
    put_site(control.calls(), site_of(&origin)).await;
    let mut edge = Edge::start_with(control.calls(), "edge-a", |launch| {
        traced(launch, &receiver)
    })
    .await;
    control.calls().settled(1).await;
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let reply = edge
        .http(HOST)
        .get_with("/a", &[("traceparent", &parent)])
        .await;
    assert_eq!(reply.text(), "a");
    let seen = |spans: &[ReceivedSpan]| components(spans, TRACE).contains("edge");
    receiver.wait_for(seen, PATIENCE).await.unwrap();
    let onward = origin.asked("/a")[0].headers["traceparent"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(onward.contains(TRACE), "{onward}");
    assert!(
        !onward.contains(CALLER),
        "the edge is the origin's caller: {onward}"
    );
    eventually("a line of the log with the trace", || {
        let log = edge.process().log();
        let found = log.lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
            line["trace_id"] == TRACE
        });
        std::future::ready(if found { Ok(()) } else { Err(log) })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tool_begins_a_trace_of_its_own() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let origin = Origin::start().await;
    let control = ControlPlane::start_with(|launch| traced(launch, &receiver)).await;
    put_site(control.calls(), site_of(&origin)).await;
    let edge = Edge::start_with(control.calls(), "edge-a", |launch| {
        traced(launch, &receiver)
    })
    .await;
    control.calls().settled(1).await;
    let cli = control
        .calls()
        .cli()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
        .flag("--site", crate::support::SITE);
    cli.json(["invalidate", "item:1"]).await;
    let whole = |spans: &[ReceivedSpan]| {
        let traces: BTreeSet<_> = spans.iter().map(|span| span.trace_id.as_str()).collect();
        traces.into_iter().any(|trace| {
            let components = components(spans, trace);
            ["cli", "control-plane", "edge"]
                .iter()
                .all(|it| components.contains(*it))
        })
    };
    receiver.wait_for(whole, PATIENCE).await.unwrap();
    drop(edge);
}
