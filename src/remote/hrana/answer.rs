//! What comes: the answer to a pipeline, and the lines of a cursor.

use super::describe::{Column, Description, Parameter};
use super::rows::{Row, Rows};
use serde::{Deserialize, Deserializer};

/// An error of the server's, about a statement or a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerError {
    /// For people, of a bounded length.
    #[serde(deserialize_with = "words")]
    pub message: String,
    /// For programs, as far as the server has one.
    #[serde(default, deserialize_with = "code")]
    pub code: Option<String>,
    /// SQLite's extended code, from servers that send it.
    #[serde(default)]
    pub extended_code: Option<i32>,
}

/// The most of a server's words about a statement that travels on: what is longer loses its middle, as SQLite says the place of an
/// error at the end. No option, as no words of this program's have one.
const WORDS_BYTES_MAX: usize = 4 << 10;
const LAST_WORDS_BYTES: usize = 100;

/// The most of a code; those that are known are shorter.
const CODE_BYTES_MAX: usize = 64;

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(bounded)
}

fn bounded(mut words: String) -> String {
    if words.len() <= WORDS_BYTES_MAX {
        return words;
    }
    let start =
        (words.len() - LAST_WORDS_BYTES..).find(|&at| words.is_char_boundary(at)).unwrap_or(words.len());
    let last = words.split_off(start);
    cut(&mut words, WORDS_BYTES_MAX - LAST_WORDS_BYTES - '…'.len_utf8());
    words.push('…');
    words.push_str(&last);
    words.shrink_to_fit();
    words
}

fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let mut code = Option::<String>::deserialize(deserializer)?;
    if let Some(code) = &mut code {
        cut(code, CODE_BYTES_MAX);
        code.shrink_to_fit();
    }
    Ok(code)
}

fn cut(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
}

/// The answer to a pipeline.
#[derive(Debug, Deserialize)]
pub struct Pipeline {
    /// The stream's next baton; `None`: it has ended.
    #[serde(default)]
    pub baton: Option<String>,
    /// Where the stream goes on.
    #[serde(default)]
    pub base_url: Option<String>,
    results: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    error: Option<ServerError>,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    result: Option<AnyResult>,
    #[serde(default)]
    is_autocommit: Option<bool>,
}

/// The results of all kinds of requests: which one it is says its place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyResult {
    cols: Vec<Column>,
    rows: Rows,
    affected_row_count: u64,
    last_insert_rowid: Option<String>,
    step_results: Vec<Option<AnyResult>>,
    step_errors: Vec<Option<ServerError>>,
    replication_index: Option<serde_json::Value>,
    params: Vec<Parameter>,
    is_explain: bool,
    is_readonly: bool,
}

/// What a statement has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Rows,
    /// Rows that it changed.
    pub changes: i64,
    /// The last rowid that was inserted; 0: none.
    pub last_insert_rowid: i64,
}

/// What became of a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Done(Done),
    /// It failed.
    Failed(ServerError),
    /// Its condition did not hold.
    Skipped,
}

impl From<AnyResult> for Done {
    fn from(result: AnyResult) -> Self {
        Done {
            columns: result.cols.into_iter().map(Column::into_name).collect(),
            rows: result.rows,
            changes: i64::try_from(result.affected_row_count).unwrap_or(i64::MAX),
            last_insert_rowid: result.last_insert_rowid.and_then(|id| id.parse().ok()).unwrap_or(0),
        }
    }
}

/// An answer that does not have the form of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misshapen;

/// The results of a pipeline, taken one by one in the order of its requests.
pub struct Results(std::vec::IntoIter<Item>);

impl AnyResult {
    /// A number that servers write as a text; some have none.
    fn replication_index(&self) -> Option<u64> {
        match self.replication_index.as_ref()? {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }
    }
}

impl Pipeline {
    /// The place of its log at which the server was in the end, if it says so.
    pub fn replication_index(&self) -> Option<u64> {
        let results = self.results.iter().filter_map(|item| item.response.as_ref()?.result.as_ref());
        results.rev().find_map(AnyResult::replication_index)
    }

    /// The results.
    pub fn results(self) -> Results {
        Results(self.results.into_iter())
    }
}

impl Results {
    /// Of `execute`.
    pub fn execute(&mut self) -> Result<Outcome, Misshapen> {
        match self.next()? {
            Ok(response) => response.result.map(|result| Outcome::Done(result.into())).ok_or(Misshapen),
            Err(error) => Ok(Outcome::Failed(error)),
        }
    }

