CREATE TABLE sink (window_start TIMESTAMP(3), auction BIGINT, bidder BIGINT, price BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
INSERT INTO sink
SELECT b.window_start, b.auction, b.bidder, b.price
FROM (SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(rt), INTERVAL '10' SECOND))) b
JOIN (
  SELECT MAX(price) AS price, window_start, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(rt), INTERVAL '10' SECOND)) GROUP BY window_start, window_end
) m ON b.window_start = m.window_start AND b.window_end = m.window_end AND b.price = m.price;
