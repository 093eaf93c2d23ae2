//! Sites.

use tidegate_proto::v1;
use tonic::Code;

use crate::rig::{Rig, refused_field};

#[tokio::test]
async fn a_site_is_created_listed_and_deleted() {
    let rig = Rig::start().await;
    let created = rig.put_site("a").await;
    assert_eq!(rig.put_site("a").await, created, "nothing changed");
    rig.put_site("b").await;
    let request = v1::ListSitesRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let page = rig.sites().list_sites(request).await.unwrap().into_inner();
    assert_eq!(page.sites[0].name, "a");
    let request = v1::ListSitesRequest {
        page_size: 1,
        page_token: page.next_page_token,
    };
    let page = rig.sites().list_sites(request).await.unwrap().into_inner();
    assert_eq!(page.sites[0].name, "b");
    let request = v1::DeleteSiteRequest { site: "a".into() };
    rig.sites().delete_site(request).await.unwrap();
    let request = v1::GetSiteRequest { site: "a".into() };
    let gone = rig.sites().get_site(request).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(gone.message().contains("\"a\""), "{}", gone.message());
    rig.stop().await;
}

#[tokio::test]
async fn a_host_has_one_site() {
    let rig = Rig::start().await;
    rig.put_site("a").await;
    let request = v1::PutSiteRequest {
        site: "b".into(),
        config: Some(v1::SiteConfig {
            hosts: vec!["a.example".into()],
            ..v1::SiteConfig::default()
        }),
    };
    let taken = rig.sites().put_site(request).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(taken.message().contains("a.example"), "{}", taken.message());
    rig.stop().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_named() {
    let rig = Rig::start().await;
    let put = async |site: &str, config| {
        let request = v1::PutSiteRequest {
            site: site.into(),
            config,
        };
        refused_field(rig.sites().put_site(request).await)
    };
    let empty = Some(v1::SiteConfig::default());
    assert_eq!(put("No!", empty.clone()).await, "site");
    assert_eq!(put("a", None).await, "config");
    assert_eq!(put("a", empty).await, "config.hosts");
    let request = v1::ListSitesRequest {
        page_size: 1_001,
        page_token: String::new(),
    };
    let refused = rig.sites().list_sites(request).await;
    assert_eq!(refused_field(refused), "page_size");
    let request = v1::ListSitesRequest {
        page_size: 0,
        page_token: "nonsense!".into(),
    };
    let refused = rig.sites().list_sites(request).await;
    assert_eq!(refused_field(refused), "page_token");
    rig.stop().await;
}
