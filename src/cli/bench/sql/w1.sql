CREATE TABLE sink (customerId STRING, window_start TIMESTAMP(3), events BIGINT, amount DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
CREATE TEMPORARY VIEW orders AS SELECT customerId, amount, rt FROM events WHERE `type` = 'OrderCreated';
INSERT INTO sink
SELECT customerId, window_start, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(rt), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, customerId;
