//! What one column holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BinaryBuilder, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray, StringViewBuilder,
    StructArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{CastOptions, cast_with_options, nullif, take};
use arrow::datatypes::{DataType, Fields};

use super::options::{FieldKind, FieldOptions};
use super::{FIELDS, NAME};
use crate::connector::chance::{draw, mix};
use crate::connector::options as read;
use crate::error::{Error, Result};

/// Length of random text and bytes, as in Flink.
const LENGTH: usize = 100;

/// A column and how to make it.
#[derive(Debug)]
pub struct Field {
    data_type: DataType,
    /// Seed of its draws.
    stream: u64,
    null_rate: f64,
    values: Values,
}

/// How the values of a column come about.
#[derive(Debug)]
enum Values {
    /// start, start + 1, …
    Sequence { start: i64, end: Option<i64> },
    /// Whole numbers (of the last digit, for DECIMAL).
    Whole(Range),
    /// Numbers.
    Real { min: f64, max: f64 },
    /// Text around a number.
    Pattern { before: String, digits: usize, after: String, number: Box<Values> },
    /// One of these, where the running sum of weights passes the draw.
    Choice { values: ArrayRef, weights: Vec<u64> },
    /// When the row happens, or up to so much earlier.
    Time { max_past_micros: i64 },
    /// Hexadecimal digits.
    Text { length: usize, var_len: bool },
    /// True or false.
    Bool,
    /// A ROW.
    Row { names: Fields, fields: Vec<Field> },
}

/// Whole numbers from `min`, `count` of them, small ones preferred by `skew`.
#[derive(Debug, Clone, Copy)]
struct Range {
    min: i64,
    /// `None` = all 2^64.
    count: Option<u64>,
    skew: f64,
}

impl Field {
    /// The field at `path` (`a`, or `a.b` in a ROW); takes its options out of `options`.
    pub fn new(path: &str, data_type: &DataType, seed: u64, options: &mut BTreeMap<String, BTreeMap<String, String>>) -> Result<Self> {
        let fault = |error: Error| Error::input(error.message().replace("option '", &format!("option '{FIELDS}{path}.")));
        let of_field: FieldOptions = read::parse(NAME, &options.remove(path).unwrap_or_default()).map_err(fault)?;
        let stream = path.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let refused = |text: String| Error::input(format!("connector '{NAME}': column '{path}' ({data_type}): {text}"));
        let values = if let DataType::Struct(names) = data_type {
            let below =
                |field: &Arc<arrow::datatypes::Field>| Field::new(&format!("{path}.{}", field.name()), field.data_type(), seed, options);
            Values::Row { names: names.clone(), fields: names.iter().map(below).collect::<Result<_>>()? }
        } else {
            values(data_type, &of_field).map_err(refused)?
        };
        if !(0.0..=1.0).contains(&of_field.null_rate) {
            return Err(refused(format!("'null-rate' is {}, expected 0 to 1", of_field.null_rate)));
        }
        Ok(Field { data_type: data_type.clone(), stream, null_rate: of_field.null_rate, values })
    }

    /// How many rows there are values for; `None` = without end.
    pub fn rows(&self) -> Option<u64> {
        match &self.values {
            Values::Row { fields, .. } => fields.iter().filter_map(Field::rows).min(),
            other => other.rows(),
        }
    }

    /// The values of the rows with these numbers and times.
    pub fn make(&self, numbers: &[u64], times: &[i64]) -> Result<ArrayRef> {
        let made = self.values.make(self.stream, &self.data_type, numbers, times)?;
        let made = if *made.data_type() == self.data_type {
            made
        } else {
            cast_with_options(&made, &self.data_type, &CastOptions { safe: false, ..CastOptions::default() })?
        };
        if self.null_rate == 0.0 {
            return Ok(made);
        }
        let stream = mix(self.stream);
        let nulls: BooleanArray = numbers.iter().map(|n| Some(unit(draw(stream, *n)) < self.null_rate)).collect();
        Ok(nullif(&made, &nulls)?)
    }
}

