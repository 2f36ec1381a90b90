-- Customer journey: what a customer looked at within five minutes of an order, before or after it.
--   eagre run queries/customer-journey.sql

CREATE TABLE events (
  userId STRING, sessionId STRING, event STRING, platform STRING,
  `type` STRING METADATA VIRTUAL,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop-events.jsonl.gz', 'format' = 'cloudevents');

CREATE VIEW looks AS SELECT userId, event, ts FROM events WHERE `type` <> 'shop.order.OrderCreated';
CREATE VIEW buys AS SELECT userId, sessionId, ts FROM events WHERE `type` = 'shop.order.OrderCreated';

CREATE TABLE journeys (userId STRING, sessionId STRING, event STRING, seconds_to_order BIGINT) WITH ('connector' = 'print');

INSERT INTO journeys
SELECT b.userId, b.sessionId, l.event, TIMESTAMPDIFF(SECOND, l.ts, b.ts)
FROM buys b JOIN looks l
ON l.userId = b.userId AND l.ts BETWEEN b.ts - INTERVAL '5' MINUTE AND b.ts + INTERVAL '5' MINUTE;
