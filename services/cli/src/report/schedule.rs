//! Schedules.

use std::time::Duration;

use comfy_table::Cell;
use serde::Serialize;
use tidegate_proto::{duration_from_wire, v1};
use v1::schedule::When;

use super::{mode, or_dash, seconds, time};
use crate::output::{Report, Style, finish, plain, table};

/// Schedules by name.
#[derive(Debug, Serialize)]
pub(crate) struct Schedules {
    schedules: Vec<Schedule>,
}

#[derive(Debug, Serialize)]
struct Schedule {
    name: String,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    tags: Vec<String>,
    urls: Vec<String>,
    mode: &'static str,
    cascade: bool,
    /// In seconds.
    spread: f64,
    reason: String,
    next_due: Option<String>,
    last_due: Option<String>,
    last_revision: u64,
    missed_since: Option<String>,
    /// When, for people.
    #[serde(skip)]
    when: String,
}

impl From<Vec<v1::ScheduleRecord>> for Schedules {
    fn from(wire: Vec<v1::ScheduleRecord>) -> Self {
        Self {
            schedules: wire.into_iter().map(Schedule::from).collect(),
        }
    }
}

impl From<v1::ScheduleRecord> for Schedule {
    fn from(record: v1::ScheduleRecord) -> Self {
        let schedule = record.schedule.unwrap_or_default();
        let (every, cron, when) = match schedule.when {
            Some(When::Every(wire)) => (seconds(Some(&wire)), None, every(&wire)),
            Some(When::Cron(text)) => (None, Some(text.clone()), text),
            None => (None, None, "-".to_owned()),
        };
        Self {
            name: schedule.name,
            every,
            cron,
            tags: schedule.tags,
            urls: schedule.urls,
            mode: mode(schedule.mode),
            cascade: schedule.cascade,
            spread: seconds(schedule.spread.as_ref()).unwrap_or_default(),
            reason: schedule.reason,
            next_due: time(record.next_due.as_ref()),
            last_due: time(record.last_due.as_ref()),
            last_revision: record.last_revision,
            missed_since: time(record.missed_since.as_ref()),
            when,
        }
    }
}

fn every(wire: &prost_types::Duration) -> String {
    let every = duration_from_wire("every", Some(wire), Duration::ZERO).unwrap_or_default();
    format!("every {}", humantime::format_duration(every))
}

impl Schedule {
    fn what(&self) -> String {
        let widen = |tag: &String| match self.cascade {
            true => format!("{tag} {tag}:*"),
            false => tag.clone(),
        };
        let what: Vec<_> = self
            .tags
            .iter()
            .map(widen)
            .chain(self.urls.clone())
            .collect();
        what.join(" ")
    }

    /// When it was carried out last, and since when that had been due.
    fn last(&self) -> String {
        match (&self.last_due, &self.missed_since) {
            (Some(last), Some(missed)) => format!("{last} (missed since {missed})"),
            (last, _) => or_dash(last.clone()),
        }
    }
}

impl Report for Schedules {
    fn text(&self, style: Style) -> String {
        if self.schedules.is_empty() {
            return "no schedules\n".to_owned();
        }
        let header = [
            "NAME",
            "WHEN (UTC)",
            "MODE",
            "WHAT",
            "NEXT",
            "LAST",
            "REVISION",
        ];
        let mut rows = table(style, &header);
        for schedule in &self.schedules {
            let revision = Some(schedule.last_revision).filter(|it| *it > 0);
            rows.add_row([
                Cell::new(plain(&schedule.name)),
                Cell::new(plain(&schedule.when)),
                Cell::new(schedule.mode),
                Cell::new(plain(&schedule.what())),
                Cell::new(or_dash(schedule.next_due.clone())),
                Cell::new(schedule.last()),
                Cell::new(or_dash(revision.map(|it| it.to_string()))),
            ]);
        }
        finish(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(when: When) -> v1::ScheduleRecord {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::ScheduleRecord {
            schedule: Some(v1::Schedule {
                name: "nightly".into(),
                tags: vec!["news".into()],
                urls: vec!["/a".into()],
                cascade: true,
                mode: v1::InvalidationMode::Soft.into(),
                when: Some(when),
                ..v1::Schedule::default()
            }),
            next_due: at(1_700_000_120),
            last_due: at(1_700_000_060),
            last_revision: 9,
            missed_since: at(1_700_000_000),
        }
    }

    #[test]
    fn a_schedule_is_told_with_when_it_is_due_and_what_was_missed() {
        let every = When::Every(prost_types::Duration {
            seconds: 5_400,
            nanos: 0,
        });
        let cron = When::Cron("0 4 * * *".into());
        let report = Schedules::from(vec![record(every), record(cron)]);
        let text = report.text(Style::default());
        for part in [
            "nightly",
            "every 1h 30m",
            "0 4 * * *",
            "SOFT",
            "news news:* /a",
            "2023-11-14T22:15:20.000Z",
            "missed since 2023-11-14T22:13:20.000Z",
        ] {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        let [first, second] = &json["schedules"].as_array().unwrap()[..] else {
            panic!("{json}");
        };
        assert_eq!(first["every"], 5_400.0);
        assert_eq!(first.get("cron"), None);
        assert_eq!(second["cron"], "0 4 * * *");
        assert_eq!(second["last_revision"], 9);
        assert_eq!(
            Schedules::from(vec![]).text(Style::default()),
            "no schedules\n"
        );
    }
}
