-- Rows, maps and arrays.
-- data t.jsonl
--   {"id": 1, "v": 1, "k": "a", "x": 1.5, "arr": [1, 2, 3], "m": {"p": 1}, "r": {"a": 1, "b": {"c": "x"}}, "ar": [{"a": 1, "b": "x"}, {"a": 2, "b": null}], "ts": "2024-03-30 23:59:58.123"}
--   {"id": 2, "v": -5, "k": "b", "x": -2.5, "arr": [], "m": {}, "r": {"a": null, "b": null}, "ar": [], "ts": "2024-03-31 00:00:01"}
--   {"id": 3, "v": 9, "k": null, "x": null, "arr": null, "m": null, "r": null, "ar": null, "ts": null}
--   {"id": 4, "v": null, "k": "c d", "x": 1e10, "arr": [null, 5], "m": {"p": null}, "r": {"a": 4, "b": {"c": null}}, "ar": [null, {"a": null, "b": "y"}], "ts": "2024-03-31 00:00:04"}
CREATE TABLE t (id BIGINT, v INT, k STRING, x DOUBLE, arr ARRAY<INT>, m MAP<STRING, INT>, r ROW<a INT, b ROW<c STRING>>, ar ARRAY<ROW<a INT, b STRING>>, ts TIMESTAMP(3))
  WITH ('connector' = 'filesystem', 'path' = '__DATA__/t.jsonl', 'format' = 'json');

-- a row's fields have names
SELECT id, ROW(v, k) AS r, ROW(ROW(v), k) AS n, ARRAY[ROW(1, 'x')] AS a FROM t;

-- types of rows
SELECT id, TYPEOF(ROW(v, k)) AS a FROM t;

-- a row's field by its given name
SELECT id, ROW(v, k).EXPR$0 AS a FROM t;

-- all fields of a row
SELECT id, r.* FROM t;

-- all fields of a row of a table
SELECT t.r.*, id FROM t;

-- all fields of a row of an alias
SELECT id, q.r.* FROM t AS q;

-- all fields of a row in a row
SELECT id, t.r.b.* FROM t;

-- a map and a row as texts
SELECT id, CAST(m AS STRING) AS a, CAST(r AS STRING) AS b, CAST(ROW(1, 'a', CAST(NULL AS INT)) AS STRING) AS c, CAST(ar AS STRING) AS e, CAST(arr AS STRING) AS f, CAST(ARRAY['x', NULL] AS STRING) AS g FROM t;

-- what stands in a row, as texts
SELECT id, CAST(ROW(x, ts, k = 'a', CAST(v AS DECIMAL(5, 1))) AS STRING) AS a, CAST(MAP[k, x] AS STRING) AS b, CAST(ARRAY[MAP['z', ROW(v, x)]] AS STRING) AS c, CAST(ARRAY[x, 1e10] AS STRING) AS e, CAST(ARRAY[k = 'a'] AS STRING) AS f, CAST(ARRAY[ts] AS STRING) AS g FROM t WHERE k IS NOT NULL;

-- slices
SELECT id, ARRAY_SLICE(arr, 2) AS a, ARRAY_SLICE(arr, -2) AS b, ARRAY_SLICE(arr, 1, 2) AS c, ARRAY_SLICE(arr, -2, -1) AS e, ARRAY_SLICE(arr, 0) AS f, ARRAY_SLICE(arr, 0, 2) AS g, ARRAY_SLICE(arr, 5) AS h, ARRAY_SLICE(arr, 3, 1) AS i, ARRAY_SLICE(arr, -5, 2) AS j, ARRAY_SLICE(arr, 1, v) AS l FROM t;

-- slices to nothing
SELECT id, ARRAY_SLICE(arr, 0, 0) AS a, ARRAY_SLICE(arr, 1, 0) AS b, ARRAY_SLICE(arr, 1, -5) AS c, ARRAY_SLICE(arr, -9, -1) AS e, ARRAY_SLICE(arr, 2, 0) AS f FROM t;

-- unnest of a map's column
SELECT id, kk, vv FROM t CROSS JOIN UNNEST(m) AS x (kk, vv);

-- unnest of a map's column, outer
SELECT id, kk, vv FROM t LEFT JOIN UNNEST(m) AS x (kk, vv) ON TRUE;

-- unnest of an array's column with ordinality
SELECT id, e, o, TYPEOF(o) AS ty FROM t CROSS JOIN UNNEST(arr) WITH ORDINALITY AS x (e, o);

-- unnest of an array's column with ordinality, outer
SELECT id, e, o FROM t LEFT JOIN UNNEST(arr) WITH ORDINALITY AS x (e, o) ON TRUE;

-- unnest of a map's column with ordinality
SELECT id, kk, vv, o FROM t CROSS JOIN UNNEST(m) WITH ORDINALITY AS x (kk, vv, o);

-- unnest of rows with ordinality
-- differs: Flink fails over a cast of its own
SELECT id, ra, rb, o FROM t CROSS JOIN UNNEST(ar) WITH ORDINALITY AS x (ra, rb, o);

-- unnest of a column of rows
SELECT id, ra, rb FROM t CROSS JOIN UNNEST(ar) AS x (ra, rb);

-- unnest of constant rows
SELECT id, y.a AS ya, y.b AS yb FROM t CROSS JOIN UNNEST(ARRAY[ROW(1, 'x'), ROW(2, 'y')]) AS y (a, b);

-- unnest of a constant array
SELECT id, y.a AS ya FROM t CROSS JOIN UNNEST(ARRAY[1, 2]) AS y (a) WHERE y.a < 2;

-- unnest of an expression
SELECT id, el FROM t CROSS JOIN UNNEST(ARRAY[v, v + 1]) AS u (el);

-- unnest beside a comma
SELECT id, el FROM t, UNNEST(arr) AS u (el);

-- rows in arrays and maps cast by position
SELECT id, CAST(ar AS ARRAY<ROW<x BIGINT, y STRING>>) AS a, CAST(ARRAY[ROW(v, k)] AS ARRAY<ROW<x BIGINT, y STRING>>) AS b FROM t;

-- rows cast by position
SELECT id, CAST(ROW(v, k) AS ROW<x BIGINT, y STRING>) AS a, CAST(r AS ROW<p BIGINT, q ROW<z STRING>>) AS b FROM t;
