-- MATCH_RECOGNIZE.
-- data ticker.jsonl
--   {"symbol": "ACME", "price": 12, "tax": 1, "x": 1.5, "ts": "2024-04-01 10:00:00"}
--   {"symbol": "ACME", "price": 17, "tax": 2, "x": null, "ts": "2024-04-01 10:00:01"}
--   {"symbol": "ZINC", "price": 3, "tax": 2, "x": 0.5, "ts": "2024-04-01 10:00:01"}
--   {"symbol": "ACME", "price": 19, "tax": 1, "x": 2.5, "ts": "2024-04-01 10:00:02"}
--   {"symbol": "ACME", "price": 21, "tax": 3, "x": 3.5, "ts": "2024-04-01 10:00:03"}
--   {"symbol": "ACME", "price": 18, "tax": 1, "x": 4.5, "ts": "2024-04-01 10:00:05"}
--   {"symbol": "ACME", "price": 25, "tax": 2, "x": 5.5, "ts": "2024-04-01 10:00:04"}
--   {"symbol": "ZINC", "price": 2, "tax": 5, "x": 0.25, "ts": "2024-04-01 10:00:05"}
--   {"symbol": "ACME", "price": 15, "tax": 1, "x": null, "ts": "2024-04-01 10:00:06"}
--   {"symbol": "ACME", "price": 14, "tax": 2, "x": 7.5, "ts": "2024-04-01 10:00:07"}
--   {"symbol": "ZINC", "price": null, "tax": 7, "x": 0.125, "ts": "2024-04-01 10:00:07"}
--   {"symbol": "ACME", "price": 24, "tax": 2, "x": 8.5, "ts": "2024-04-01 10:00:08"}
--   {"symbol": "ACME", "price": 25, "tax": 2, "x": 9.5, "ts": "2024-04-01 10:00:09"}
--   {"symbol": "ZINC", "price": 4, "tax": 1, "x": 4.0, "ts": "2024-04-01 10:00:09"}
--   {"symbol": "ACME", "price": 99, "tax": 9, "x": 9.5, "ts": "2024-04-01 10:00:00"}
--   {"symbol": "ACME", "price": 19, "tax": 1, "x": 1.0, "ts": "2024-04-01 10:00:20"}
--   {"symbol": "ZINC", "price": 5, "tax": 1, "x": 6.0, "ts": "2024-04-01 10:00:21"}
--   {"symbol": null, "price": 1, "tax": 1, "x": 1.0, "ts": "2024-04-01 10:00:22"}
--   {"symbol": null, "price": 2, "tax": 1, "x": 1.0, "ts": "2024-04-01 10:00:23"}
-- data ties.jsonl
--   {"k": "a", "v": 1, "w": 2, "ts": "2024-01-01 00:00:01"}
--   {"k": "a", "v": 2, "w": 1, "ts": "2024-01-01 00:00:01"}
--   {"k": "a", "v": 3, "w": null, "ts": "2024-01-01 00:00:01"}
--   {"k": "a", "v": 4, "w": 4, "ts": "2024-01-01 00:00:02"}
--   {"k": "b", "v": 1, "w": 4, "ts": "2024-01-01 00:00:02"}
--   {"k": "a", "v": 5, "w": 3, "ts": "2024-01-01 00:00:02"}
--   {"k": "b", "v": 2, "w": 4, "ts": "2024-01-01 00:00:03"}
CREATE TABLE ticker (symbol STRING, price INT, tax BIGINT, x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/ticker.jsonl', 'format' = 'json');
CREATE TABLE ltz (symbol STRING, price INT, ts TIMESTAMP(3), rt AS CAST(ts AS TIMESTAMP_LTZ(3)), WATERMARK FOR rt AS rt - INTERVAL '2' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/ticker.jsonl', 'format' = 'json');
CREATE TABLE ties (k STRING, v INT, w INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/ties.jsonl', 'format' = 'json');
CREATE VIEW rising AS SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(UP.price) AS low, LAST(UP.price) AS high, MATCH_ROWTIME() AS mt
  AFTER MATCH SKIP PAST LAST ROW PATTERN (UP{2} DOWN) DEFINE UP AS LAST(UP.price, 1) IS NULL OR UP.price > LAST(UP.price, 1), DOWN AS DOWN.price < LAST(UP.price)) AS m;

CREATE VIEW falling AS SELECT * FROM ltz MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY rt MEASURES MATCH_ROWTIME(rt) AS mt AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE B AS B.price < A.price);

-- a fall and the rise after it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts
  MEASURES START_ROW.ts AS start_at, LAST(PRICE_DOWN.ts) AS bottom_at, LAST(PRICE_UP.ts) AS end_at
  ONE ROW PER MATCH AFTER MATCH SKIP TO LAST PRICE_UP
  PATTERN (START_ROW PRICE_DOWN+ PRICE_UP)
  DEFINE
    PRICE_DOWN AS (LAST(PRICE_DOWN.price, 1) IS NULL AND PRICE_DOWN.price < START_ROW.price) OR PRICE_DOWN.price < LAST(PRICE_DOWN.price, 1),
    PRICE_UP AS PRICE_UP.price > LAST(PRICE_DOWN.price, 1)) MR;
