//! Reads the patterns of [`super::regexp`]. What is short to write may be long to read: a class of Unicode has up to a million
//! characters, each of which is looked up where case does not count, and the nesting of classes multiplies them. Nothing can
//! stop the crate `regex-syntax` while it does that, and no limit of its own counts it, so it is reckoned up before.

use crate::engine::function::FunctionError;
use crate::engine::matcher::Pace;
use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::translate::{Translator, TranslatorBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};
use std::convert::Infallible;

/// The most ranges of characters that the classes of a pattern may have: some hundreds of milliseconds and 40 MB.
const RANGES_MAX: u64 = 1 << 20;

/// The most ranges that are compiled, where a repetition compiles what it repeats again and again: no pattern that has more
/// is within the size of a compiled one, and compiling up to that size takes tenths of a second.
const COMPILED_RANGES_MAX: u64 = 1 << 18;

/// As many characters are looked up for their case in the time that a range takes.
const FOLDED_PER_RANGE: u64 = 16;

/// At least as many ranges as `\w` has.
const RANGES_OF_WORD: u64 = 1 << 10;

const CHARACTERS: u64 = 0x11_0000;

/// The pattern, ready to be compiled. A part of it may ask for bytes that are no character: `(?s-u:.)`.
pub fn parse(pattern: &[u8], pace: &mut Pace<'_>) -> Result<Hir, FunctionError> {
    let text = std::str::from_utf8(pattern)
        .map_err(|_| FunctionError::Invalid("regexp: the pattern is not UTF-8".to_owned()))?;
    let tree = ast::parse::Parser::new().parse(text).map_err(|error| invalid(&error))?;
    let Ranges { read, compiled } = ranges(&tree);
    if read > RANGES_MAX {
        return Err(FunctionError::TooBig(format!(
            "regexp: the character classes of the pattern are too large together: they count as {read} ranges of \
             characters, and the most is {RANGES_MAX}"
        )));
    }
    if compiled > COMPILED_RANGES_MAX {
        return Err(FunctionError::TooBig(format!(
            "regexp: the repetitions of the pattern are too large: their character classes have {compiled} ranges of \
             characters together, and the most is {COMPILED_RANGES_MAX}"
        )));
    }
    pace.spend(usize::try_from(read.saturating_add(compiled)).unwrap_or(usize::MAX))?;
    translator().translate(text, &tree).map_err(|error| invalid(&error))
}

fn translator() -> Translator {
    TranslatorBuilder::new().utf8(false).build()
}

fn invalid(error: &impl std::fmt::Display) -> FunctionError {
    FunctionError::Invalid(format!("regexp: {error}"))
}

/// What the classes of a pattern cost.
struct Ranges {
    read: u64,
    compiled: u64,
}

fn ranges(tree: &Ast) -> Ranges {
    let counting = Counting { ranges: 0, folded: 0, depth: 0, folds: false, compiled: 0, repeated: vec![1] };
    let counted = ast::visit(tree, counting).unwrap_or_else(|never| match never {});
    let folded = if counted.folds { counted.folded / FOLDED_PER_RANGE } else { 0 };
    Ranges { read: counted.ranges.saturating_add(folded), compiled: counted.compiled }
}

/// How often what is repeated is compiled.
fn copies(repetition: &ast::Repetition) -> u64 {
    use ast::{RepetitionKind, RepetitionRange};
    match &repetition.op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
        RepetitionKind::Range(
            RepetitionRange::Exactly(count)
            | RepetitionRange::AtLeast(count)
            | RepetitionRange::Bounded(_, count),
        ) => u64::from(*count).max(1),
    }
}

struct Counting {
    ranges: u64,
    /// Characters whose case is looked up, if case does not count.
    folded: u64,
    /// Classes and set operations around what is visited: each of them works on all that is in it.
    depth: u64,
    /// Somewhere in the pattern case does not count.
    folds: bool,
    /// Ranges, as often as they are compiled.
    compiled: u64,
    /// How often what is visited is compiled, after each repetition around it.
    repeated: Vec<u64>,
}

impl Counting {
    fn add(&mut self, ranges: u64, characters: u64) {
        let times = self.depth.max(1);
        self.ranges = self.ranges.saturating_add(ranges.saturating_mul(times));
        self.folded = self.folded.saturating_add(characters.saturating_mul(times));
    }

    fn add_compiled(&mut self, ranges: u64) {
        let copies = self.repeated.last().copied().unwrap_or(1);
        self.compiled = self.compiled.saturating_add(ranges.saturating_mul(copies));
    }

    fn add_perl(&mut self, class: &ast::ClassPerl) {
        self.add(RANGES_OF_WORD, if class.negated { CHARACTERS } else { CHARACTERS / 8 });
        self.add_compiled(match class.kind {
            ast::ClassPerlKind::Digit => 64,
            ast::ClassPerlKind::Space => 16,
            ast::ClassPerlKind::Word => RANGES_OF_WORD,
        });
    }

    fn add_property(&mut self, class: &ast::ClassUnicode) {
        let tree = Ast::class_unicode(class.clone());
        // What is no property is an error later.
        let Ok(found) = translator().translate("", &tree) else { return };
        if let HirKind::Class(Class::Unicode(class)) = found.kind() {
            let size = |range: &regex_syntax::hir::ClassUnicodeRange| {
                u64::from(u32::from(range.end()) - u32::from(range.start())) + 1
            };
            let ranges = class.ranges().len() as u64;
            self.add(RANGES_OF_WORD.max(ranges), class.iter().map(size).sum());
            self.add_compiled(ranges);
        }
    }

