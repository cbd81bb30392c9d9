//! What is sent: the body of a pipeline's or a cursor's request.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::Engine;
use port_driver::value::Value;
use std::io::Write;

/// Parameters, as a JSON list: all by their place, or all by their names, as a server takes them.
#[derive(Clone, Default)]
pub struct Args {
    json: Vec<u8>,
    named: bool,
}

impl Args {
    /// One more by its place. `false` if it cannot travel.
    #[must_use]
    pub fn push(&mut self, value: Value<'_>) -> bool {
        self.next();
        self.put(value)
    }

    /// One more by its name, with its prefix. `false` if it cannot travel.
    #[must_use]
    pub fn push_named(&mut self, name: &str, value: Value<'_>) -> bool {
        self.named = true;
        self.next();
        self.json.extend_from_slice(br#"{"name":"#);
        put_text(&mut self.json, name);
        self.json.extend_from_slice(br#","value":"#);
        let put = self.put(value);
        self.json.push(b'}');
        put
    }

    fn next(&mut self) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
    }

    fn put(&mut self, value: Value<'_>) -> bool {
        match value {
            Value::Null => self.json.extend_from_slice(br#"{"type":"null"}"#),
            Value::Integer(integer) => {
                // A vector takes whatever is written.
                let _ = write!(self.json, r#"{{"type":"integer","value":"{integer}"}}"#);
            }
            Value::Real(real) if !real.is_finite() => return false,
            Value::Real(real) => {
                self.json.extend_from_slice(br#"{"type":"float","value":"#);
                self.json.extend_from_slice(ryu::Buffer::new().format_finite(real).as_bytes());
                self.json.push(b'}');
            }
            Value::Text(text) => {
                self.json.extend_from_slice(br#"{"type":"text","value":"#);
                put_text(&mut self.json, text);
                self.json.push(b'}');
            }
            Value::Blob(blob) => {
                self.json.extend_from_slice(br#"{"type":"blob","base64":""#);
                let start = self.json.len();
                self.json.resize(start + blob.len().div_ceil(3) * 4, 0);
                let length = STANDARD_NO_PAD.encode_slice(blob, &mut self.json[start..]).unwrap_or(0);
                self.json.truncate(start + length);
                self.json.extend_from_slice(br#""}"#);
            }
        }
        true
    }
}

/// A statement and its parameters.
#[derive(Clone, Copy)]
pub struct Stmt<'s> {
    /// Its text.
    pub sql: &'s str,
    /// Its parameters.
    pub args: Option<&'s Args>,
    /// Rows that it yields are wanted.
    pub want_rows: bool,
}

impl<'s> Stmt<'s> {
    /// One without parameters and rows.
    pub fn plain(sql: &'s str) -> Self {
        Stmt { sql, args: None, want_rows: false }
    }

    fn put(&self, out: &mut Vec<u8>, since: Option<u64>) {
        out.extend_from_slice(br#"{"sql":"#);
        put_text(out, self.sql);
        if let Some(args) = self.args.filter(|args| !args.json.is_empty()) {
            out.extend_from_slice(if args.named { &br#","named_args":["#[..] } else { &br#","args":["#[..] });
            out.extend_from_slice(&args.json);
            out.push(b']');
        }
        put_since(out, since);
        out.extend_from_slice(if self.want_rows {
            br#","want_rows":true}"#
        } else {
            br#","want_rows":false}"#
        });
    }
}

/// When a step of a batch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In any case.
    Always,
    /// In none: the server only says whether it would take it.
    Never,
    /// While a transaction is open.
    InTransaction,
    /// If that step has succeeded.
    Ok(u32),
    /// If that step has succeeded, and a transaction is open.
    OkInTransaction(u32),
    /// If that step has not succeeded, although the step before all of them has; and a transaction is open.
    NotOkInTransaction(u32),
}

impl When {
    fn put(self, out: &mut Vec<u8>) {
        const INSIDE: &str = r#"{"type":"not","cond":{"type":"is_autocommit"}}"#;
        let written = match self {
            When::Always => return,
            When::Never => write!(out, r#""condition":{{"type":"or","conds":[]}},"#),
            When::InTransaction => write!(out, r#""condition":{INSIDE},"#),
            When::Ok(step) => write!(out, r#""condition":{{"type":"ok","step":{step}}},"#),
            When::OkInTransaction(step) => write!(
                out,
                r#""condition":{{"type":"and","conds":[{{"type":"ok","step":{step}}},{INSIDE}]}},"#
            ),
            When::NotOkInTransaction(step) => write!(
                out,
                r#""condition":{{"type":"and","conds":[{{"type":"not","cond":{{"type":"ok","step":{step}}}}},{INSIDE}]}},"#
            ),
        };
        // A vector takes whatever is written.
        let _ = written;
    }
}

/// A step of a batch.
#[derive(Clone, Copy)]
pub struct Step<'s> {
    /// What.
    pub stmt: Stmt<'s>,
    /// When.
    pub when: When,
}

/// The body of a pipeline's request.
pub struct Pipeline {
    out: Vec<u8>,
    requests: u32,
    since: Option<u64>,
}

impl Pipeline {
    /// On the stream of `baton`, or a new one.
    pub fn new(baton: Option<&str>) -> Self {
        let mut out = Vec::with_capacity(512);
        out.push(b'{');
        put_baton(&mut out, baton);
        out.extend_from_slice(br#""requests":["#);
        Pipeline { out, requests: 0, since: None }
    }

    /// What is added from here on waits until the server, which follows another one, has what that one had at this place of
    /// its log.
    pub fn since(&mut self, place: u64) {
        self.since = Some(place);
    }

    /// Runs a statement.
    pub fn execute(&mut self, stmt: &Stmt<'_>) {
        self.next(br#"{"type":"execute","stmt":"#);
        stmt.put(&mut self.out, self.since);
        self.out.push(b'}');
    }

    /// Runs steps.
    pub fn batch(&mut self, steps: &[Step<'_>]) {
        self.next(br#"{"type":"batch","batch":"#);
        put_batch(&mut self.out, steps, self.since);
        self.out.push(b'}');
    }

    /// Describes a statement.
    pub fn describe(&mut self, sql: &str) {
        self.next(br#"{"type":"describe","sql":"#);
        put_text(&mut self.out, sql);
        self.out.push(b'}');
    }

    /// Asks whether no transaction is open.
    pub fn get_autocommit(&mut self) {
        self.next(br#"{"type":"get_autocommit"}"#);
    }

    /// Ends the stream.
    pub fn close(&mut self) {
        self.next(br#"{"type":"close"}"#);
    }

    /// The body.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}");
        self.out
    }

    fn next(&mut self, head: &[u8]) {
        if self.requests > 0 {
            self.out.push(b',');
        }
        self.requests += 1;
        self.out.extend_from_slice(head);
    }
}

/// The body of a cursor's request.
pub fn cursor(baton: Option<&str>, steps: &[Step<'_>]) -> Vec<u8> {
    let mut out = vec![b'{'];
    put_baton(&mut out, baton);
    out.extend_from_slice(br#""batch":"#);
    put_batch(&mut out, steps, None);
    out.push(b'}');
    out
}

fn put_baton(out: &mut Vec<u8>, baton: Option<&str>) {
    if let Some(baton) = baton {
        out.extend_from_slice(br#""baton":"#);
        put_text(out, baton);
        out.push(b',');
    }
}

fn put_since(out: &mut Vec<u8>, since: Option<u64>) {
    if let Some(place) = since {
        // A vector takes whatever is written.
        let _ = write!(out, r#","replication_index":"{place}""#);
    }
}

fn put_batch(out: &mut Vec<u8>, steps: &[Step<'_>], since: Option<u64>) {
    out.extend_from_slice(br#"{"steps":["#);
    for (index, step) in steps.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'{');
        step.when.put(out);
        out.extend_from_slice(br#""stmt":"#);
        step.stmt.put(out, None);
        out.push(b'}');
    }
    out.push(b']');
    put_since(out, since);
    out.push(b'}');
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // A vector takes whatever is written, and a text is always JSON.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value as Json};

    fn parsed(body: &[u8]) -> Json {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn values_are_as_hrana_has_them() {
        let mut args = Args::default();
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(0.1),
            Value::Real(1.0),
            Value::Text("a\"\0\u{1f600}"),
            Value::Blob(b"\xff\0\x01\x02"),
            Value::Blob(b""),
        ] {
            assert!(args.push(value));
        }
        assert!(!args.push(Value::Real(f64::INFINITY)) && !args.clone().push(Value::Real(f64::NAN)));
        args.json.pop();
        let mut pipeline = Pipeline::new(Some("b\"1"));
        pipeline.execute(&Stmt { sql: "SELECT '\n'", args: Some(&args), want_rows: true });
        pipeline.get_autocommit();
        pipeline.close();
        let expected = json!({"baton": "b\"1", "requests": [
            {"type": "execute", "stmt": {"sql": "SELECT '\n'", "want_rows": true, "args": [
                {"type": "null"},
                {"type": "integer", "value": "-9223372036854775808"},
                {"type": "float", "value": 0.1},
                {"type": "float", "value": 1.0},
                {"type": "text", "value": "a\"\0\u{1f600}"},
                {"type": "blob", "base64": "/wABAg"},
                {"type": "blob", "base64": ""},
            ]}},
            {"type": "get_autocommit"},
            {"type": "close"},
        ]});
        assert_eq!(parsed(&pipeline.finish()), expected);
    }

    #[test]
    fn named_parameters_travel_with_their_names() {
        let mut args = Args::default();
        assert!(args.push_named(":a", Value::Integer(1)) && args.push_named("@b", Value::Null));
        let mut pipeline = Pipeline::new(None);
        pipeline.execute(&Stmt { sql: "SELECT :a, @b", args: Some(&args), want_rows: true });
        let expected = json!([
            {"name": ":a", "value": {"type": "integer", "value": "1"}},
            {"name": "@b", "value": {"type": "null"}},
        ]);
        let stmt = &parsed(&pipeline.finish())["requests"][0]["stmt"];
        assert_eq!((&stmt["named_args"], &stmt["args"]), (&expected, &Json::Null));
    }

    #[test]
    fn what_waits_for_a_place_of_the_log_names_it() {
        let mut pipeline = Pipeline::new(None);
        pipeline.since(u64::MAX);
        pipeline.execute(&Stmt::plain("SELECT 1"));
        pipeline.batch(&[Step { stmt: Stmt::plain("SELECT 1"), when: When::Never }]);
        let body = parsed(&pipeline.finish());
        let place = json!("18446744073709551615");
        assert_eq!(body["requests"][0]["stmt"]["replication_index"], place);
        assert_eq!(body["requests"][1]["batch"]["replication_index"], place);
        assert_eq!(body["requests"][1]["batch"]["steps"][0]["stmt"].get("replication_index"), None);
    }

    #[test]
    fn steps_have_their_conditions() {
        let inside = json!({"type": "not", "cond": {"type": "is_autocommit"}});
        let ok = json!({"type": "ok", "step": 2});
        for (when, expected) in [
            (When::Always, Json::Null),
            (When::Never, json!({"type": "or", "conds": []})),
            (When::InTransaction, inside.clone()),
            (When::Ok(2), ok.clone()),
            (When::OkInTransaction(2), json!({"type": "and", "conds": [ok, inside]})),
            (
                When::NotOkInTransaction(2),
                json!({"type": "and", "conds": [{"type": "not", "cond": ok}, inside]}),
            ),
        ] {
            let body = parsed(&cursor(None, &[Step { stmt: Stmt::plain("COMMIT"), when }]));
            let step = &body["batch"]["steps"][0];
            assert_eq!(step["condition"], expected);
            assert_eq!(step["stmt"], json!({"sql": "COMMIT", "want_rows": false}));
            assert_eq!(body.get("baton"), None);
        }
    }
}
