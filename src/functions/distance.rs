//! `levenshtein(a, b)` and `jaro_winkler(a, b)`: how far two texts are apart, and how similar they are, in code points.
//! Both take time in proportion to the product of the lengths, so the lengths are limited.

use super::code_points;
use crate::engine::function::{FunctionError, Outcome, Output};
use crate::engine::matcher::Pace;
use crate::engine::text_function::{Call, Purity, TextFunction};

/// The most code points of an argument of `levenshtein`.
pub const LEVENSHTEIN_CODE_POINTS_MAX: usize = 16_384;

/// The most code points of an argument of `jaro_winkler`, which cannot be stopped midway: some ten milliseconds.
pub const JARO_WINKLER_CODE_POINTS_MAX: usize = 4_096;

/// The functions.
pub static FUNCTIONS: [TextFunction; 2] = [
    TextFunction { name: c"levenshtein", arguments: 2, purity: Purity::Deterministic, call: levenshtein },
    TextFunction { name: c"jaro_winkler", arguments: 2, purity: Purity::Deterministic, call: jaro_winkler },
];

fn levenshtein(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let read = |bytes| read("levenshtein", bytes, LEVENSHTEIN_CODE_POINTS_MAX);
    let (left, right) = (read(arguments[0])?, read(arguments[1])?);
    Ok(Output::Integer(i64::from(edits(&left, &right, &mut call.pace)?)))
}

fn jaro_winkler(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let read = |bytes| read("jaro_winkler", bytes, JARO_WINKLER_CODE_POINTS_MAX);
    let (left, right) = (read(arguments[0])?, read(arguments[1])?);
    call.pace.spend(1 + left.len() * right.len())?;
    Ok(Output::Real(strsim::generic_jaro_winkler(&left, &right)))
}

/// The code points of a text, if they are not too many.
fn read(function: &str, bytes: &[u8], most: usize) -> Result<Vec<u32>, FunctionError> {
    let code_points: Vec<u32> = code_points::all(bytes).take(most + 1).collect();
    if code_points.len() <= most {
        Ok(code_points)
    } else {
        Err(FunctionError::TooBig(format!("{function}: a text has more than {most} code points")))
    }
}

/// The fewest insertions, deletions and substitutions that make one of the other (Wagner and Fischer's algorithm, one row at
/// a time).
fn edits(left: &[u32], right: &[u32], pace: &mut Pace<'_>) -> Result<u32, FunctionError> {
    let same = |(left, right): &(&u32, &u32)| left == right;
    let prefix = left.iter().zip(right).take_while(same).count();
    let (left, right) = (&left[prefix..], &right[prefix..]);
    let suffix = left.iter().rev().zip(right.iter().rev()).take_while(same).count();
    let (left, right) = (&left[..left.len() - suffix], &right[..right.len() - suffix]);
    pace.spend(1 + prefix + suffix)?;

    // `row[j]` is the distance between what was read of the left and the first `j` of the right.
    let mut row: Vec<u32> = (0..).take(right.len() + 1).collect();
    for (i, from) in (1..).zip(left) {
        pace.spend(right.len())?;
        let mut diagonal = std::mem::replace(&mut row[0], i);
        let mut before = i;
        for (cell, to) in row[1..].iter_mut().zip(right) {
            let substituted = diagonal + u32::from(from != to);
            diagonal = *cell;
            before = substituted.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    Ok(row[right.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_crate_strsim(left in "[abcäß]{0,30}", right in "[abcäß]{0,30}") {
            let (mut left_over, read) = (0, |text: &str| text.chars().map(u32::from).collect::<Vec<_>>());
            let mut pace = Pace::new(None, &mut left_over);
            let distance = edits(&read(&left), &read(&right), &mut pace).unwrap();
            prop_assert_eq!(distance as usize, strsim::levenshtein(&left, &right));
        }
    }
}
