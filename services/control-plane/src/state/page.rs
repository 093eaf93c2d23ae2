//! Lists in pages.

use tidegate_domain::FieldError;

const DEFAULT_SIZE: u32 = 100;
const MAX_SIZE: u32 = 1_000;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many items.
    pub size: usize,
    /// The token of the page before, or empty.
    pub token: String,
}

impl PageRequest {
    /// Reads the fields that every list call has.
    ///
    /// # Errors
    /// The size is above 1,000.
    pub fn parse(page_size: u32, page_token: &str) -> Result<Self, FieldError> {
        if page_size > MAX_SIZE {
            return Err(FieldError::new(
                "page_size",
                page_size,
                "1 to 1000, or 0 for 100",
            ));
        }
        let size = if page_size == 0 {
            DEFAULT_SIZE
        } else {
            page_size
        };
        Ok(Self {
            size: size as usize,
            token: page_token.to_owned(),
        })
    }

    /// The number that a token stands for; `None` for the first page.
    pub(crate) fn number(&self) -> Result<Option<u64>, FieldError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        self.token.parse().map(Some).map_err(|_| self.wrong())
    }

    /// The bytes that a token stands for; `None` for the first page.
    pub(crate) fn bytes(&self) -> Result<Option<Vec<u8>>, FieldError> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let (pairs, rest) = self.token.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes
            .filter(|_| rest.is_empty())
            .map(Some)
            .ok_or_else(|| self.wrong())
    }

    fn wrong(&self) -> FieldError {
        FieldError::new(
            "page_token",
            &self.token,
            "the next_page_token of the page before, or empty",
        )
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next_page_token: String,
}

impl<T> Page<T> {
    /// A page of the first `size` of `items`, of which there is one more if there is
    /// a next page. `token` names the last item that is on the page.
    pub(crate) fn of(mut items: Vec<T>, size: usize, token: impl Fn(&T) -> String) -> Self {
        let more = items.len() > size;
        items.truncate(size);
        let next = items.last().filter(|_| more).map(token);
        Self {
            items,
            next_page_token: next.unwrap_or_default(),
        }
    }

    pub(crate) fn map<U>(self, map: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(map).collect(),
            next_page_token: self.next_page_token,
        }
    }
}

/// Bytes as a token.
pub(crate) fn token_of_bytes(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        assert_eq!(PageRequest::parse(0, "").unwrap().size, 100);
        assert_eq!(PageRequest::parse(1_000, "").unwrap().size, 1_000);
        assert_eq!(
            PageRequest::parse(1_001, "").unwrap_err().field,
            "page_size"
        );
    }

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_refused() {
        let request = |token: &str| PageRequest::parse(0, token).unwrap();
        let token = token_of_bytes(&[0, 255, 16]);
        assert_eq!(request(&token).bytes(), Ok(Some(vec![0, 255, 16])));
        assert_eq!(request("").bytes(), Ok(None));
        for bad in ["0", "zz", "é", "+1"] {
            assert_eq!(request(bad).bytes().unwrap_err().field, "page_token");
        }
        assert!(request("x").number().is_err());
    }
}
