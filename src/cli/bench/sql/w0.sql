CREATE TABLE sink (eventId STRING, customerId STRING, ts BIGINT, amount DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO sink SELECT eventId, customerId, ts, amount FROM events WHERE amount < 0 AND `type` = 'x' AND orderId = 'y';
