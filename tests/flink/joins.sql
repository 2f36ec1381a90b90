-- Joins of windows and over intervals.
-- data a.jsonl
--   {"id": 1, "k": "x", "v": 10, "ts": "2024-01-01 00:00:01"}
--   {"id": 2, "k": "y", "v": 20, "ts": "2024-01-01 00:00:04"}
--   {"id": 3, "k": null, "v": 30, "ts": "2024-01-01 00:00:05"}
--   {"id": 4, "k": "x", "v": 40, "ts": "2024-01-01 00:00:07"}
--   {"id": 5, "k": "z", "v": 50, "ts": "2024-01-01 00:00:16"}
--   {"id": 6, "k": "x", "v": 60, "ts": "2024-01-01 00:00:17"}
--   {"id": 7, "k": "x", "v": 60, "ts": "2024-01-01 00:00:17"}
--   {"id": 8, "k": "w", "v": 80, "ts": "2024-01-01 00:00:33"}
CREATE TABLE a (id INT, k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/a.jsonl', 'format' = 'json');
-- data b.jsonl
--   {"id": 101, "k": "x", "w": 1, "ts": "2024-01-01 00:00:02"}
--   {"id": 102, "k": "x", "w": 2, "ts": "2024-01-01 00:00:03"}
--   {"id": 103, "k": null, "w": 3, "ts": "2024-01-01 00:00:05"}
--   {"id": 104, "k": "y", "w": 4, "ts": "2024-01-01 00:00:14"}
--   {"id": 105, "k": "x", "w": 5, "ts": "2024-01-01 00:00:12"}
--   {"id": 106, "k": "q", "w": 6, "ts": "2024-01-01 00:00:19"}
--   {"id": 107, "k": "x", "w": 7, "ts": "2024-01-01 00:00:22"}
--   {"id": 108, "k": "v", "w": 8, "ts": "2024-01-01 00:00:40"}
CREATE TABLE b (id INT, k STRING, w INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/b.jsonl', 'format' = 'json');

-- interval inner
SELECT a.id AS a, b.id AS b, a.ts AS ta, CAST(b.ts AS TIMESTAMP(3)) AS tb FROM a JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval left
SELECT a.id AS a, b.id AS b FROM a LEFT JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval right
SELECT a.id AS a, b.id AS b FROM a RIGHT JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval full
SELECT a.id AS a, b.id AS b FROM a FULL JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval with a condition beside
SELECT a.id AS a, b.id AS b FROM a LEFT JOIN b ON a.k = b.k AND a.v > 10 * b.w AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval strictly after
SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.k = b.k AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '5' SECOND;
-- interval one sided in the past
SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.k = b.k AND a.ts >= b.ts + INTERVAL '1' SECOND AND a.ts <= b.ts + INTERVAL '10' SECOND;
-- interval at the same moment
SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.k = b.k AND a.ts = b.ts;
-- interval without a key
SELECT a.id AS a, b.id AS b FROM a JOIN b ON b.ts BETWEEN a.ts AND a.ts + INTERVAL '2' SECOND;
-- interval in WHERE
SELECT a.id AS a, b.id AS b FROM a, b WHERE a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND;
-- interval semi
SELECT a.id AS a FROM a WHERE EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND);
-- interval anti
-- differs: Flink has no interval anti join
SELECT a.id AS a FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND);
-- interval, then a window
SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE((SELECT a.id, a.ts FROM a JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '2' SECOND AND a.ts + INTERVAL '5' SECOND), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
-- window inner
SELECT l.id AS a, r.id AS b, l.window_start AS ws, l.window_end AS we FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- window left
SELECT l.id AS a, r.id AS b, l.window_start AS ws FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
LEFT JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- window right
SELECT l.id AS a, r.id AS b, r.window_start AS ws FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
RIGHT JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- window full
SELECT l.id AS a, r.id AS b, COALESCE(l.window_start, r.window_start) AS ws FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
FULL JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- window full with a condition beside
SELECT l.id AS a, r.id AS b FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
FULL JOIN (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end AND l.v > 10;
-- window semi by IN
SELECT l.id AS a FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
WHERE l.k IN (SELECT k FROM (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r WHERE l.window_start = r.window_start AND l.window_end = r.window_end);
-- window semi by EXISTS
SELECT l.id AS a FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
WHERE EXISTS (SELECT * FROM (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r WHERE l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end);
-- window anti by NOT EXISTS
SELECT l.id AS a FROM (SELECT * FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND))) l
WHERE NOT EXISTS (SELECT * FROM (SELECT * FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND))) r WHERE l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end);
-- window join of hops
SELECT l.id AS a, r.id AS b, l.window_start AS ws FROM (SELECT * FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) l
JOIN (SELECT * FROM TABLE(HOP(TABLE b, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- window join of counts
SELECT l.k AS k, n, m, l.window_start AS ws FROM (SELECT window_start, window_end, k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k) l
JOIN (SELECT window_start, window_end, k, COUNT(*) AS m FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k) r ON l.k = r.k AND l.window_start = r.window_start AND l.window_end = r.window_end;
-- regular join
-- differs: not supported yet
SELECT a.id AS a, b.id AS b FROM a JOIN b ON a.k = b.k;
-- regular left join
SELECT a.id AS a, b.id AS b FROM a LEFT JOIN b ON a.k = b.k;