/// How a plain column is made.
fn values(data_type: &DataType, options: &FieldOptions) -> Result<Values, String> {
    if let (Some(min), Some(max)) = (options.min, options.max)
        && min > max
    {
        return Err(format!("'min' is above 'max': {min} > {max}"));
    }
    if let Some(text) = &options.values {
        return choice(text, data_type);
    }
    let is_text = *data_type == DataType::Utf8View;
    if let Some(pattern) = &options.pattern {
        let (before, rest) = pattern.split_once('#').ok_or_else(|| format!("'pattern'='{pattern}' has no '#' for the number"))?;
        if !is_text {
            return Err("'pattern' is for STRING columns".to_owned());
        }
        let after = rest.trim_start_matches('#');
        let digits = rest.len() - after.len() + 1;
        let most = 10_f64.powi(digits.min(18) as i32) - 1.0;
        let with_range = FieldOptions { min: options.min.or(Some(0.0)), max: options.max.or(Some(most)), ..FieldOptions::default() };
        let number = match options.kind {
            Some(FieldKind::Sequence) => sequence(options),
            Some(FieldKind::Time) => return Err("a 'pattern' is around a 'random' or 'sequence' number".to_owned()),
            _ => Values::Whole(Range { skew: options.skew, ..whole(&with_range, i64::MIN, i64::MAX) }),
        };
        return Ok(Values::Pattern { before: before.to_owned(), digits, after: after.to_owned(), number: Box::new(number) });
    }
    let time = Values::Time { max_past_micros: options.max_past_micros.unwrap_or(0) };
    match (options.kind, data_type) {
        (Some(FieldKind::Sequence), t) if t.is_integer() || t.is_floating() || is_text || matches!(t, DataType::Decimal128(..)) => {
            Ok(sequence(options))
        }
        (Some(FieldKind::Sequence), _) => Err("a 'sequence' is for numbers and STRING".to_owned()),
        (Some(FieldKind::Time) | None, DataType::Timestamp(..)) | (Some(FieldKind::Time), DataType::Int64) => Ok(time),
        (Some(FieldKind::Time), _) => Err("'kind'='time' is for timestamps and BIGINT".to_owned()),
        (_, DataType::Timestamp(..) | DataType::Date32) => Ok(time),
        (_, DataType::Boolean) => Ok(Values::Bool),
        (_, DataType::Int8) => Ok(Values::Whole(whole(options, i64::from(i8::MIN), i64::from(i8::MAX)))),
        (_, DataType::Int16) => Ok(Values::Whole(whole(options, i64::from(i16::MIN), i64::from(i16::MAX)))),
        (_, DataType::Int32) => Ok(Values::Whole(whole(options, i64::from(i32::MIN), i64::from(i32::MAX)))),
        (_, DataType::Int64) => Ok(Values::Whole(whole(options, i64::MIN, i64::MAX))),
        (_, DataType::Float32) => Ok(Values::Real { min: options.min.unwrap_or(0.0), max: options.max.unwrap_or(f64::from(f32::MAX)) }),
        (_, DataType::Float64) => Ok(Values::Real { min: options.min.unwrap_or(0.0), max: options.max.unwrap_or(f64::MAX) }),
        (_, DataType::Decimal128(precision, scale)) => {
            let unit = 10_f64.powi(i32::from(*scale));
            let most = 10_f64.powi(i32::from(*precision).min(18)) - 1.0;
            let scaled = FieldOptions {
                min: Some(options.min.map_or(0.0, |min| (min * unit).round())),
                max: Some(options.max.map_or(most, |max| (max * unit).round())),
                skew: options.skew,
                ..FieldOptions::default()
            };
            Ok(Values::Whole(whole(&scaled, i64::MIN, i64::MAX)))
        }
        (_, DataType::Utf8View | DataType::Binary) => {
            Ok(Values::Text { length: options.length.unwrap_or(LENGTH), var_len: options.var_len })
        }
        _ => Err("no values of this type can be made".to_owned()),
    }
}

fn sequence(options: &FieldOptions) -> Values {
    Values::Sequence { start: options.start.unwrap_or(0), end: options.end }
}

fn whole(options: &FieldOptions, least: i64, most: i64) -> Range {
    // `as` saturates.
    let min = options.min.map_or(least, |min| (min.ceil() as i64).max(least));
    let max = options.max.map_or(most, |max| (max.floor() as i64).min(most));
    Range { min, count: (max.wrapping_sub(min) as u64).checked_add(1), skew: options.skew }
}

/// `created*5|shipped*3|cancelled`.
fn choice(text: &str, data_type: &DataType) -> Result<Values, String> {
    let mut weights = Vec::new();
    let mut sum = 0;
    let mut names = Vec::new();
    for choice in text.split('|') {
        let weighted = choice.rsplit_once('*').and_then(|(name, weight)| Some((name, weight.trim().parse::<u64>().ok()?)));
        let (name, weight) = weighted.unwrap_or((choice, 1));
        sum += weight;
        weights.push(sum);
        names.push(name);
    }
    if sum == 0 {
        return Err(format!("'values'='{text}': all weights are zero"));
    }
    let names = StringViewArray::from(names);
    let values = cast_with_options(&names, data_type, &CastOptions { safe: false, ..CastOptions::default() })
        .map_err(|error| format!("'values'='{text}': {error}"))?;
    Ok(Values::Choice { values, weights })
}

