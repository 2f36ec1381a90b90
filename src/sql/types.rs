//! Flink's types: text to sqlparser's type, sqlparser's type to Arrow.
//!
//! | Flink | Arrow |
//! |---|---|
//! | `BOOLEAN` `TINYINT` `SMALLINT` `INT` `BIGINT` `FLOAT` `DOUBLE` | the same |
//! | `DECIMAL(p, s)` (10, 0 by default) | `Decimal128` |
//! | `CHAR(n)` `VARCHAR(n)` `STRING` | `Utf8View`; the length is not enforced, but a CAST cuts to it |
//! | `BINARY(n)` `VARBINARY(n)` `BYTES` | `Binary` |
//! | `DATE`, `TIME(p)` | `Date32`, `Time32(Millisecond)` |
//! | `TIMESTAMP(p)`, `TIMESTAMP_LTZ(p)` | `Timestamp` in ms for p <= 3, in us above; LTZ with zone `+00:00` |
//! | `ARRAY<t>` `MAP<k, v>` `ROW<n t, …>` | `List` `Map` `Struct` |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, ExactNumberInfo, Ident, ObjectName, ObjectNamePart, StructBracketKind, StructField, TimezoneInfo,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::did_you_mean;

/// Time zone of `TIMESTAMP_LTZ` in Arrow.
pub const UTC: &str = "+00:00";

const NAMES: [&str; 30] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "CHAR",
    "CHARACTER",
    "VARCHAR",
    "STRING",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "ARRAY",
    "MAP",
    "ROW",
    "MULTISET",
    "INTERVAL",
    "RAW",
    "VARIANT",
];

/// How deep types may nest.
const DEEPEST: usize = 64;

/// What is open while a type is read.
#[derive(Default)]
struct Open {
    /// How many `>` a `>>` token held beyond the one just used up.
    closing: usize,
    /// How many types we are inside of.
    depth: usize,
}

/// Reads a type with an optional `NULL` or `NOT NULL` behind it; `true` = NOT NULL was said.
pub fn parse(parser: &mut Parser) -> Result<(ast::DataType, bool), ParserError> {
    let mut open = Open::default();
    let read = parse_open(parser, &mut open)?;
    if open.closing > 0 {
        return parser.expected_ref("end of the type, not another '>'", parser.peek_token_ref());
    }
    Ok(read)
}

fn parse_open(parser: &mut Parser, open: &mut Open) -> Result<(ast::DataType, bool), ParserError> {
    open.depth += 1;
    if open.depth > DEEPEST {
        return Err(ParserError::RecursionLimitExceeded);
    }
    let read = parse_one(parser, open);
    open.depth -= 1;
    read
}

