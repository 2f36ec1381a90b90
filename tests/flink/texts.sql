-- Functions of texts and times, and casts of texts.
-- data t.jsonl
--   {"id": 1, "k": "a", "v": 1, "s": "Hello, Wörld", "b": true, "ts": "2024-03-30 23:59:58.123", "dt": "2024-02-29", "tm": "12:34:56"}
--   {"id": 2, "k": "b", "v": -5, "s": "", "b": false, "ts": "2024-03-31 00:00:01", "dt": "2024-12-31", "tm": "00:00:00"}
--   {"id": 3, "k": "a", "v": 2147483647, "s": null, "b": null, "ts": "2024-03-31 00:00:04", "dt": "1969-12-31", "tm": "23:59:59"}
--   {"id": 4, "k": null, "v": 7, "s": "a;b;;c", "b": null, "ts": "2024-03-31 00:00:05.999", "dt": null, "tm": null}
--   {"id": 5, "k": "a", "v": null, "s": "  trim me ", "b": false, "ts": "2024-03-31 00:00:20", "dt": "2000-01-01", "tm": "01:02:03"}
--   {"id": 6, "k": "b", "v": 3, "s": "2024-01-15 10:11:12", "b": true, "ts": "2024-03-31 00:00:21", "dt": "2021-01-03", "tm": "12:00:00"}
CREATE TABLE t (id BIGINT, k STRING, v INT, s STRING, b BOOLEAN, ts TIMESTAMP(3), dt DATE, tm TIME, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/t.jsonl', 'format' = 'json');

-- look-behind in REGEXP_EXTRACT
SELECT id, REGEXP_EXTRACT(s, '(?<=H)e', 0) AS a, REGEXP_EXTRACT(s, 'l(?=o)', 0) AS b, REGEXP_EXTRACT(s, '(l)\1', 1) AS c, REGEXP_EXTRACT(s, 'l(l)', 5) AS e FROM t;

-- look-around and back references in REGEXP
SELECT id, REGEXP(s, '(.)\1') AS a, REGEXP(s, '^(?!Hello)') AS b, s SIMILAR TO 'x' AS c FROM t;

-- look-around and back references in REGEXP_REPLACE
SELECT id, REGEXP_REPLACE(s, '(?<=l)o', '<$0>') AS a, REGEXP_REPLACE(s, '(.)\1', '') AS b FROM t;

-- a pattern that is none in REGEXP_REPLACE
SELECT id, REGEXP_REPLACE(s, '(', '') AS a FROM t;

-- a pattern that is none in REGEXP
SELECT id, REGEXP(s, '(') AS a FROM t;

-- REGEXP_COUNT and its kin with look-around
SELECT id, REGEXP_COUNT(s, 'l(?=l|o)') AS a, REGEXP_INSTR(s, '(?<=;)b') AS b, REGEXP_SUBSTR(s, '(.)\1') AS c FROM t;

-- REGEXP_COUNT and its kin with patterns that are none, or match nothing
SELECT id, REGEXP_COUNT(s, '(') AS a, REGEXP_INSTR(s, '(') AS b, REGEXP_SUBSTR(s, '(') AS c, REGEXP_COUNT(s, 'zz') AS e, REGEXP_INSTR(s, 'zz') AS f, REGEXP_COUNT(s, '') AS g, REGEXP_INSTR(s, '') AS h, REGEXP_SUBSTR(s, '') AS i FROM t;

-- REGEXP_EXTRACT_ALL
SELECT id, REGEXP_EXTRACT_ALL(s, '[a-z]') AS a, REGEXP_EXTRACT_ALL(s, '(l)(l|o)', 2) AS b, REGEXP_EXTRACT_ALL(s, '(l)(l|o)') AS c, REGEXP_EXTRACT_ALL(s, '(l)(l|o)', 0) AS e, REGEXP_EXTRACT_ALL(s, '(', 0) AS f, REGEXP_EXTRACT_ALL(s, 'l(l)?', 1) AS g FROM t;

-- REGEXP_EXTRACT_ALL of a group that is not there
SELECT id, REGEXP_EXTRACT_ALL(s, '(l)', 4) AS a, REGEXP_EXTRACT_ALL(s, '(l)', -1) AS b FROM t;

-- OVERLAY
SELECT id, OVERLAY(s PLACING 'XX' FROM 7) AS a, OVERLAY(s PLACING 'XX' FROM 100) AS b, OVERLAY(s PLACING 'ABCDEF' FROM 2 FOR 3) AS c, OVERLAY(s PLACING 'Z' FROM 3 FOR -1) AS e, OVERLAY(s PLACING 'Z' FROM 3 FOR 0) AS f, OVERLAY(s PLACING 'Z' FROM 3 FOR 100) AS g, OVERLAY(s PLACING '' FROM 2 FOR 1) AS h FROM t;

-- OVERLAY from before the text
SELECT id, OVERLAY(s PLACING 'Z' FROM -1 FOR 1) AS a, OVERLAY(s PLACING 'Z' FROM 0 FOR 1) AS b FROM t;

-- REPLACE of nothing
SELECT id, REPLACE(s, '', '-') AS a, REPLACE(s, 'l', '') AS b, REPLACE(s, 'll', 'L') AS c, REPLACE(s, k, '?') AS e FROM t;

-- ASCII
SELECT id, ASCII(s) AS a, ASCII('ö') AS b, ASCII('日') AS c, ASCII('') AS e, TYPEOF(ASCII('a')) AS f, ASCII('z') AS g, ASCII('é') AS h, ASCII('Ā') AS i FROM t;

-- TO_DATE
SELECT id, TO_DATE(s) AS a, TO_DATE('2024-01-15 10:11:12') AS b, TO_DATE('2024-1-5') AS c, TO_DATE('2024-02-30') AS e, TO_DATE('05/01/2024', 'dd/MM/yyyy') AS f, TO_DATE('2024-01-15T10:11:12') AS g, TO_DATE('2024-01-15x') AS h, TO_DATE(' 2024-01-15 ') AS i, TO_DATE('2024') AS j, TO_DATE('2024-03') AS l FROM t;

-- casts of texts with a fraction to integers
SELECT id, CAST('1.9' AS INT) AS a, CAST('1.9' AS BIGINT) AS b, CAST('-0.5' AS INT) AS c, CAST(' -7.99 ' AS SMALLINT) AS e, CAST('12.' AS TINYINT) AS f, TRY_CAST('1e3' AS INT) AS g, TRY_CAST('1.x' AS INT) AS h, TRY_CAST('.5' AS INT) AS i, TRY_CAST('' AS INT) AS j, TRY_CAST('+5' AS INT) AS l, TRY_CAST('2147483648' AS INT) AS m, TRY_CAST('-2147483648.9' AS INT) AS n, TRY_CAST('-' AS INT) AS o, TRY_CAST('.' AS INT) AS p, TRY_CAST('300.5' AS TINYINT) AS q, TRY_CAST(s AS INT) AS r, TRY_CAST('99999999999.1' AS BIGINT) AS w FROM t;

-- DATE_FORMAT of weeks and quarters
SELECT id, DATE_FORMAT(ts, 'w') AS a, DATE_FORMAT(ts, 'ww Y') AS b, DATE_FORMAT(ts, 'W') AS c, DATE_FORMAT(ts, 'e') AS e, DATE_FORMAT(ts, 'Q QQ QQQ QQQQ') AS f, DATE_FORMAT(CAST(dt AS TIMESTAMP(3)), 'w YYYY e W') AS g FROM t;

-- DATE_FORMAT of eras and the day's parts
SELECT id, DATE_FORMAT(ts, 'G') AS a, DATE_FORMAT(ts, 'n') AS b, DATE_FORMAT(ts, 'N A') AS c, DATE_FORMAT(ts, 'EEEEE') AS e, DATE_FORMAT(ts, 'MMMMM') AS f, DATE_FORMAT(ts, 'c') AS g, DATE_FORMAT(ts, 'yyy') AS h FROM t;

-- parts of a time of day
SELECT id, EXTRACT(HOUR FROM tm) AS a, EXTRACT(MINUTE FROM tm) AS b, EXTRACT(SECOND FROM tm) AS c FROM t;

-- functions of parts of a time of day
SELECT id, HOUR(tm) AS a, MINUTE(tm) AS b, SECOND(tm) AS c, TYPEOF(HOUR(tm)) AS e FROM t;

-- milliseconds of a time of day
SELECT id, EXTRACT(MILLISECOND FROM tm) AS a FROM t;

-- the day of a time of day
-- differs: refused not before there is a row
SELECT id, EXTRACT(DAY FROM tm) AS a FROM t;

-- parts of a date below the day
SELECT id, EXTRACT(HOUR FROM dt) AS a FROM t;

-- the literal in an aggregate
SELECT window_start, k, SUM(CASE WHEN b THEN v ELSE 0 END) AS e, TYPEOF(SUM(CASE WHEN b THEN v ELSE 0 END)) AS f, SUM(1) AS g, MAX(v + 1) AS h, COUNT(DISTINCT MOD(v, 2)) AS i, AVG(v * 2) AS j, MIN(MOD(v, 10)) AS l, TYPEOF(SUM(1)) AS m FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, k;

-- the literal in GROUP BY
SELECT window_start, MOD(v, 2) AS par, TYPEOF(MOD(v, 2)) AS ty, UPPER(k) AS uk, v + 1 AS w, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, MOD(v, 2), UPPER(k), v + 1;

-- a literal BIGINT in an aggregate and in GROUP BY
SELECT window_start, id + 1 AS a, SUM(id + 1) AS b, SUM(CASE WHEN b THEN 3000000000 ELSE 0 END) AS c, CASE WHEN v > 0 THEN 'p' ELSE 'n' END AS e FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, id + 1, CASE WHEN v > 0 THEN 'p' ELSE 'n' END;

-- the literal in HAVING
SELECT k, SUM(v + 1) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, k HAVING SUM(v + 1) > 1 AND COUNT(*) > 0;

-- the literal in OVER
SELECT id, SUM(v + 1) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS a, SUM(CASE WHEN b THEN 1 ELSE 0 END) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS c FROM t;

-- types of the literal in OVER
SELECT id, TYPEOF(a) AS a, TYPEOF(c) AS c FROM (SELECT id, SUM(v + 1) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS a, MAX(1) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS c FROM t);

-- type of a row number
SELECT TYPEOF(rn) AS ty FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC) AS rn FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR))) WHERE rn = 1;

-- a row number as a value
SELECT id, rn, rn + 1 AS n, CAST(rn AS STRING) AS c FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC) AS rn FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR))) WHERE rn <= 2;
