SELECT window_start, SUM(orders) AS orders, SUM(amount) AS amount
FROM revenue
GROUP BY window_start
ORDER BY window_start DESC
LIMIT 10