fn parse_one(parser: &mut Parser, open: &mut Open) -> Result<(ast::DataType, bool), ParserError> {
    let token = parser.next_token();
    let name = match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        _ => return parser.expected("a type", token),
    };
    let data_type = match name.as_str() {
        "BOOLEAN" => ast::DataType::Boolean,
        "TINYINT" => ast::DataType::TinyInt(None),
        "SMALLINT" => ast::DataType::SmallInt(None),
        "INT" | "INTEGER" => ast::DataType::Int(None),
        "BIGINT" => ast::DataType::BigInt(None),
        "FLOAT" | "REAL" => ast::DataType::Float(ExactNumberInfo::None),
        "DOUBLE" => {
            _ = parser.parse_keyword(Keyword::PRECISION);
            ast::DataType::DoublePrecision
        }
        "DECIMAL" | "DEC" | "NUMERIC" => ast::DataType::Decimal(match parse_numbers(parser, 2)?[..] {
            [] => ExactNumberInfo::PrecisionAndScale(10, 0),
            [p] => ExactNumberInfo::PrecisionAndScale(p, 0),
            [p, s, ..] => ExactNumberInfo::PrecisionAndScale(p, s as i64),
        }),
        "CHAR" | "CHARACTER" | "VARCHAR" => match parse_numbers(parser, 1)?.first().copied() {
            None => ast::DataType::String(None),
            Some(length) => {
                let length = Some(ast::CharacterLength::IntegerLength { length, unit: None });
                if name == "VARCHAR" { ast::DataType::Varchar(length) } else { ast::DataType::Char(length) }
            }
        },
        "STRING" => ast::DataType::String(None),
        "BINARY" | "VARBINARY" => {
            parse_numbers(parser, 1)?;
            ast::DataType::Bytes(None)
        }
        "BYTES" => ast::DataType::Bytes(None),
        "DATE" => ast::DataType::Date,
        "TIME" => {
            let precision = parse_numbers(parser, 1)?.first().copied();
            _ = parser.parse_keywords(&[Keyword::WITHOUT, Keyword::TIME, Keyword::ZONE]);
            ast::DataType::Time(precision, TimezoneInfo::None)
        }
        "TIMESTAMP" => {
            let precision = parse_numbers(parser, 1)?.first().copied();
            if parser.parse_keyword(Keyword::WITH) {
                if parser.parse_keyword(Keyword::TIME) {
                    return Err(fault("TIMESTAMP WITH TIME ZONE is not supported, only WITH LOCAL TIME ZONE".to_owned(), &token));
                }
                parser.expect_keywords(&[Keyword::LOCAL, Keyword::TIME, Keyword::ZONE])?;
                local_timestamp(precision)
            } else {
                _ = parser.parse_keywords(&[Keyword::WITHOUT, Keyword::TIME, Keyword::ZONE]);
                ast::DataType::Timestamp(precision, TimezoneInfo::None)
            }
        }
        "TIMESTAMP_LTZ" => local_timestamp(parse_numbers(parser, 1)?.first().copied()),
        "ARRAY" => {
            parser.expect_token(&Token::Lt)?;
            let (element, _) = parse_open(parser, open)?;
            close(parser, open)?;
            ast::DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(element)))
        }
        "MAP" => {
            parser.expect_token(&Token::Lt)?;
            let (key, _) = parse_open(parser, open)?;
            parser.expect_token(&Token::Comma)?;
            let (value, _) = parse_open(parser, open)?;
            close(parser, open)?;
            ast::DataType::Map(Box::new(key), Box::new(value))
        }
        "ROW" => parse_row(parser, open)?,
        "MULTISET" | "INTERVAL" | "RAW" | "VARIANT" | "NULL" => {
            return Err(fault(format!("the type {name} is not supported"), &token));
        }
        _ => {
            let hint = did_you_mean(&name, NAMES);
            return Err(fault(format!("no type '{name}'{hint}"), &token));
        }
    };
    let not_null = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
    if !not_null {
        _ = parser.parse_keyword(Keyword::NULL);
    }
    Ok((data_type, not_null))
}

/// As the parser's own faults: the place stands behind the text.
fn fault(text: String, at: &TokenWithSpan) -> ParserError {
    ParserError::ParserError(format!("{text}{}", at.span.start))
}

fn parse_row(parser: &mut Parser, open: &mut Open) -> Result<ast::DataType, ParserError> {
    let in_parentheses = parser.consume_token(&Token::LParen);
    if !in_parentheses {
        parser.expect_token(&Token::Lt)?;
    }
    let mut fields = Vec::new();
    loop {
        let field_name = Some(parser.parse_identifier()?);
        let (field_type, _) = parse_open(parser, open)?;
        if let Token::SingleQuotedString(_) = parser.peek_token_ref().token {
            parser.next_token(); // the field's comment
        }
        fields.push(StructField { field_name, field_type, options: None });
        if open.closing > 0 || !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    if in_parentheses {
        parser.expect_token(&Token::RParen)?;
    } else {
        close(parser, open)?;
    }
    Ok(ast::DataType::Struct(fields, StructBracketKind::AngleBrackets))
}

/// Takes one `>`; the tokenizer writes two together as one token.
fn close(parser: &mut Parser, open: &mut Open) -> Result<(), ParserError> {
    if open.closing > 0 {
        open.closing -= 1;
        return Ok(());
    }
    if parser.consume_token(&Token::ShiftRight) {
        open.closing = 1;
        return Ok(());
    }
    parser.expect_token(&Token::Gt).map(|_| ())
}

fn parse_numbers(parser: &mut Parser, most: usize) -> Result<Vec<u64>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let numbers = parser.parse_comma_separated(Parser::parse_literal_uint)?;
    if numbers.len() > most {
        return parser.expected_ref(&format!("at most {most} number(s)"), parser.peek_token_ref());
    }
    parser.expect_token(&Token::RParen)?;
    Ok(numbers)
}

fn local_timestamp(precision: Option<u64>) -> ast::DataType {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("TIMESTAMP_LTZ"))]);
    ast::DataType::Custom(name, precision.map(|p| p.to_string()).into_iter().collect())
}

