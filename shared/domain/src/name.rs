//! Names of sites, schedules and edges.

use std::fmt;
use std::sync::Arc;

use crate::FieldError;

const ALLOWED: &str = "1 to 63 of a-z, 0-9 and \"-\", with a letter or digit at both ends";

fn check(text: &str) -> Result<(), FieldError> {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| plain(b) || *b == b'-')
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain);
    if good {
        Ok(())
    } else {
        Err(FieldError::new("", text, ALLOWED))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name.
            ///
            /// # Errors
            /// It is not 1 to 63 of a-z, 0-9 and `-` with a letter or digit at both ends.
            pub fn parse(text: &str) -> Result<Self, FieldError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a site.
    SiteName
}
name! {
    /// The name of a schedule of a site.
    ScheduleName
}
name! {
    /// The name of an edge; it keeps it from run to run.
    EdgeId
}
name! {
    /// A random id of one run of an edge.
    InstanceId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "dev", "my-site-2", &"x".repeat(63)] {
            assert!(SiteName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "é", &"x".repeat(64)] {
            assert!(SiteName::parse(bad).is_err(), "{bad}");
        }
    }
}
