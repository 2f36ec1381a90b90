//! Each function against what Flink's documentation or Flink's own tests say.

use arrow::array::Array as _;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::sql::bounded;
use crate::sql::catalog::Catalog;
use crate::sql::types;

/// `value TYPE` of an expression over no table; the error's text when it has none.
async fn answer(expr: &str) -> String {
    let catalog = Catalog::new();
    let context = bounded::session(catalog.functions());
    match bounded::collect(&context, &catalog, &format!("SELECT {expr}"), "q").await {
        Ok(batches) => {
            let column = batches[0].column(0);
            let value = if column.is_null(0) {
                "NULL".to_owned()
            } else {
                ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap().value(0).to_string()
            };
            format!("{value} {}", types::name(column.data_type()))
        }
        Err(error) => error.message().to_owned(),
    }
}

async fn check(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (expr, wanted) in cases {
        let given = answer(expr).await;
        if given != *wanted {
            wrong.push(format!("{expr}\n  is     {given}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn time() {
    check(&[
        ("TO_TIMESTAMP_LTZ(1700000000123, 3)", "2023-11-14T22:13:20.123Z TIMESTAMP_LTZ(3)"),
        ("TO_TIMESTAMP_LTZ(1700000000, 0)", "2023-11-14T22:13:20Z TIMESTAMP_LTZ(3)"),
        ("TO_TIMESTAMP_LTZ('2023-11-14 22:13:20.5')", "2023-11-14T22:13:20.500Z TIMESTAMP_LTZ(3)"),
        ("TO_TIMESTAMP('2023-11-14 22:13:20.123')", "2023-11-14T22:13:20.123 TIMESTAMP(3)"),
        ("TO_TIMESTAMP('14.11.2023 22:13', 'dd.MM.yyyy HH:mm')", "2023-11-14T22:13:00 TIMESTAMP(3)"),
        ("TO_TIMESTAMP('nonsense')", "NULL TIMESTAMP(3)"),
        ("TO_DATE('2023-11-14')", "2023-11-14 DATE"),
        ("TO_DATE('2023-11-14 10:11:12')", "2023-11-14 DATE"),
        ("TO_DATE('2023-11-14T10:11:12')", "NULL DATE"),
        ("TO_DATE('2023-11')", "2023-11-01 DATE"),
        ("EXTRACT(MINUTE FROM TIME '12:34:56')", "34 BIGINT"),
        ("HOUR(TIME '12:34:56')", "12 BIGINT"),
        ("EXTRACT(DAY FROM TIME '12:34:56')", "EXTRACT: a TIME has no DAY, only HOUR, MINUTE, SECOND and MILLISECOND"),
        ("DATE_FORMAT(TIMESTAMP '2024-12-31 00:00:00', 'YYYY-ww')", "2025-01 STRING"),
        ("DATE_FORMAT(TIMESTAMP '2023-11-14 22:13:20', 'yyyy/MM/dd HH')", "2023/11/14 22 STRING"),
        ("DATE_FORMAT('2023-11-14 22:13:20', 'E, MMM d')", "Tue, Nov 14 STRING"),
        ("TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', TIMESTAMP '1970-01-02 00:00:01')", "86401 INT"),
        ("TIMESTAMPDIFF(DAY, TIMESTAMP '2003-01-03 10:00:00', TIMESTAMP '2003-01-02 11:00:00')", "0 INT"),
        ("TIMESTAMPDIFF(MONTH, TIMESTAMP '2020-01-31 00:00:00', TIMESTAMP '2020-02-29 00:00:00')", "1 INT"),
        ("TIMESTAMPDIFF(YEAR, TIMESTAMP '2020-02-29 00:00:00', TIMESTAMP '2018-03-01 00:00:00')", "-1 INT"),
        ("TIMESTAMPADD(WEEK, 1, TIMESTAMP '2003-01-02 00:00:00')", "2003-01-09T00:00:00 TIMESTAMP(3)"),
        ("TIMESTAMPADD(MONTH, -1, TIMESTAMP '2020-03-31 00:00:00')", "2020-02-29T00:00:00 TIMESTAMP(3)"),
        ("EXTRACT(DAY FROM TIMESTAMP '2006-06-05 00:00:00')", "5 BIGINT"),
        ("EXTRACT(CENTURY FROM TIMESTAMP '2000-06-05 00:00:00')", "20 BIGINT"),
        ("EXTRACT(DECADE FROM TIMESTAMP '2006-06-05 00:00:00')", "200 BIGINT"),
        ("QUARTER(DATE '1994-09-27')", "3 BIGINT"),
        ("DAYOFWEEK(DATE '1994-09-27')", "3 BIGINT"),
        ("WEEK(DATE '1994-09-27')", "39 BIGINT"),
        ("HOUR(TIMESTAMP '1994-09-27 13:14:15')", "13 BIGINT"),
        ("FLOOR(TIMESTAMP '2023-11-14 22:13:20' TO HOUR)", "2023-11-14T22:00:00 TIMESTAMP(3)"),
        ("CEIL(TIMESTAMP '2023-11-14 22:13:20' TO MONTH)", "2023-12-01T00:00:00 TIMESTAMP(3)"),
        ("FLOOR(TIMESTAMP '2023-11-14 22:13:20' TO WEEK)", "2023-11-12T00:00:00 TIMESTAMP(3)"),
        ("UNIX_TIMESTAMP('1970-01-01 00:01:00')", "60 BIGINT"),
        ("UNIX_TIMESTAMP() > 1700000000", "true BOOLEAN"),
        ("FROM_UNIXTIME(44)", "1970-01-01 00:00:44 STRING"),
        ("FROM_UNIXTIME(44, 'yyyy')", "1970 STRING"),
        ("TIMESTAMP '2020-01-01 00:00:00' + INTERVAL '1 02:03' DAY TO MINUTE", "2020-01-02T02:03:00 TIMESTAMP(3)"),
        ("TIMESTAMP '2020-01-01 00:00:00' + INTERVAL '1:30.5' MINUTE TO SECOND", "2020-01-01T00:01:30.500 TIMESTAMP(3)"),
        ("CAST(TIMESTAMP '2020-01-01 00:00:01.987' AS TIMESTAMP(0))", "2020-01-01T00:00:01 TIMESTAMP(3)"),
        ("CAST(TIMESTAMP '1969-12-31 23:59:59.987' AS TIMESTAMP(1))", "1969-12-31T23:59:59.900 TIMESTAMP(3)"),
        ("CAST('2020-01-01 00:00:01.987654' AS TIMESTAMP(4))", "2020-01-01T00:00:01.987600 TIMESTAMP(6)"),
        ("CAST(CAST('2020-01-01 00:00:01.987' AS TIMESTAMP_LTZ(3)) AS TIMESTAMP_LTZ(0))", "2020-01-01T00:00:01Z TIMESTAMP_LTZ(3)"),
        ("CAST(TIMESTAMP '2020-01-01 10:11:12.987' AS TIME)", "10:11:12 TIME(3)"),
        ("CAST(TIMESTAMP '2020-01-01 10:11:12.987' AS TIME(3))", "10:11:12.987 TIME(3)"),
        ("TYPEOF(CURRENT_TIMESTAMP)", "TIMESTAMP_LTZ(3) STRING"),
        ("TYPEOF(PROCTIME())", "TIMESTAMP_LTZ(3) STRING"),
        ("TYPEOF(LOCALTIMESTAMP)", "TIMESTAMP(3) STRING"),
        ("CURRENT_DATE = CAST(CURRENT_TIMESTAMP AS DATE)", "true BOOLEAN"),
        ("CURRENT_WATERMARK(CURRENT_TIMESTAMP)", "CURRENT_WATERMARK is not supported: an expression cannot see the watermark"),
        (
            "TIMESTAMPDIFF(FORTNIGHT, CURRENT_DATE, CURRENT_DATE)",
            "TIMESTAMPDIFF: no unit 'FORTNIGHT'; there are SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR",
        ),
    ])
    .await;
}

#[tokio::test]
async fn text() {
    check(&[
        ("CONCAT('a', 'b', 'c')", "abc STRING"),
        ("CONCAT('a', CAST(NULL AS STRING))", "NULL STRING"),
        ("CONCAT_WS('~', 'AA', CAST(NULL AS STRING), 'BB', '', 'AA')", "AA~BB~~AA STRING"),
        ("SPLIT_INDEX('AQIDBA,x,y', ',', 1)", "x STRING"),
        ("SPLIT_INDEX('a,b', ',', 5)", "NULL STRING"),
        ("REGEXP('foobar', 'o+b')", "true BOOLEAN"),
        ("REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2)", "bar STRING"),
        ("REGEXP_EXTRACT('foothebar', 'x')", "NULL STRING"),
        ("REGEXP_REPLACE('foobar', 'oo|ar', '')", "fb STRING"),
        ("REGEXP_REPLACE('2020-01', '\\d+', '<$0>')", "<$0>-<$0> STRING"),
        ("REGEXP_EXTRACT('a', '(')", "NULL STRING"),
        ("REGEXP_SUBSTR('foothebar', 'the.')", "theb STRING"),
        ("REGEXP_COUNT('banana', 'a')", "3 INT"),
        ("REGEXP_COUNT('banana', '(')", "NULL INT"),
        ("REGEXP_INSTR('banana', '(?<=b)a')", "2 INT"),
        ("REGEXP_INSTR('banana', 'x')", "0 INT"),
        ("REGEXP('banana', '(.)n\\1')", "true BOOLEAN"),
        ("REGEXP('banana', '(')", "false BOOLEAN"),
        ("REGEXP_EXTRACT('Hello', '(?<=H)e', 0)", "e STRING"),
        ("REGEXP_EXTRACT('a b', '\\h', 0)", "NULL STRING"),
        ("REGEXP_EXTRACT_ALL('Hello', '(l)(l|o)', 2)", "[l] ARRAY<STRING>"),
        ("REGEXP_EXTRACT_ALL('Hello', '[a-z]', 0)", "[e, l, l, o] ARRAY<STRING>"),
        ("REGEXP_EXTRACT_ALL('Hello', '[a-z]')", "NULL ARRAY<STRING>"),
        ("REGEXP_REPLACE('Hello', '(?<=l)o', '<$0>')", "Hell<$0> STRING"),
        ("REGEXP_REPLACE('Hello', '(', '')", "NULL STRING"),
        (
            "REGEXP('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', '^(a|a|aa)+(?!x)$')",
            "REGEXP: Error executing regex: Max limit for backtracking count exceeded",
        ),
        ("CAST('12345' AS VARCHAR(3))", "123 STRING"),
        ("CAST('a' AS CHAR(3)) || '.'", "a  . STRING"),
        ("SPLIT('a,b', ',')[2]", "b STRING"),
        ("SUBSTRING('abcdef', 2, 3)", "bcd STRING"),
        ("SUBSTRING('abcdef' FROM 3)", "cdef STRING"),
        ("SUBSTR('abcdef', -2)", "ef STRING"),
        ("LEFT('añb', 2)", "añ STRING"),
        ("RIGHT('añb', 2)", "ñb STRING"),
        ("LPAD('hi', 4, '??')", "??hi STRING"),
        ("LPAD('hi', 1, '??')", "h STRING"),
        ("RPAD('hi', 5, 'ab')", "hiaba STRING"),
        ("LOCATE('b', 'abcb', 3)", "4 INT"),
        ("POSITION('b' IN 'abc')", "2 INT"),
        ("CHAR_LENGTH('añb')", "3 INT"),
        ("INITCAP('hello wORLD')", "Hello World STRING"),
        ("REVERSE('abc')", "cba STRING"),
        ("REPEAT('ab', 2)", "abab STRING"),
        ("UPPER('abc') || LOWER('DEF')", "ABCdef STRING"),
        ("TRIM(BOTH ' ' FROM '  a ')", "a STRING"),
        ("IS_DIGIT('123')", "true BOOLEAN"),
        ("IS_ALPHA('a1')", "false BOOLEAN"),
        ("IS_DECIMAL('-1.5')", "true BOOLEAN"),
        ("ELT(2, 'a', 'b')", "b STRING"),
        ("ASCII('A')", "65 INT"),
        ("ASCII('ö')", "-61 INT"),
        ("ASCII('')", "0 INT"),
        ("CHR(65)", "A STRING"),
        ("CHR(256 + 65)", "A STRING"),
        ("CHR(-1)", " STRING"),
        ("REPLACE('hello world', 'world', 'flink')", "hello flink STRING"),
        ("REPLACE('abc', '', '-')", "-a-b-c- STRING"),
        ("OVERLAY('xxxxxtest' PLACING 'xxxx' FROM 6)", "xxxxxxxxx STRING"),
        ("OVERLAY('abc' PLACING 'X' FROM 4)", "abc STRING"),
        ("OVERLAY('abc' PLACING 'X' FROM 0)", "abc STRING"),
        ("OVERLAY('abc' PLACING 'X' FROM 2 FOR 0)", "aX STRING"),
        ("OVERLAY('añc' PLACING 'X' FROM 2 FOR 1)", "aXc STRING"),
        ("'abc' LIKE 'a%'", "true BOOLEAN"),
        ("'Hello' SIMILAR TO 'Hell'", "false BOOLEAN"),
        ("'Hello' SIMILAR TO '(He|Ha)l+_'", "true BOOLEAN"),
        ("'Hello' NOT SIMILAR TO '%[a-e]%'", "false BOOLEAN"),
        ("'a%c' SIMILAR TO 'a!%c' ESCAPE '!'", "true BOOLEAN"),
        ("'abc' SIMILAR TO 'a!%c' ESCAPE '!'", "false BOOLEAN"),
        ("'a$c' SIMILAR TO 'a$c'", "true BOOLEAN"),
        ("SIMILAR_TO('a', 'a', CAST(NULL AS STRING))", "NULL BOOLEAN"),
        ("'a' SIMILAR TO 'a!' ESCAPE '!'", "SIMILAR_TO: pattern 'a!': it ends with the escape character"),
        ("SPLIT_INDEX(1, 2, 3)", "SPLIT_INDEX takes (STRING, STRING, BIGINT) or (STRING, BIGINT, BIGINT), not (BIGINT, BIGINT, BIGINT)"),
    ])
    .await;
}

#[tokio::test]
async fn numbers_and_conditions() {
    check(&[
        ("1 + 1", "2 INT"),
        ("3000000000 + 1", "3000000001 BIGINT"),
        ("7 / 2", "3 INT"),
        ("-7 / 2", "-3 INT"),
        ("MOD(7, 3) + 1", "2 INT"),
        ("1.5", "1.5 DECIMAL(2, 1)"),
        ("1E3", "1000.0 DOUBLE"),
        ("CAST(1 AS DOUBLE) / 3", "0.3333333333333333 DOUBLE"),
        ("CAST('10.00' AS DECIMAL(10, 2)) / CAST('3' AS DECIMAL(10, 2))", "3.3333333333333 DECIMAL(23, 13)"),
        ("CAST('2.00' AS DECIMAL(10, 2)) / CAST('3' AS DECIMAL(10, 2))", "0.6666666666667 DECIMAL(23, 13)"),
        ("CAST(-2 AS DECIMAL(10, 2)) / CAST(3 AS DECIMAL(1, 0))", "-0.666667 DECIMAL(14, 6)"),
        ("CAST('1.00' AS DECIMAL(38, 2)) / CAST('7.0' AS DECIMAL(38, 1))", "0.142857 DECIMAL(38, 6)"),
        ("1.0 / 0.0", "division by zero"),
        ("CAST('1.5' AS DECIMAL(3, 1)) * CAST('2.25' AS DECIMAL(4, 2))", "3.375 DECIMAL(8, 3)"),
        ("CAST(1 AS DOUBLE) / 1E20 > 0.0", "true BOOLEAN"),
        ("1E300 > 0.1", "true BOOLEAN"),
        ("1E300 BETWEEN 0.1 AND 1.5", "false BOOLEAN"),
        ("CAST(1 AS DOUBLE) / 10 IN (1.5, 0.1)", "true BOOLEAN"),
        ("COALESCE(CAST(NULL AS DOUBLE), 1.5)", "1.5 DOUBLE"),
        ("CASE WHEN 1 = 2 THEN 1E0 ELSE 2.5 END", "2.5 DOUBLE"),
        ("CASE 1E300 WHEN 0.5 THEN 'a' ELSE 'b' END", "b STRING"),
        ("LEAST(1E300, 2.5)", "2.5 DOUBLE"),
        ("POWER(2, 10)", "1024.0 DOUBLE"),
        ("LOG(EXP(CAST(2 AS DOUBLE)))", "2.0 DOUBLE"),
        ("LOG(2, 8)", "3.0 DOUBLE"),
        ("LOG10(100)", "2.0 DOUBLE"),
        ("FLOOR(5)", "5 INT"),
        ("CEIL(CAST(1.2 AS DOUBLE))", "2.0 DOUBLE"),
        ("SIGN(-4)", "-1 INT"),
        ("ABS(-4)", "4 INT"),
        ("BIN(4)", "100 STRING"),
        ("HEX('hello')", "68656C6C6F STRING"),
        ("HEX(255)", "FF STRING"),
        ("IF(1 > 2, 'a', 'b')", "b STRING"),
        ("IFNULL(CAST(NULL AS INT), 5)", "5 INT"),
        ("COALESCE(NULL, 'x')", "x STRING"),
        ("NULLIF(5, 5)", "NULL INT"),
        ("GREATEST(1, 3, 2)", "3 INT"),
        ("GREATEST(1, CAST(NULL AS INT))", "NULL INT"),
        ("LEAST(2, 1)", "1 INT"),
        ("TRY_CAST('x' AS INT)", "NULL INT"),
        ("CAST('1.9' AS INT)", "1 INT"),
        ("CAST(' -.5 ' AS BIGINT)", "0 BIGINT"),
        ("TRY_CAST('1e3' AS INT)", "NULL INT"),
        ("TRY_CAST('300.5' AS TINYINT)", "NULL TINYINT"),
        ("RAND_INTEGER(1)", "0 INT"),
        ("CASE WHEN 1 = 1 THEN 'a' ELSE 'b' END", "a STRING"),
        ("CAST(TIMESTAMP '2020-01-01 00:00:00' AS STRING)", "2020-01-01 00:00:00.000 STRING"),
        ("CAST(TRUE AS STRING)", "TRUE STRING"),
        ("CAST(CAST(12345678 AS DOUBLE) AS STRING)", "1.2345678E7 STRING"),
        (
            "CAST(TIMESTAMP '2020-01-01 00:00:00' AS BIGINT)",
            "TIMESTAMP(3) cannot be cast to BIGINT; use EXTRACT, or TIMESTAMPDIFF from TIMESTAMP '1970-01-01 00:00:00'",
        ),
    ])
    .await;
}

#[tokio::test]
async fn json_digests_urls_and_collections() {
    check(&[
        (r#"JSON_VALUE('{"a": {"b": [1, "x"]}}', '$.a.b[1]')"#, "x STRING"),
        (r#"JSON_VALUE('{"a": 5}', '$.a' RETURNING INT)"#, "5 INT"),
        (r#"JSON_VALUE('{"a": 5}', 'lax $.c' DEFAULT 'none' ON EMPTY)"#, "none STRING"),
        (r#"JSON_VALUE('{"a": 5}', '$.c' DEFAULT 'none' ON EMPTY)"#, "NULL STRING"),
        (r#"JSON_VALUE('{"a": 5}', '$.c' DEFAULT 7 ON EMPTY DEFAULT 8 ON ERROR)"#, "8 STRING"),
        (r#"JSON_VALUE('no', 'lax $.c' RETURNING INT DEFAULT 7 ON EMPTY DEFAULT 8 ON ERROR)"#, "7 INT"),
        (r#"'{"a": 5}' IS JSON OBJECT"#, "true BOOLEAN"),
        (r#"'[5' IS NOT JSON"#, "true BOOLEAN"),
        (r#"JSON_VALUE('not json', '$.a')"#, "NULL STRING"),
        (r#"JSON_VALUE('{"a b": true}', 'lax $[''a b'']')"#, "true STRING"),
        (r#"JSON_QUERY('{"a": {"b": 1}}', '$.a')"#, r#"{"b":1} STRING"#),
        (r#"JSON_QUERY('{"a": 1}', '$.a')"#, "NULL STRING"),
        (r#"JSON_QUERY('{"a": {"z": 1e5, "b": 1.50}}', '$.a')"#, r#"{"b":1.50,"z":1E+5} STRING"#),
        (r#"JSON_QUERY('{"a": 1}', '$.a' WITH WRAPPER)"#, "[1] STRING"),
        (r#"JSON_QUERY('{"a": [1]}', '$.a' WITH UNCONDITIONAL ARRAY WRAPPER)"#, "[[1]] STRING"),
        (r#"JSON_QUERY('{"a": [1]}', '$.a' WITH CONDITIONAL WRAPPER)"#, "[1] STRING"),
        (r#"JSON_QUERY('{"a": [{"b": 1}, {"c": 2}, {"b": 3}]}', '$.a[*].b')"#, "[1,3] STRING"),
        (r#"JSON_QUERY('{}', 'lax $.a' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR)"#, "[] STRING"),
        (r#"JSON_QUERY('{}', '$.a' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR)"#, "{} STRING"),
        (r#"JSON_EXISTS('{"a": null}', '$.a')"#, "false BOOLEAN"),
        (r#"JSON_EXISTS('{"a": 1}', '$.b' UNKNOWN ON ERROR)"#, "NULL BOOLEAN"),
        ("JSON_OBJECT(KEY 'b' VALUE 1.50, 'a' VALUE 'x', 'n': NULL)", r#"{"a":"x","b":1.50,"n":null} STRING"#),
        ("JSON_OBJECT('a' VALUE 1, 'n' VALUE CAST(NULL AS INT) ABSENT ON NULL)", r#"{"a":1} STRING"#),
        ("JSON_OBJECT('a' VALUE JSON_ARRAY('x', NULL), 'b' VALUE '[1]')", r#"{"a":["x"],"b":"[1]"} STRING"#),
        ("JSON_ARRAY(1, NULL, TRUE NULL ON NULL)", "[1,null,true] STRING"),
        ("JSON_OBJECT()", "{} STRING"),
        ("JSON_ARRAY(DATE '2020-01-01')", "JSON has no DATE; CAST it AS STRING"),
        ("JSON_STRING(ROW(1, ARRAY['x', NULL]))", r#"{"EXPR$0":1,"EXPR$1":["x",null]} STRING"#),
        ("JSON_STRING(MAP['b', CAST(1e7 AS DOUBLE)])", r#"{"b":1.0E+7} STRING"#),
        ("JSON_STRING(TIMESTAMP '2020-01-01 00:00:00.5')", r#""2020-01-01T00:00:00.5" STRING"#),
        (r#"JSON_QUOTE('a"ü/')"#, r#""a\"\u00fc\/" STRING"#),
        (r#"JSON_UNQUOTE('"a\u00fc"')"#, "aü STRING"),
        (r#"JSON_UNQUOTE('"a\x"')"#, r#""a\x" STRING"#),
        (
            r#"JSON_EXISTS('{"a": 1}', 'a')"#,
            "JSON_EXISTS: the path 'a' does not begin with $; paths look like $.a.b[0], $['a b'] or $.a[*]",
        ),
        ("MD5('abc')", "900150983cd24fb0d6963f7d28e17f72 STRING"),
        ("SHA256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad STRING"),
        ("TO_BASE64('hello world')", "aGVsbG8gd29ybGQ= STRING"),
        ("FROM_BASE64('aGVsbG8gd29ybGQ=')", "hello world STRING"),
        ("URL_ENCODE('a b&c/ü')", "a+b%26c%2F%C3%BC STRING"),
        ("URL_DECODE('a+b%26c%2F%C3%BC')", "a b&c/ü STRING"),
        ("PARSE_URL('http://u@facebook.com:80/path1/p.php?k1=v1&k2=v2#Ref1', 'HOST')", "facebook.com STRING"),
        ("PARSE_URL('http://facebook.com/path1/p.php?k1=v1&k2=v2#Ref1', 'QUERY', 'k2')", "v2 STRING"),
        ("CARDINALITY(ARRAY[1, 2, 3])", "3 INT"),
        ("ELEMENT(ARRAY['x'])", "x STRING"),
        ("ARRAY[10, 20][1]", "10 INT"),
        ("MAP['a', 1, 'b', 2]['b']", "2 INT"),
        ("STR_TO_MAP('a=1,b=2')['b']", "2 STRING"),
        ("CARDINALITY(MAP['a', 1])", "1 INT"),
        ("ARRAY_SLICE(ARRAY[1, 2, 3], 2)", "[2, 3] ARRAY<INT>"),
        ("ARRAY_SLICE(ARRAY[1, 2, 3], -2, -1)", "[2, 3] ARRAY<INT>"),
        ("ARRAY_SLICE(ARRAY[1, 2, 3], 3, 1)", "[] ARRAY<INT>"),
        ("CAST(MAP['a', NULLIF(1, 1)] AS STRING)", "{a=NULL} STRING"),
        ("CAST(ROW(1, 'a', ARRAY[1E0]) AS STRING)", "(1, a, [1.0]) STRING"),
        ("TYPEOF(ROW(1, 'x'))", "ROW<`EXPR$0` INT, `EXPR$1` STRING> STRING"),
        ("CAST(ARRAY[ROW(1, 'x')] AS ARRAY<ROW<a BIGINT, b STRING>>)[1].a", "1 BIGINT"),
        (
            "CAST(ARRAY[ROW(1)] AS ARRAY<ROW<a BIGINT, b STRING>>)",
            "ARRAY<ROW<`EXPR$0` INT>> cannot be cast to ARRAY<ROW<`a` BIGINT, `b` STRING>>",
        ),
        ("CAST(ROW(1, 'x') AS ROW<a BIGINT, b STRING>).b", "x STRING"),
        ("'x'", "x STRING"),
        ("CAST(ROW(1, 'x') AS ROW<a BIGINT, b STRING>)", "{a: 1, b: x} ROW<`a` BIGINT, `b` STRING>"),
    ])
    .await;
}

/// One aggregate over (1), (2), (4), (NULL), (4) of `x`, and over groups of one.
#[tokio::test]
async fn averages() {
    let catalog = Catalog::new();
    let context = bounded::session(catalog.functions());
    let average = async |expr: &str| {
        let rows = "(VALUES ('a', 1), ('a', 2), ('a', 4), ('b', NULL), ('a', 4)) AS t(k, x)";
        let text = format!("SELECT {expr}, TYPEOF({expr}) FROM {rows} GROUP BY k ORDER BY k");
        let batches = bounded::collect(&context, &catalog, &text, "q").await.unwrap();
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let show = |c: usize, r: usize| {
            ArrayFormatter::try_new(batch.column(c), &FormatOptions::default().with_null("NULL")).unwrap().value(r).to_string()
        };
        format!("{} {} {}", show(0, 0), show(0, 1), show(1, 0))
    };
    assert_eq!(average("AVG(x)").await, "2 NULL INT");
    assert_eq!(average("AVG(DISTINCT x)").await, "2 NULL INT");
    assert_eq!(average("AVG(x) FILTER (WHERE x > 1)").await, "3 NULL INT");
    assert_eq!(average("AVG(-x)").await, "-2 NULL INT");
    assert_eq!(average("AVG(CAST(x AS DECIMAL(4, 2)))").await, "2.750000 NULL DECIMAL(38, 6)");
    assert_eq!(average("AVG(CAST(x AS DOUBLE))").await, "2.75 NULL DOUBLE");
    assert_eq!(average("COUNT(*)").await, "4 1 BIGINT");
    assert_eq!(average("SUM(x)").await, "11 NULL INT");
    assert_eq!(average("SUM(DISTINCT x)").await, "7 NULL INT");
    assert_eq!(average("SUM(CAST(x AS BIGINT))").await, "11 NULL BIGINT");
    assert_eq!(average("SUM(CAST(2147483647 AS INT))").await, "-4 2147483647 INT", "it wraps around, as Flink's");
    assert_eq!(average("SUM(CAST(x AS DECIMAL(4, 2)))").await, "11.00 NULL DECIMAL(38, 2)");
    assert_eq!(average("ROUND(VARIANCE(x), 9)").await, "2.25 NULL DOUBLE");
}