    fn enter(&mut self, class: &ast::ClassBracketed) {
        if class.negated {
            self.add(1, CHARACTERS);
        }
        self.depth += 1;
    }

    fn set_flags(&mut self, flags: &ast::Flags) {
        self.folds |= flags.flag_state(ast::Flag::CaseInsensitive).is_some();
    }
}

impl ast::Visitor for Counting {
    type Output = Self;
    type Err = Infallible;

    fn finish(self) -> Result<Self, Infallible> {
        Ok(self)
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), Infallible> {
        match tree {
            Ast::ClassBracketed(class) => self.enter(class),
            Ast::ClassUnicode(class) => self.add_property(class),
            Ast::ClassPerl(class) => self.add_perl(class),
            Ast::Repetition(repetition) => {
                let around = self.repeated.last().copied().unwrap_or(1);
                self.repeated.push(around.saturating_mul(copies(repetition)));
            }
            Ast::Flags(set) => self.set_flags(&set.flags),
            Ast::Group(group) => {
                if let ast::GroupKind::NonCapturing(flags) = &group.kind {
                    self.set_flags(flags);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_post(&mut self, tree: &Ast) -> Result<(), Infallible> {
        match tree {
            Ast::ClassBracketed(_) => self.depth -= 1,
            Ast::Repetition(_) => drop(self.repeated.pop()),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Infallible> {
        match item {
            ast::ClassSetItem::Empty(_) | ast::ClassSetItem::Union(_) => {}
            ast::ClassSetItem::Literal(_) => {
                self.add(1, 1);
                self.add_compiled(1);
            }
            ast::ClassSetItem::Range(range) => {
                let size = u32::from(range.end.c).saturating_sub(u32::from(range.start.c));
                self.add(1, u64::from(size) + 1);
                self.add_compiled(1);
            }
            ast::ClassSetItem::Ascii(class) => {
                self.add(8, if class.negated { CHARACTERS } else { 128 });
                self.add_compiled(8);
            }
            ast::ClassSetItem::Unicode(class) => self.add_property(class),
            ast::ClassSetItem::Perl(class) => self.add_perl(class),
            ast::ClassSetItem::Bracketed(class) => self.enter(class),
        }
        Ok(())
    }

    fn visit_class_set_item_post(&mut self, item: &ast::ClassSetItem) -> Result<(), Infallible> {
        if let ast::ClassSetItem::Bracketed(_) = item {
            self.depth -= 1;
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), Infallible> {
        self.depth += 1;
        Ok(())
    }

    fn visit_class_set_binary_op_post(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), Infallible> {
        self.depth -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pattern: &str) -> Result<Hir, FunctionError> {
        let mut left = 0;
        parse(pattern.as_bytes(), &mut Pace::new(None, &mut left))
    }

    #[test]
    fn classes_that_take_long_to_read_are_refused() {
        for pattern in [
            "[\\x00-\\x{10ffff}--a]".repeat(2000),
            "\\PL".repeat(2000),
            "[\\pL]".repeat(2000),
            "(\\pL|\\pN)".repeat(2000),
            "[\\w&&\\pL]".repeat(2000),
            "[^a]".repeat(2000),
            "[^[^[^[^[^a]]]]]".repeat(200),
            format!("{}a-z{}", "[\\x00-\\x{10fff0}".repeat(40), "]".repeat(40)),
        ] {
            let shown: String = pattern.chars().take(20).collect();
            let folding = format!("(?i){pattern}");
            assert!(matches!(parsed(&folding), Err(FunctionError::TooBig(_))), "{shown}");
            let later = format!("x(?mi:{pattern})");
            assert!(matches!(parsed(&later), Err(FunctionError::TooBig(_))), "{shown}");
        }
        assert!(matches!(parsed(&"\\pL".repeat(2000)), Err(FunctionError::TooBig(_))));
    }

    #[test]
    fn repetitions_multiply_what_is_compiled() {
        for pattern in [
            "a\\w{500}z",
            "\\pL{5000}",
            "(?i)\\w{300,}",
            "(?:a|\\w){1,300}",
            "((\\w{10}){10}x{2}){10}",
            "[\\w.-]{1000}*",
            "(?:[a-c\\d]{100}){100}",
        ] {
            let failure = parsed(pattern).unwrap_err();
            let FunctionError::TooBig(message) = failure else { panic!("{failure:?}") };
            assert!(message.contains("the most is 262144"), "{pattern}: {message}");
        }
        for pattern in [
            "\\w{1,100}",
            "^[\\w .-]{1,255}$",
            "(?:\\w{2}\\d{1000})+",
            "(\\w+)*{3}[a-z]{10000}",
            "\\w{100}|\\w{100}",
        ] {
            assert!(parsed(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn those_that_people_write_are_read() {
        for pattern in [
            "(?i)^[\\w.+-]+@[\\w-]+(\\.[\\w-]+)*\\.\\pL{2,}$".to_owned(),
            "(?i)[^\\x00-\\x7f]+|[\\u0080-\\U0010ffff]".to_owned(),
            "(?i)\\b(\\w+)\\s+(\\W|\\S|[^a-z])*".repeat(3),
            "(?i)[a-z0-9_]".repeat(5000),
            "(?i)abc".repeat(10_000),
            "[^\\d\\s]\\pL".repeat(100),
            "[a-z&&[^aeiou]]".repeat(1000),
        ] {
            assert!(parsed(&pattern).is_ok(), "{pattern:.30}");
        }
    }
}