-- aggregates
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts
  MEASURES FIRST(A.ts) AS start_at, LAST(A.ts) AS end_at, AVG(A.price) AS avg_price, SUM(A.tax) AS taxes, AVG(A.x) AS ax, COUNT(A.x) AS nx,
    MIN(A.price) AS low, MAX(A.price) AS high, COUNT(*) AS n
  ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A+ B) DEFINE A AS AVG(A.price) < 18, B AS B.price > 20) MR;
-- a greedy loop that would take the last row
-- differs: Flink does not give back what a greedy loop has taken; the standard prefers the longer way, if it leads on
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(A.ts) AS start_at, COUNT(*) AS n AFTER MATCH SKIP PAST LAST ROW PATTERN (A+ B) DEFINE A AS AVG(A.price) < 18) MR;
-- an aggregate over an expression
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES SUM(A.price * A.tax) AS weighted, SUM(A.price * A.tax) / SUM(A.tax) AS mean, B.tax + 1 AS b
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A{2} B) DEFINE A AS A.price > 14, B AS SUM(A.price) > 30) MR;
-- aggregates over all rows and over another variable in DEFINE
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, LAST(B.price) AS b, C.price AS c
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A B+ C) DEFINE B AS SUM(price) < 70 AND B.price <> 5, C AS C.price > AVG(B.price)) MR;
-- omitted AFTER MATCH
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, C.price AS c PATTERN (A B C) DEFINE B AS B.price > A.price, C AS C.price > B.price) MR;
-- skip to next row
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, C.price AS c AFTER MATCH SKIP TO NEXT ROW
  PATTERN (A B C) DEFINE B AS B.price > A.price, C AS C.price > B.price) MR;
-- skip past last row
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, C.price AS c AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B C) DEFINE B AS B.price > A.price, C AS C.price > B.price) MR;
-- skip to first
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, FIRST(B.price) AS b, C.price AS c AFTER MATCH SKIP TO FIRST B
  PATTERN (A B{2} C) DEFINE B AS B.price > A.price) MR;
-- skip to last
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, FIRST(B.price) AS b, C.price AS c AFTER MATCH SKIP TO LAST B
  PATTERN (A B{2} C) DEFINE B AS B.price > A.price) MR;
-- skip to a variable
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, C.price AS c AFTER MATCH SKIP TO B
  PATTERN (A B{2} C) DEFINE B AS B.price > A.price) MR;
-- skip to the first row of the match
-- differs: it is taken, and fails while it runs, as in Flink
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP TO FIRST A PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- within
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES C.ts AS dropped_at, A.price - C.price AS fall AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C) WITHIN INTERVAL '3' SECOND DEFINE B AS B.price > A.price - 5, C AS C.price < A.price - 5) MR;
-- within, to the end of the interval
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, B.price AS b AFTER MATCH SKIP TO NEXT ROW
  PATTERN (A X Y B) WITHIN INTERVAL '3' SECOND DEFINE B AS B.price > 0) MR;
