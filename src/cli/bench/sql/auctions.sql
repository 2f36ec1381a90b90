CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` BIGINT,
  rt AS TO_TIMESTAMP_LTZ(`dateTime`, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/bids', 'format' = 'json');
CREATE TABLE auction (
  id BIGINT, seller BIGINT, `dateTime` BIGINT,
  rt AS TO_TIMESTAMP_LTZ(`dateTime`, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/auctions', 'format' = 'json');
CREATE TABLE person (
  id BIGINT, name STRING, `dateTime` BIGINT,
  rt AS TO_TIMESTAMP_LTZ(`dateTime`, 3), WATERMARK FOR rt AS rt - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '$DATA/persons', 'format' = 'json');
