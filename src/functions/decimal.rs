//! Decimal numbers: parsing, exact arithmetic, and the three forms that they take in SQL (canonical value, sort key,
//! text). Pure; `decimal_sql` calls it with what the engine gives.
//!
//! A number is `coefficient × 10^exponent`, its coefficient without trailing zeros, so equal numbers are equal structs.
//! Every number, results included, has at most [`DIGITS_MAX`] digits and lies within [`EXPONENT_MAX`]: a short text such
//! as `1e1000000000` can cost neither memory nor time.

use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;

/// The most significant digits of a decimal, operand or result.
pub const DIGITS_MAX: usize = 1_000;

/// The largest exponent of a decimal written as `d.ddd × 10^e`, in either direction.
pub const EXPONENT_MAX: i64 = 9_999;

/// The significant digits of a quotient, unless an operand has more: the precision of Elixir's default decimal context.
pub const QUOTIENT_DIGITS: usize = 28;

/// Digits that a double can carry: a REAL is read as the shortest decimal that gives it, which never has more.
const REAL_DIGITS_MAX: usize = 17;

/// Why there is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text is no number.
    #[error("not a decimal number")]
    NotANumber,
    /// More than [`DIGITS_MAX`] digits.
    #[error("a decimal has at most {DIGITS_MAX} significant digits")]
    TooManyDigits,
    /// Beyond [`EXPONENT_MAX`].
    #[error("a decimal's exponent is between -{EXPONENT_MAX} and {EXPONENT_MAX}")]
    ExponentOutOfRange,
}

/// A finite decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// ASCII digits, the first and the last of them not 0; empty for zero.
    digits: Vec<u8>,
    /// The power of ten of the last digit; 0 for zero.
    exponent: i64,
}

