//! Message numbers inside an event stream: `bench:` and eight digits, found byte by
//! byte, so that a connection needs a few bytes of state and no buffer.

const PREFIX: &[u8] = b"bench:";
const DIGITS: usize = 8;

/// The text that carries a message number, below 100,000,000.
pub(crate) fn text(number: u32) -> String {
    format!("bench:{number:0DIGITS$}")
}

/// How much of a marker has been seen.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scanner {
    seen: u8,
    number: u32,
}

impl Scanner {
    /// Gives one byte; returns the number that it completes.
    pub(crate) fn push(&mut self, byte: u8) -> Option<u32> {
        let seen = usize::from(self.seen);
        if seen < PREFIX.len() {
            // The first letter of the prefix is nowhere else in it.
            let expected = PREFIX[seen] == byte;
            self.seen = if expected {
                self.seen + 1
            } else {
                u8::from(byte == PREFIX[0])
            };
            self.number = 0;
            return None;
        }
        if !byte.is_ascii_digit() {
            self.seen = u8::from(byte == PREFIX[0]);
            return None;
        }
        self.number = self.number * 10 + u32::from(byte - b'0');
        self.seen += 1;
        if seen + 1 < PREFIX.len() + DIGITS {
            return None;
        }
        self.seen = 0;
        Some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(stream: &str) -> Vec<u32> {
        let mut scanner = Scanner::default();
        stream
            .bytes()
            .filter_map(|byte| scanner.push(byte))
            .collect()
    }

    #[test]
    fn what_is_written_is_found() {
        let stream = format!(
            "id: 7\ndata: [\"{}\"]\n\n: hi\n\ndata: {}\n\n",
            text(17),
            text(99_999_999)
        );
        assert_eq!(numbers(&stream), [17, 99_999_999]);
    }

    #[test]
    fn false_starts_are_passed_over() {
        assert_eq!(numbers("bbench:00000001"), [1]);
        assert_eq!(numbers("bench:0000bench:00000002"), [2]);
        assert_eq!(numbers("benbench:00000003x"), [3]);
        assert!(numbers("bench:0000000").is_empty());
        assert!(numbers("bench 00000004").is_empty());
    }
}
