-- The funnel of the shop per day: users who saw a product, put something into the cart, entered shipping, entered a
-- payment, ordered.
--   eagre run queries/funnel.sql

CREATE TABLE events (
  userId STRING, sessionId STRING, event STRING, platform STRING,
  `type` STRING METADATA VIRTUAL,
  ts TIMESTAMP_LTZ(3) METADATA FROM 'time' VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/shop-events.jsonl.gz', 'format' = 'cloudevents');

CREATE TABLE funnel (
  day_start TIMESTAMP(3), saw_product BIGINT, filled_cart BIGINT, entered_shipping BIGINT, entered_payment BIGINT, ordered BIGINT
) WITH ('connector' = 'print');

INSERT INTO funnel
SELECT window_start,
  COUNT(DISTINCT userId) FILTER (WHERE `type` = 'shop.product.ProductViewed'),
  COUNT(DISTINCT userId) FILTER (WHERE `type` = 'shop.cart.ItemAdded'),
  COUNT(DISTINCT userId) FILTER (WHERE `type` = 'shop.checkout.ShippingEntered'),
  COUNT(DISTINCT userId) FILTER (WHERE `type` = 'shop.checkout.PaymentEntered'),
  COUNT(DISTINCT userId) FILTER (WHERE `type` = 'shop.order.OrderCreated')
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end;
