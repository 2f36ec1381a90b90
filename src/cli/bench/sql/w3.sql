CREATE TABLE sink (eventId STRING, customerId STRING, ts BIGINT, payments BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
INSERT INTO sink
SELECT * FROM (
  SELECT eventId, customerId, ts, COUNT(*) OVER (
    PARTITION BY customerId ORDER BY rt RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW
  ) AS payments
  FROM events WHERE `type` = 'PaymentProcessed'
) WHERE payments > 5;
