//! What the server has said of statements, by their text. A description is kept although the schema may change: it is asked
//! whether a statement only reads, which column names it has when no rows come, and which parameters it takes.

use super::hrana::describe::Description;
use lru::LruCache;
use rustc_hash::FxBuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A longer text is described whenever that is needed: those that come again are short. No option beside `statement_cache`, which
/// says how many are kept.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The descriptions of one connection.
pub struct Descriptions {
    by_sql: Option<LruCache<Box<str>, Arc<Description>, FxBuildHasher>>,
    /// How often one was there, and how often not.
    pub hits: u64,
    /// How often one was not.
    pub misses: u64,
}

impl Descriptions {
    /// Keeps at most `size`; 0: none.
    pub fn new(size: u32) -> Self {
        let by_sql = NonZeroUsize::new(size as usize).map(|size| LruCache::with_hasher(size, FxBuildHasher));
        Descriptions { by_sql, hits: 0, misses: 0 }
    }

    /// That of `sql`, if it is there.
    pub fn get(&mut self, sql: &str) -> Option<Arc<Description>> {
        let found = self.by_sql.as_mut().and_then(|cache| cache.get(sql)).cloned();
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found
    }

    /// Keeps that of `sql`.
    pub fn put(&mut self, sql: &str, description: Arc<Description>) {
        if let Some(cache) = self.by_sql.as_mut().filter(|_| sql.len() <= TEXT_BYTES_MAX) {
            cache.put(sql.into(), description);
        }
    }

    /// How many there may be, and how many there are.
    pub fn sizes(&self) -> (usize, usize) {
        self.by_sql.as_ref().map_or((0, 0), |cache| (cache.cap().get(), cache.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_one_leaves_and_long_texts_do_not_come_in() {
        let mut kept = Descriptions::new(2);
        let described =
            || Arc::new(Description { columns: vec![], parameters: vec![], read_only: true, explain: false });
        kept.put("a", described());
        kept.put("b", described());
        assert!(kept.get("a").is_some());
        kept.put("c", described());
        kept.put(&"x".repeat(TEXT_BYTES_MAX + 1), described());
        assert!(kept.get("a").is_some() && kept.get("b").is_none() && kept.get("c").is_some());
        assert_eq!((kept.hits, kept.misses, kept.sizes()), (3, 1, (2, 2)));
        let mut none = Descriptions::new(0);
        none.put("a", described());
        assert!(none.get("a").is_none());
    }
}