impl Values {
    fn rows(&self) -> Option<u64> {
        match self {
            Values::Sequence { start, end: Some(end) } => {
                Some((i128::from(*end) - i128::from(*start) + 1).clamp(0, u64::MAX.into()) as u64)
            }
            Values::Pattern { number, .. } => number.rows(),
            _ => None,
        }
    }

    /// Whole numbers, of the kinds that are.
    fn whole(&self, stream: u64, number: u64) -> i64 {
        match self {
            Values::Sequence { start, .. } => start.wrapping_add(number as i64),
            Values::Whole(range) => range.pick(draw(stream, number)),
            _ => 0,
        }
    }

    fn make(&self, stream: u64, data_type: &DataType, numbers: &[u64], times: &[i64]) -> Result<ArrayRef> {
        let draws = numbers.iter().map(|number| draw(stream, *number));
        Ok(match self {
            Values::Whole(range) => match data_type {
                DataType::Decimal128(precision, scale) => {
                    let units = Decimal128Array::from_iter_values(draws.map(|d| i128::from(range.pick(d))));
                    Arc::new(units.with_precision_and_scale(*precision, *scale)?)
                }
                _ => Arc::new(Int64Array::from_iter_values(draws.map(|d| range.pick(d)))),
            },
            Values::Sequence { .. } => Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| self.whole(stream, *n)))),
            Values::Real { min, max } => Arc::new(Float64Array::from_iter_values(draws.map(|d| {
                let share = unit(d);
                min * (1.0 - share) + max * share
            }))),
            Values::Pattern { before, digits, after, number } => {
                let mut texts = StringViewBuilder::with_capacity(numbers.len());
                for n in numbers {
                    texts.append_value(format!("{before}{:0digits$}{after}", number.whole(stream, *n)));
                }
                Arc::new(texts.finish())
            }
            Values::Choice { values, weights } => {
                let sum = weights.last().copied().unwrap_or(1);
                let picks = UInt32Array::from_iter_values(draws.map(|d| weights.partition_point(|w| *w <= d % sum) as u32));
                take(values, &picks, None)?
            }
            Values::Time { max_past_micros } => {
                let past = draws.map(|d| if *max_past_micros > 0 { (d % *max_past_micros as u64) as i64 } else { 0 });
                let times = times.iter().zip(past).map(|(time, past)| time - past);
                match data_type {
                    DataType::Int64 => Arc::new(Int64Array::from_iter_values(times.map(|time| time.div_euclid(1_000)))),
                    DataType::Timestamp(_, zone) => {
                        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_opt(zone.clone()))
                    }
                    _ => Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
                }
            }
            Values::Text { length, var_len } => self::text(draws, *length, *var_len, data_type),
            Values::Bool => Arc::new(draws.map(|d| Some(d & 1 == 1)).collect::<BooleanArray>()),
            Values::Row { names, fields } => {
                let columns = fields.iter().map(|field| field.make(numbers, times)).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(names.clone(), columns, None, numbers.len())?)
            }
        })
    }
}

/// Hexadecimal digits: each draw seeds those of its row.
fn text(draws: impl ExactSizeIterator<Item = u64>, length: usize, var_len: bool, data_type: &DataType) -> ArrayRef {
    let mut strings = StringViewBuilder::new();
    let mut binaries = BinaryBuilder::new();
    let mut digits = String::with_capacity(length + 16);
    for d in draws {
        let wanted = if var_len { 1 + (mix(d) % length.max(1) as u64) as usize } else { length };
        digits.clear();
        let mut word = d;
        while digits.len() < wanted {
            word = mix(word);
            digits.push_str(&format!("{word:016x}"));
        }
        digits.truncate(wanted);
        if *data_type == DataType::Binary {
            binaries.append_value(digits.as_bytes());
        } else {
            strings.append_value(&digits);
        }
    }
    if *data_type == DataType::Binary { Arc::new(binaries.finish()) } else { Arc::new(strings.finish()) }
}

impl Range {
    fn pick(&self, draw: u64) -> i64 {
        let Some(count) = self.count else { return draw as i64 };
        let rank = if self.skew == 0.0 { ((u128::from(draw) * u128::from(count)) >> 64) as u64 } else { self.skewed(unit(draw), count) };
        self.min.wrapping_add(rank as i64)
    }

    /// A rank below `count` whose weight falls as 1 / (rank + 1)^skew: the inverse of the (continuous) distribution.
    fn skewed(&self, share: f64, count: u64) -> u64 {
        let most = count as f64 + 1.0;
        let power = 1.0 - self.skew;
        let x = if power.abs() < 1e-9 { most.powf(share) } else { (share * (most.powf(power) - 1.0) + 1.0).powf(1.0 / power) };
        ((x - 1.0) as u64).min(count - 1)
    }
}

/// A draw as a number from 0 (included) to 1 (not).
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}
