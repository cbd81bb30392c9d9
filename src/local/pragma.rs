//! The pragmas that `open` takes: their names, the values they may have, their defaults here. An unknown name or value
//! is an error: SQLite would ignore it in silence. Meaning and ranges: https://sqlite.org/pragma.html

use super::access::Access;
use crate::error::{Error, Result};
use crate::temp_space;
use port_driver::error_code::ErrorCode;
use port_driver::request::PragmaValue;

/// What values a pragma takes.
enum Kind {
    Bool,
    Integer(i64, i64),
    /// A power of two in this range.
    Power(i64, i64),
    /// Words; their place is the number that SQLite takes for the same.
    Word(&'static [&'static str]),
}

struct Spec {
    name: &'static str,
    kind: Kind,
    /// What it is at `open` and after `reset`, unless `open` says otherwise. `None`: it is left alone.
    default: Option<&'static str>,
}

const fn spec(name: &'static str, kind: Kind, default: Option<&'static str>) -> Spec {
    Spec { name, kind, default }
}

const SIGNED: Kind = Kind::Integer(i32::MIN as i64, i32::MAX as i64);
const COUNT: Kind = Kind::Integer(0, i32::MAX as i64);

/// In the order in which they are set: those that shape a new file come first.
const SPECS: &[Spec] = &[
    spec("page_size", Kind::Power(512, 65536), None),
    spec("auto_vacuum", Kind::Word(&["none", "full", "incremental"]), None),
    spec("encoding", Kind::Word(&["utf-8", "utf-16", "utf-16le", "utf-16be"]), None),
    spec("locking_mode", Kind::Word(&["normal", "exclusive"]), None),
    spec(JOURNAL_MODE, Kind::Word(&["delete", "truncate", "persist", "memory", "wal", "off"]), None),
    spec("synchronous", Kind::Word(&["off", "normal", "full", "extra"]), Some("normal")),
    spec("foreign_keys", Kind::Bool, Some("1")),
    spec(TEMP_STORE, Kind::Word(&["default", "file", "memory"]), Some("file")),
    spec("cache_size", SIGNED, Some("-32000")),
    spec("cache_spill", COUNT, Some("1")),
    spec("mmap_size", Kind::Integer(0, i64::MAX), Some("0")),
    spec("journal_size_limit", Kind::Integer(-1, i64::MAX), Some("-1")),
    spec("max_page_count", Kind::Integer(1, u32::MAX as i64 - 1), None),
    spec("secure_delete", Kind::Word(&["off", "on", "fast"]), Some("off")),
    spec("automatic_index", Kind::Bool, Some("1")),
    spec(CASE_SENSITIVE_LIKE, Kind::Bool, Some("0")),
    spec("cell_size_check", Kind::Bool, Some("1")),
    spec("checkpoint_fullfsync", Kind::Bool, Some("0")),
    spec("fullfsync", Kind::Bool, Some("0")),
    spec("defer_foreign_keys", Kind::Bool, Some("0")),
    spec("ignore_check_constraints", Kind::Bool, Some("0")),
    spec("legacy_alter_table", Kind::Bool, Some("0")),
    spec("query_only", Kind::Bool, Some("0")),
    spec("read_uncommitted", Kind::Bool, Some("0")),
    spec("recursive_triggers", Kind::Bool, Some("0")),
    spec("reverse_unordered_selects", Kind::Bool, Some("0")),
    spec("trusted_schema", Kind::Bool, Some("0")),
    spec("writable_schema", Kind::Bool, Some("0")),
    spec("analysis_limit", COUNT, Some("0")),
    spec("threads", Kind::Integer(0, 64), Some("0")),
];

/// The one pragma that needs the writer turn and, in WAL, is set once for the file.
pub const JOURNAL_MODE: &str = "journal_mode";

/// In memory the engine sorts record by record, in twice the time, and takes all memory for one statement; files it uses when
/// what it sorts is larger than the cache. Where no file can be made, it is memory all the same.
const TEMP_STORE: &str = "temp_store";

/// Pragmas of a connection that `open` leaves alone, and the engine's own values of them: SQL may have set them since.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("locking_mode", "normal"),
    ("max_page_count", "4294967294"),
    ("count_changes", "0"),
    ("empty_result_callbacks", "0"),
    ("full_column_names", "0"),
    ("short_column_names", "1"),
];

