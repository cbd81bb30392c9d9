//! Properties over generated input: the codec agrees with an independent one on well-formed terms, frames do
//! not depend on how they arrive, and bytes that mean nothing get a typed outcome.
//!
//! The independent codec is only shown terms that were built here: it is not made for hostile bytes.

mod support;

use bytes::BytesMut;
use erlang_term::RawTerm;
use num_bigint::{BigInt, Sign};
use port_driver::etf::decoder::DEPTH_MAX;
use port_driver::etf::{encoder, Decoder, Token};
use port_driver::frame::{begin_frame, end_frame, FrameDecoder, Incoming, FRAME_BYTES_MAX_DEFAULT};
use port_driver::request::{decode, tag, Request};
use port_driver::Value;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use support::exercise;
use support::fixture::read_all;

/// What a term means, whatever its encoding.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    Integer(BigInt),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    List(Vec<Term>),
    Tuple(Vec<Term>),
    Map(Vec<(Term, Term)>),
}

/// Which of several encodings of a term the independent encoder is to use: a stream of choices.
struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, bool>>);

impl Choices<'_> {
    fn next(&mut self) -> bool {
        *self.0.next().expect("an endless stream")
    }
}

impl Term {
    fn to_raw(&self, choices: &mut Choices<'_>) -> RawTerm {
        let many = |terms: &[Term], choices: &mut Choices<'_>| {
            terms.iter().map(|term| term.to_raw(choices)).collect::<Vec<_>>()
        };
        match self {
            Term::Integer(value) => match (u8::try_from(value), i32::try_from(value)) {
                (Ok(value), _) if choices.next() => RawTerm::SmallInt(value),
                (_, Ok(value)) if choices.next() => RawTerm::Int(value),
                _ if value.bits() <= 255 * 8 && choices.next() => RawTerm::SmallBigInt(value.clone()),
                _ => RawTerm::LargeBigInt(value.clone()),
            },
            Term::Float(value) => RawTerm::Float((*value).into()),
            Term::Atom(name) => match (choices.next(), choices.next()) {
                (true, _) if name.len() <= 255 => RawTerm::SmallAtom(name.clone()),
                (false, true) if name.is_ascii() => RawTerm::AtomDeprecated(name.clone()),
                (false, false) if name.is_ascii() => RawTerm::SmallAtomDeprecated(name.clone()),
                _ => RawTerm::Atom(name.clone()),
            },
            Term::Binary(bytes) => RawTerm::Binary(bytes.clone()),
            Term::List(terms) if terms.is_empty() => RawTerm::Nil,
            Term::List(terms) => {
                let bytes: Option<Vec<u8>> = terms
                    .iter()
                    .map(|term| match term {
                        Term::Integer(value) => u8::try_from(value).ok(),
                        _ => None,
                    })
                    .collect();
                match bytes {
                    Some(bytes) if choices.next() => RawTerm::String(bytes),
                    _ => RawTerm::List(many(terms, choices)),
                }
            }
            Term::Tuple(terms) if terms.len() <= 255 && choices.next() => {
                RawTerm::SmallTuple(many(terms, choices))
            }
            Term::Tuple(terms) => RawTerm::LargeTuple(many(terms, choices)),
            Term::Map(pairs) => RawTerm::Map(
                pairs.iter().map(|(key, value)| (key.to_raw(choices), value.to_raw(choices))).collect(),
            ),
        }
    }

    fn from_raw(raw: RawTerm) -> Term {
        let many = |terms: Vec<RawTerm>| terms.into_iter().map(Term::from_raw).collect();
        match raw {
            RawTerm::SmallInt(value) => Term::Integer(value.into()),
            RawTerm::Int(value) => Term::Integer(value.into()),
            RawTerm::SmallBigInt(value) | RawTerm::LargeBigInt(value) => Term::Integer(value),
            RawTerm::Float(value) => Term::Float(value.into_inner()),
            RawTerm::Atom(name)
            | RawTerm::SmallAtom(name)
            | RawTerm::AtomDeprecated(name)
            | RawTerm::SmallAtomDeprecated(name) => Term::Atom(name),
            RawTerm::Binary(bytes) => Term::Binary(bytes),
            RawTerm::Nil => Term::List(vec![]),
            RawTerm::String(bytes) => {
                Term::List(bytes.into_iter().map(|b| Term::Integer(b.into())).collect())
            }
            RawTerm::List(terms) => Term::List(many(terms)),
            RawTerm::SmallTuple(terms) | RawTerm::LargeTuple(terms) => Term::Tuple(many(terms)),
            RawTerm::Map(pairs) => {
                Term::Map(pairs.into_iter().map(|(k, v)| (Term::from_raw(k), Term::from_raw(v))).collect())
            }
            other => panic!("not among the accepted terms: {other:?}"),
        }
    }

    /// By this crate's decoder.
    fn read(decoder: &mut Decoder<'_>) -> Term {
        let many = |decoder: &mut Decoder<'_>, count: u32| (0..count).map(|_| Term::read(decoder)).collect();
        match decoder.next().expect("a well-formed term") {
            Token::Integer(value) => Term::Integer(value.into()),
            Token::BigInteger { negative, magnitude } => {
                let sign = if negative { Sign::Minus } else { Sign::Plus };
                Term::Integer(BigInt::from_bytes_le(sign, magnitude))
            }
            Token::Float(value) => Term::Float(value),
            Token::Atom(name) => Term::Atom(String::from_utf8(name.to_vec()).expect("no Latin-1 here")),
            Token::Binary(bytes) => Term::Binary(bytes.to_vec()),
            Token::EmptyList => Term::List(vec![]),
            Token::String(bytes) => Term::List(bytes.iter().map(|b| Term::Integer((*b).into())).collect()),
            Token::Tuple(count) => Term::Tuple(many(decoder, count)),
            Token::Map(pairs) => {
                Term::Map((0..pairs).map(|_| (Term::read(decoder), Term::read(decoder))).collect())
            }
            Token::List(count) => {
                let terms = many(decoder, count);
                decoder.list_end().expect("a proper list");
                Term::List(terms)
            }
        }
    }

    /// By this crate's encoder; `None` if the term is none that the program writes.
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Term::Integer(value) => match (i64::try_from(value), u64::try_from(value)) {
                (_, Ok(value)) => encoder::put_unsigned(out, value),
                (Ok(value), _) => encoder::put_integer(out, value),
                _ => return None,
            },
            Term::Float(value) => encoder::put_float(out, *value),
            Term::Atom(name) if name.is_ascii() => encoder::put_atom(out, name),
            Term::Atom(_) => return None,
            Term::Binary(bytes) => encoder::put_binary(out, bytes),
            Term::List(terms) => {
                let start = encoder::begin_list(out);
                terms.iter().try_for_each(|term| term.write(out))?;
                encoder::end_list(out, start, terms.len() as u32);
            }
            Term::Tuple(terms) => {
                encoder::put_tuple(out, terms.len() as u32);
                terms.iter().try_for_each(|term| term.write(out))?;
            }
            Term::Map(pairs) => {
                encoder::put_map(out, pairs.len() as u32);
                for (key, value) in pairs {
                    key.write(out)?;
                    value.write(out)?;
                }
            }
        }
        Some(())
    }
}

