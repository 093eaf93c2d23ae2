//! All responses that are stored under one key.

use std::ops::Deref;
use std::sync::Arc;
use std::{iter, slice};

use http::HeaderMap;

use super::policy::vary::answering;
use super::stored::Stored;

/// Responses; most often there is one.
#[derive(Debug, Clone)]
enum Variants {
    One(Arc<Stored>),
    Several(Box<[Arc<Stored>]>),
}

impl Variants {
    fn bytes(&self) -> usize {
        self.iter().map(|variant| variant.bytes()).sum()
    }
}

impl Deref for Variants {
    type Target = [Arc<Stored>];

    fn deref(&self) -> &[Arc<Stored>] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

impl From<Vec<Arc<Stored>>> for Variants {
    fn from(responses: Vec<Arc<Stored>>) -> Self {
        match <[Arc<Stored>; 1]>::try_from(responses) {
            Ok([one]) => Self::One(one),
            Err(several) => Self::Several(several.into()),
        }
    }
}

/// The responses stored under one key, newest first. It is never changed, only
/// replaced, so that a reader needs no lock.
#[derive(Debug, Clone)]
pub struct Resource {
    variants: Variants,
    bytes: u64,
    /// It came from disk, where all of it is, and nothing was added since.
    is_on_disk: bool,
}

impl Resource {
    /// The resource with one more response, which takes the place of those that answer
    /// the same requests. The oldest go if there are more than `max`.
    #[must_use]
    pub fn with(old: Option<&Self>, new: &Arc<Stored>, max: usize, key_bytes: usize) -> Self {
        let others = old.map_or(&[][..], |resource| &resource.variants);
        let kept = others
            .iter()
            .filter(|other| other.head.selection != new.head.selection)
            // Where the origin has changed what it varies on, the older ones go.
            .filter(|other| other.head.selection.names() == new.head.selection.names())
            .take(max.saturating_sub(1))
            .cloned();
        let variants: Vec<_> = iter::once(new.clone()).chain(kept).collect();
        let variants = Variants::from(variants);
        Self {
            bytes: (variants.bytes() + key_bytes) as u64,
            variants,
            is_on_disk: false,
        }
    }

    /// Responses that were on disk, newest first.
    #[must_use]
    pub(super) fn from_disk(variants: Vec<Arc<Stored>>, key_bytes: usize) -> Self {
        let variants = Variants::from(variants);
        Self {
            bytes: (variants.bytes() + key_bytes) as u64,
            variants,
            is_on_disk: true,
        }
    }

    /// The resource without the oldest responses, if with them it takes more than `most`
    /// bytes. The newest stays.
    #[must_use]
    pub(super) fn within(self, most: u64) -> Self {
        let mut resource = self;
        while resource.bytes > most
            && resource.variants.len() > 1
            && let Some(oldest) = resource.variants.last()
            && let Some(fewer) = resource.replacing(oldest, None)
        {
            resource = fewer;
        }
        resource
    }

    /// Whether all of it is on disk as it is.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.is_on_disk
    }

    /// The responses whose bodies are here whole.
    pub fn whole_bodies(&self) -> impl Iterator<Item = &Arc<Stored>> {
        let is_whole = |stored: &&Arc<Stored>| stored.body.partial().is_none();
        self.variants.iter().filter(is_whole)
    }

    /// Nothing that weighs so much.
    #[cfg(test)]
    pub(super) fn weighing(bytes: u64) -> Self {
        Self {
            variants: Vec::new().into(),
            bytes,
            is_on_disk: false,
        }
    }

    /// The resource with another response in the place of one of them, or with nothing
    /// there; `None` if it has not got that one any more.
    #[must_use]
    pub fn replacing(&self, old: &Arc<Stored>, new: Option<&Arc<Stored>>) -> Option<Self> {
        let place = self
            .variants
            .iter()
            .position(|there| Arc::ptr_eq(there, old))?;
        let mut variants = self.variants.to_vec();
        let gone = match new {
            Some(new) => std::mem::replace(&mut variants[place], new.clone()),
            None => variants.remove(place),
        };
        let added = new.map_or(0, |new| new.bytes() as u64);
        Some(Self {
            variants: variants.into(),
            bytes: (self.bytes + added).saturating_sub(gone.bytes() as u64),
            is_on_disk: false,
        })
    }

    /// The newest response that answers this request.
    #[must_use]
    pub fn select(&self, request: &HeaderMap) -> Option<&Arc<Stored>> {
        answering(&self.variants, |variant| &variant.head.selection, request)
    }

    /// The newest response.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Stored>> {
        self.variants.first()
    }

    /// All of them, newest first.
    #[must_use]
    pub fn variants(&self) -> &[Arc<Stored>] {
        &self.variants
    }

    /// Bytes it takes in memory, near enough.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