/// How a number is stored: see [`Decimal::stored`].
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// BLOB: the digits.
    Digits(String),
}

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { negative: false, digits: Vec::new(), exponent: 0 };

    fn new(negative: bool, digits: &[u8], exponent: i64) -> Result<Decimal, DecimalError> {
        let Some(first) = digits.iter().position(|&digit| digit != b'0') else { return Ok(Decimal::ZERO) };
        let last = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(first);
        let significant = &digits[first..=last];
        if significant.len() > DIGITS_MAX {
            return Err(DecimalError::TooManyDigits);
        }
        let exponent = exponent.saturating_add((digits.len() - 1 - last) as i64);
        let number = Decimal { negative, digits: significant.to_vec(), exponent };
        if number.adjusted().abs() > EXPONENT_MAX {
            return Err(DecimalError::ExponentOutOfRange);
        }
        Ok(number)
    }

    /// Reads `-12.50`, `.5`, `1e3`; white space around it is ignored. NaN and the infinities are no numbers.
    pub fn parse(text: &[u8]) -> Result<Decimal, DecimalError> {
        let text = text.trim_ascii();
        let (negative, text) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, text),
        };
        let (number, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match number.iter().position(|&byte| byte == b'.') {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &number[number.len()..]),
        };
        let digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(DecimalError::NotANumber);
        }
        Decimal::new(negative, &digits, exponent.saturating_sub(fraction.len() as i64))
    }

    /// A REAL, as the shortest decimal that gives this double; of two that are equally near to it, the even one. That is what
    /// OTP writes, by the same algorithm. The standard library rounds such a tie up: a number that is stored as a REAL
    /// here would be read as another one there.
    pub fn from_real(value: f64) -> Result<Decimal, DecimalError> {
        if value.is_finite() {
            Decimal::parse(ryu::Buffer::new().format_finite(value).as_bytes())
        } else {
            Err(DecimalError::NotANumber)
        }
    }

    fn from_bigint(coefficient: &BigInt, exponent: i64) -> Result<Decimal, DecimalError> {
        let (sign, magnitude) = (coefficient.sign(), coefficient.magnitude());
        Decimal::new(sign == Sign::Minus, magnitude.to_string().as_bytes(), exponent)
    }

    fn coefficient(&self) -> BigInt {
        let magnitude = BigUint::parse_bytes(&self.digits, 10).unwrap_or_default();
        BigInt::from_biguint(if self.negative { Sign::Minus } else { Sign::Plus }, magnitude)
    }

    /// The power of ten of the first digit.
    fn adjusted(&self) -> i64 {
        self.exponent.saturating_add(self.digits.len() as i64 - 1)
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    // --- forms ----------------------------------------------------------------------------------------------------

    /// The one way in which a number is stored: INTEGER where it is one of 64 bits, REAL where it is the shortest decimal
    /// of a double, else a BLOB of its digits. Equal numbers have equal stored values, which is what `=`, GROUP BY,
    /// DISTINCT and UNIQUE go by.
    pub fn stored(&self) -> Stored {
        if self.is_zero() {
            return Stored::Integer(0);
        }
        if self.exponent >= 0 && self.adjusted() < 19 {
            let plain = self.plain();
            if let Ok(integer) = plain.parse() {
                return Stored::Integer(integer);
            }
        }
        if self.digits.len() <= REAL_DIGITS_MAX {
            let real: f64 = self.scientific().parse().unwrap_or(f64::INFINITY);
            if Decimal::from_real(real).is_ok_and(|number| number == *self) {
                return Stored::Real(real);
            }
        }
        Stored::Digits(self.scientific())
    }

    /// Bytes that sort as the numbers do, and are equal where they are.
    ///
    /// A byte for the sign; the exponent; the digits in pairs, a byte each, which no prefix can follow wrongly because
    /// there are no trailing zeros. Those of a negative number are complemented, and end with 0xFF, so that the shorter of
    /// two sorts last.
    pub fn key(&self) -> Vec<u8> {
        if self.is_zero() {
            return vec![KEY_ZERO];
        }
        let mut key = Vec::with_capacity(4 + self.digits.len() / 2);
        key.push(KEY_POSITIVE);
        let exponent = (self.adjusted() + EXPONENT_MAX) as u16;
        key.extend_from_slice(&exponent.to_be_bytes());
        for pair in self.digits.chunks(2) {
            let low = pair.get(1).map_or(0, |digit| digit - b'0');
            key.push((pair[0] - b'0') * 10 + low + 1);
        }
        if self.negative {
            key.iter_mut().skip(1).for_each(|byte| *byte = !*byte);
            key[0] = KEY_NEGATIVE;
            key.push(u8::MAX);
        }
        key
    }

    /// The number of a [`key`](Self::key).
    pub fn from_key(key: &[u8]) -> Result<Decimal, DecimalError> {
        let (negative, body) = match key.split_first() {
            Some((&KEY_ZERO, [])) => return Ok(Decimal::ZERO),
            Some((&KEY_POSITIVE, body)) => (false, body.to_vec()),
            Some((&KEY_NEGATIVE, [body @ .., u8::MAX])) => (true, body.iter().map(|byte| !byte).collect()),
            _ => return Err(DecimalError::NotANumber),
        };
        let [high, low, pairs @ ..] = body.as_slice() else { return Err(DecimalError::NotANumber) };
        if pairs.is_empty() || pairs.iter().any(|pair| !(1..=100).contains(pair)) {
            return Err(DecimalError::NotANumber);
        }
        let digits: Vec<u8> =
            pairs.iter().flat_map(|pair| [b'0' + (pair - 1) / 10, b'0' + (pair - 1) % 10]).collect();
        let adjusted = i64::from(u16::from_be_bytes([*high, *low])) - EXPONENT_MAX;
        Decimal::new(negative, &digits, adjusted - (digits.len() as i64 - 1))
    }

    /// Without an exponent: `-0.00125`, `120000`.
    pub fn plain(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let digits = String::from_utf8_lossy(&self.digits);
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            return format!("{sign}{digits}{}", "0".repeat(self.exponent as usize));
        }
        let point = self.digits.len() as i64 + self.exponent;
        if point > 0 {
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{sign}{whole}.{fraction}")
        } else {
            format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
        }
    }

    /// As Elixir's `Decimal.to_string/2` with `:scientific`: with an exponent only where the plain form has more zeros.
    pub fn scientific(&self) -> String {
        let adjusted = self.adjusted();
        if self.exponent == 0 || (self.exponent < 0 && adjusted >= -6) || self.is_zero() {
            return self.plain();
        }
        let digits = String::from_utf8_lossy(&self.digits);
        let (first, rest) = digits.split_at(1);
        let sign = if self.negative { "-" } else { "" };
        let point = if rest.is_empty() { "" } else { "." };
        let plus = if self.exponent >= 0 { "+" } else { "" };
        format!("{sign}{first}{point}{rest}E{plus}{adjusted}")
    }

    // --- arithmetic -----------------------------------------------------------------------------------------------

    /// The exact sum.
    pub fn add(&self, other: &Decimal) -> Result<Decimal, DecimalError> {
        if self.is_zero() || other.is_zero() {
            return Ok(if self.is_zero() { other.clone() } else { self.clone() });
        }
        let exponent = self.exponent.min(other.exponent);
        // Before numbers far apart are written out. A sum may be one digit longer, and lose digits at its front.
        if self.adjusted().max(other.adjusted()) - exponent > 2 * DIGITS_MAX as i64 {
            return Err(DecimalError::TooManyDigits);
        }
        Decimal::from_bigint(&(self.aligned(exponent) + other.aligned(exponent)), exponent)
    }

    /// The coefficient at a smaller or equal exponent.
    fn aligned(&self, exponent: i64) -> BigInt {
        self.coefficient() * power_of_ten(self.exponent - exponent)
    }

    /// The exact product.
    pub fn multiply(&self, other: &Decimal) -> Result<Decimal, DecimalError> {
        Decimal::from_bigint(&(self.coefficient() * other.coefficient()), self.exponent + other.exponent)
    }

    /// The quotient, `None` if the divisor is zero. It is rounded half up to [`QUOTIENT_DIGITS`] significant digits, or
    /// to those of the longer operand if that has more.
    pub fn divide(&self, other: &Decimal) -> Option<Result<Decimal, DecimalError>> {
        if other.is_zero() {
            return None;
        }
        if self.is_zero() {
            return Some(Ok(Decimal::ZERO));
        }
        let precision = QUOTIENT_DIGITS.max(self.digits.len()).max(other.digits.len());
        // With as many zeros the quotient has one digit more than wanted, or two.
        let zeros = (precision + 1 + other.digits.len() - self.digits.len()) as i64;
        let quotient = self.coefficient() * power_of_ten(zeros) / other.coefficient();
        let exponent = self.exponent - other.exponent - zeros;
        let length = quotient.magnitude().to_string().len();
        Some(Decimal::from_bigint(
            &half_up(&quotient, (length - precision) as i64),
            exponent + (length - precision) as i64,
        ))
    }

    /// Rounded half up (away from zero) to so many digits behind the point; before it if `places` is negative.
    pub fn round(&self, places: i64) -> Result<Decimal, DecimalError> {
        let drop = places.saturating_neg().saturating_sub(self.exponent);
        if drop <= 0 {
            return Ok(self.clone());
        }
        if drop > self.digits.len() as i64 {
            return Ok(Decimal::ZERO);
        }
        Decimal::from_bigint(&half_up(&self.coefficient(), drop), self.exponent + drop)
    }

    /// Without its sign.
    pub fn absolute(&self) -> Decimal {
        Decimal { negative: false, ..self.clone() }
    }

    /// With the other sign. Zero has none.
    pub fn negate(&self) -> Decimal {
        Decimal { negative: !self.negative && !self.is_zero(), ..self.clone() }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        // 19 digits are within both limits.
        Decimal::parse(value.to_string().as_bytes()).unwrap_or(Decimal::ZERO)
    }
}

