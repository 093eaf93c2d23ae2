//! The process around the control plane: listeners, health, ending.

use std::sync::Arc;

use tidegate_clock::SystemClock;
use tidegate_control_plane::app::{Listeners, build};
use tidegate_proto::v1;
use tidegate_telemetry::{LogFormat, Options, init};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::rig::{Rig, config};

async fn get(rig: &Rig, path: &str) -> String {
    let mut stream = TcpStream::connect(rig.addresses.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(rig.channel());
    let request = HealthCheckRequest {
        service: "tidegate.v1.CacheService".into(),
    };
    let mut changes = health.watch(request).await.unwrap().into_inner();
    while changes.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    assert!(get(&rig, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&rig, "/livez").await.starts_with("HTTP/1.1 200"));
    let head = rig.head().await;
    rig.edge("a").beat(&head.cursor).await;
    let metrics = get(&rig, "/metrics").await;
    for line in [
        format!("tidegate_control_plane_head_revision {}", head.revision),
        "tidegate_control_plane_edges 1".to_owned(),
        "tidegate_control_plane_leases 1".to_owned(),
        "tidegate_control_plane_streams 0".to_owned(),
        "tidegate_control_plane_heartbeats_total{lease=\"granted\"} 1".to_owned(),
        "tidegate_control_plane_commands_total{outcome=\"applied\"} 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    drop(changes);
    rig.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_flag() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.grpc_listen = rig.addresses.grpc;
    let error = Listeners::bind(&config).unwrap_err().to_string();
    let address = rig.addresses.grpc.to_string();
    for part in ["--grpc-listen", &address, "in use", "another port"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_data_folder_has_one_process() {
    let rig = Rig::start().await;
    let mut config = None;
    let folder = {
        let other = Rig::with(|c| config = Some(c.clone())).await;
        let config = config.clone().unwrap();
        let listeners = Listeners::bind(&config).unwrap();
        let second = build(config, listeners, Arc::new(SystemClock)).await;
        let error = second.err().unwrap().to_string();
        assert!(
            error.contains("in use") || error.contains("another process"),
            "{error}"
        );
        other.stop().await
    };
    drop(folder);
    rig.stop().await;
}

#[tokio::test]
async fn a_drain_ends_a_call_that_waits() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await;
    rig.edge("a").beat(&head.cursor).await;
    let mut cache = rig.cache();
    let call = tokio::spawn(async move {
        let long = std::time::Duration::from_secs(600);
        cache
            .invalidate(crate::rig::waiting("s", &["t"], long))
            .await
    });
    // The call has begun once its revision is durable.
    let mut edge = rig.edge("b");
    let mut frames = edge.subscribe(&head.cursor).await;
    frames.hello().await;
    frames.batch().await;
    drop(frames);
    rig.stop().await;
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.status(), v1::CompletionStatus::Partial);
}

#[tokio::test]
async fn the_trace_of_a_call_is_kept_in_the_log() {
    let options = Options {
        service_name: "test".into(),
        service_version: "0".into(),
        instance_id: "one".into(),
        log_filter: "off".into(),
        log_format: LogFormat::Text,
        otlp_endpoint: None,
    };
    let _telemetry = init(&options).unwrap();
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let from = rig.head().await.cursor;
    let mut request = tonic::Request::new(crate::rig::invalidation("s", &["t"]));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    request
        .metadata_mut()
        .insert("tracestate", "vendor=1".parse().unwrap());
    rig.cache().invalidate(request).await.unwrap();
    let watch = v1::WatchEventsRequest {
        cursor: from,
        ..v1::WatchEventsRequest::default()
    };
    let mut events = rig.fleet().watch_events(watch).await.unwrap().into_inner();
    let event = events.message().await.unwrap().unwrap().event.unwrap();
    assert!(event.traceparent.contains(trace), "{event:?}");
    assert_eq!(event.tracestate, "vendor=1");
    drop(events);
    rig.stop().await;
}