fn integer() -> impl Strategy<Value = BigInt> {
    let edges = prop::sample::select(vec![
        0,
        255,
        256,
        -1,
        i64::from(i32::MAX),
        i64::from(i32::MAX) + 1,
        i64::from(i32::MIN),
        i64::from(i32::MIN) - 1,
        i64::MAX,
        i64::MIN,
    ]);
    prop_oneof![
        edges.prop_map(BigInt::from),
        any::<i64>().prop_map(BigInt::from),
        any::<u64>().prop_map(BigInt::from),
        (any::<bool>(), vec(any::<u8>(), 0..300)).prop_map(|(negative, bytes)| BigInt::from_bytes_le(
            if negative { Sign::Minus } else { Sign::Plus },
            &bytes
        )),
    ]
}

fn term(
    integers: impl Strategy<Value = BigInt> + 'static,
    atoms: &'static str,
) -> impl Strategy<Value = Term> {
    let finite = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let leaf = prop_oneof![
        integers.prop_map(Term::Integer),
        finite.prop_map(Term::Float),
        atoms.prop_map(Term::Atom),
        vec(any::<u8>(), 0..80).prop_map(Term::Binary),
        // Long enough for LARGE_TUPLE_EXT.
        (200usize..400).prop_map(|count| Term::Tuple(vec![Term::List(vec![]); count])),
        vec(any::<u8>(), 0..20)
            .prop_map(|bytes| Term::List(bytes.into_iter().map(|b| Term::Integer(b.into())).collect())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Term::List),
            vec(inner.clone(), 0..8).prop_map(Term::Tuple),
            btree_map("[a-z]{1,6}", inner, 0..6).prop_map(|pairs| Term::Map(
                pairs.into_iter().map(|(key, value)| (Term::Atom(key), value)).collect()
            )),
        ]
    })
}

