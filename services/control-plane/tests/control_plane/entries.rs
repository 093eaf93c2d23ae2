//! Pushed entries.

use bytes::Bytes;
use tidegate_proto::v1;
use tonic::Code;

use crate::rig::{Rig, refused_field};

fn push(url: &str, body: Bytes, read_as_of: &str) -> v1::PutEntryRequest {
    v1::PutEntryRequest {
        site: "s".into(),
        entry: Some(v1::Entry {
            url: url.into(),
            status: 200,
            body,
            tags: vec!["item:1".into()],
            ttl: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::Entry::default()
        }),
        read_as_of: read_as_of.into(),
    }
}

fn look(url: &str) -> v1::LookupEntryRequest {
    v1::LookupEntryRequest {
        shared: None,
        site: "s".into(),
        url: url.into(),
        request_headers: Vec::new(),
    }
}

#[tokio::test]
async fn a_pushed_entry_is_found_small_or_large_until_it_is_invalidated() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    for size in [10, 4_097, 4_000_000] {
        let body = Bytes::from(vec![b'x'; size]);
        let head = rig.head().await.cursor;
        let pushed = rig.cache().put_entry(push("/a", body.clone(), &head)).await;
        let pushed = pushed.unwrap().into_inner();
        let found = rig
            .edges()
            .lookup_entry(look("/a"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.entry.unwrap().body, body);
        assert!(found.validated_as_of >= pushed.revision);
    }
    let request = v1::ListEntriesRequest {
        site: "s".into(),
        ..v1::ListEntriesRequest::default()
    };
    let listed = rig
        .cache()
        .list_entries(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.entries.len(), 1);
    assert_eq!(listed.entries[0].size, 4_000_000);
    rig.invalidate("s", &["item:*"]).await;
    let found = rig.edges().lookup_entry(look("/a")).await.unwrap();
    assert_eq!(found.into_inner().entry, None);
    rig.stop().await;
}

#[tokio::test]
async fn an_entry_whose_data_was_read_before_an_invalidation_is_refused() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let read_as_of = rig.head().await.cursor;
    rig.invalidate("s", &["item:1"]).await;
    let body = Bytes::from_static(b"old");
    let refused = rig
        .cache()
        .put_entry(push("/a", body.clone(), &read_as_of))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("read_as_of"), "{refused:?}");
    let now = rig.head().await.cursor;
    rig.cache().put_entry(push("/a", body, &now)).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn an_entry_that_breaks_a_rule_is_refused() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await.cursor;
    let refused = rig.cache().put_entry(push("a", Bytes::new(), &head)).await;
    assert_eq!(refused_field(refused), "entry.url");
    let refused = rig.cache().put_entry(push("/a", Bytes::new(), "x")).await;
    assert_eq!(refused_field(refused), "read_as_of");
    let large = Bytes::from(vec![0; 4_000_001]);
    let refused = rig.cache().put_entry(push("/a", large, &head)).await;
    assert_eq!(refused_field(refused), "entry.body");
    let huge = Bytes::from(vec![0; 9 << 20]);
    let refused = rig.cache().put_entry(push("/a", huge, &head)).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
    rig.stop().await;
}

#[tokio::test]
async fn a_deleted_entry_is_gone() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await.cursor;
    let body = Bytes::from_static(b"x");
    rig.cache()
        .put_entry(push("/a", body, &head))
        .await
        .unwrap();
    let get = v1::GetEntryRequest {
        site: "s".into(),
        url: "/a".into(),
        vary: Vec::new(),
    };
    let found = rig
        .cache()
        .get_entry(get.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(found.fresh);
    let request = v1::DeleteEntryRequest {
        site: "s".into(),
        url: "/a".into(),
    };
    let deleted = rig.cache().delete_entry(request).await.unwrap();
    assert_eq!(deleted.into_inner().removed, 1);
    let gone = rig.cache().get_entry(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    rig.stop().await;
}

#[tokio::test]
async fn the_largest_entry_fits_what_clients_take_by_default() {
    let rig = Rig::start().await;
    rig.put_site("s").await;
    let head = rig.head().await.cursor;
    let mut largest = push(
        &format!("/{}", "u".repeat(8_000)),
        vec![0xff; 4_000_000].into(),
        &head,
    );
    let entry = largest.entry.as_mut().unwrap();
    let field = |n: usize, bytes| v1::HeaderField {
        name: format!("x-{n:03}"),
        value: vec![b'v'; bytes].into(),
    };
    entry.headers = (0..100).map(|n| field(n, 155)).collect();
    entry.vary = (0..100).map(|n| field(n, 155)).collect();
    entry.tags = (0..64)
        .map(|n| format!("{n:02}{}", "t".repeat(254)))
        .collect();
    let vary = entry.vary.clone();
    let url = entry.url.clone();
    rig.cache().put_entry(largest.clone()).await.unwrap();
    let get = v1::GetEntryRequest {
        site: "s".into(),
        url,
        vary,
    };
    // A client with the default limit.
    let found = rig.cache().get_entry(get).await.unwrap().into_inner();
    assert_eq!(found.entry.unwrap().body.len(), 4_000_000);
    rig.stop().await;
}
