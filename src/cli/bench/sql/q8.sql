CREATE TABLE sink (window_start TIMESTAMP(3), id BIGINT, name STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
INSERT INTO sink
SELECT p.window_start, p.id, p.name
FROM (
  SELECT id, name, window_start, window_end
  FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(rt), INTERVAL '10' SECOND)) GROUP BY id, name, window_start, window_end
) p JOIN (
  SELECT seller, window_start, window_end
  FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(rt), INTERVAL '10' SECOND)) GROUP BY seller, window_start, window_end
) a ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end;
