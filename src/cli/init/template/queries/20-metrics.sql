-- Live tables: query them while they change.
CREATE MATERIALIZED VIEW revenue WITH ('retention' = '1 d') AS
SELECT window_start, window_end, status, COUNT(*) AS orders, SUM(amount) AS amount
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, status;

CREATE MATERIALIZED VIEW best_customers WITH ('retention' = '1 d') AS
SELECT window_start, customer, orders, amount FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY amount DESC) AS place FROM (
    SELECT window_start, window_end, customer, COUNT(*) AS orders, SUM(amount) AS amount
    FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
    WHERE status = 'paid'
    GROUP BY window_start, window_end, customer
  )
) WHERE place <= 3;
