//! `CREATE TABLE`: columns, watermark, primary key, options.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::catalog::{ColumnDef, ColumnKind, TableDef, TableOption, WatermarkDef};
use super::parse::Piece;
use super::statement::Name;
use super::{forms, types};
use crate::error::{Error, Result, did_you_mean};

/// What follows `CREATE TABLE [IF NOT EXISTS]`.
pub(super) fn table(piece: &mut Piece) -> Result<TableDef> {
    let name = piece.name()?;
    let mut parts = Parts::default();
    if piece.parser.consume_token(&Token::LParen) {
        loop {
            element(piece, &mut parts)?;
            if !piece.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        let next = piece.parser.peek_token();
        if !piece.parser.consume_token(&Token::RParen) {
            return Err(piece.expected("',' or ')' after a column", &next));
        }
    }
    comment(piece)?;
    for clause in ["PARTITIONED", "DISTRIBUTED"] {
        let place = piece.here();
        if piece.words(&[clause]) {
            return Err(Error::input(format!("{clause} is not supported")).at(place));
        }
    }
    let options = options(piece)?;
    for (clause, why) in [("LIKE", "declare the columns"), ("AS", "use CREATE TABLE and INSERT INTO, or CREATE MATERIALIZED VIEW")] {
        let place = piece.here();
        if piece.words(&[clause]) {
            return Err(Error::input(format!("CREATE TABLE … {clause} is not supported; {why}")).at(place));
        }
    }
    let Parts { columns, watermark, primary_key } = parts;
    let def = TableDef {
        name: name.value,
        columns,
        watermark,
        primary_key: primary_key.iter().map(|n| n.value.clone()).collect(),
        options,
        place: name.place,
    };
    check(&def, &primary_key)?;
    Ok(def)
}

/// What stands between the parentheses.
#[derive(Default)]
struct Parts {
    columns: Vec<ColumnDef>,
    watermark: Option<WatermarkDef>,
    primary_key: Vec<Name>,
}

/// A column, `WATERMARK FOR …` or `PRIMARY KEY (…) NOT ENFORCED`.
fn element(piece: &mut Piece, parts: &mut Parts) -> Result<()> {
    let place = piece.here();
    if piece.words(&["WATERMARK", "FOR"]) {
        if parts.watermark.is_some() {
            return Err(Error::input("a table has one WATERMARK").at(place));
        }
        let column = piece.parser.parse_identifier();
        let column = piece.said(column)?.value;
        piece.keyword(Keyword::AS)?;
        let expr = piece.parser.parse_expr();
        let mut expr = piece.said(expr)?;
        forms::rewrite(&mut expr, piece.file)?;
        parts.watermark = Some(WatermarkDef { column, expr, place });
        return Ok(());
    }
    if piece.words(&["CONSTRAINT"]) {
        piece.name()?;
        piece.keyword(Keyword::PRIMARY)?;
        return add_primary_key(piece, parts);
    }
    if piece.words(&["PRIMARY"]) {
        return add_primary_key(piece, parts);
    }
    let column = column(piece, parts)?;
    parts.columns.push(column);
    Ok(())
}

fn add_primary_key(piece: &mut Piece, parts: &mut Parts) -> Result<()> {
    let place = piece.here();
    let key = primary_key(piece)?;
    if !parts.primary_key.is_empty() {
        return Err(Error::input("a table has one PRIMARY KEY").at(place));
    }
    parts.primary_key = key;
    Ok(())
}

/// `KEY (a, b) NOT ENFORCED`, after PRIMARY.
pub(super) fn primary_key(piece: &mut Piece) -> Result<Vec<Name>> {
    piece.keyword(Keyword::KEY)?;
    piece.token(&Token::LParen)?;
    let key = piece.rest_of_name_list()?;
    not_enforced(piece)?;
    Ok(key)
}

fn not_enforced(piece: &mut Piece) -> Result<()> {
    let next = piece.parser.peek_token();
    if piece.words(&["NOT", "ENFORCED"]) {
        Ok(())
    } else {
        Err(piece.expected("NOT ENFORCED (keys are not checked, rows with the same key replace each other)", &next))
    }
}

fn column(piece: &mut Piece, parts: &mut Parts) -> Result<ColumnDef> {
    let ident = piece.parser.parse_identifier();
    let ident = piece.said(ident)?;
    let place = piece.place(ident.span);
    let name = ident.value;
    if piece.parser.parse_keyword(Keyword::AS) {
        let expr = piece.parser.parse_expr();
        let mut expr = piece.said(expr)?;
        forms::rewrite(&mut expr, piece.file)?;
        comment(piece)?;
        return Ok(ColumnDef { name, data_type: None, not_null: false, kind: ColumnKind::Computed(Box::new(expr)), place });
    }
    let type_place = piece.here();
    let read = types::parse(&mut piece.parser);
    let (data_type, mut not_null) = piece.said(read)?;
    let data_type = types::to_arrow(&data_type).map_err(|text| Error::input(text).at(type_place))?;
    let mut kind = ColumnKind::Physical;
    loop {
        let next = piece.parser.peek_token();
        if piece.words(&["METADATA"]) {
            let key = match piece.words(&["FROM"]) {
                true => piece.string("the metadata's key in quotes")?.value,
                false => name.clone(),
            };
            kind = ColumnKind::Metadata { key, is_virtual: piece.words(&["VIRTUAL"]) };
        } else if piece.words(&["NOT", "NULL"]) {
            not_null = true;
        } else if piece.words(&["PRIMARY", "KEY"]) {
            not_enforced(piece)?;
            if !parts.primary_key.is_empty() {
                return Err(Error::input("a table has one PRIMARY KEY").at(piece.place(next.span)));
            }
            not_null = true;
            parts.primary_key = vec![Name { value: name.clone(), place: place.clone() }];
        } else if !comment(piece)? {
            break;
        }
    }
    Ok(ColumnDef { name, data_type: Some(data_type), not_null, kind, place })
}

/// `COMMENT 'text'`, which nobody reads; was there one?
pub(super) fn comment(piece: &mut Piece) -> Result<bool> {
    let there = piece.words(&["COMMENT"]);
    if there {
        piece.string("the comment's text in quotes")?;
    }
    Ok(there)
}

/// `WITH ('key' = 'value', …)`, if there.
pub(super) fn options(piece: &mut Piece) -> Result<BTreeMap<String, TableOption>> {
    let mut options = BTreeMap::new();
    if !piece.words(&["WITH"]) {
        return Ok(options);
    }
    piece.token(&Token::LParen)?;
    if piece.parser.consume_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let key = piece.string("an option's name in quotes")?;
        piece.token(&Token::Eq)?;
        let value = piece.string("the option's value in quotes")?.value;
        if options.contains_key(&key.value) {
            return Err(Error::input(format!("option '{}' is given twice", key.value)).at(key.place));
        }
        options.insert(key.value, TableOption { value, place: key.place });
        if !piece.parser.consume_token(&Token::Comma) {
            break;
        }
    }
    piece.token(&Token::RParen)?;
    Ok(options)
}