/// Setting it, to whatever it is, puts functions that the engine does not know to be deterministic in the place of its
/// LIKE: partial indexes, generated columns and expression indexes with LIKE are errors then, and a schema that has one
/// cannot be read (<https://sqlite.org/pragma.html#pragma_case_sensitive_like>).
const CASE_SENSITIVE_LIKE: &str = "case_sensitive_like";

/// Pragmas that are options of `open` by another name.
const ELSEWHERE: &[(&str, &str)] = &[
    ("busy_timeout", "give it as the option busy_timeout"),
    ("wal_autocheckpoint", "checkpoints are made in the writer turn: see the option checkpoint_pages"),
];

/// Checks what a client gave and returns names and values as SQL takes them, in the order to set them in; defaults are
/// filled in.
pub fn plan(given: &[(String, PragmaValue<'_>)]) -> Result<Vec<(String, String)>> {
    let mut values = Vec::with_capacity(given.len());
    for (name, value) in given {
        let name = name.to_ascii_lowercase();
        let Some(place) = SPECS.iter().position(|spec| spec.name == name) else {
            return Err(unknown_name(&name));
        };
        values.push((place, SPECS[place].value(value)?));
    }
    let mut planned = Vec::new();
    for (place, spec) in SPECS.iter().enumerate() {
        let given = values.iter().find(|(at, _)| *at == place).map(|(_, value)| value.clone());
        let default = match (spec.name, spec.default) {
            (TEMP_STORE, Some(_)) if !temp_space::is_there() => Some("memory"),
            (_, default) => default,
        };
        if let Some(value) = given.or_else(|| default.map(str::to_owned)) {
            planned.push((spec.name.to_owned(), value));
        }
    }
    Ok(planned)
}

/// Pragmas that a defensive connection would pass over in silence.
pub fn check_defensive(planned: &[(String, String)]) -> Result<()> {
    let passed_over = |(name, value): &&(String, String)| {
        matches!((name.as_str(), value.as_str()), ("writable_schema", "1"))
    };
    match planned.iter().find(passed_over) {
        None => Ok(()),
        Some((name, value)) => Err(Error::new(
            ErrorCode::InvalidOption,
            format!("the pragma {name} can be {value} only on a connection with the option defensive: false"),
        )),
    }
}

/// Sets the pragmas of a connection that has just been opened, but for the journal mode.
pub fn apply(access: &mut Access, planned: &[(String, String)]) -> Result<()> {
    for (name, value) in planned.iter().filter(|(name, _)| name != JOURNAL_MODE) {
        set(access, name, value)?;
    }
    Ok(())
}

fn set(access: &mut Access, name: &str, value: &str) -> Result<()> {
    if name == CASE_SENSITIVE_LIKE
        && (access.pragma_value("SELECT 'a' NOT LIKE 'A'") == Some(1)) == (value == "1")
    {
        return Ok(());
    }
    access.run_plain(&format!("PRAGMA {name} = {}", quoted(value)))
}

/// Sets them again. Those that shape a new file have had their time.
pub fn reset(access: &mut Access, planned: &[(String, String)], busy_timeout_ms: u32) -> Result<()> {
    access.control.set_busy_timeout_ms(busy_timeout_ms);
    for (name, value) in LEFT_ALONE {
        let given = planned.iter().find(|(planned, _)| planned == name);
        let value = given.map_or(*value, |(_, value)| value.as_str());
        access.run_plain(&format!("PRAGMA {name} = {}", quoted(value)))?;
    }
    for (name, value) in planned {
        if SPECS.iter().any(|spec| spec.name == name && spec.default.is_some()) {
            set(access, name, value)?;
        }
    }
    Ok(())
}

/// A number as it is, a word in quotes: `utf-16le` is not an identifier.
fn quoted(value: &str) -> String {
    match value.parse::<i64>() {
        Ok(_) => value.to_owned(),
        Err(_) => format!("'{value}'"),
    }
}

impl Spec {
    fn value(&self, given: &PragmaValue<'_>) -> Result<String> {
        let found = match (&self.kind, given) {
            (Kind::Bool, PragmaValue::Bool(on)) => Some(u8::from(*on).to_string()),
            (Kind::Bool, PragmaValue::Integer(0 | 1)) => Some(shown(given)),
            (Kind::Bool, PragmaValue::Word(word)) => match word.to_ascii_lowercase().as_str() {
                "on" | "yes" | "true" => Some("1".to_owned()),
                "off" | "no" | "false" => Some("0".to_owned()),
                _ => None,
            },
            (Kind::Integer(least, most), PragmaValue::Integer(value)) if (least..=most).contains(&value) => {
                Some(value.to_string())
            }
            (Kind::Power(least, most), PragmaValue::Integer(value))
                if (least..=most).contains(&value) && value.count_ones() == 1 =>
            {
                Some(value.to_string())
            }
            (Kind::Word(words), PragmaValue::Word(word)) => {
                words.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|word| (*word).to_owned())
            }
            (Kind::Word(words), PragmaValue::Integer(place)) => {
                usize::try_from(*place).ok().and_then(|place| words.get(place)).map(|word| (*word).to_owned())
            }
            _ => None,
        };
        found.ok_or_else(|| {
            Error::new(
                ErrorCode::InvalidOption,
                format!("the pragma {} cannot be {}; it takes {}", self.name, shown(given), self.allowed()),
            )
        })
    }

    fn allowed(&self) -> String {
        match &self.kind {
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer(least, most) => format!("an integer from {least} to {most}"),
            Kind::Power(least, most) => format!("a power of two from {least} to {most}"),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
        }
    }
}

fn shown(value: &PragmaValue<'_>) -> String {
    match value {
        PragmaValue::Integer(value) => value.to_string(),
        PragmaValue::Bool(value) => value.to_string(),
        PragmaValue::Word(value) => format!("{:?}", value.chars().take(64).collect::<String>()),
        PragmaValue::Real(value) => value.to_string(),
    }
}

fn unknown_name(name: &str) -> Error {
    let mend = match ELSEWHERE.iter().find(|(known, _)| *known == name) {
        Some((_, mend)) => (*mend).to_owned(),
        None => {
            let names: Vec<_> = SPECS.iter().map(|spec| spec.name).collect();
            format!("known ones are {}", names.join(", "))
        }
    };
    let name: String = name.chars().take(64).collect();
    Error::new(ErrorCode::InvalidOption, format!("the pragma {name:?} cannot be set here: {mend}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(name: &str, value: PragmaValue<'_>) -> Result<String> {
        let planned = plan(&[(name.to_owned(), value)])?;
        Ok(planned.into_iter().find(|(known, _)| known == &name.to_ascii_lowercase()).unwrap().1)
    }

    #[test]
    fn values_in_each_of_their_forms() {
        assert_eq!(value_of("synchronous", PragmaValue::Word("FULL")).unwrap(), "full");
        assert_eq!(value_of("Synchronous", PragmaValue::Integer(2)).unwrap(), "full");
        assert_eq!(value_of("foreign_keys", PragmaValue::Bool(false)).unwrap(), "0");
        assert_eq!(value_of("foreign_keys", PragmaValue::Word("off")).unwrap(), "0");
        assert_eq!(value_of("cache_size", PragmaValue::Integer(-64000)).unwrap(), "-64000");
        assert_eq!(value_of("page_size", PragmaValue::Integer(8192)).unwrap(), "8192");
    }

    #[test]
    fn what_sqlite_would_ignore_is_an_error() {
        for (name, value) in [
            ("synchronous", PragmaValue::Word("fastest")),
            ("synchronous", PragmaValue::Integer(4)),
            ("foreign_keys", PragmaValue::Integer(2)),
            ("page_size", PragmaValue::Integer(5000)),
            ("cache_size", PragmaValue::Real(1.5)),
            ("journal_mod", PragmaValue::Word("wal")),
            ("busy_timeout", PragmaValue::Integer(1)),
        ] {
            let error = value_of(name, value).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidOption);
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = value_of("busy_timeout", PragmaValue::Integer(1)).unwrap_err();
        assert!(error.to_string().contains("option busy_timeout"), "{error}");
    }

    #[test]
    fn defaults_are_filled_in_and_order_is_kept() {
        let planned = plan(&[("journal_mode".to_owned(), PragmaValue::Word("wal"))]).unwrap();
        let place = |name: &str| planned.iter().position(|(known, _)| known == name);
        assert!(place("journal_mode") < place("synchronous"));
        assert_eq!(planned[place("foreign_keys").unwrap()].1, "1");
        assert_eq!(place("page_size"), None);
    }
}
