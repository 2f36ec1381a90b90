-- OVER.
-- data t.jsonl
--   {"k": "a", "v": 1, "x": 1.5, "s": "p", "ts": "2024-01-01 00:00:01"}
--   {"k": "a", "v": 2, "x": 2.5, "s": null, "ts": "2024-01-01 00:00:02"}
--   {"k": "b", "v": 4, "x": null, "s": "q", "ts": "2024-01-01 00:00:02"}
--   {"k": "a", "v": null, "x": 0.5, "s": "r", "ts": "2024-01-01 00:00:04"}
--   {"k": "a", "v": 8, "x": -1.0, "s": "p", "ts": "2024-01-01 00:00:04"}
--   {"k": null, "v": 16, "x": 3.0, "s": "t", "ts": "2024-01-01 00:00:05"}
--   {"k": "b", "v": 32, "x": 9.0, "s": "q", "ts": "2024-01-01 00:00:12"}
--   {"k": "a", "v": 64, "x": 4.0, "s": "u", "ts": "2024-01-01 00:00:12"}
--   {"k": "a", "v": 128, "x": 5.0, "s": "v", "ts": "2024-01-01 00:00:11"}
--   {"k": "a", "v": 256, "x": 6.0, "s": "late", "ts": "2024-01-01 00:00:03"}
--   {"k": "a", "v": 2, "x": 7.0, "s": "p", "ts": "2024-01-01 00:00:14"}
CREATE TABLE t (k STRING, v INT, x DOUBLE, s STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/t.jsonl', 'format' = 'json');

-- range
SELECT k, v, ts, COUNT(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '8' SECOND PRECEDING AND CURRENT ROW) AS n, SUM(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '8' SECOND PRECEDING AND CURRENT ROW) AS sv FROM t;
-- range unbounded
SELECT k, v, COUNT(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n, MAX(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS m FROM t;
-- range unbounded, short
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts RANGE UNBOUNDED PRECEDING) AS sv FROM t;
-- rows unbounded, short
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS sv FROM t;
-- rows, short
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS 2 PRECEDING) AS sv FROM t;
-- rows
SELECT k, v, COUNT(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n, AVG(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS av, AVG(x) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS ax FROM t;
-- no frame
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts) AS sv, MIN(x) OVER (PARTITION BY k ORDER BY ts) AS mx FROM t;
-- no partition
SELECT k, v, SUM(v) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '3' SECOND PRECEDING AND CURRENT ROW) AS sv FROM t;
-- no partition, by rows
SELECT k, v, COUNT(*) OVER (ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS n FROM t;
-- named window
SELECT k, v, SUM(v) OVER w AS sv, COUNT(*) OVER w AS n FROM t WINDOW w AS (PARTITION BY k ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
-- named window that is completed
-- differs: Flink passes over the frame
SELECT k, v, SUM(v) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS sv FROM t WINDOW w AS (PARTITION BY k ORDER BY ts);
-- two windows
-- differs: Flink allows one window in a query
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS a, SUM(v) OVER (PARTITION BY s ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS b FROM t;
-- distinct count by range
SELECT k, v, COUNT(DISTINCT s) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '8' SECOND PRECEDING AND CURRENT ROW) AS n FROM t;
-- distinct sum by rows
SELECT k, v, SUM(DISTINCT v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS n FROM t;
-- distinct count unbounded
SELECT k, v, COUNT(DISTINCT s) OVER (PARTITION BY k ORDER BY ts RANGE UNBOUNDED PRECEDING) AS n, COUNT(DISTINCT v) OVER (PARTITION BY k ORDER BY ts RANGE UNBOUNDED PRECEDING) AS m FROM t;
-- filter by range
-- differs: Flink has no FILTER with OVER
SELECT k, v, SUM(v) FILTER (WHERE s <> 'p') OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '8' SECOND PRECEDING AND CURRENT ROW) AS n FROM t;
-- filter of a count
-- differs: Flink has no FILTER with OVER
SELECT k, v, COUNT(*) FILTER (WHERE v > 2) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n FROM t;
-- first and last value unbounded by rows
SELECT k, v, ts, FIRST_VALUE(v) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS f, LAST_VALUE(v) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS l, FIRST_VALUE(s) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS fs, LAST_VALUE(s) OVER (PARTITION BY k ORDER BY ts ROWS UNBOUNDED PRECEDING) AS ls FROM t;
-- first and last value by rows
SELECT k, v, ts, FIRST_VALUE(v) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS f, LAST_VALUE(v) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS l, FIRST_VALUE(s) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS fs, LAST_VALUE(s) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS ls FROM t;
-- first and last value by range
SELECT k, v, ts, FIRST_VALUE(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '2' SECOND PRECEDING AND CURRENT ROW) AS f, LAST_VALUE(v) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '2' SECOND PRECEDING AND CURRENT ROW) AS l FROM t;
-- first and last value of an unbounded range
SELECT k, v, ts, FIRST_VALUE(v) OVER (PARTITION BY k ORDER BY ts) AS f, LAST_VALUE(v) OVER (PARTITION BY k ORDER BY ts) AS l FROM t;
-- lag
-- differs: rows of one time each see their own row before; Flink counts back from the last of them, but not in batch mode
SELECT k, v, ts, LAG(v) OVER (PARTITION BY k ORDER BY ts) AS l1, LAG(v, 2) OVER (PARTITION BY k ORDER BY ts) AS l2, LAG(v, 2, -1) OVER (PARTITION BY k ORDER BY ts) AS l3, LAG(s, 1, 'none') OVER (PARTITION BY k ORDER BY ts) AS l4 FROM t;
-- type of lag
SELECT TYPEOF(l1) AS t1, TYPEOF(l2) AS t2 FROM (SELECT LAG(v) OVER (PARTITION BY k ORDER BY ts) AS l1, LAG(x, 2, CAST(0 AS DOUBLE)) OVER (PARTITION BY k ORDER BY ts) AS l2 FROM t);
-- lead
SELECT k, v, LEAD(v) OVER (PARTITION BY k ORDER BY ts) AS l FROM t;
-- row number
SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS n FROM t;
-- rank
-- differs: ties have the rank of the first of them, as in Flink's batch mode
SELECT k, v, RANK() OVER (PARTITION BY k ORDER BY ts) AS n FROM t;
-- dense rank
-- differs: ties have one rank without gaps, as in Flink's batch mode
SELECT k, v, DENSE_RANK() OVER (PARTITION BY k ORDER BY ts) AS n FROM t;
-- nth value
-- differs: a function of DataFusion
SELECT k, v, NTH_VALUE(v, 2) OVER (PARTITION BY k ORDER BY ts) AS n FROM t;
-- ntile
SELECT k, v, NTILE(2) OVER (PARTITION BY k ORDER BY ts) AS n FROM t;
-- order by another column
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY v) AS n FROM t;
-- descending
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM t;
-- following rows
SELECT k, v, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS n FROM t;
-- without order
SELECT k, v, SUM(v) OVER (PARTITION BY k) AS n FROM t;
-- partition by an expression
SELECT k, v, SUM(v) OVER (PARTITION BY UPPER(k), v > 3 ORDER BY ts ROWS UNBOUNDED PRECEDING) AS n FROM t;
-- expressions of results
SELECT k, v, v - LAG(v) OVER (PARTITION BY k ORDER BY ts) AS d, CAST(v AS DOUBLE) / SUM(v) OVER (PARTITION BY k ORDER BY ts) AS part FROM t;
-- text aggregate by range
SELECT k, s, LISTAGG(s) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS l FROM t;
-- variance by rows
SELECT k, v, STDDEV_POP(x) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS sd, VAR_SAMP(x) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS vs FROM t;
-- a window over OVER
SELECT window_start, SUM(n) AS n FROM TABLE(TUMBLE((SELECT ts, COUNT(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '3' SECOND PRECEDING AND CURRENT ROW) AS n FROM t), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- first row of a key
SELECT k, v, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts ASC) AS rn FROM t) WHERE rn = 1;
