"""A client that is not ours: pika, driven by one line of JSON per step on stdin; answers are lines of JSON."""

import datetime
import json
import sys

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()


def properties(message):
    headers = dict(message.get("headers") or {})
    for name, seconds in message.get("times", {}).items():
        headers[name] = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return pika.BasicProperties(
        message_id=message.get("id"),
        correlation_id=message.get("correlation"),
        content_type=message.get("content_type"),
        timestamp=message.get("timestamp"),
        headers=headers or None,
        delivery_mode=2,
    )


def step(name, at):
    if name == "queue":
        channel.queue_declare(at["queue"], durable=True, arguments=at.get("arguments"))
    elif name == "exchange":
        channel.exchange_declare(at["exchange"], at.get("type", "topic"), durable=True)
    elif name == "bind":
        channel.queue_bind(at["queue"], at["exchange"], at.get("key", ""))
    elif name == "unbind":
        channel.queue_unbind(at["queue"], at["exchange"], at.get("key", ""))
    elif name == "delete":
        channel.queue_delete(at["queue"])
    elif name == "publish":
        for message in at["messages"]:
            body = message["body"].encode("latin-1")
            channel.basic_publish(at.get("exchange", ""), message.get("key", at.get("queue", "")), body, properties(message), mandatory=True)
    elif name == "depth":
        return channel.queue_declare(at["queue"], passive=True).method.message_count
    elif name == "drain":
        taken = []
        while len(taken) < at.get("most", 1 << 30):
            method, props, body = channel.basic_get(at["queue"], auto_ack=True)
            if method is None:
                break
            taken.append(
                {
                    "key": method.routing_key,
                    "exchange": method.exchange,
                    "id": props.message_id,
                    "correlation": props.correlation_id,
                    "content_type": props.content_type,
                    "timestamp": props.timestamp,
                    "mode": props.delivery_mode,
                    "headers": json.loads(json.dumps(props.headers, default=str)),
                    "body": body.decode("latin-1"),
                }
            )
        return taken
    else:
        raise ValueError(name)


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(step(asked.pop("step"), asked)), flush=True)
