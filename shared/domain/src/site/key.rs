//! Which part of a query makes a request another one.

use super::config::{KeyPolicy, QueryMode};
use crate::PathAndQuery;

impl KeyPolicy {
    /// The URL with only the parameters that count, sorted if asked for. An empty
    /// query that was emptied here goes; one that came empty stays, because to the
    /// origin `/a?` and `/a` may differ.
    pub(super) fn apply(&self, url: &PathAndQuery) -> PathAndQuery {
        let Some(query) = url.query() else {
            return url.clone();
        };
        if self.query_mode == QueryMode::All && !self.query_sort {
            return url.clone();
        }
        let mut params: Vec<&str> = query.split('&').filter(|p| self.counts(name(p))).collect();
        if self.query_sort {
            // A stable sort: the order of equal names can mean something.
            params.sort_by_key(|p| name(p));
        }
        if params.is_empty() {
            url.with_query(None)
        } else {
            url.with_query(Some(&params.join("&")))
        }
    }

    fn counts(&self, param: &str) -> bool {
        let named = || self.query_params.iter().any(|p| p == param);
        match self.query_mode {
            QueryMode::All => true,
            QueryMode::Allow => named(),
            QueryMode::Drop => !named(),
        }
    }
}

fn name(param: &str) -> &str {
    param.split('=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(policy: &KeyPolicy, url: &str) -> String {
        policy
            .apply(&PathAndQuery::parse(url).unwrap())
            .as_str()
            .to_owned()
    }

    #[test]
    fn parameters_are_kept_dropped_and_sorted_by_name() {
        let params = vec!["a".to_owned(), "b".to_owned()];
        let allow = KeyPolicy {
            query_mode: QueryMode::Allow,
            query_params: params.clone(),
            query_sort: true,
            ..KeyPolicy::default()
        };
        assert_eq!(keyed(&allow, "/x?c=1&b=2&a=3&b=1"), "/x?a=3&b=2&b=1");
        assert_eq!(keyed(&allow, "/x?c=1"), "/x");
        let drop = KeyPolicy {
            query_mode: QueryMode::Drop,
            query_params: params,
            ..KeyPolicy::default()
        };
        assert_eq!(keyed(&drop, "/x?c=1&b=2&a=3"), "/x?c=1");
        assert_eq!(keyed(&KeyPolicy::default(), "/x?b&a"), "/x?b&a");
    }
}
