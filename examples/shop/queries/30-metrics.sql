-- Live tables: look at them with `psql -h localhost -p 5433` or `eagre sql examples/shop` while they change.

-- Orders and their value per customer and ten seconds.
CREATE MATERIALIZED VIEW order_metrics WITH ('retention' = '1 h') AS
SELECT window_start, window_end, customerId, COUNT(*) AS orders, SUM(amount) AS total
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE status = 'created'
GROUP BY window_start, window_end, customerId;

-- The busiest pages of the last minute, told every ten seconds.
CREATE MATERIALIZED VIEW busy_pages WITH ('retention' = '1 h') AS
SELECT window_end, page, visits, place FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY visits DESC) AS place FROM (
    SELECT window_start, window_end, page, COUNT(*) AS visits
    FROM TABLE(HOP(TABLE visits, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
    GROUP BY window_start, window_end, page)
) WHERE place <= 3;

-- Sessions: what a customer looked at without a pause of ten seconds.
CREATE MATERIALIZED VIEW sessions WITH ('retention' = '1 h') AS
SELECT window_start, window_end, customerId, COUNT(*) AS pages
FROM TABLE(SESSION(TABLE visits PARTITION BY customerId, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, customerId;

-- Payments within a minute of an order of the same customer.
CREATE MATERIALIZED VIEW paid_orders WITH ('retention' = '1 h') AS
SELECT o.orderId, o.customerId, o.amount AS ordered, p.amount AS paid, o.ts AS ordered_at, p.ts AS paid_at
FROM orders o JOIN payments p
ON o.customerId = p.customerId AND p.ok AND p.ts BETWEEN o.ts AND o.ts + INTERVAL '1' MINUTE;

-- Customers with more than five payments within a minute: the sixth and each after it.
CREATE MATERIALIZED VIEW hasty_payments WITH ('retention' = '1 h') AS
SELECT customerId, paymentId, ts, payments FROM (
  SELECT *, COUNT(*) OVER (PARTITION BY customerId ORDER BY ts RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW) AS payments
  FROM payments
) WHERE payments > 5;
