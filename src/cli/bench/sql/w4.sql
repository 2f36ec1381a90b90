CREATE TABLE sink (eventId STRING, customerId STRING, ts BIGINT, amount DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT', 'format' = 'json');
INSERT INTO sink SELECT eventId, customerId, ts, amount FROM events WHERE `type` = 'PaymentProcessed' AND amount > 100;
