//! Sites.

use comfy_table::Cell;
use serde::Serialize;
use tidegate_domain::FieldError;
use tidegate_domain::site::SiteConfig;
use tidegate_proto::{site_from_wire, v1};

use super::short_id;
use crate::output::{Report, Style, finish, plain, table};

/// A site. Its configuration has the form that `site apply` reads.
#[derive(Debug, Serialize)]
pub(crate) struct Site {
    name: String,
    active_release: Option<String>,
    revision: u64,
    config: SiteConfig,
}

impl TryFrom<v1::Site> for Site {
    type Error = FieldError;

    /// The error: a configuration that this version does not understand.
    fn try_from(wire: v1::Site) -> Result<Self, FieldError> {
        let config = site_from_wire(wire.config.unwrap_or_default())?;
        Ok(Self {
            name: wire.name,
            active_release: Some(wire.active_release).filter(|it| !it.is_empty()),
            revision: wire.revision,
            config: config.config().clone(),
        })
    }
}

impl Site {
    fn release(&self) -> String {
        let release = self.active_release.as_deref();
        release.map_or("none".to_owned(), |it| plain(&short_id(it)))
    }
}

impl Report for Site {
    fn text(&self, _: Style) -> String {
        let head = format!(
            "# site {}, revision {}, active release {}\n",
            plain(&self.name),
            self.revision,
            self.release()
        );
        match serde_saphyr::to_string(&self.config) {
            Ok(yaml) => head + yaml.trim_end() + "\n",
            Err(error) => format!("{head}# the configuration cannot be shown as YAML: {error}\n"),
        }
    }
}

/// Sites by name.
#[derive(Debug, Serialize)]
pub(crate) struct Sites {
    pub(crate) sites: Vec<Site>,
}

impl Report for Sites {
    fn text(&self, style: Style) -> String {
        if self.sites.is_empty() {
            return "no sites; `tidegate site apply FILE` creates one\n".to_owned();
        }
        let mut rows = table(style, &["SITE", "RELEASE", "REVISION", "HOSTS", "ORIGIN"]);
        for site in &self.sites {
            let upstreams = site.config.origin.iter().flat_map(|it| &it.upstreams);
            let origin: Vec<_> = upstreams.map(|it| plain(&it.url)).collect();
            rows.add_row([
                Cell::new(plain(&site.name)),
                Cell::new(site.release()),
                Cell::new(site.revision),
                Cell::new(plain(&site.config.hosts.join(" "))),
                Cell::new(match origin.is_empty() {
                    true => "-".to_owned(),
                    false => origin.join(" "),
                }),
            ]);
        }
        finish(&rows)
    }
}

/// What `site apply` did.
#[derive(Debug, Serialize)]
pub(crate) struct Applied {
    pub(crate) revision: u64,
    pub(crate) site: Site,
}

impl Report for Applied {
    fn text(&self, _: Style) -> String {
        let (name, hosts) = (
            plain(&self.site.name),
            plain(&self.site.config.hosts.join(" ")),
        );
        format!(
            "revision {}: site {name} answers for {hosts}\n",
            self.revision
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let config = v1::SiteConfig {
            hosts: vec!["a.example".into()],
            ..v1::SiteConfig::default()
        };
        let wire = v1::Site {
            name: "docs".into(),
            config: Some(config),
            active_release: String::new(),
            revision: 3,
        };
        wire.try_into().unwrap()
    }

    #[test]
    fn what_is_shown_can_be_applied_again() {
        let text = site().text(Style::default());
        let read: SiteConfig = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, site().config);
        let json = serde_json::to_value(site()).unwrap();
        let read: SiteConfig = serde_json::from_value(json["config"].clone()).unwrap();
        assert_eq!(read, site().config);
    }

    #[test]
    fn a_site_without_a_release_says_none() {
        let sites = Sites {
            sites: vec![site()],
        };
        let text = sites.text(Style::default());
        assert!(text.contains("docs  none"), "{text}");
    }
}
