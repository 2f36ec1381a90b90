-- Windows, their aggregates, ranks over them.
-- data t.jsonl
--   {"k": "a", "v": 1, "x": 1.5, "d": 10.25, "s": "one", "b": true, "ts": "2024-01-01 00:00:01"}
--   {"k": "b", "v": 5, "x": -2.5, "d": 0.01, "s": "five", "b": false, "ts": "2024-01-01 00:00:03"}
--   {"k": "a", "v": 3, "x": 0.1, "d": -3.33, "s": null, "b": true, "ts": "2024-01-01 00:00:02"}
--   {"k": null, "v": 7, "x": null, "d": null, "s": "seven", "b": null, "ts": "2024-01-01 00:00:04"}
--   {"k": "a", "v": null, "x": 8.0, "d": 99999999.99, "s": "", "b": false, "ts": "2024-01-01 00:00:10"}
--   {"k": "b", "v": 5, "x": 2.5, "d": 0.02, "s": "five", "b": true, "ts": "2024-01-01 00:00:12.500"}
--   {"k": "b", "v": 2, "x": 3.5, "d": 7.77, "s": "late", "b": true, "ts": "2024-01-01 00:00:06"}
--   {"k": "a", "v": 4, "x": 4.5, "d": 5.55, "s": "two", "b": true, "ts": "2024-01-01 00:00:21"}
--   {"k": "a", "v": 100, "x": 4.5, "d": 5.55, "s": "later", "b": true, "ts": "2024-01-01 00:00:14"}
--   {"k": "c", "v": 9, "x": 6.5, "d": 6.66, "s": "nine", "b": null, "ts": "2024-01-01 00:00:35"}
--   {"k": null, "v": 8, "x": 7.5, "d": 1.11, "s": "eight", "b": true, "ts": "2024-01-01 00:00:40"}
--   {"k": "a", "v": 200, "x": 4.5, "d": 5.55, "s": "latest", "b": true, "ts": "2024-01-01 00:00:29.999"}
CREATE TABLE t (k STRING, v INT, x DOUBLE, d DECIMAL(10, 2), s STRING, b BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = '__DATA__/t.jsonl', 'format' = 'json');
-- data old.jsonl
--   {"k": "a", "v": 1, "ts": "1969-12-31 23:59:51"}
--   {"k": "a", "v": 2, "ts": "1969-12-31 23:59:59.999"}
--   {"k": "b", "v": 3, "ts": "1970-01-01 00:00:00"}
--   {"k": "a", "v": 4, "ts": "1970-01-01 00:00:04"}
--   {"k": "b", "v": 5, "ts": "1969-12-31 23:59:55"}
CREATE TABLE old_t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/old.jsonl', 'format' = 'json');

