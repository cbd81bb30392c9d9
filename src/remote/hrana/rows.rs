//! Rows of an answer, turned into the rows of this program's own wire as they are read.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::Engine;
use port_driver::etf::encoder::{begin_list, end_list, put_binary, put_float, put_integer, put_nil};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// Hrana leaves the padding of base64 away; one who writes it is understood.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Encoded rows, one behind the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each of them, as a list of values.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllRows;
        impl<'de> Visitor<'de> for AllRows {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Rows, A::Error> {
                let mut read = Rows::default();
                while rows.next_element_seed(OneRow(&mut read.bytes))?.is_some() {
                    read.ends.push(read.bytes.len());
                }
                Ok(read)
            }
        }
        deserializer.deserialize_seq(AllRows)
    }
}

/// One encoded row.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<u8>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = Vec::new();
        OneRow(&mut bytes).deserialize(deserializer)?;
        Ok(Row(bytes))
    }
}

/// Reads a row behind what is there.
struct OneRow<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for OneRow<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for OneRow<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let list = begin_list(self.0);
        let mut count = 0;
        while values.next_element_seed(OneValue(self.0))?.is_some() {
            count += 1;
        }
        end_list(self.0, list, count);
        Ok(())
    }
}

/// Reads a value behind what is there.
struct OneValue<'b>(&'b mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for OneValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut kind: Option<Text<'de>> = None;
        let mut value = Scalar::Missing;
        while let Some(key) = fields.next_key::<Text<'de>>()? {
            match &*key.0 {
                "type" => kind = Some(fields.next_value()?),
                "value" | "base64" => value = fields.next_value()?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("type"))?;
        match (&*kind.0, value) {
            ("null", _) => put_nil(self.0),
            ("integer", Scalar::Text(text)) => {
                put_integer(self.0, text.parse().map_err(|_| A::Error::custom("an integer beyond 64 bits"))?);
            }
            ("integer", Scalar::Integer(integer)) => put_integer(self.0, integer),
            ("float", Scalar::Number(number)) => put_float(self.0, number),
            ("float", Scalar::Integer(integer)) => put_float(self.0, integer as f64),
            // What JSON has no number for.
            ("float", Scalar::Null) => put_nil(self.0),
            ("text", Scalar::Text(text)) => put_binary(self.0, text.as_bytes()),
            ("blob", Scalar::Text(text)) => {
                let blob = BASE64.decode(text.as_bytes()).map_err(A::Error::custom)?;
                put_binary(self.0, &blob);
            }
            _ => return Err(A::Error::custom("a value of no known type")),
        }
        Ok(())
    }
}

/// A text, borrowed where JSON has it as it is.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// What stands for a value in JSON.
enum Scalar<'t> {
    Missing,
    Null,
    Text(Cow<'t, str>),
    Integer(i64),
    Number(f64),
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl<'de> Visitor<'de> for AnyScalar {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or null")
            }

            fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_i64<E>(self, integer: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Integer(integer))
            }

            fn visit_u64<E>(self, integer: u64) -> Result<Scalar<'de>, E> {
                Ok(i64::try_from(integer).map_or(Scalar::Number(integer as f64), Scalar::Integer))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number))
            }
        }
        deserializer.deserialize_any(AnyScalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use port_driver::etf::{Decoder, Token};

    fn read(json: &str) -> Result<Rows, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_become_terms() {
        let rows = read(
            r#"[[{"type":"null"},{"type":"integer","value":"-9223372036854775808"},{"value":1.5,"type":"float"},
                {"type":"float","value":2},{"type":"float","value":null}],
               [{"type":"text","value":"a\u0000\"é"},{"base64":"/wAB","type":"blob"},{"type":"blob","base64":"AA=="},{"type":"blob","base64":""},
                {"type":"text","value":"plain","new":[1]}]]"#,
        )
        .unwrap();
        let tokens: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let mut decoder = Decoder::new(row);
                assert_eq!(decoder.next(), Ok(Token::List(5)));
                let tokens = (0..5).map(|_| format!("{:?}", decoder.next().unwrap())).collect();
                decoder.list_end().unwrap();
                assert_eq!(decoder.finish(), Ok(()));
                tokens
            })
            .collect();
        let expected = [
            vec![
                format!("{:?}", Token::Atom(b"nil")),
                "Integer(-9223372036854775808)".to_owned(),
                "Float(1.5)".to_owned(),
                "Float(2.0)".to_owned(),
                format!("{:?}", Token::Atom(b"nil")),
            ],
            vec![
                format!("{:?}", Token::Binary("a\0\"é".as_bytes())),
                format!("{:?}", Token::Binary(&[255, 0, 1])),
                format!("{:?}", Token::Binary(&[0])),
                format!("{:?}", Token::Binary(&[])),
                format!("{:?}", Token::Binary(b"plain")),
            ],
        ];
        assert_eq!(tokens, expected);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn what_is_no_row_is_an_error_and_no_panic() {
        for json in [
            "{}",
            "[1]",
            "[[1]]",
            r#"[[{"value":1}]]"#,
            r#"[[{"type":"integer","value":"9223372036854775808"}]]"#,
            r#"[[{"type":"integer"}]]"#,
            r#"[[{"type":"float","value":"1"}]]"#,
            r#"[[{"type":"blob","base64":"*"}]]"#,
            r#"[[{"type":"novel","value":"1"}]]"#,
            r#"[[{"type":"null"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
        assert_eq!(read("[]").unwrap(), Rows::default());
        assert_eq!(read("[[]]").unwrap().iter().collect::<Vec<_>>(), [[106]]);
    }
}