    /// Of `batch` with so many steps; an error is that of the whole batch.
    pub fn batch(&mut self, steps: usize) -> Result<Result<Vec<Outcome>, ServerError>, Misshapen> {
        let response = match self.next()? {
            Ok(response) => response,
            Err(error) => return Ok(Err(error)),
        };
        let result = response.result.ok_or(Misshapen)?;
        if result.step_results.len() != steps || result.step_errors.len() != steps {
            return Err(Misshapen);
        }
        let outcomes = result.step_results.into_iter().zip(result.step_errors).map(|pair| match pair {
            (_, Some(error)) => Outcome::Failed(error),
            (Some(done), None) => Outcome::Done(done.into()),
            (None, None) => Outcome::Skipped,
        });
        Ok(Ok(outcomes.collect()))
    }

    /// Of `describe`.
    pub fn describe(&mut self) -> Result<Result<Description, ServerError>, Misshapen> {
        match self.next()? {
            Ok(response) => {
                let result = response.result.ok_or(Misshapen)?;
                Ok(Ok(Description::new(result.cols, result.params, result.is_readonly, result.is_explain)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Of `get_autocommit`; `None` if the stream is in no state to say.
    pub fn autocommit(&mut self) -> Result<Option<bool>, Misshapen> {
        match self.next()? {
            Ok(response) => response.is_autocommit.map(Some).ok_or(Misshapen),
            Err(_) => Ok(None),
        }
    }

    fn next(&mut self) -> Result<Result<Response, ServerError>, Misshapen> {
        match self.0.next() {
            Some(Item { error: Some(error), .. }) => Ok(Err(error)),
            Some(Item { response: Some(response), .. }) => Ok(Ok(response)),
            _ => Err(Misshapen),
        }
    }
}

/// The first line of a cursor's answer.
#[derive(Debug, Deserialize)]
pub struct CursorHead {
    /// The stream's next baton.
    #[serde(default)]
    pub baton: Option<String>,
    /// Where the stream goes on.
    #[serde(default)]
    pub base_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawEntry {
    r#type: String,
    #[serde(default)]
    step: u32,
    #[serde(default)]
    row: Option<Row>,
    #[serde(default)]
    error: Option<ServerError>,
    #[serde(default)]
    cols: Vec<Column>,
    #[serde(default)]
    affected_row_count: u64,
    #[serde(default)]
    last_insert_rowid: Option<String>,
}

/// A further line of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A step begins, with these columns.
    Begin(u32, Vec<String>),
    /// One of its rows.
    Row(Vec<u8>),
    /// It has ended, with so many changes and this rowid.
    End(i64, i64),
    /// A step failed.
    StepFailed(ServerError),
    /// All of it failed.
    Failed(ServerError),
    /// What is of no use here.
    Other,
}

/// Reads a line.
pub fn entry(line: &[u8]) -> Result<Entry, serde_json::Error> {
    let raw: RawEntry = serde_json::from_slice(line)?;
    Ok(match (raw.r#type.as_str(), raw.row, raw.error) {
        ("row", Some(row), _) => Entry::Row(row.0),
        ("step_begin", _, _) => Entry::Begin(raw.step, raw.cols.into_iter().map(Column::into_name).collect()),
        ("step_end", _, _) => Entry::End(
            i64::try_from(raw.affected_row_count).unwrap_or(i64::MAX),
            raw.last_insert_rowid.and_then(|id| id.parse().ok()).unwrap_or(0),
        ),
        ("step_error", _, Some(error)) => Entry::StepFailed(error),
        ("error", _, Some(error)) => Entry::Failed(error),
        _ => Entry::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(json: &str) -> Results {
        serde_json::from_str::<Pipeline>(json).unwrap().results()
    }

    fn failed(message: &str, code: &str) -> ServerError {
        ServerError { message: message.to_owned(), code: Some(code.to_owned()), extended_code: None }
    }

    #[test]
    fn results_come_in_the_order_of_their_requests() {
        let mut results = results(
            r#"{"baton":null,"base_url":null,"results":[
            {"type":"ok","response":{"type":"execute","result":{"cols":[{"name":"id","decltype":"INTEGER"}],
              "rows":[[{"type":"integer","value":"7"}]],"affected_row_count":1,"last_insert_rowid":"7","replication_index":"4"}}},
            {"type":"error","error":{"message":"no","code":"SQLITE_CONSTRAINT"}},
            {"type":"ok","response":{"type":"batch","result":{"step_results":[{"cols":[],"rows":[]},null,null],
              "step_errors":[null,{"message":"no","code":"X"},null]}}},
            {"type":"ok","response":{"type":"describe","result":{"params":[{"name":":a"},{"name":null}],"cols":[],"is_explain":false,"is_readonly":true}}},
            {"type":"ok","response":{"type":"get_autocommit","is_autocommit":true}},
            {"type":"ok","response":{"type":"close"}}]}"#,
        );
        let Ok(Outcome::Done(done)) = results.execute() else { panic!() };
        assert_eq!((done.columns, done.rows.len(), done.changes), (vec!["id".to_owned()], 1, 1));
        assert_eq!(done.last_insert_rowid, 7);
        assert_eq!(results.execute(), Ok(Outcome::Failed(failed("no", "SQLITE_CONSTRAINT"))));
        let batch = results.batch(3).unwrap().unwrap();
        assert_eq!(
            batch,
            [Outcome::Done(Done::default()), Outcome::Failed(failed("no", "X")), Outcome::Skipped]
        );
        let described = results.describe().unwrap().unwrap();
        assert_eq!(described.parameters, [Some(":a".to_owned()), None]);
        assert!(described.read_only);
        assert_eq!(results.autocommit(), Ok(Some(true)));
        assert_eq!(results.autocommit(), Err(Misshapen), "that of close says nothing");
        assert_eq!(results.autocommit(), Err(Misshapen), "there is no more");
    }

    #[test]
    fn the_words_of_a_server_have_a_bound() {
        let read = |message: &str| {
            let json = serde_json::json!({"message": message, "code": message}).to_string();
            serde_json::from_str::<ServerError>(&json).unwrap()
        };
        let short = read("no such column: é (at offset 3)");
        assert_eq!(short.message, "no such column: é (at offset 3)");
        for letter in ["x", "é", "\u{1f600}"] {
            let long = read(&format!("SQLite error: {} (at offset 77)", letter.repeat(30_000)));
            assert!(long.message.len() <= WORDS_BYTES_MAX && long.message.len() > WORDS_BYTES_MAX - 8);
            assert!(long.message.starts_with("SQLite error: ") && long.message.ends_with("(at offset 77)"));
            assert!(long.code.unwrap().len() <= CODE_BYTES_MAX);
        }
        assert_eq!(read(&"x".repeat(WORDS_BYTES_MAX)).message.len(), WORDS_BYTES_MAX);
    }

    #[test]
    fn the_place_of_the_log_is_the_last_one_that_is_said() {
        let place = |json: &str| serde_json::from_str::<Pipeline>(json).unwrap().replication_index();
        let of = |index: &str| {
            format!(r#"{{"type":"ok","response":{{"result":{{"replication_index":{index}}}}}}}"#)
        };
        let all = |each: &[&str]| {
            let items: Vec<_> = each.iter().map(|index| of(index)).collect();
            place(&format!(r#"{{"results":[{},{{"type":"ok","response":{{}}}}]}}"#, items.join(",")))
        };
        assert_eq!(all(&[r#""7""#, r#""18446744073709551615""#, "null"]), Some(u64::MAX));
        assert_eq!(
            (all(&["9"]), all(&["null"]), all(&[r#""x""#]), all(&["{}"])),
            (Some(9), None, None, None)
        );
    }

    #[test]
    fn a_batch_of_other_steps_than_were_asked_for_is_none() {
        let json = r#"{"results":[{"type":"ok","response":{"type":"batch","result":{"step_results":[null],"step_errors":[]}}}]}"#;
        assert_eq!(results(json).batch(1), Err(Misshapen));
        assert_eq!(results(json).execute().map(|_| ()), Ok(()), "its result has the fields of all kinds");
        assert_eq!(results(r#"{"results":[{"type":"ok"}]}"#).execute(), Err(Misshapen));
    }

    #[test]
    fn lines_of_a_cursor() {
        let read = |line: &str| entry(line.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"type":"step_begin","step":1,"cols":[{"name":"a"}]}"#),
            Entry::Begin(1, vec!["a".to_owned()])
        );
        assert_eq!(
            read(r#"{"type":"row","row":[{"type":"integer","value":"1"}]}"#),
            Entry::Row(vec![108, 0, 0, 0, 1, 97, 1, 106])
        );
        assert_eq!(
            read(r#"{"type":"step_end","affected_row_count":2,"last_insert_rowid":null}"#),
            Entry::End(2, 0)
        );
        assert_eq!(
            read(r#"{"type":"step_error","step":0,"error":{"message":"m","code":"C"}}"#),
            Entry::StepFailed(failed("m", "C"))
        );
        assert_eq!(
            read(r#"{"type":"error","error":{"message":"m","code":"C"}}"#),
            Entry::Failed(failed("m", "C"))
        );
        assert_eq!(read(r#"{"type":"replication_index","replication_index":4}"#), Entry::Other);
        assert!(entry(b"<html>").is_err() && entry(b"{\"type\":\"row\",\"row\":[{").is_err());
    }
}