-- tumble, null keys, late rows
SELECT window_start, window_end, window_time, k, COUNT(*) AS n, COUNT(v) AS nv, SUM(v) AS sv, SUM(x) AS sx, SUM(d) AS sd
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, window_time, k;
-- tumble with an offset
SELECT window_start, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND))
GROUP BY window_start, window_end, k;
-- tumble with a negative offset
SELECT window_start, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '-3' SECOND))
GROUP BY window_start, window_end, k;
-- tumble by named arguments
SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '7' SECOND))
GROUP BY window_start, window_end;
-- hop
SELECT window_start, window_end, k, COUNT(*) AS n, SUM(v) AS sv FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, k;
-- hop with an offset
SELECT window_start, window_end, k, COUNT(*) AS n FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND, INTERVAL '2' SECOND))
GROUP BY window_start, window_end, k;
-- hop whose size is no multiple of its slide
-- differs: Flink refuses it
SELECT window_start, window_end, COUNT(*) AS n FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
-- cumulate
SELECT window_start, window_end, k, COUNT(*) AS n, MAX(x) AS m FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
GROUP BY window_start, window_end, k;
-- cumulate with an offset
SELECT window_start, window_end, COUNT(*) AS n FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND, INTERVAL '7' SECOND))
GROUP BY window_start, window_end;
-- sessions per key
SELECT window_start, window_end, window_time, k, COUNT(*) AS n, SUM(v) AS sv FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND))
GROUP BY window_start, window_end, window_time, k;
-- sessions per two keys
SELECT window_start, window_end, k, b, COUNT(*) AS n FROM TABLE(SESSION(TABLE t PARTITION BY (k, b), DESCRIPTOR(ts), INTERVAL '6' SECOND))
GROUP BY window_start, window_end, k, b;
-- sessions of all rows
SELECT window_start, window_end, COUNT(*) AS n FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), INTERVAL '4' SECOND))
GROUP BY window_start, window_end;
-- sessions, another key in the grouping
-- differs: Flink makes a changelog of it
SELECT window_start, window_end, k, b, COUNT(*) AS n FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '6' SECOND))
GROUP BY window_start, window_end, k, b;
-- sessions, grouped by no key
-- differs: Flink makes a changelog of it
SELECT window_start, window_end, COUNT(*) AS n FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '6' SECOND))
GROUP BY window_start, window_end;
-- before 1970
SELECT window_start, window_end, k, SUM(v) AS sv FROM TABLE(TUMBLE(TABLE old_t, DESCRIPTOR(ts), INTERVAL '7' SECOND)) GROUP BY window_start, window_end, k;
-- before 1970 with an offset
SELECT window_start, window_end, SUM(v) AS sv FROM TABLE(TUMBLE(TABLE old_t, DESCRIPTOR(ts), INTERVAL '7' SECOND, INTERVAL '2' SECOND)) GROUP BY window_start, window_end;
-- hop before 1970
SELECT window_start, window_end, SUM(v) AS sv FROM TABLE(HOP(TABLE old_t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '6' SECOND)) GROUP BY window_start, window_end;
-- cumulate before 1970
SELECT window_start, window_end, SUM(v) AS sv FROM TABLE(CUMULATE(TABLE old_t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '6' SECOND)) GROUP BY window_start, window_end;
-- session before 1970
SELECT window_start, window_end, k, SUM(v) AS sv FROM TABLE(SESSION(TABLE old_t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, k;
-- aggregates
SELECT window_start, k, MIN(v) AS mi, MAX(s) AS ms, MIN(s) AS ns, AVG(v) AS av, AVG(x) AS ax, AVG(d) AS ad, MAX(d) AS md, MIN(b) AS mb, MAX(ts) AS mt
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, k;
-- types of aggregates
SELECT TYPEOF(sv) AS t1, TYPEOF(sx) AS t2, TYPEOF(sd) AS t3, TYPEOF(av) AS t4, TYPEOF(ax) AS t5, TYPEOF(ad) AS t6, TYPEOF(n) AS t7, TYPEOF(mi) AS t8, TYPEOF(window_start) AS t9, TYPEOF(window_time) AS t10
FROM (SELECT window_start, window_time, SUM(v) AS sv, SUM(x) AS sx, SUM(d) AS sd, AVG(v) AS av, AVG(x) AS ax, AVG(d) AS ad, COUNT(*) AS n, MIN(s) AS mi
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, window_time);
-- variance and deviation
SELECT window_start, STDDEV_POP(x) AS a, STDDEV_SAMP(x) AS b, VAR_POP(x) AS c, VAR_SAMP(x) AS d, STDDEV(x) AS e, VARIANCE(x) AS f
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end;
-- first and last value
-- differs: order matters by event time, Flink's by arrival
SELECT window_start, k, FIRST_VALUE(v) AS fv, LAST_VALUE(v) AS lv, FIRST_VALUE(s) AS fs, LAST_VALUE(s) AS ls
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, k;
-- last value before a null
SELECT window_start, LAST_VALUE(v) AS lv, FIRST_VALUE(s) AS fs FROM TABLE(TUMBLE((SELECT * FROM t WHERE k = 'a' AND ts < TIMESTAMP '2024-01-01 00:00:11'), DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- sums that overflow
SELECT window_start, SUM(CAST(2147483647 AS INT)) AS a, SUM(CAST(100 AS TINYINT)) AS b FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;
-- lists
-- differs: order matters by event time, Flink's by arrival
SELECT window_start, k, LISTAGG(s) AS l, LISTAGG(s, '|') AS m FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, k;
-- distinct
SELECT window_start, COUNT(DISTINCT k) AS dk, COUNT(DISTINCT s) AS ds, SUM(DISTINCT v) AS sv, COUNT(DISTINCT v) AS dv, AVG(DISTINCT v) AS av, MAX(DISTINCT x) AS mx
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end;
-- filters
SELECT window_start, COUNT(*) FILTER (WHERE v > 2) AS a, SUM(v) FILTER (WHERE b) AS sb, COUNT(DISTINCT k) FILTER (WHERE b IS NOT TRUE) AS c
FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end;
-- filters of overlapping windows
SELECT window_end, COUNT(DISTINCT k) FILTER (WHERE v > 1) AS a, COUNT(DISTINCT v) AS b
FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- grouping sets
SELECT window_start, k, b, COUNT(*) AS n, GROUPING(k) AS gk, GROUPING(b) AS gb FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))
GROUP BY window_start, window_end, GROUPING SETS ((k), (b), (k, b), ());
-- rollup
SELECT window_start, k, b, SUM(v) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, ROLLUP (k, b);
-- cube
SELECT window_start, k, b, SUM(v) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, CUBE (k, b);
-- grouping id
SELECT window_start, k, b, GROUPING_ID(k, b) AS g, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, CUBE (k, b);
-- having
SELECT window_start, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, k HAVING COUNT(*) > 1;
-- groups by an expression
SELECT window_start, v > 3 AS big, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND)) GROUP BY window_start, window_end, v > 3;
-- cascade over window_time
SELECT window_start, window_end, SUM(n) AS n, COUNT(*) AS m FROM TABLE(TUMBLE((SELECT window_time AS rt, k, COUNT(*) AS n
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, window_time, k), DESCRIPTOR(rt), INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
-- cascade over the same window
SELECT window_start, window_end, MAX(n) AS m FROM (SELECT window_start, window_end, k, COUNT(*) AS n
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k) GROUP BY window_start, window_end;
-- cascade of hop into tumble
SELECT window_start, window_end, SUM(n) AS n FROM TABLE(TUMBLE((SELECT window_time AS rt, COUNT(*) AS n
  FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end, window_time), DESCRIPTOR(rt), INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
-- cascade of session into tumble
SELECT window_start, window_end, SUM(n) AS n FROM TABLE(TUMBLE((SELECT window_time AS rt, k, COUNT(*) AS n
  FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND)) GROUP BY window_start, window_end, window_time, k), DESCRIPTOR(rt), INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
-- top 2 of a window by value
SELECT k, v, rn, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY v DESC, s) AS rn
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))) WHERE rn <= 2;
-- top 2 ascending, nulls
SELECT k, v, rn, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY v ASC, s) AS rn
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))) WHERE rn <= 2;
-- top 1 of counts per key
SELECT window_start, k, n FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n DESC, k) AS rn FROM
  (SELECT window_start, window_end, k, COUNT(*) AS n FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND)) GROUP BY window_start, window_end, k)) WHERE rn = 1;
