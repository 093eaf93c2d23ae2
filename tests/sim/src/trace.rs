//! What happened, line by line, with a hash over all of it: two runs of one seed have
//! the same hash, or something in them was not the seed's.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::entropy;

/// See the module.
#[derive(Debug)]
pub struct Trace {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    hash: u64,
    lines: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                // FNV-1a: a fingerprint, not a defence.
                hash: 0xcbf2_9ce4_8422_2325,
                lines: Vec::new(),
                counts: BTreeMap::new(),
                violations: Vec::new(),
            }),
        }
    }
}

impl Trace {
    /// Notes a line.
    pub fn note(&self, who: &str, what: &str) {
        let line = format!("{:9.3} {who:<11} {what}", entropy::now().as_secs_f64());
        let mut inner = self.inner.lock();
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        inner.lines.push(line);
    }

    /// Counts something that has to happen now and then.
    pub fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    /// Notes that a promise was broken.
    pub fn violated(&self, who: &str, what: &str) {
        self.note(who, &format!("VIOLATION {what}"));
        let line = format!("{:.3} {who}: {what}", entropy::now().as_secs_f64());
        self.inner.lock().violations.push(line);
    }

    /// What was broken.
    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }

    /// How often what happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().counts.clone()
    }

    /// The hash of all lines.
    pub fn hash(&self) -> u64 {
        self.inner.lock().hash
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.inner.lock().lines.clone()
    }
}