-- within, one second more (under other names: of two patterns that differ in WITHIN alone Flink plans one)
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS first_price, B.price AS last_price AFTER MATCH SKIP TO NEXT ROW
  PATTERN (A X Y B) WITHIN INTERVAL '4' SECOND DEFINE B AS B.price > 0) MR;
-- a variable without a definition
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, B.price AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS A.price > 15) MR;
-- greedy
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, COUNT(B.price) AS bs, C.price AS c AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C) DEFINE A AS A.price > 10, B AS B.price < 25, C AS C.price > 17) MR;
-- reluctant
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, COUNT(B.price) AS bs, C.price AS c AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B*? C) DEFINE A AS A.price > 10, B AS B.price < 25, C AS C.price > 17) MR;
-- quantifiers
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(A.price) AS a, LAST(A.price) AS a2, COUNT(B.price) AS bs, LAST(B.price, 1) AS b1, C.tax AS c
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A{2,3}? B{1,} C D) DEFINE A AS A.price > 10, B AS B.price > 20) MR;
-- optional
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, B.price AS b, C.price AS c AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B? C) DEFINE A AS A.price > 18, B AS B.price > 20, C AS C.price < 20) MR;
-- offsets of FIRST and LAST
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(A.price) AS f, FIRST(A.price, 1) AS f1, FIRST(A.price, 5) AS f5, LAST(A.price) AS l, LAST(A.price, 2) AS l2
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A{4} B) DEFINE A AS A.price > FIRST(A.price) - 1) MR;
-- columns without a variable
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(price) AS f, LAST(price) AS l, price AS p, tax * 2 AS t2
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A B C) DEFINE B AS price > LAST(A.price), C AS price > 18) MR;
-- measures in expressions
SELECT symbol, what, ratio, UPPER(named) AS named FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts
  MEASURES CASE WHEN B.price > A.price THEN 'up' ELSE 'down' END AS what, CAST(B.price AS DOUBLE) / A.price AS ratio, CONCAT(symbol, '-', CAST(B.tax AS STRING)) AS named
  AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS A.price > 15) MR WHERE ratio > 0.5;
-- no partition
SELECT * FROM ticker MATCH_RECOGNIZE (
  ORDER BY ts MEASURES A.symbol AS a, B.symbol AS b, B.price AS p AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price < A.price) MR;
-- partition by two columns
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol, tax ORDER BY ts MEASURES A.price AS a, B.price AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- partition by an expression
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY UPPER(symbol) ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- ties by a second column
SELECT * FROM ties MATCH_RECOGNIZE (
  PARTITION BY k ORDER BY ts, w MEASURES FIRST(A.v) AS a, LAST(A.v) AS l, LAST(A.v, 1) AS m AFTER MATCH SKIP PAST LAST ROW PATTERN (A{3} B) DEFINE A AS TRUE) MR;
-- ties by a second column, descending
SELECT * FROM ties MATCH_RECOGNIZE (
  PARTITION BY k ORDER BY ts, w DESC MEASURES FIRST(A.v) AS a, LAST(A.v) AS l, LAST(A.v, 1) AS m AFTER MATCH SKIP PAST LAST ROW PATTERN (A{3} B) DEFINE A AS TRUE) MR;
-- descending time
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts DESC MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS TRUE) MR;
-- ordered by something else
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY tax MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS TRUE) MR;
-- without an order
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE A AS TRUE) MR;
-- MATCH_ROWTIME
SELECT symbol, low, high, CAST(mt AS STRING) AS mt FROM rising;
-- MATCH_ROWTIME of TIMESTAMP_LTZ
SELECT symbol, CAST(mt AS TIMESTAMP(3)) AS mt, TYPEOF(mt) AS type FROM ltz MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY rt MEASURES MATCH_ROWTIME() AS mt AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price < A.price) MR;
-- MATCH_ROWTIME of a column
SELECT symbol, TYPEOF(mt) AS type FROM ltz MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY rt MEASURES MATCH_ROWTIME(rt) AS mt AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price < A.price) MR;
-- windows over MATCH_ROWTIME of TIMESTAMP_LTZ
SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE falling, DESCRIPTOR(mt), INTERVAL '5' SECOND)) GROUP BY window_start, window_end;
-- a variable that stands twice
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES LAST(A.price) AS a, B.price AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B A) DEFINE B AS B.price > A.price) MR;
-- MATCH_PROCTIME is of no window
SELECT symbol, a FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, MATCH_PROCTIME() AS pt AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR WHERE pt IS NOT NULL;
-- windows over MATCH_ROWTIME
SELECT window_start, COUNT(*) AS n, SUM(high - low) AS gain FROM TABLE(TUMBLE(TABLE rising, DESCRIPTOR(mt), INTERVAL '5' SECOND))
  GROUP BY window_start, window_end;