-- ranks 2 to 3
SELECT window_start, k, v, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY v, s) AS rn
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))) WHERE rn BETWEEN 2 AND 3;
-- window deduplication, last row
SELECT k, v, ts, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC) AS rn
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))) WHERE rn = 1;
-- window deduplication, first row
SELECT k, v, ts, window_start FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts ASC) AS rn
  FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND))) WHERE rn = 1;
-- window table function without aggregation
SELECT k, v, window_start, window_end FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND));
-- window table function with the window's time
SELECT k, window_time, TYPEOF(window_time) AS ty FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND));
-- session table function without aggregation
SELECT k, v, window_start, window_end FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '4' SECOND));
-- windows over a filtered view
SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE((SELECT * FROM t WHERE v > 2), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- union all, then windows
-- differs: Flink gives the rows of the first branch only, why is not known; 12 and 8 rows make 20
SELECT window_start, COUNT(*) AS n, SUM(v) AS sv FROM TABLE(TUMBLE((SELECT k, v, ts FROM t UNION ALL SELECT k, v + 1000, ts FROM t WHERE b), DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_start, window_end;
-- counting before 1970 in milliseconds
-- differs: before 1970 Flink rounds the fraction of a second up to the next second; here it is the calendar's
SELECT k, ts, EXTRACT(EPOCH FROM ts) AS e, FLOOR(ts TO MINUTE) AS f, CEIL(ts TO MINUTE) AS c, DATE_FORMAT(ts, 'yyyy-MM-dd HH:mm:ss.SSS') AS t FROM old_t;