const KEY_NEGATIVE: u8 = 0x01;
const KEY_ZERO: u8 = 0x02;
const KEY_POSITIVE: u8 = 0x03;

/// Digits only, with a sign; so large a one that it does not fit becomes the largest.
fn parse_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::NotANumber);
    }
    let magnitude = digits
        .iter()
        .fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Ok(if negative { -magnitude } else { magnitude })
}

fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(0))
}

/// `value / 10^digits`, rounded half up.
fn half_up(value: &BigInt, digits: i64) -> BigInt {
    let unit = power_of_ten(digits);
    let half = BigUint::from(5_u8) * unit.magnitude() / BigUint::from(10_u8);
    let rounded = (value.magnitude() + half) / unit.magnitude();
    BigInt::from_biguint(value.sign(), rounded)
}

/// A running sum, from which rows may leave again.
#[derive(Debug, Default)]
pub struct Sum {
    coefficient: BigInt,
    exponent: i64,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: &Decimal) -> Result<(), DecimalError> {
        if number.is_zero() {
            return Ok(());
        }
        if self.coefficient.sign() == Sign::NoSign {
            self.coefficient = number.coefficient();
            self.exponent = number.exponent;
            return Ok(());
        }
        let exponent = self.exponent.min(number.exponent);
        // A bit is less than a third of a digit.
        let top = (self.exponent + self.coefficient.bits() as i64 / 3).max(number.adjusted());
        if top - exponent > 3 * DIGITS_MAX as i64 {
            return Err(DecimalError::TooManyDigits);
        }
        if exponent < self.exponent {
            self.coefficient *= power_of_ten(self.exponent - exponent);
            self.exponent = exponent;
        }
        self.coefficient += number.aligned(exponent);
        Ok(())
    }

    /// The sum as a number.
    pub fn value(&self) -> Result<Decimal, DecimalError> {
        Decimal::from_bigint(&self.coefficient, self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn of_two_shortest_decimals_the_even_one_is_the_doubles() {
        for (double, even, odd) in [
            (6e14 + 0.25, "600000000000000.2", "600000000000000.3"),
            (-6e14 - 0.75, "-600000000000000.8", "-600000000000000.7"),
        ] {
            assert_eq!(Decimal::from_real(double), Decimal::parse(even.as_bytes()));
            assert_eq!(decimal(even).stored(), Stored::Real(double));
            assert_ne!(decimal(odd).stored(), Stored::Real(double));
        }
    }

    #[test]
    fn texts_are_read_or_refused() {
        for (text, plain) in [
            ("1", "1"),
            ("-1.10", "-1.1"),
            ("+.5", "0.5"),
            ("5.", "5"),
            (" 1e3 ", "1000"),
            ("12.5E-4", "0.00125"),
            ("-0.000", "0"),
            ("0e999999999999999999999", "0"),
            ("000123456789012345678901234567890.1000", "123456789012345678901234567890.1"),
        ] {
            assert_eq!(decimal(text).plain(), plain, "{text}");
        }
        for text in ["", ".", "-", "1e", "1e+", "1.2.3", "0x10", "NaN", "Infinity", "1 2", "1_000", "١"] {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::NotANumber), "{text}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        for text in ["1e1000000000", "1e-1000000000", "1e99999999999999999999", "1e10000", "1e-10000"] {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(DecimalError::ExponentOutOfRange), "{text}");
        }
        let longest = "9".repeat(DIGITS_MAX);
        assert_eq!(decimal(&longest).plain(), longest);
        let longer = format!("1{longest}");
        assert_eq!(Decimal::parse(longer.as_bytes()), Err(DecimalError::TooManyDigits));
        assert_eq!(decimal(&longest).multiply(&decimal(&longest)), Err(DecimalError::TooManyDigits));
        assert_eq!(decimal("1e9999").add(&decimal("1e-9999")), Err(DecimalError::TooManyDigits));
        assert_eq!(decimal("1e9999").multiply(&decimal("10")), Err(DecimalError::ExponentOutOfRange));
        assert_eq!(decimal("1e9999").divide(&decimal("0.1")), Some(Err(DecimalError::ExponentOutOfRange)));
        let mut sum = Sum::default();
        sum.add(&decimal("1e9999")).expect("the first");
        assert_eq!(sum.add(&decimal("1e-9999")), Err(DecimalError::TooManyDigits));
    }

    #[test]
    fn a_sum_is_exact_in_whatever_order_its_numbers_come() {
        let mut numbers = ["1", "0.25", "-3e2", "0", "0.001", "7e40"].map(decimal);
        for _ in 0..2 {
            let mut sum = Sum::default();
            numbers.iter().for_each(|number| sum.add(number).expect("a sum"));
            assert_eq!(sum.value(), Ok(decimal("69999999999999999999999999999999999999701.251")));
            numbers.reverse();
        }
    }

    #[test]
    fn each_number_has_one_stored_form() {
        for (text, stored) in [
            ("-0", Stored::Integer(0)),
            ("1.0", Stored::Integer(1)),
            ("1e18", Stored::Integer(1_000_000_000_000_000_000)),
            ("-9223372036854775808", Stored::Integer(i64::MIN)),
            ("9223372036854775808", Stored::Digits("9223372036854775808".to_owned())),
            ("0.10", Stored::Real(0.1)),
            ("1e19", Stored::Real(1e19)),
            ("5e-324", Stored::Real(5e-324)),
            ("1e-324", Stored::Digits("1E-324".to_owned())),
            ("1e400", Stored::Digits("1E+400".to_owned())),
            ("-12345678901234567890.123", Stored::Digits("-12345678901234567890.123".to_owned())),
        ] {
            assert_eq!(decimal(text).stored(), stored, "{text}");
        }
    }

    #[test]
    fn quotients_round_half_up_to_28_digits_or_the_longer_operand() {
        let quotient =
            |a: &str, b: &str| decimal(a).divide(&decimal(b)).map(|q| q.expect("a quotient").plain());
        assert_eq!(quotient("3.00", "2"), Some("1.5".to_owned()));
        assert_eq!(quotient("1", "3"), Some(format!("0.{}", "3".repeat(28))));
        assert_eq!(quotient("-2", "3"), Some(format!("-0.{}7", "6".repeat(27))));
        assert_eq!(quotient("1", "0"), None);
        let long = "1".repeat(40);
        assert_eq!(quotient(&long, "1"), Some(long.clone()));
        // Zeros at the end are no digits: 28 remain of this product of 29 with 6.
        assert_eq!(
            quotient("60000000000000000000000000030", "6"),
            Some("10000000000000000000000000010".to_owned())
        );
    }

    #[test]
    fn rounding_is_half_up_at_any_place() {
        for (text, places, rounded) in [
            ("2.345", 2, "2.35"),
            ("-2.345", 2, "-2.35"),
            ("2.344", 2, "2.34"),
            ("999.5", 0, "1000"),
            ("1250", -2, "1300"),
            ("50", -2, "100"),
            ("49", -2, "0"),
            ("49", i64::MIN, "0"),
            ("1.5", i64::MAX, "1.5"),
        ] {
            assert_eq!(decimal(text).round(places).expect(text).plain(), rounded, "{text} {places}");
        }
    }

    fn any_decimal() -> impl Strategy<Value = Decimal> {
        ("-?[0-9]{1,40}", -60_i64..60).prop_map(|(digits, exponent)| decimal(&format!("{digits}e{exponent}")))
    }

    proptest! {
        #[test]
        fn forms_give_the_number_back(number in any_decimal()) {
            prop_assert_eq!(&decimal(&number.plain()), &number);
            prop_assert_eq!(&decimal(&number.scientific()), &number);
            prop_assert_eq!(&Decimal::from_key(&number.key()).expect("a key"), &number);
            let stored = match number.stored() {
                Stored::Integer(integer) => Decimal::from(integer),
                Stored::Real(real) => Decimal::from_real(real).expect("a real"),
                Stored::Digits(digits) => decimal(&digits),
            };
            prop_assert_eq!(stored, number);
        }

        #[test]
        fn keys_sort_as_differences_say(a in any_decimal(), b in any_decimal()) {
            let difference = a.add(&b.negate()).expect("a difference");
            let order = match (difference.is_zero(), difference.negative) {
                (true, _) => Ordering::Equal,
                (_, true) => Ordering::Less,
                _ => Ordering::Greater,
            };
            prop_assert_eq!(a.key().cmp(&b.key()), order);
        }

        #[test]
        fn a_product_divided_gives_its_factor(a in any_decimal(), b in any_decimal()) {
            let product = a.multiply(&b).expect("a product");
            if let Some(quotient) = product.divide(&b) {
                // Trailing zeros of the product do not count as its digits, so it can be shorter than its factor.
                let precision = QUOTIENT_DIGITS.max(product.digits.len()).max(b.digits.len());
                let places = precision as i64 - a.digits.len() as i64 - a.exponent;
                prop_assert_eq!(quotient.expect("a quotient"), a.round(places).expect("a rounded number"));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Decimal::parse(&text), Decimal::from_key(&text));
        }

        #[test]
        fn doubles_are_stored_as_themselves(bits in any::<u64>()) {
            let real = f64::from_bits(bits);
            if real.is_finite() {
                match Decimal::from_real(real).expect("a finite number").stored() {
                    Stored::Real(stored) => prop_assert_eq!(stored.to_bits(), bits),
                    Stored::Integer(stored) => prop_assert_eq!(stored as f64, real),
                    Stored::Digits(digits) => prop_assert!(false, "{} as digits", digits),
                }
            }
        }
    }
}
