//! Numbers from their text: JSON's grammar, no allocation, exact.

/// A whole number in JSON's grammar; `None` for anything else and beyond `i64`.
#[inline]
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    match text {
        // Two leading digits must not begin with zero.
        [b'0', _, ..] | [b'-', b'0', _, ..] => None,
        [b'-', digits @ ..] => 0i64.checked_sub_unsigned(digits_only(digits)?),
        digits => i64::try_from(digits_only(digits)?).ok(),
    }
}

/// A whole number as Java's `Long.parseLong` takes it: a sign of either kind, leading zeros.
pub(crate) fn integer_of_text(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let zeros = digits.iter().take_while(|d| **d == b'0').count().min(digits.len().saturating_sub(1));
    let number = digits_only(&digits[zeros..])?;
    if negative { 0i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

/// One to nineteen digits.
#[inline]
fn digits_only(mut digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut number = 0u64;
    while let Some((eight, rest)) = digits.split_first_chunk::<8>() {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight_digits(*eight)?);
        digits = rest;
    }
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen nines fit in 64 bits.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(number)
}

/// Eight digits at once: pairs, then fours, then all.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(text);
    let low = word.wrapping_sub(0x3030_3030_3030_3030);
    let high = word.wrapping_add(0x4646_4646_4646_4646);
    if (low | high) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = low.wrapping_mul(10).wrapping_add(low >> 8);
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100).wrapping_add((pairs >> 16) & 0x00ff_00ff_00ff_00ff);
    let fours = fours & 0x0000_ffff_0000_ffff;
    Some((fours & 0xffff).wrapping_mul(10_000).wrapping_add(fours >> 32))
}

/// A number taken apart.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i32,
}

/// Takes a number in JSON's grammar apart. `loose` also takes what Java's parsers take from text: `+1`, `.5`, `1.`, `007`.
#[inline]
fn parts(text: &[u8], loose: bool) -> Option<Parts<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if loose => (false, rest),
        rest => (false, rest),
    };
    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => {
            let (fraction, rest) = split_digits(rest);
            if fraction.is_empty() && (!loose || whole.is_empty()) {
                return None;
            }
            (fraction, rest)
        }
        rest => (&[][..], rest),
    };
    if whole.is_empty() && (!loose || fraction.is_empty()) || !loose && whole.len() > 1 && whole[0] == b'0' {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', rest @ ..] => {
            let (minus, rest) = match rest {
                [b'-', rest @ ..] => (true, rest),
                [b'+', rest @ ..] => (false, rest),
                rest => (false, rest),
            };
            let (digits, []) = split_digits(rest) else { return None };
            if digits.is_empty() {
                return None;
            }
            // Far beyond any type; keeps the sums below in range.
            let size = digits.iter().fold(0i32, |n, d| (n * 10 + i32::from(d - b'0')).min(1_000_000));
            if minus { -size } else { size }
        }
        _ => return None,
    };
    Some(Parts { negative, whole, fraction, exponent })
}

#[inline]
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count())
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// A number in JSON's grammar as the nearest double.
#[inline]
pub(crate) fn double(text: &[u8], loose: bool) -> Option<f64> {
    let parts = parts(text, loose)?;
    // A mantissa below 2^53 and a power of ten up to 22 are exact, and so is one division or multiplication of them.
    let digits = parts.whole.len() + parts.fraction.len();
    let power = parts.exponent - parts.fraction.len() as i32;
    if digits <= 15 && (-22..=22).contains(&power) {
        let mantissa = parts.whole.iter().chain(parts.fraction).fold(0u64, |n, d| n * 10 + u64::from(d - b'0')) as f64;
        let size = match power {
            0.. => mantissa * POWERS[power as usize],
            _ => mantissa / POWERS[power.unsigned_abs() as usize],
        };
        return Some(if parts.negative { -size } else { size });
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number in JSON's grammar as the nearest single.
pub(crate) fn single(text: &[u8], loose: bool) -> Option<f32> {
    parts(text, loose)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number as `DECIMAL(precision, scale)`, in units of 10^-scale, rounded half up; `None` when it has more digits
/// before the point than fit.
pub(crate) fn decimal(text: &[u8], loose: bool, precision: u8, scale: i8) -> Option<i128> {
    let parts = parts(text, loose)?;
    let mut digits = parts.whole.iter().chain(parts.fraction).map(|d| d - b'0');
    // How many of the digits stand before the unit of the result.
    let mut kept = parts.whole.len() as i64 + i64::from(parts.exponent) + i64::from(scale);
    let zeros = parts.whole.iter().chain(parts.fraction).take_while(|d| **d == b'0').count();
    if zeros == parts.whole.len() + parts.fraction.len() || kept < zeros as i64 {
        return Some(0);
    }
    if zeros > 0 {
        digits.nth(zeros - 1);
        kept -= zeros as i64;
    }
    if kept > i64::from(precision) {
        return None;
    }
    let mut number = 0i128;
    for _ in 0..kept {
        number = number * 10 + i128::from(digits.next().unwrap_or(0));
    }
    number += i128::from(digits.next().unwrap_or(0) >= 5);
    // Rounding may have added a digit.
    if number >= 10i128.pow(u32::from(precision)) {
        return None;
    }
    Some(if parts.negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_follow_the_grammar_and_the_range() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1700000040123", Some(1_700_000_040_123)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("007", None),
            ("-", None),
            ("", None),
            ("1a", None),
            ("1234567:", None),
            ("1234567/", None),
            ("+1", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
        }
        assert_eq!(integer_of_text(b"+007"), Some(7));
        assert_eq!(integer_of_text(b"00000000000000000000000"), Some(0));
    }

    #[test]
    fn decimals_round_half_up_and_refuse_what_does_not_fit() {
        for (text, value) in [
            ("1.005", Some(101)),
            ("1.004999999999999999999999999999999999999999", Some(100)),
            ("-1.005", Some(-101)),
            ("999.99", Some(99_999)),
            ("999.995", None),
            ("1000", None),
            ("1e2", Some(10_000)),
            ("0.00001e4", Some(10)),
            ("0e999999999999", Some(0)),
            ("5e-3", Some(1)),
            ("4e-3", Some(0)),
            ("1e-999", Some(0)),
            ("1e400", None),
            ("1.", None),
        ] {
            assert_eq!(decimal(text.as_bytes(), false, 5, 2), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_integer_is_read_back(value: i64) {
            prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(integer_of_text(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn any_double_is_read_back(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            for text in [value.to_string(), format!("{value:e}")] {
                prop_assert_eq!(double(text.as_bytes(), false).map(f64::to_bits), Some(value.to_bits()), "{}", text);
            }
        }

        #[test]
        fn short_decimals_equal_the_standard_parser(whole in 0u64..1_000_000_000, cents in 0u32..1000) {
            let text = format!("{whole}.{cents:03}");
            prop_assert_eq!(double(text.as_bytes(), false), text.parse().ok());
        }

        #[test]
        fn any_bytes_are_a_number_or_none(text: Vec<u8>) {
            _ = (integer(&text), integer_of_text(&text), double(&text, true), single(&text, true), decimal(&text, true, 38, 10));
        }
    }
}