/// What can be said of a table without planning its expressions.
fn check(def: &TableDef, primary_key: &[Name]) -> Result<()> {
    let mut errors = Vec::new();
    let names = || def.columns.iter().map(|c| c.name.as_str());
    for (at, column) in def.columns.iter().enumerate() {
        if def.columns[..at].iter().any(|c| c.name == column.name) {
            errors.push(Error::input(format!("column '{}' is declared twice in '{}'", column.name, def.name)).at(column.place.clone()));
        }
    }
    for key in primary_key {
        match def.columns.iter().find(|c| c.name == key.value) {
            None => errors.push(
                Error::input(format!("PRIMARY KEY: no column '{}' in '{}'{}", key.value, def.name, did_you_mean(&key.value, names())))
                    .at(key.place.clone()),
            ),
            Some(column) if matches!(column.kind, ColumnKind::Computed(_)) => errors.push(
                Error::input(format!("PRIMARY KEY: '{}' is computed; a key is made of columns of the record", key.value))
                    .at(key.place.clone()),
            ),
            Some(_) => {}
        }
    }
    if let Some(watermark) = &def.watermark
        && !names().any(|n| n == watermark.column)
    {
        errors.push(
            Error::input(format!(
                "WATERMARK: no column '{}' in '{}'{}",
                watermark.column,
                def.name,
                did_you_mean(&watermark.column, names())
            ))
            .at(watermark.place.clone()),
        );
    }
    Error::all(errors).map_or(Ok(()), Err)
}
