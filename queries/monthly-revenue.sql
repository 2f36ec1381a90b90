-- Revenue, orders and items per month. Months have no fixed length: days are windowed, months are named.
--   eagre run queries/monthly-revenue.sql

CREATE TABLE orders (
  orderId STRING, customerId STRING, quantity INT, amount DOUBLE,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = 'data/cdnow-orders.jsonl.gz', 'format' = 'cloudevents');

CREATE TABLE revenue (month_name STRING, day_start TIMESTAMP(3), orders BIGINT, items BIGINT, revenue DOUBLE) WITH ('connector' = 'print');

INSERT INTO revenue
SELECT DATE_FORMAT(window_start, 'yyyy-MM'), window_start, COUNT(*), SUM(CAST(quantity AS BIGINT)), SUM(amount)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end;
