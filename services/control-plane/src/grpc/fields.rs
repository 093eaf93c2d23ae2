//! Fields that several calls share, read and checked.

use std::str::FromStr as _;
use std::time::Duration;

use tidegate_domain::{Cursor, Digest, EdgeId, FieldError, InstanceId, SiteName};
use tidegate_proto::{duration_from_wire, parse_field};

/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 1_024;

pub(crate) fn site_name(text: &str) -> Result<SiteName, FieldError> {
    SiteName::parse(text).map_err(|e| e.within("site"))
}

pub(crate) fn edge_id(text: &str) -> Result<EdgeId, FieldError> {
    EdgeId::parse(text).map_err(|e| e.within("edge_id"))
}

pub(crate) fn instance_id(text: &str) -> Result<InstanceId, FieldError> {
    InstanceId::parse(text).map_err(|e| e.within("instance_id"))
}

pub(crate) fn digest(field: &str, text: &str) -> Result<Digest, FieldError> {
    Digest::from_str(text).map_err(|e| e.within(field))
}

pub(crate) fn cursor(field: &str, text: &str) -> Result<Cursor, FieldError> {
    parse_field(field, text)
}

/// A cursor, or none if the field is empty.
pub(crate) fn optional_cursor(field: &str, text: &str) -> Result<Option<Cursor>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    cursor(field, text).map(Some)
}

pub(crate) fn reason(text: &str) -> Result<(), FieldError> {
    at_most("reason", text, text.len(), MAX_REASON_BYTES, "bytes")
}

/// A text of at most `max` of a unit.
pub(crate) fn at_most(
    field: &str,
    text: &str,
    size: usize,
    max: usize,
    unit: &str,
) -> Result<(), FieldError> {
    if size <= max {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        text,
        format!("at most {max} {unit}"),
    ))
}

/// A list of at most `max` elements.
pub(crate) fn at_most_elements(field: &str, count: usize, max: usize) -> Result<(), FieldError> {
    if count <= max {
        return Ok(());
    }
    let found = format!("{count} elements");
    Err(FieldError::new(
        field,
        found,
        format!("at most {max} elements"),
    ))
}

/// A duration that is `default` if absent, and within bounds.
pub(crate) fn duration(
    field: &str,
    wire: Option<&prost_types::Duration>,
    default: Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration, FieldError> {
    let duration = duration_from_wire(field, wire, default)?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    let found = format!("{duration:?}");
    Err(FieldError::new(field, found, format!("{min:?} to {max:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_field_value_and_what_is_allowed() {
        let error = site_name("No!").unwrap_err();
        assert_eq!(
            (error.field.as_str(), error.value.as_str()),
            ("site", "No!")
        );
        assert_eq!(cursor("cursor", "x").unwrap_err().field, "cursor");
        assert_eq!(optional_cursor("cursor", ""), Ok(None));
        let long = "x".repeat(1_025);
        assert_eq!(reason(&long).unwrap_err().allowed, "at most 1024 bytes");
        assert_eq!(reason(&long[..1_024]), Ok(()));
    }

    #[test]
    fn durations_have_bounds() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let wire = |seconds| prost_types::Duration { seconds, nanos: 0 };
        let read = |seconds| duration("d", Some(&wire(seconds)), second, second, hour);
        assert!(read(0).is_err());
        assert!(read(3_601).is_err());
        assert_eq!(read(3_600), Ok(hour));
        assert_eq!(duration("d", None, second, second, hour), Ok(second));
    }
}