/// A value as a client would send it, and what it is to become.
fn value() -> impl Strategy<Value = (Term, Owned)> {
    let atom = |name: &str| Term::Atom(name.to_owned());
    prop_oneof![
        Just((atom("nil"), Owned::Null)),
        any::<bool>().prop_map(move |b| (atom(&b.to_string()), Owned::Integer(b.into()))),
        any::<i64>().prop_map(|n| (Term::Integer(n.into()), Owned::Integer(n))),
        (0i64..256).prop_map(|n| (Term::Integer(n.into()), Owned::Integer(n))),
        prop::num::f64::NORMAL.prop_map(|x| (Term::Float(x), Owned::Real(x))),
        Just((atom("neg_infinity"), Owned::Real(f64::NEG_INFINITY))),
        ".{0,40}".prop_map(|text| (Term::Binary(text.clone().into_bytes()), Owned::Text(text))),
        vec(any::<u8>(), 0..40).prop_map(move |bytes| (
            Term::Tuple(vec![atom("blob"), Term::Binary(bytes.clone())]),
            Owned::Blob(bytes)
        )),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Owned::Null,
            Value::Integer(value) => Owned::Integer(value),
            Value::Real(value) => Owned::Real(value),
            Value::Text(text) => Owned::Text(text.to_owned()),
            Value::Blob(bytes) => Owned::Blob(bytes.to_vec()),
        }
    }
}

/// A term's bytes by the independent encoder, without the version byte.
fn independent_bytes(term: &Term, choices: &[bool]) -> Vec<u8> {
    term.to_raw(&mut Choices(choices.iter().cycle())).to_bytes().split_off(1)
}

fn choices() -> impl Strategy<Value = Vec<bool>> {
    vec(any::<bool>(), 1..50)
}

/// A stream of frames with payloads of many lengths, and what it holds.
fn frames() -> impl Strategy<Value = Vec<(u32, u8, Vec<u8>)>> {
    vec((0..=i32::MAX as u32, any::<u8>(), vec(any::<u8>(), 1..200)), 1..8)
}

