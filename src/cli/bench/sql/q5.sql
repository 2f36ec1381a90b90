CREATE TABLE sink (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
CREATE TEMPORARY VIEW counts AS
SELECT auction, COUNT(*) AS bids, window_start, window_end
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(rt), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY auction, window_start, window_end;
CREATE TEMPORARY VIEW most AS
SELECT MAX(bids) AS bids, window_start, window_end FROM counts GROUP BY window_start, window_end;
INSERT INTO sink
SELECT c.window_start, c.auction, c.bids
FROM counts c JOIN most m ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.bids = m.bids;
