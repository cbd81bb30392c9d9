//! What a policy simply allows, remembered between compilations: most of what statements do is what others before them did.
//!
//! A question is a number of words that hold all of its names, so that to find it takes neither an allocation nor a loop. What has
//! longer names, or stands in a view or a trigger, is not remembered.

use crate::engine::action::Ask;

/// So many questions are remembered at most, for each connection that has a policy.
const QUESTIONS: usize = 128;

/// What was allowed.
#[derive(Default)]
pub(super) struct Memo(Option<Box<[Question; QUESTIONS]>>);

/// Action and names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// Action and lengths; 0 for none.
    head: u64,
    first: [u64; 4],
    second: [u64; 4],
    database: [u64; 2],
}

const NO_QUESTION: Question = Question { head: 0, first: [0; 4], second: [0; 4], database: [0; 2] };

impl Question {
    /// `None`: it is not remembered.
    #[inline]
    pub fn of(ask: &Ask<'_>) -> Option<Self> {
        if ask.through.is_some() {
            return None;
        }
        let [first, second] = ask.names;
        // "" is not the same as no name.
        let length = |name: Option<&[u8]>| name.map_or(0, |name| name.len() as u64 + 1);
        let head =
            (ask.action as u64 + 1) << 24 | length(first) << 16 | length(second) << 8 | length(ask.database);
        let database = match words(ask.database)? {
            [start, end, 0, 0] => [start, end],
            _ => return None,
        };
        Some(Question { head, first: words(first)?, second: words(second)?, database })
    }

    #[inline]
    fn place(&self) -> usize {
        /// That of rustc-hash.
        const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;
        let names = |words: &[u64; 4]| words[0] ^ words[1].rotate_left(29);
        let sum = names(&self.first).wrapping_mul(FACTOR) ^ names(&self.second) ^ self.head.rotate_left(32);
        (sum.wrapping_mul(FACTOR) >> (u64::BITS - QUESTIONS.ilog2())) as usize
    }
}

/// A name of up to 32 bytes. Two of the same length have the same words only if they are the same.
#[inline]
fn words(name: Option<&[u8]>) -> Option<[u64; 4]> {
    let Some(name) = name else { return Some([0; 4]) };
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    match name.len() {
        0 => Some([0; 4]),
        1..=3 => {
            let bytes = [name[0], name[name.len() / 2], name[name.len() - 1]];
            Some([u64::from(bytes[0]) | u64::from(bytes[1]) << 8 | u64::from(bytes[2]) << 16, 0, 0, 0])
        }
        4..=7 => {
            let half = |bytes: Option<&[u8; 4]>| Some(u64::from(u32::from_le_bytes(*bytes?)));
            Some([half(name.first_chunk())? | half(name.last_chunk())? << 32, 0, 0, 0])
        }
        8..=16 => Some([word(name.first_chunk()?), word(name.last_chunk()?), 0, 0]),
        17..=32 => {
            let middle = &name[8..name.len() - 8];
            // Of 17 to 24 bytes at the ends and between them, of which each has its place.
            let [start, end] = match middle.len() {
                8.. => [word(middle.first_chunk()?), word(middle.last_chunk()?)],
                length => {
                    let mut bytes = [0; 8];
                    bytes[..length].copy_from_slice(middle);
                    [word(&bytes), 0]
                }
            };
            Some([word(name.first_chunk()?), word(name.last_chunk()?), start, end])
        }
        _ => None,
    }
}

impl Memo {
    /// Whether it was allowed.
    #[inline]
    pub fn knows(&self, question: &Question) -> bool {
        self.0.as_ref().is_some_and(|known| known[question.place()] == *question)
    }

    /// It was allowed. Another one may be forgotten for it.
    pub fn insert(&mut self, question: Question) {
        let known = self.0.get_or_insert_with(|| Box::new([NO_QUESTION; QUESTIONS]));
        known[question.place()] = question;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::action::Action;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Option<Vec<u8>>> {
        // Of few letters, so that names are often almost the same.
        prop::option::of(prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..36))
    }

    fn asks() -> impl Strategy<Value = (Action, [Option<Vec<u8>>; 3])> {
        let action = prop::sample::select(vec![Action::Select, Action::Read, Action::Insert]);
        (action, [name(), name(), name()])
    }

    fn ask((action, names): &(Action, [Option<Vec<u8>>; 3])) -> Ask<'_> {
        let [first, second, database] = names;
        let names = [first.as_deref(), second.as_deref()];
        Ask { action: *action, names, database: database.as_deref(), through: None }
    }

    proptest! {
        #[test]
        fn questions_are_the_same_if_all_their_names_are(one in asks(), other in asks(), at in any::<prop::sample::Index>()) {
            let (first, second) = (Question::of(&ask(&one)), Question::of(&ask(&other)));
            prop_assert!(first == Question::of(&ask(&one.clone())));
            if let (Some(first), Some(second)) = (first, second) {
                prop_assert_eq!(first == second, one == other);
            }
            // A single byte makes another one.
            for place in 0..3 {
                let mut near = one.clone();
                let Some(name) = near.1[place].as_mut().filter(|name| !name.is_empty()) else { continue };
                let at = at.index(name.len());
                name[at] = b'c';
                if let Some(first) = first {
                    prop_assert!(Question::of(&ask(&near)) != Some(first), "{one:?} {near:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_allowed_is_not_known() {
        let mut memo = Memo::default();
        let of = |number: u32| format!("column_{number}").into_bytes();
        let question = |name: &[u8]| {
            let names = [Some(&b"t"[..]), Some(name)];
            Question::of(&Ask { action: Action::Read, names, database: Some(b"main"), through: None })
                .unwrap()
        };
        for number in 0..1000 {
            assert!(!memo.knows(&question(&of(number))));
            memo.insert(question(&of(number)));
            assert!(memo.knows(&question(&of(number))));
        }
        let places: std::collections::BTreeSet<_> =
            (0..1000).map(|number| question(&of(number)).place()).collect();
        assert!(places.len() > QUESTIONS / 2, "names that are alike are spread: {}", places.len());
        let names = [Some(&b"t"[..]), None];
        let through = Ask { action: Action::Read, names, database: None, through: Some(b"v") };
        assert!(Question::of(&through).is_none());
    }
}
