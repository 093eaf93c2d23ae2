//! The items of the site: how each answers, what tags it has, and what names it.

use tidegate_domain::TagPattern;

/// Items at the origin.
pub const ITEMS: usize = 8;

/// How an item answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With an entity tag.
    Plain,
    /// Without validators: nothing can be revalidated.
    Bare,
    /// By a field of the request.
    Varying,
    /// With tags that change with the version.
    Recoloured,
    /// Stale at once, with time to be used meanwhile.
    Brief,
    /// Stored, but asked about each time.
    Asked,
    /// In pieces, with pauses.
    Slow,
    /// Backends push it, too.
    Pushed,
}

impl Kind {
    /// The kind of an item.
    #[must_use]
    pub fn of(item: usize) -> Self {
        const KINDS: [Kind; ITEMS] = [
            Kind::Plain,
            Kind::Bare,
            Kind::Varying,
            Kind::Recoloured,
            Kind::Brief,
            Kind::Asked,
            Kind::Slow,
            Kind::Pushed,
        ];
        KINDS[item % ITEMS]
    }
}

/// The tags of a version of an item.
#[must_use]
pub fn tags(item: usize, version: u64) -> Vec<String> {
    let mut tags = vec![format!("item:{item}"), format!("group:{}", item % 2)];
    if Kind::of(item) == Kind::Recoloured {
        tags.push(format!("colour:{}", version % 3));
    }
    tags
}

/// What an invalidation names.
#[derive(Debug, Clone)]
pub enum Selector {
    /// A pattern of tags.
    Tag(String),
    /// The URL of an item.
    Url(usize),
}

impl Selector {
    /// The pattern that it comes to.
    #[must_use]
    pub fn pattern(&self) -> String {
        match self {
            Self::Tag(tag) => tag.clone(),
            Self::Url(item) => format!("url:{}", path(*item)),
        }
    }

    /// Whether it matches a version of an item.
    #[must_use]
    pub fn matches(&self, item: usize, version: u64) -> bool {
        match self {
            Self::Url(url) => *url == item,
            Self::Tag(tag) => {
                let Ok(pattern) = TagPattern::parse(tag) else {
                    return false;
                };
                tags(item, version)
                    .iter()
                    .any(|tag| tidegate_domain::glob_matches(pattern.as_str(), tag))
            }
        }
    }
}

/// The path of an item.
#[must_use]
pub fn path(item: usize) -> String {
    format!("/items/{item}")
}
