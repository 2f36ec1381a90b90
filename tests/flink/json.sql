-- JSON texts, taken apart and built.
-- data t.jsonl
--   {"id": 1, "k": "a", "v": 1, "x": 1.5, "d": 10.25, "s": "He said \"hi\"", "b": true, "ts": "2024-03-30 23:59:58.123", "dt": "2024-02-29", "tm": "12:34:56", "arr": [1, 2, null], "m": {"p": 1, "q": null}, "r": {"a": 1, "b": {"c": "x"}}, "j": "{\"a\": [1, {\"b\": \"x\"}], \"n\": null}"}
--   {"id": 2, "k": "b", "v": -5, "x": -2.5, "d": 0.01, "s": "", "b": false, "ts": "2024-03-31 00:00:01", "dt": "2024-12-31", "tm": "00:00:00", "arr": [], "m": {}, "r": {"a": null, "b": null}, "j": "[1, 2, \"3\", [], {}]"}
--   {"id": 3, "k": "a", "v": 2147483647, "x": 1e300, "d": -3.33, "s": null, "b": null, "ts": "2024-03-31 00:00:05.999", "dt": "1969-12-31", "tm": "23:59:59", "arr": null, "m": null, "r": null, "j": "not json"}
--   {"id": 4, "k": null, "v": 7, "x": null, "d": null, "s": "tab\tnew\nline / \\ ünï \u0001", "b": null, "ts": "2024-03-31 00:00:04", "dt": null, "tm": null, "arr": [null, 5], "m": {"p": null}, "r": {"a": 4, "b": {"c": null}}, "j": null}
--   {"id": 5, "k": "a", "v": null, "x": 1e7, "d": 2.50, "s": "日本", "b": false, "ts": "2024-03-31 00:00:20", "dt": "2000-01-01", "tm": "01:02:03", "arr": [3], "m": {"z": 9}, "r": {"a": 5, "b": {"c": "\""}}, "j": "{\"a\": {\"b\": 1.50, \"e\": 1e5, \"big\": 12345678901234567890123}, \"t\": true, \"b\": [ ], \"s\": \"x\"}"}
CREATE TABLE t (id BIGINT, k STRING, v INT, x DOUBLE, d DECIMAL(10, 2), s STRING, b BOOLEAN, ts TIMESTAMP(3), dt DATE, tm TIME, arr ARRAY<INT>, m MAP<STRING, INT>, r ROW<a INT, b ROW<c STRING>>, j STRING)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/t.jsonl', 'format' = 'json');

-- query
SELECT id, JSON_QUERY(j, '$.a') AS a, JSON_QUERY(j, '$.b') AS b, JSON_QUERY(j, '$') AS c, JSON_QUERY(j, 'lax $.a') AS e, JSON_QUERY(j, '$.a.b') AS f FROM t;

-- query with a wrapper
SELECT id, JSON_QUERY(j, '$.a' WITH WRAPPER) AS a, JSON_QUERY(j, '$.t' WITH WRAPPER) AS b, JSON_QUERY(j, '$.n' WITH WRAPPER) AS c, JSON_QUERY(j, '$.none' WITH WRAPPER) AS e, JSON_QUERY(j, 'lax $.none' WITH WRAPPER) AS f, JSON_QUERY(j, '$.a.b' WITH WRAPPER) AS g, JSON_QUERY(j, '$.s' WITH WRAPPER) AS h FROM t;

-- query with an unconditional wrapper
SELECT id, JSON_QUERY(j, '$.a' WITH UNCONDITIONAL ARRAY WRAPPER) AS a, JSON_QUERY(j, '$.t' WITH UNCONDITIONAL WRAPPER) AS b, JSON_QUERY(j, '$.a' WITH ARRAY WRAPPER) AS c FROM t;

