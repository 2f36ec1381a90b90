CREATE TABLE customers (
  eventId STRING, customerId STRING, ts BIGINT,
  rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/customers', 'format' = 'json');
CREATE TABLE orders (
  eventId STRING, customerId STRING, ts BIGINT,
  rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/orders', 'format' = 'json');
CREATE TABLE sink (customerId STRING, customerEvent STRING, orderEvent STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
INSERT INTO sink
SELECT c.customerId, c.eventId, o.eventId
FROM customers c JOIN orders o ON c.customerId = o.customerId
  AND o.rt BETWEEN c.rt - INTERVAL '5' MINUTE AND c.rt + INTERVAL '5' MINUTE;
