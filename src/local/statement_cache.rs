//! Compiled statements of one connection by their SQL text, the least recently used one leaving first.

use super::access::Access;
use super::statement::Statement;
use crate::error::Result;
use lru::LruCache;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;

/// From this length on the statement of an SQL text is kept only if the text has come before: an INSERT of many rows takes
/// megabytes, and most of the time of one that comes again goes into compiling it.
const LONG_TEXT_BYTES: usize = 16 << 10;

/// So many of the long texts that came last are known again.
const LONG_TEXTS: usize = 8;

/// The cache. A statement in it is reset and has no parameters bound.
pub struct StatementCache {
    by_sql: Option<LruCache<Box<str>, Cached, FxBuildHasher>>,
    bytes: u64,
    bytes_max: u64,
    // Where a statement lives for its one run if it must not be kept.
    passing: Option<Statement>,
    long: LongTexts,
    hits: u64,
    misses: u64,
}

/// The hashes of the long texts that came last, in a ring.
#[derive(Default)]
struct LongTexts {
    hashes: [u64; LONG_TEXTS],
    oldest: usize,
}

impl LongTexts {
    /// Whether `sql` is among them; it is from now on. Another text of the same hash is kept once too early, no more.
    fn came_before(&mut self, sql: &str) -> bool {
        let hash = FxBuildHasher.hash_one(sql);
        if self.hashes.contains(&hash) {
            return true;
        }
        if let Some(oldest) = self.hashes.get_mut(self.oldest) {
            *oldest = hash;
        }
        self.oldest = (self.oldest + 1) % LONG_TEXTS;
        false
    }
}

struct Cached {
    statement: Statement,
    // As they were counted: what a statement takes changes as it runs.
    bytes: u64,
}

impl StatementCache {
    /// Keeps at most `size` statements of `bytes_max` bytes together; a size of 0 keeps none, 0 bytes are no limit.
    pub fn new(size: u32, bytes_max: u64) -> Self {
        let by_sql = NonZeroUsize::new(size as usize).map(|size| LruCache::with_hasher(size, FxBuildHasher));
        let bytes_max = if bytes_max == 0 { u64::MAX } else { bytes_max };
        StatementCache {
            by_sql,
            bytes: 0,
            bytes_max,
            passing: None,
            long: LongTexts::default(),
            hits: 0,
            misses: 0,
        }
    }

    /// The statement of `sql`, compiled if it is not here.
    #[inline]
    pub fn get(&mut self, access: &mut Access, sql: &str) -> Result<&mut Statement> {
        // Looked up twice, because a conditional return of the first borrow is beyond the borrow checker.
        // What this program compiled for itself, a client's policy may deny.
        let own = access.handle.is_own();
        let fits = |cached: &Cached| own || !cached.statement.is_own();
        if self.by_sql.as_mut().is_some_and(|by_sql| by_sql.get(sql).is_some_and(fits)) {
            self.hits += 1;
        } else {
            self.misses += 1;
            let statement = access.prepare(sql, true)?;
            if let Some(refused) = self.keep(sql, statement) {
                return Ok(self.passing.insert(refused));
            }
        }
        match self.by_sql.as_mut().and_then(|by_sql| by_sql.peek_mut(sql)) {
            Some(cached) => Ok(&mut cached.statement),
            None => Ok(self.passing.insert(access.prepare(sql, false)?)),
        }
    }

    /// Takes a statement that is not here in, or gives it back.
    fn keep(&mut self, sql: &str, statement: Statement) -> Option<Statement> {
        let Some(by_sql) = &mut self.by_sql else { return Some(statement) };
        if statement.is_once_only() || (sql.len() > LONG_TEXT_BYTES && !self.long.came_before(sql)) {
            return Some(statement);
        }
        let bytes = statement.memory_bytes() + sql.len() as u64;
        if bytes > self.bytes_max {
            return Some(statement);
        }
        while self.bytes > self.bytes_max - bytes {
            let Some((_, left)) = by_sql.pop_lru() else { break };
            self.bytes -= left.bytes;
        }
        self.bytes += bytes;
        if let Some((_, left)) = by_sql.push(sql.into(), Cached { statement, bytes }) {
            self.bytes -= left.bytes;
        }
        None
    }

    /// The statement of `sql` if it is here; changes neither order nor counters.
    #[inline]
    pub fn peek(&self, sql: &str) -> Option<&Statement> {
        self.by_sql.as_ref()?.peek(sql).map(|cached| &cached.statement)
    }

    /// Finalizes all statements.
    pub fn clear(&mut self) {
        self.passing = None;
        self.bytes = 0;
        if let Some(by_sql) = &mut self.by_sql {
            by_sql.clear();
        }
    }

    /// Size, use, hits, misses.
    pub fn counters(&self) -> (usize, usize, u64, u64) {
        let (size, used) = self.by_sql.as_ref().map_or((0, 0), |by_sql| (by_sql.cap().get(), by_sql.len()));
        (size, used, self.hits, self.misses)
    }
}