fn written(frames: &[(u32, u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (request_id, tag, payload) in frames {
        let start = begin_frame(&mut out, *request_id, *tag);
        out.extend_from_slice(payload);
        end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn terms_that_another_codec_wrote_are_read(term in term(integer(), "[a-zé]{0,40}"), choices in choices()) {
        let bytes = independent_bytes(&term, &choices);
        let mut decoder = Decoder::new(&bytes);
        prop_assert_eq!(Term::read(&mut decoder), term);
        prop_assert_eq!(decoder.finish(), Ok(()));
        prop_assert_eq!(Decoder::new(&bytes).skip_term(), Ok(&bytes[..]));
    }

    #[test]
    fn terms_that_are_written_here_are_read_by_another_codec(
        term in term(prop_oneof![any::<i64>().prop_map(BigInt::from), any::<u64>().prop_map(BigInt::from)], "[a-z]{1,40}")
    ) {
        let mut bytes = vec![131];
        term.write(&mut bytes).expect("a term that the program writes");
        let raw = RawTerm::from_bytes(&bytes).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(Term::from_raw(raw), term);
    }

    #[test]
    fn values_arrive_as_they_were_sent(
        values in vec(value(), 0..20), named in any::<bool>(), choices in choices(), connection in any::<u32>()
    ) {
        let (terms, expected): (Vec<Term>, Vec<Owned>) = values.into_iter().unzip();
        let params = if named {
            let name = |index| Term::Binary(format!(":p{index}").into_bytes());
            Term::Map(terms.into_iter().enumerate().map(|(index, term)| (name(index), term)).collect())
        } else {
            Term::List(terms)
        };
        let sql = Term::Binary(b"SELECT 1".to_vec());
        let request = Term::Tuple(vec![Term::Integer(connection.into()), Term::Integer(0.into()), sql, params]);
        let bytes = independent_bytes(&request, &choices);
        let Ok(Request::Execute(execute)) = decode(tag::EXECUTE, &bytes) else { panic!("an execute") };
        let found: Vec<Owned> = if named {
            let pairs: Vec<_> = execute.params.named().map(|pair| pair.expect("a value")).collect();
            for (index, (name, _)) in pairs.iter().enumerate() {
                let expected = format!(":p{index}");
                prop_assert_eq!(*name, expected.as_bytes());
            }
            pairs.into_iter().map(|(_, value)| value.into()).collect()
        } else {
            execute.params.values().map(|value| value.expect("a value").into()).collect()
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(port_driver::request::route(tag::EXECUTE, &bytes).expect("a route").connection, connection);
    }

    #[test]
    fn frames_do_not_depend_on_how_they_arrive(frames in frames(), cuts in vec(any::<prop::sample::Index>(), 0..12)) {
        let stream = written(&frames);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in cuts.windows(2) {
            buffer.extend_from_slice(&stream[piece[0]..piece[1]]);
            while let Some(incoming) = decoder.decode(&mut buffer).expect("frames") {
                let Incoming::Frame { header, payload } = incoming else { panic!("none is too large") };
                found.push((header.request_id, header.tag, payload.to_vec()));
            }
        }
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn too_large_frames_cost_their_neighbours_nothing(frames in frames(), max in 11u32..200, piece in 1usize..300) {
        let stream = written(&frames);
        let mut decoder = FrameDecoder::new(max);
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for bytes in stream.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some(incoming) = decoder.decode(&mut buffer).expect("frames") {
                found.push(match incoming {
                    Incoming::Frame { header, payload } => (header.request_id, header.tag, Ok(payload.to_vec())),
                    Incoming::Oversized { header, frame_bytes } => (header.request_id, header.tag, Err(frame_bytes)),
                });
            }
        }
        let expected: Vec<_> = frames
            .into_iter()
            .map(|(id, tag, payload)| {
                let frame_bytes = payload.len() as u32 + 10;
                (id, tag, if frame_bytes > max { Err(frame_bytes) } else { Ok(payload) })
            })
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn parts_join_to_the_reply(payload in vec(any::<u8>(), 1..3000), max in 20u32..400) {
        let mut whole = Vec::new();
        let start = begin_frame(&mut whole, 300, tag::OK);
        whole.extend_from_slice(&payload);
        end_frame(&mut whole, start, u32::MAX);
        let mut cut = Vec::new();
        let start = begin_frame(&mut cut, 300, tag::OK);
        cut.extend_from_slice(&payload);
        end_frame(&mut cut, start, max);
        if whole.len() - 4 <= max as usize {
            prop_assert_eq!(cut, whole);
            return Ok(());
        }
        let mut buffer = BytesMut::from(&cut[..]);
        let mut decoder = FrameDecoder::new(max);
        let mut body = Vec::new();
        let mut lasts = Vec::new();
        while let Some(incoming) = decoder.decode(&mut buffer).expect("frames") {
            let Incoming::Frame { header, payload } = incoming else { panic!("a part above the limit") };
            prop_assert_eq!((header.request_id, header.tag), (300, tag::PART));
            let Term::Tuple(fields) = Term::read(&mut Decoder::new(&payload)) else { panic!("a tuple") };
            let [Term::Integer(last), Term::Binary(bytes)] = &fields[..] else { panic!("{fields:?}") };
            lasts.push(u8::try_from(last).expect("a small integer"));
            body.extend_from_slice(bytes);
        }
        prop_assert_eq!(&body[..], &whole[4..]);
        prop_assert_eq!(lasts.pop(), Some(2));
        prop_assert!(lasts.iter().all(|last| *last == 0));
    }

    #[test]
    fn any_bytes_have_a_typed_outcome(bytes in vec(any::<u8>(), 0..300), request_tag in 0u8..30, max in 0u32..300) {
        exercise::payload(request_tag, &bytes);
        let _ = exercise::stream(&bytes, 7, max);
        let _ = exercise::stream(&written(&[(256, request_tag, [&[0], &bytes[..]].concat())]), 7, max);
    }

    #[test]
    fn golden_frames_spliced_together_have_a_typed_outcome(
        first in any::<prop::sample::Index>(), second in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(), join in any::<prop::sample::Index>(), request_tag in 0u8..30
    ) {
        thread_local!(static PAYLOADS: Vec<Vec<u8>> =
            read_all("golden").iter().map(|fixture| fixture.payload().to_vec()).collect());
        PAYLOADS.with(|payloads| {
            let (first, second) = (first.get(payloads), second.get(payloads));
            let spliced = [&first[..cut.index(first.len())], &second[join.index(second.len())..]].concat();
            exercise::payload(request_tag, &spliced);
        });
    }

    #[test]
    fn containers_of_any_kind_nest_to_the_limit_and_no_further(
        heads in vec(prop::sample::select(vec![&b"l\0\0\0\x01"[..], b"h\x01", b"i\0\0\0\x01", b"t\0\0\0\x01j"]), DEPTH_MAX + 1)
    ) {
        let nested = |heads: &[&[u8]]| {
            let lists = heads.iter().rev().filter(|head| head[0] == b'l').count();
            [heads.concat(), vec![b'j'; lists + 1]].concat()
        };
        prop_assert!(matches!(decode(tag::PING, &nested(&heads[1..])), Ok(Request::Ping(_))));
        prop_assert!(decode(tag::PING, &nested(&heads)).is_err());
    }
}
