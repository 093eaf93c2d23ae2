//! Pages that fit into one message.

use prost::Message;

use crate::state::{Page, PageRequest, ReaderError};

/// A page is closed before it has more bytes than this: callers in other languages
/// take messages of 4 MiB, unless they were told otherwise.
pub(crate) const MAX_PAGE_BYTES: usize = 2 << 20;
/// Items read at once.
const STEP: usize = 32;

/// Reads a page bit by bit until it is full, by count or by bytes. An item that is
/// larger than a page has one to itself.
///
/// # Errors
/// Those of `read`.
pub(crate) fn fitting<T: Message>(
    request: PageRequest,
    read: impl Fn(&PageRequest) -> Result<Page<T>, ReaderError>,
) -> Result<Page<T>, ReaderError> {
    let (mut left, mut token, mut step) = (request.size, request.token, STEP);
    let (mut items, mut bytes) = (Vec::new(), 0);
    loop {
        let size = left.min(step);
        let part = read(&PageRequest {
            size,
            token: token.clone(),
        })?;
        let more: usize = part.items.iter().map(Message::encoded_len).sum();
        if bytes + more > MAX_PAGE_BYTES {
            if size > 1 {
                // What fits is found in smaller steps.
                step = size / 2;
                continue;
            }
            if !items.is_empty() {
                return Ok(Page {
                    items,
                    next_page_token: token,
                });
            }
        }
        items.extend(part.items);
        bytes += more;
        left -= size;
        token = part.next_page_token;
        if left == 0 || token.is_empty() {
            return Ok(Page {
                items,
                next_page_token: token,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::v1;

    use super::*;

    /// A list of releases with labels of these sizes. The token is the place.
    fn list(
        sizes: &[usize],
    ) -> impl Fn(&PageRequest) -> Result<Page<v1::Release>, ReaderError> + '_ {
        move |request| {
            let from = request.token.parse().unwrap_or(0);
            let to = sizes.len().min(from + request.size);
            let items = sizes[from..to].iter().map(|size| v1::Release {
                label: "x".repeat(*size),
                ..v1::Release::default()
            });
            let next_page_token = match to < sizes.len() {
                true => to.to_string(),
                false => String::new(),
            };
            Ok(Page {
                items: items.collect(),
                next_page_token,
            })
        }
    }

    /// How many items each page has.
    fn pages(size: u32, sizes: &[usize]) -> Vec<usize> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let request = PageRequest::parse(size, &token).unwrap();
            let page = fitting(request, list(sizes)).unwrap();
            let bytes: usize = page.items.iter().map(Message::encoded_len).sum();
            assert!(bytes <= MAX_PAGE_BYTES || page.items.len() == 1, "{bytes}");
            pages.push(page.items.len());
            token = page.next_page_token;
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn a_page_is_closed_by_count_or_by_bytes_and_nothing_is_left_out() {
        assert_eq!(pages(100, &[1; 250]), [100, 100, 50]);
        assert_eq!(pages(100, &[]), [0]);
        assert_eq!(pages(1_000, &[300 << 10; 20]), [6, 6, 6, 2]);
        assert_eq!(pages(1_000, &[1, 3 << 20, 1]), [1, 1, 1]);
    }
}