-- OVER MATCH_ROWTIME
SELECT symbol, high, COUNT(*) OVER (PARTITION BY symbol ORDER BY mt ROWS UNBOUNDED PRECEDING) AS n FROM rising;
-- over a query
SELECT * FROM (SELECT symbol AS s, price * 2 AS p, ts FROM ticker WHERE tax < 3) MATCH_RECOGNIZE (
  PARTITION BY s ORDER BY ts MEASURES A.p AS a, B.p AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.p > A.p) MR;
-- over matches
SELECT * FROM rising MATCH_RECOGNIZE (
  ORDER BY mt MEASURES A.high AS a, B.high AS b PATTERN (A B) DEFINE B AS TRUE) MR;
-- SELECT without the alias
SELECT symbol, a FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price);
-- with the alias
SELECT T.symbol, T.a + 1 AS a1 FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) AS T WHERE T.a > 12;
-- names in backticks
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY `symbol` ORDER BY `ts` MEASURES `the first`.`price` AS `a b` AFTER MATCH SKIP PAST LAST ROW PATTERN (`the first` B) DEFINE B AS B.price > `the first`.price) MR;
-- variables differ in case
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES a.price AS low, A.price AS high AFTER MATCH SKIP PAST LAST ROW PATTERN (a A) DEFINE A AS A.price > a.price) MR;
-- an unknown variable
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES C.price AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- an unknown column
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.nothing AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- a definition that PATTERN does not name
-- differs: Flink passes over it; it is more likely a name that is spelled wrong
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price, C AS C.price > 1) MR;
-- defined twice
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price, B AS B.price > 1) MR;
-- DISTINCT
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES COUNT(DISTINCT A.price) AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- a condition that is none
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price + 1) MR;
-- two variables in an aggregate
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES SUM(A.price + B.price) AS c AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- a greedy end
-- differs: Flink refuses it; the match is decided when the row behind it has come
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, LAST(B.price) AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B+) DEFINE B AS B.price > A.price) MR;
-- a reluctant end
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, LAST(B.price) AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (A B+?) DEFINE B AS B.price > A.price) MR;
-- an empty match
-- differs: Flink refuses it; an empty match is a match
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES LAST(A.price) AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A*?) DEFINE A AS A.price > 1) MR;
-- a group
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES FIRST(A.price) AS a, LAST(B.price) AS b AFTER MATCH SKIP PAST LAST ROW PATTERN ((A B){2} C) DEFINE B AS B.price > A.price) MR;
-- an alternation
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A (B | C)) DEFINE B AS B.price > 2 * A.price) MR;
-- PERMUTE
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a, B.price AS b AFTER MATCH SKIP PAST LAST ROW PATTERN (PERMUTE(A, B)) DEFINE B AS B.price > 20) MR;
-- exclusion
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A {- B -} C) DEFINE B AS B.price > A.price) MR;
-- anchors
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (^ A B) DEFINE B AS B.price > A.price) MR;
-- SUBSET
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES AVG(U.price) AS u AFTER MATCH SKIP PAST LAST ROW PATTERN (A B C) SUBSET U = (A, B) DEFINE B AS B.price > A.price) MR;
-- PREV
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > PREV(B.price)) MR;
-- CLASSIFIER and MATCH_NUMBER
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES CLASSIFIER() AS c, MATCH_NUMBER() AS n AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- all rows per match
-- differs: Flink refuses it
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a ALL ROWS PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.price > A.price) MR;
-- within a month
SELECT * FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol ORDER BY ts MEASURES A.price AS a AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) WITHIN INTERVAL '1' MONTH DEFINE B AS B.price > A.price) MR;
