//! `regexp(pattern, text)`, which `text REGEXP pattern` calls and SQLite leaves to applications. Syntax and guarantees are
//! those of the crate `regex`: time linear in the text, no backtracking.
//!
//! Linear in the text is still the product of text and pattern. What may take long is searched by steps of this module's own,
//! which can be stopped.

use super::regexp_pattern;
use crate::engine::function::FunctionError;
use crate::engine::matcher::{Matcher, Pace};
use crate::memory;
use regex_automata::hybrid::dfa::{Cache, Config as LazyConfig, DFA};
use regex_automata::meta::{self, Regex};
use regex_automata::nfa::thompson::{Compiler, Config as NfaConfig, State, WhichCaptures, NFA};
use regex_automata::util::primitives::StateID;
use regex_automata::Input;
use regex_syntax::hir::Hir;
use std::fmt::Display;

/// The largest compiled pattern, in bytes: what the crate `regex` has by default.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// How many patterns a connection keeps compiled.
const KEPT_MAX: usize = 8;

/// Bytes of the compiled patterns that a connection keeps, with what they remember of their searches, beside the one that was
/// used last.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Bytes that one automaton of a pattern remembers of its searches. A pattern has up to three.
const CACHE_BYTES_MAX: usize = 1 << 20;

/// A search of at most so many steps, were it to visit every state for every byte, is done in one go: milliseconds in the worst
/// case, microseconds in all usual ones.
const STEPS_AT_ONCE: usize = 1 << 20;

/// Bytes of a state of a compiled pattern, at least.
const STATE_BYTES: usize = 24;

/// Searches after which it is looked whether the patterns have come to remember too much.
const SEARCHES_PER_LOOK: u32 = 256;

/// The function, with the patterns that were used last.
#[derive(Default)]
pub struct Regexp {
    // The one that was used last comes first.
    kept: Vec<Compiled>,
    searches: u32,
}

struct Compiled {
    pattern: Vec<u8>,
    regex: Regex,
    cache: meta::Cache,
    states: usize,
    // For large texts.
    steps: Option<Box<Steps>>,
}

impl Matcher for Regexp {
    fn matches(&mut self, pattern: &[u8], text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError> {
        let compiled = self.compiled(pattern, pace)?;
        let grows = !compiled.is_short(text);
        let found = compiled.is_match(text, pace);
        self.searches = self.searches.wrapping_add(1);
        if grows || self.searches.is_multiple_of(SEARCHES_PER_LOOK) {
            self.drop_surplus();
        }
        found
    }
}

impl Drop for Regexp {
    fn drop(&mut self) {
        memory::freed(self.kept.iter().map(Compiled::bytes).sum());
    }
}

impl Regexp {
    fn compiled(&mut self, pattern: &[u8], pace: &mut Pace<'_>) -> Result<&mut Compiled, FunctionError> {
        match self.kept.iter().position(|kept| kept.pattern == pattern) {
            Some(0) => {}
            Some(index) => self.kept[..=index].rotate_right(1),
            None => {
                let compiled = Compiled::new(pattern, pace)?;
                pace.spend(compiled.bytes())?;
                self.kept.truncate(KEPT_MAX - 1);
                self.kept.insert(0, compiled);
                self.drop_surplus();
            }
        }
        Ok(&mut self.kept[0])
    }

