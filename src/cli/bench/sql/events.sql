CREATE TABLE events (
  eventId STRING, `type` STRING, customerId STRING, orderId STRING, ts BIGINT, amount DOUBLE,
  rt AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/events', 'format' = 'json');
