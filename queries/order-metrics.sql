-- Order metrics: count and sum of orders per customer and minute.
--   eagre run queries/order-metrics.sql

CREATE TABLE orders (
  orderId STRING, customerId STRING, quantity INT, amount DOUBLE,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = 'data/cdnow-orders.jsonl.gz', 'format' = 'cloudevents');

CREATE TABLE order_metrics (customerId STRING, minute_start TIMESTAMP(3), orders BIGINT, total DOUBLE) WITH ('connector' = 'print');

INSERT INTO order_metrics
SELECT customerId, window_start, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, customerId;
