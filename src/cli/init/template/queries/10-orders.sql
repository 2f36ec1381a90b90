-- Made-up orders: 100 a second, most of them by a few customers.
CREATE TABLE made_orders (
  orderId STRING,
  customer STRING,
  amount DECIMAL(10, 2),
  status STRING,
  ts TIMESTAMP(3)
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '100',
  'fields.orderId.kind' = 'sequence',
  'fields.orderId.pattern' = 'O-########',
  'fields.customer.pattern' = 'C-####',
  'fields.customer.max' = '999',
  'fields.customer.skew' = '0.7',
  'fields.amount.min' = '1',
  'fields.amount.max' = '500',
  'fields.status.values' = 'paid*8|open*2|cancelled'
);

-- A topic of the embedded log: durable, in two partitions, orders of one customer in order.
CREATE TABLE orders (
  orderId STRING,
  customer STRING,
  amount DECIMAL(10, 2),
  status STRING,
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
  'connector' = 'log',
  'format' = 'json',
  'partitions' = '2',
  'key.fields' = 'customer',
  'scan.watermark.idle-timeout' = '5 s'
);

INSERT INTO orders SELECT orderId, customer, amount, status, ts FROM made_orders;