/// The Arrow type; `Err` names what is wrong with it.
pub fn to_arrow(data_type: &ast::DataType) -> Result<DataType, String> {
    use ast::DataType as T;
    Ok(match data_type {
        T::Boolean | T::Bool => DataType::Boolean,
        T::TinyInt(_) => DataType::Int8,
        T::SmallInt(_) | T::Int2(_) => DataType::Int16,
        T::Int(_) | T::Integer(_) | T::Int4(_) => DataType::Int32,
        T::BigInt(_) | T::Int8(_) => DataType::Int64,
        T::Float(_) | T::Real | T::Float4 => DataType::Float32,
        T::Double(_) | T::DoublePrecision | T::Float8 => DataType::Float64,
        T::Decimal(info) | T::Numeric(info) | T::Dec(info) => decimal(info)?,
        T::Char(_) | T::Character(_) | T::Varchar(_) | T::CharVarying(_) | T::CharacterVarying(_) | T::Text | T::String(_) => {
            DataType::Utf8View
        }
        T::Binary(_) | T::Varbinary(_) | T::Bytes(_) | T::Bytea => DataType::Binary,
        T::Date => DataType::Date32,
        T::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time32(TimeUnit::Millisecond),
        T::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => timestamp(*precision, false)?,
        T::Timestamp(precision, _) => timestamp(*precision, true)?,
        T::Custom(name, modifiers) if name.to_string().eq_ignore_ascii_case("TIMESTAMP_LTZ") => {
            timestamp(modifiers.first().and_then(|p| p.parse().ok()), true)?
        }
        T::Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _)) => {
            DataType::List(Arc::new(Field::new_list_field(to_arrow(element)?, true)))
        }
        T::Map(key, value) => {
            let entries = Fields::from(vec![Field::new("key", to_arrow(key)?, false), Field::new("value", to_arrow(value)?, true)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        }
        T::Struct(fields, _) => {
            let fields = fields.iter().enumerate().map(|(at, field)| {
                let name = field.field_name.as_ref().map_or_else(|| format!("f{at}"), |n| n.value.clone());
                to_arrow(&field.field_type).map(|t| Field::new(name, t, true))
            });
            DataType::Struct(fields.collect::<Result<_, _>>()?)
        }
        other => return Err(format!("the type {other} is not supported")),
    })
}

/// How many digits of a second's fraction a type has, where its Arrow type has more of them.
pub(super) fn digits_to_cut_to(data_type: &ast::DataType) -> Option<u64> {
    use ast::DataType as T;
    let digits = match data_type {
        T::Time(digits, _) => return digits.is_none_or(|digits| digits < 3).then_some(digits.unwrap_or(0)),
        T::Timestamp(digits, _) => (*digits)?,
        T::Custom(name, modifiers) if name.to_string().eq_ignore_ascii_case("TIMESTAMP_LTZ") => modifiers.first()?.parse().ok()?,
        _ => return None,
    };
    let kept = if digits <= 3 { 3 } else { 6 };
    (digits < kept).then_some(digits)
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(p) => (p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (p, s),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && s.unsigned_abs() <= p => Ok(DataType::Decimal128(p, s)),
        _ => Err(format!("DECIMAL({precision}, {scale}) needs a precision from 1 to 38 and a scale from 0 to the precision")),
    }
}

fn timestamp(precision: Option<u64>, local: bool) -> Result<DataType, String> {
    let unit = match precision.unwrap_or(6) {
        0..=3 => TimeUnit::Millisecond,
        4..=9 => TimeUnit::Microsecond,
        p => return Err(format!("a TIMESTAMP needs a precision from 0 to 9, not {p}")),
    };
    Ok(DataType::Timestamp(unit, local.then(|| UTC.into())))
}

/// Flink's name of an Arrow type, for DESCRIBE and messages.
pub fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        // DataFusion's counts and ranks; Flink has no type without a sign.
        DataType::UInt8 => "SMALLINT".into(),
        DataType::UInt16 => "INT".into(),
        DataType::UInt32 | DataType::UInt64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => "STRING".into(),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME(3)".into(),
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            format!("TIMESTAMP{}({digits})", if zone.is_some() { "_LTZ" } else { "" })
        }
        DataType::List(element) | DataType::LargeList(element) => format!("ARRAY<{}>", name(element.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(kv) if kv.len() == 2 => format!("MAP<{}, {}>", name(kv[0].data_type()), name(kv[1].data_type())),
            other => format!("MAP<{other}>"),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("`{}` {}", f.name(), name(f.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        DataType::Null => "NULL".into(),
        other => other.to_string(),
    }
}

/// Lets DataFusion's planner read types as Flink does.
#[derive(Debug)]
pub struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DfResult<Option<FieldRef>> {
        match to_arrow(sql_type) {
            Ok(data_type) => Ok(Some(Arc::new(Field::new("", data_type, true)))),
            Err(text) => Err(DataFusionError::Plan(text)),
        }
    }
}