    /// Beside the pattern that was used last.
    fn drop_surplus(&mut self) {
        while self.kept.iter().skip(1).map(Compiled::bytes).sum::<usize>() > KEPT_BYTES_MAX {
            self.kept.pop();
        }
    }
}

impl Compiled {
    fn new(pattern: &[u8], pace: &mut Pace<'_>) -> Result<Self, FunctionError> {
        let parsed = regexp_pattern::parse(pattern, pace)?;
        // Texts are not checked: an empty match may lie anywhere in what is no UTF-8.
        let config = meta::Config::new()
            .nfa_size_limit(Some(COMPILED_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES_MAX)
            .utf8_empty(false);
        let regex = Regex::builder()
            .configure(config)
            .build_from_hir(&parsed)
            .map_err(|error| refused(&error, error.size_limit()))?;
        let states = regex.memory_usage() / STATE_BYTES;
        let cache = regex.create_cache();
        Ok(Compiled { pattern: pattern.to_vec(), regex, cache, states, steps: None })
    }

    /// What it takes, about.
    fn bytes(&self) -> usize {
        self.pattern.len()
            + self.regex.memory_usage()
            + self.cache.memory_usage()
            + self.steps.as_ref().map_or(0, |steps| steps.bytes())
    }

    /// Were the search to visit every state for every byte.
    fn steps_at_most(&self, text: &[u8]) -> usize {
        text.len().saturating_mul(self.states)
    }

    fn is_short(&self, text: &[u8]) -> bool {
        self.steps_at_most(text) <= STEPS_AT_ONCE
    }

    fn is_match(&mut self, text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError> {
        if self.is_short(text) {
            // Most of them are spared.
            pace.spend(1 + self.steps_at_most(text) / 16)?;
            let input = Input::new(text).earliest(true);
            return Ok(self.regex.search_half_with(&mut self.cache, &input).is_some());
        }
        let steps = match &mut self.steps {
            Some(steps) => steps,
            none => none.insert(Box::new(Steps::new(&regexp_pattern::parse(&self.pattern, pace)?)?)),
        };
        steps.is_match(text, pace)
    }
}

fn refused(error: &impl Display, size_limit: Option<usize>) -> FunctionError {
    match size_limit {
        Some(limit) => {
            FunctionError::TooBig(format!("regexp: the compiled pattern is larger than {limit} bytes"))
        }
        None => FunctionError::Invalid(format!("regexp: {error}")),
    }
}

/// A pattern that is searched for step by step.
struct Steps {
    nfa: NFA,
    lazy: Option<(DFA, Cache)>,
}

impl Steps {
    fn new(parsed: &Hir) -> Result<Self, FunctionError> {
        let config = NfaConfig::new()
            .nfa_size_limit(Some(COMPILED_BYTES_MAX))
            .which_captures(WhichCaptures::None)
            .utf8(false);
        let nfa = Compiler::new()
            .configure(config)
            .build_from_hir(parsed)
            .map_err(|error| refused(&error, error.size_limit()))?;
        // A deterministic automaton cannot tell what a word is outside of ASCII: it stops there.
        let config = LazyConfig::new()
            .cache_capacity(CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true)
            .unicode_word_boundary(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa.clone()).ok();
        let lazy = dfa.map(|dfa| {
            let cache = dfa.create_cache();
            (dfa, cache)
        });
        Ok(Steps { nfa, lazy })
    }

    fn bytes(&self) -> usize {
        // The automaton shares the states of the pattern.
        let remembered = self.lazy.as_ref().map_or(0, |(_, cache)| cache.memory_usage());
        self.nfa.memory_usage() + remembered
    }

    fn is_match(&mut self, text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError> {
        let found = match &mut self.lazy {
            Some((dfa, cache)) => walk(dfa, cache, text, pace)?,
            None => None,
        };
        match found {
            Some(found) => Ok(found),
            None => visit(&self.nfa, text, pace),
        }
    }
}

/// The most bytes between two looks at the clock while the automaton's states are there already.
const PIECE_BYTES_MAX: usize = 1 << 13;

/// The most states that are visited in between while each byte makes a new one.
const PIECE_STATES_MAX: usize = 1 << 19;

/// One state at a time, made when it is first needed; `None` where this automaton cannot go on.
fn walk(
    dfa: &DFA,
    cache: &mut Cache,
    text: &[u8],
    pace: &mut Pace<'_>,
) -> Result<Option<bool>, FunctionError> {
    let Ok(mut state) = dfa.start_state_forward(cache, &Input::new(text)) else { return Ok(None) };
    let piece_bytes = (PIECE_STATES_MAX / dfa.get_nfa().states().len()).clamp(1, PIECE_BYTES_MAX);
    for piece in text.chunks(piece_bytes) {
        for byte in piece {
            let Ok(next) = dfa.next_state(cache, state, *byte) else { return Ok(None) };
            state = next;
            if state.is_tagged() {
                if state.is_match() {
                    return Ok(Some(true));
                } else if state.is_dead() {
                    return Ok(Some(false));
                } else if state.is_quit() {
                    return Ok(None);
                }
            }
        }
        pace.look()?;
    }
    Ok(dfa.next_eoi_state(cache, state).ok().map(|state| state.is_match()))
}

/// All states at once.
fn visit(nfa: &NFA, text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError> {
    let mut seen_at = Vec::new();
    seen_at.try_reserve_exact(nfa.states().len()).map_err(|_| FunctionError::OutOfMemory)?;
    seen_at.resize(nfa.states().len(), usize::MAX);
    let (mut here, mut beyond): (Vec<StateID>, Vec<StateID>) = (Vec::new(), Vec::new());
    for at in 0..=text.len() {
        here.push(nfa.start_anchored());
        while let Some(id) = here.pop() {
            pace.spend(1)?;
            if std::mem::replace(&mut seen_at[id.as_usize()], at) == at {
                continue;
            }
            let byte = text.get(at).copied();
            match nfa.state(id) {
                State::Match { .. } => return Ok(true),
                State::Fail => {}
                State::Look { look, next } => {
                    if nfa.look_matcher().matches(*look, text, at) {
                        here.push(*next);
                    }
                }
                State::Union { alternates } => here.extend_from_slice(alternates),
                State::BinaryUnion { alt1, alt2 } => here.extend([*alt1, *alt2]),
                State::Capture { next, .. } => here.push(*next),
                State::ByteRange { trans } => {
                    beyond.extend(byte.filter(|byte| trans.matches_byte(*byte)).map(|_| trans.next));
                }
                State::Sparse(transitions) => {
                    beyond.extend(byte.and_then(|byte| transitions.matches_byte(byte)));
                }
                State::Dense(transitions) => {
                    beyond.extend(byte.and_then(|byte| transitions.matches_byte(byte)));
                }
            }
        }
        std::mem::swap(&mut here, &mut beyond);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab.^$|()*+?\\[\\]-]{0,12}",
            "(\\(\\?[im]\\))?(\\\\b|\\\\w|\\\\d|[abÄä]|\\.|\\[a-c\\]|\\\\B|\\^|\\$|a\\*|b\\+|\\n){0,6}",
        ]
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[abcäÄ 1\n]{0,40}".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(b'a'), Just(0), Just(0xc3), any::<u8>()], 0..40),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn every_way_of_searching_finds_the_same(pattern in patterns(), text in texts()) {
            let mut left = 0;
            let mut pace = Pace::new(None, &mut left);
            if let Ok(compiled) = Compiled::new(pattern.as_bytes(), &mut pace) {
                let expected = compiled.regex.is_match(text.as_slice());
                let parsed = regexp_pattern::parse(pattern.as_bytes(), &mut pace).unwrap();
                let mut steps = Steps::new(&parsed).unwrap();
                prop_assert_eq!(steps.is_match(&text, &mut pace).unwrap(), expected);
                prop_assert_eq!(visit(&steps.nfa, &text, &mut pace).unwrap(), expected);
            }
        }
    }

    #[test]
    fn the_patterns_that_were_used_last_are_kept() {
        let (mut function, mut left) = (Regexp::default(), 0);
        let mut use_pattern = |function: &mut Regexp, pattern: &str| {
            function.compiled(pattern.as_bytes(), &mut Pace::new(None, &mut left)).unwrap();
        };
        for number in 0..20 {
            use_pattern(&mut function, &format!("a{number}"));
        }
        use_pattern(&mut function, "a13");
        let kept: Vec<_> = function.kept.iter().map(|kept| kept.pattern.as_slice()).collect();
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept[..2], [b"a13", b"a19"]);
        for number in 100..110 {
            use_pattern(&mut function, &format!("\\w{{{number}}}"));
            let others: usize = function.kept[1..].iter().map(Compiled::bytes).sum();
            assert!(others <= KEPT_BYTES_MAX, "{others}");
        }
        assert!(function.kept.len() < KEPT_MAX);
    }

    #[test]
    fn what_patterns_remember_of_their_searches_counts() {
        let (mut function, mut left) = (Regexp::default(), 0);
        let letters: String = ('а'..='я').chain('a'..='z').collect();
        let text = "aé".repeat(30_000) + &letters.repeat(1000);
        for number in 0..2 * KEPT_MAX {
            let pattern = format!("\\w{{{}}}[^z]{{3,{}}}qq[а-я]{{50}}", 20 + number, 20 + number);
            let mut search = |text: &str| {
                let mut pace = Pace::new(None, &mut left);
                assert!(!function.matches(pattern.as_bytes(), text.as_bytes(), &mut pace).unwrap());
                function.kept[0].bytes()
            };
            let (short, long) = (search("aé"), search(&text));
            assert!(long > short + CACHE_BYTES_MAX / 4, "{short} {long}");
            let others: usize = function.kept[1..].iter().map(Compiled::bytes).sum();
            assert!(others <= KEPT_BYTES_MAX, "{others}");
        }
        assert!(function.kept.len() < KEPT_MAX, "{} patterns", function.kept.len());
    }
}
