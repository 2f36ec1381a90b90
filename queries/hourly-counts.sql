-- Events per type and hour.
--   eagre run queries/hourly-counts.sql

CREATE TABLE events (
  userId STRING, sessionId STRING, event STRING, platform STRING,
  `type` STRING METADATA VIRTUAL,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop-events.jsonl.gz', 'format' = 'cloudevents');

CREATE TABLE hourly (hour_start TIMESTAMP(3), `type` STRING, events BIGINT) WITH ('connector' = 'print');

INSERT INTO hourly
SELECT window_start, `type`, COUNT(*)
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, `type`;