-- query with a conditional wrapper
SELECT id, JSON_QUERY(j, '$.a' WITH CONDITIONAL WRAPPER) AS a, JSON_QUERY(j, '$.t' WITH CONDITIONAL ARRAY WRAPPER) AS b, JSON_QUERY(j, '$.a.b' WITH CONDITIONAL WRAPPER) AS c, JSON_QUERY(j, '$.s' WITH CONDITIONAL WRAPPER) AS e FROM t;

-- query without a wrapper
SELECT id, JSON_QUERY(j, '$.a' WITHOUT WRAPPER) AS a, JSON_QUERY(j, '$.t' WITHOUT ARRAY WRAPPER) AS b FROM t;

-- value of numbers
SELECT id, JSON_VALUE(j, '$.a.e') AS a, JSON_VALUE(j, '$.a.big') AS b, JSON_VALUE(j, '$.a[*]') AS c FROM t;

-- exists with many values
SELECT id, JSON_EXISTS(j, '$.a[*]') AS a, JSON_EXISTS(j, '$.a[*].b') AS b FROM t;

-- query with many values and a step behind them
SELECT id, JSON_QUERY(j, '$.a[*].b') AS a, JSON_QUERY(j, '$[*].b') AS b FROM t;

-- query with many values
SELECT id, JSON_QUERY(j, '$.a[*]' WITH WRAPPER) AS a, JSON_QUERY(j, '$.a[*]' WITH CONDITIONAL WRAPPER) AS b, JSON_QUERY(j, '$.a.*' WITH WRAPPER) AS c, JSON_QUERY(j, '$[*]') AS e FROM t;

