-- The shop's topics: four partitions each, in order per customer.

CREATE TABLE orders (
  orderId STRING, customerId STRING, amount DECIMAL(10, 2), status STRING, ts TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'log', 'format' = 'json', 'key.fields' = 'customerId', 'retention' = '1 d', 'scan.watermark.idle-timeout' = '2 s');

CREATE TABLE payments (
  paymentId STRING, customerId STRING, amount DECIMAL(10, 2), ok BOOLEAN, ts TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'log', 'format' = 'json', 'key.fields' = 'customerId', 'retention' = '1 d', 'scan.watermark.idle-timeout' = '2 s');

CREATE TABLE visits (
  customerId STRING, page STRING, ts TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'log', 'format' = 'json', 'key.fields' = 'customerId', 'retention' = '1 d', 'scan.watermark.idle-timeout' = '2 s');

INSERT INTO orders SELECT * FROM made_up_orders;
INSERT INTO payments SELECT * FROM made_up_payments;
INSERT INTO visits SELECT * FROM made_up_visits;
