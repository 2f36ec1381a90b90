-- Sessions per user and platform: events without a pause of more than half an hour.
--   eagre run queries/sessions.sql

CREATE TABLE events (
  userId STRING, sessionId STRING, event STRING, platform STRING,
  `type` STRING METADATA VIRTUAL,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop-events.jsonl.gz', 'format' = 'cloudevents');

CREATE TABLE sessions (userId STRING, platform STRING, began TIMESTAMP(3), ended TIMESTAMP(3), events BIGINT) WITH ('connector' = 'print');

INSERT INTO sessions
SELECT userId, platform, window_start, window_end, COUNT(*)
FROM TABLE(SESSION(TABLE events PARTITION BY (userId, platform), DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY window_start, window_end, userId, platform;
