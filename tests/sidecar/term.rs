//! Terms as these tests write and read them, through the crate `erlang-term`: a codec that shares no line with the
//! program's own, so that the two cannot agree on a mistake.

use erlang_term::RawTerm;

/// A term, without the differences in encoding that mean nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Int(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    List(Vec<Term>),
    Tuple(Vec<Term>),
    Map(Vec<(Term, Term)>),
}

pub fn atom(name: &str) -> Term {
    Term::Atom(name.to_owned())
}

pub fn nil() -> Term {
    atom("nil")
}

pub fn bytes(bytes: &[u8]) -> Term {
    Term::Binary(bytes.to_vec())
}

pub fn blob(content: &[u8]) -> Term {
    Term::Tuple(vec![atom("blob"), bytes(content)])
}

pub fn map<K: Into<Term>, V: Into<Term>, const N: usize>(pairs: [(K, V); N]) -> Term {
    Term::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

/// A list of anything that is a term.
#[macro_export]
macro_rules! list {
    ($($item:expr),* $(,)?) => { $crate::term::Term::List(vec![$($crate::term::Term::from($item)),*]) };
}

/// A tuple of anything that is a term.
#[macro_export]
macro_rules! tuple {
    ($($item:expr),* $(,)?) => { $crate::term::Term::Tuple(vec![$($crate::term::Term::from($item)),*]) };
}

macro_rules! from_integers {
    ($($kind:ty),*) => { $(impl From<$kind> for Term {
        fn from(value: $kind) -> Self {
            Term::Int(value as i128)
        }
    })* };
}
from_integers!(i32, i64, u32, u64, usize, i128);

impl From<f64> for Term {
    fn from(value: f64) -> Self {
        Term::Float(value)
    }
}

impl From<&str> for Term {
    fn from(value: &str) -> Self {
        Term::Binary(value.as_bytes().to_vec())
    }
}

impl From<&String> for Term {
    fn from(value: &String) -> Self {
        Term::from(value.as_str())
    }
}

impl From<String> for Term {
    fn from(value: String) -> Self {
        Term::Binary(value.into_bytes())
    }
}

impl From<bool> for Term {
    fn from(value: bool) -> Self {
        atom(if value { "true" } else { "false" })
    }
}

impl From<Vec<Term>> for Term {
    fn from(value: Vec<Term>) -> Self {
        Term::List(value)
    }
}

impl Term {
    pub fn decode(bytes: &[u8]) -> Result<Term, String> {
        RawTerm::from_bytes(bytes).map_err(|error| format!("{:.200}", format!("{error:?}"))).map(Term::of)
    }

    pub fn raw(&self) -> RawTerm {
        match self {
            Term::Int(value) => match (u8::try_from(*value), i32::try_from(*value)) {
                (Ok(small), _) => RawTerm::SmallInt(small),
                (_, Ok(int)) => RawTerm::Int(int),
                _ => RawTerm::SmallBigInt(value.to_string().parse().unwrap()),
            },
            Term::Float(value) => RawTerm::Float((*value).into()),
            Term::Atom(name) => RawTerm::SmallAtom(name.clone()),
            Term::Binary(bytes) => RawTerm::Binary(bytes.clone()),
            Term::List(items) if items.is_empty() => RawTerm::Nil,
            Term::List(items) => RawTerm::List(items.iter().map(Term::raw).collect()),
            Term::Tuple(items) => RawTerm::SmallTuple(items.iter().map(Term::raw).collect()),
            Term::Map(pairs) => {
                RawTerm::Map(pairs.iter().map(|(key, value)| (key.raw(), value.raw())).collect())
            }
        }
    }

    fn of(raw: RawTerm) -> Term {
        let all = |items: Vec<RawTerm>| items.into_iter().map(Term::of).collect();
        match raw {
            RawTerm::SmallInt(value) => Term::Int(value.into()),
            RawTerm::Int(value) => Term::Int(value.into()),
            RawTerm::SmallBigInt(big) | RawTerm::LargeBigInt(big) => {
                Term::Int(big.to_string().parse().unwrap())
            }
            RawTerm::Float(value) => Term::Float(*value),
            RawTerm::Atom(name)
            | RawTerm::SmallAtom(name)
            | RawTerm::AtomDeprecated(name)
            | RawTerm::SmallAtomDeprecated(name) => Term::Atom(name),
            RawTerm::Binary(bytes) => Term::Binary(bytes),
            RawTerm::String(bytes) => Term::List(bytes.into_iter().map(|b| Term::Int(b.into())).collect()),
            RawTerm::Nil => Term::List(Vec::new()),
            RawTerm::List(items) => Term::List(all(items)),
            RawTerm::SmallTuple(items) | RawTerm::LargeTuple(items) => Term::Tuple(all(items)),
            RawTerm::Map(pairs) => {
                Term::Map(pairs.into_iter().map(|(key, value)| (Term::of(key), Term::of(value))).collect())
            }
            other => panic!("the program does not write {other:?}"),
        }
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Term::Int(value) => i64::try_from(*value).unwrap(),
            other => panic!("not an integer: {other:?}"),
        }
    }

    #[track_caller]
    pub fn name(&self) -> &str {
        match self {
            Term::Atom(name) => name,
            other => panic!("{other:?} is no atom"),
        }
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Term::Binary(bytes) => std::str::from_utf8(bytes).unwrap(),
            other => panic!("not text: {other:?}"),
        }
    }

    #[track_caller]
    pub fn items(&self) -> &[Term] {
        match self {
            Term::List(items) | Term::Tuple(items) => items,
            other => panic!("neither list nor tuple: {other:?}"),
        }
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Term::Atom(name) if name == "nil")
    }

    pub fn some_int(&self) -> Option<i64> {
        if self.is_nil() {
            None
        } else {
            Some(self.int())
        }
    }

    pub fn some_text(&self) -> Option<String> {
        if self.is_nil() {
            None
        } else {
            Some(self.text().to_owned())
        }
    }

    /// The value under a binary key of a map.
    #[track_caller]
    pub fn get(&self, key: &str) -> &Term {
        let Term::Map(pairs) = self else { panic!("not a map: {self:?}") };
        let found = pairs.iter().find(|(name, _)| matches!(name, Term::Binary(b) if b == key.as_bytes()));
        &found.unwrap_or_else(|| panic!("no {key:?} in {self:?}")).1
    }
}
