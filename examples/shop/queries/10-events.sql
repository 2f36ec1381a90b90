-- Made-up traffic of a shop, written to topics of the embedded log. Take this file out, and point the tables of
-- 20-topics.sql at your own topics, to run the rest on real events.

CREATE TABLE made_up_orders (
  orderId STRING, customerId STRING, amount DECIMAL(10, 2), status STRING, ts TIMESTAMP_LTZ(3)
) WITH (
  'connector' = 'datagen', 'rows-per-second' = '50',
  'fields.orderId.kind' = 'sequence', 'fields.orderId.pattern' = 'O-########',
  'fields.customerId.pattern' = 'C-####', 'fields.customerId.min' = '1', 'fields.customerId.max' = '500', 'fields.customerId.skew' = '0.7',
  'fields.amount.min' = '5', 'fields.amount.max' = '250',
  'fields.status.values' = 'created*8|shipped*5|cancelled',
  'fields.ts.max-past' = '2 s'
);

CREATE TABLE made_up_payments (
  paymentId STRING, customerId STRING, amount DECIMAL(10, 2), ok BOOLEAN, ts TIMESTAMP_LTZ(3)
) WITH (
  'connector' = 'datagen', 'rows-per-second' = '40', 'seed' = '1',
  'fields.paymentId.kind' = 'sequence', 'fields.paymentId.pattern' = 'P-########',
  'fields.customerId.pattern' = 'C-####', 'fields.customerId.min' = '1', 'fields.customerId.max' = '500', 'fields.customerId.skew' = '0.7',
  'fields.amount.min' = '5', 'fields.amount.max' = '250',
  'fields.ts.max-past' = '2 s'
);

CREATE TABLE made_up_visits (
  customerId STRING, page STRING, ts TIMESTAMP_LTZ(3)
) WITH (
  'connector' = 'datagen', 'rows-per-second' = '100', 'seed' = '2',
  'fields.customerId.pattern' = 'C-####', 'fields.customerId.min' = '1', 'fields.customerId.max' = '500', 'fields.customerId.skew' = '0.7',
  'fields.page.values' = 'home*5|product*9|cart*3|checkout',
  'fields.ts.max-past' = '2 s'
);
