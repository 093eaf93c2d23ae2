//! What orchestrators and scrapers ask.

use tidegate_e2e::{Calls, ControlPlane, HttpClient, Launch, Process, eventually};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{HOST, Rig, invalidate, of_tags, short_leases};

const SERVICES: [&str; 5] = [
    "tidegate.v1.AdminService",
    "tidegate.v1.CacheService",
    "tidegate.v1.EdgeService",
    "tidegate.v1.FleetService",
    "tidegate.v1.SiteService",
];

async fn channel(calls: &Calls) -> Channel {
    let endpoint = Endpoint::from_shared(calls.address().to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

async fn is_ready(admin: &HttpClient) {
    eventually("ready", || async {
        let reply = admin.get("/readyz").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_answer_probes_and_scrapes() {
    let rig = Rig::start().await;
    rig.fill("/a", "a", &["a"]).await;
    invalidate(rig.calls(), of_tags(&["a"])).await;
    rig.calls().settled(1).await;
    for (admin, prefix) in [
        (rig.control.admin(), "tidegate_control_plane_"),
        (rig.edge.admin(), "tidegate_edge_"),
    ] {
        assert_eq!(admin.get("/livez").await.status, 200);
        is_ready(&admin).await;
        let metrics = admin.get("/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.field("content-type").starts_with("text/plain"));
        let text = metrics.text();
        assert!(text.lines().any(|line| line.starts_with(prefix)), "{text}");
        // No tag, URL or client becomes a label.
        for secret in ["\"a\"", "/a\"", "127.0.0.1"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(admin.get("/nothing").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_a_control_plane_is_alive_not_ready_and_serves_nothing() {
    // A port that nobody listens on: it was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut edge = Process::start(
        &Launch::new("tidegate-edge")
            .flag("--listen", "127.0.0.1:0")
            .flag("--admin-listen", "127.0.0.1:0")
            .flag("--control", &control),
    );
    let ready = edge.ready().await;
    let admin = HttpClient::new(ready.get("admin"));
    assert_eq!(admin.get("/livez").await.status, 200);
    let reply = admin.get("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("control plane"), "{}", reply.text());
    let reply = HttpClient::new(ready.get("edge")).host(HOST).get("/").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("control plane"), "{}", reply.text());
    edge.sigterm();
    assert_eq!(edge.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_stays_ready_when_the_control_plane_goes() {
    let mut rig = Rig::start_with(short_leases, |_| {}).await;
    rig.fill("/a", "old", &["a"]).await;
    rig.control.process().kill9();
    rig.set("/a", "new", &["a"]);
    eventually("the edge asks the origin", || async {
        let got = rig.http().get("/a").await.text();
        if got == "new" { Ok(()) } else { Err(got) }
    })
    .await;
    assert_eq!(rig.edge.admin().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_follows_readiness() {
    let control = ControlPlane::start().await;
    let health = HealthClient::new(channel(control.calls()).await);
    let ask = async |service: &str| {
        let service = service.to_owned();
        let answer = health.clone().check(HealthCheckRequest { service }).await;
        answer.map(|it| it.into_inner().status())
    };
    for service in SERVICES.into_iter().chain([""]) {
        // It is known from the first moment on.
        ask(service).await.unwrap();
        eventually(service, || async {
            match ask(service).await {
                Ok(ServingStatus::Serving) => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    let unknown = ask("tidegate.v1.Nothing").await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_and_describes_the_services() {
    let control = ControlPlane::start().await;
    let mut reflection = ServerReflectionClient::new(channel(control.calls()).await);
    let mut ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(request),
        };
        let answers = reflection.server_reflection_info(once(request)).await;
        let answer = answers.unwrap().into_inner().message().await.unwrap();
        answer.unwrap().message_response.unwrap()
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<_> = listed.service.into_iter().map(|it| it.name).collect();
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(
            names.iter().any(|it| it == service),
            "{service} is not in {names:?}"
        );
    }
    let symbol = MessageRequest::FileContainingSymbol("tidegate.v1.CacheService".to_owned());
    let file = ask(symbol).await;
    assert!(
        matches!(file, MessageResponse::FileDescriptorResponse(_)),
        "{file:?}"
    );
}

fn once<T: Send + 'static>(one: T) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::iter([one])
}