-- query in place of nothing
SELECT id, JSON_QUERY(j, '$.b' EMPTY ARRAY ON EMPTY) AS a, JSON_QUERY(j, 'lax $.zz' EMPTY ARRAY ON EMPTY) AS b, JSON_QUERY(j, 'lax $.zz' EMPTY OBJECT ON EMPTY) AS c, JSON_QUERY(j, '$.zz' EMPTY OBJECT ON ERROR) AS e, JSON_QUERY(j, 'lax $.zz' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS f, JSON_QUERY(j, '$.t' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS g, JSON_QUERY(j, 'lax $.t' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS h, JSON_QUERY(j, '$.n' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS i, JSON_QUERY(j, 'lax $.n' NULL ON EMPTY EMPTY OBJECT ON ERROR) AS l FROM t;

-- query with a wrapper in place of nothing
SELECT id, JSON_QUERY(j, '$.zz' WITH WRAPPER EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS a, JSON_QUERY(j, 'lax $.zz' WITH CONDITIONAL WRAPPER EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS b, JSON_QUERY(j, 'lax $.n' WITH CONDITIONAL WRAPPER EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS c FROM t;

-- exists
SELECT id, JSON_EXISTS(j, '$.n') AS a, JSON_EXISTS(j, '$.a') AS b, JSON_EXISTS(j, '$.a[0]') AS c, JSON_EXISTS(j, 'lax $.n') AS e, JSON_EXISTS(j, 'strict $.n') AS f, JSON_EXISTS(j, '$') AS g, JSON_EXISTS(j, '$.zz' TRUE ON ERROR) AS h, JSON_EXISTS(j, '$.zz' UNKNOWN ON ERROR) AS i FROM t;

-- object
SELECT id, JSON_OBJECT('k' VALUE k, 'v' VALUE v, 'd' VALUE d) AS a, JSON_OBJECT(KEY 'x' VALUE v) AS b, JSON_OBJECT('x': v) AS c, JSON_OBJECT() AS e FROM t;

-- object of a column's name
SELECT id, JSON_OBJECT(KEY 'i' VALUE id, KEY 'x' VALUE x) AS a, JSON_OBJECT('s' VALUE s, 'b' VALUE b) AS b FROM t;

-- object without NULLs
SELECT id, JSON_OBJECT('k' VALUE k, 'v' VALUE v, 'd' VALUE d ABSENT ON NULL) AS a, JSON_OBJECT('k' VALUE k, 'v' VALUE v NULL ON NULL) AS b FROM t;

-- object of times
SELECT id, JSON_OBJECT('ts' VALUE ts, 'dt' VALUE dt, 'tm' VALUE tm, 'c' VALUE CAST(v AS BIGINT), 'f' VALUE CAST(x AS FLOAT)) AS a FROM t;

-- object of nested values
SELECT id, JSON_OBJECT('arr' VALUE arr, 'm' VALUE m, 'r' VALUE r) AS a FROM t;

-- object of bytes
SELECT id, JSON_OBJECT('by' VALUE CAST(s AS BYTES)) AS a FROM t;

-- object in object
SELECT id, JSON_OBJECT('a' VALUE JSON_OBJECT('y' VALUE s), 'b' VALUE JSON_ARRAY(v, k NULL ON NULL)) AS a, JSON_OBJECT('t' VALUE '{"a": 1}') AS b FROM t;

-- object in object by key
SELECT id, JSON_OBJECT(KEY 'x' VALUE JSON_OBJECT('y' VALUE s)) AS c FROM t;

-- object of a key twice
SELECT id, JSON_OBJECT('a' VALUE v, 'a' VALUE k) AS a FROM t;

-- object of a JSON text
SELECT id, JSON_OBJECT('q' VALUE JSON_QUERY(j, '$.a'), 'w' VALUE JSON_STRING(arr)) AS a FROM t;

-- array
SELECT id, JSON_ARRAY(k, v, b) AS a, JSON_ARRAY(k, v, b NULL ON NULL) AS b, JSON_ARRAY(k, v ABSENT ON NULL) AS c, JSON_ARRAY() AS e, JSON_ARRAY(JSON_ARRAY(1, 'a'), JSON_OBJECT('z' VALUE v)) AS f FROM t;

-- string of plain values
SELECT id, JSON_STRING(v) AS a, JSON_STRING(s) AS b, JSON_STRING(b) AS c, JSON_STRING(x) AS e, JSON_STRING(d) AS f, JSON_STRING(ts) AS g, JSON_STRING(dt) AS h FROM t;

-- string of a time
SELECT id, JSON_STRING(tm) AS a FROM t;

-- string of nested values
SELECT id, JSON_STRING(arr) AS a, JSON_STRING(r) AS b, JSON_STRING(ROW(v, k)) AS c, JSON_STRING(ARRAY[ROW(v, d)]) AS e FROM t;

-- string of a map
SELECT id, JSON_STRING(m) AS a, JSON_STRING(MAP['z', 1, 'a', 2]) AS b FROM t;

-- string of timestamps
SELECT id, JSON_STRING(TO_TIMESTAMP_LTZ(1700000000123, 3)) AS a, JSON_STRING(TIMESTAMP '2020-01-01 00:00:00.5') AS b, JSON_STRING(TIMESTAMP '2020-01-01 00:00:00') AS c, JSON_STRING(CAST(1.5 AS FLOAT)) AS e, JSON_STRING(CAST('ab' AS BYTES)) AS f, JSON_STRING(1e300) AS g, JSON_STRING(TIMESTAMP '2020-01-01 00:01:00.000001') AS h FROM t;

-- quote
SELECT id, JSON_QUOTE(s) AS a, JSON_QUOTE('a/b') AS b FROM t;

-- unquote
SELECT id, JSON_UNQUOTE(JSON_QUOTE(s)) AS a, JSON_UNQUOTE('"a\u00fcb"') AS b, JSON_UNQUOTE('abc') AS c, JSON_UNQUOTE('"abc') AS e, JSON_UNQUOTE('[1]') AS f, JSON_UNQUOTE('"a"b"') AS g, JSON_UNQUOTE('"a\x"') AS h, JSON_UNQUOTE('5') AS i, JSON_UNQUOTE('""') AS j, JSON_UNQUOTE('"\ud83d\ude00 \/ \n"') AS l FROM t;
