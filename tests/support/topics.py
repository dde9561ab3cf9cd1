# SPDX-License-Identifier: Apache-2.0
"""Topics of a test's broker: made and written through librdkafka's C
interface (ctypes; admin and producer calls only), read back with kcat.

read_logs() is what the model takes as truth: every record with partition,
offset, timestamp and raw value, as the broker keeps it."""

from concurrent.futures import ThreadPoolExecutor
import ctypes
import json
import subprocess

_rd = ctypes.CDLL("librdkafka.so.1")
_pointer, _int, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p


def _declare(name, result, *arguments):
    function = getattr(_rd, name)
    function.restype, function.argtypes = result, arguments
    return function


_conf_new = _declare("rd_kafka_conf_new", _pointer)
_conf_set = _declare("rd_kafka_conf_set", _int, _pointer, _text, _text,
                     _text, ctypes.c_size_t)
_new = _declare("rd_kafka_new", _pointer, _int, _pointer, _text,
                ctypes.c_size_t)
_destroy = _declare("rd_kafka_destroy", None, _pointer)
_flush = _declare("rd_kafka_flush", _int, _pointer, _int)
_poll = _declare("rd_kafka_poll", _int, _pointer, _int)
_producev = _declare("rd_kafka_producev", _int, _pointer)
_queue_new = _declare("rd_kafka_queue_new", _pointer, _pointer)
_queue_destroy = _declare("rd_kafka_queue_destroy", None, _pointer)
_queue_poll = _declare("rd_kafka_queue_poll", _pointer, _pointer, _int)
_event_destroy = _declare("rd_kafka_event_destroy", None, _pointer)
_event_error = _declare("rd_kafka_event_error", _int, _pointer)
_event_error_string = _declare("rd_kafka_event_error_string", _text, _pointer)
_create_result = _declare("rd_kafka_event_CreateTopics_result", _pointer,
                          _pointer)
_create_topics = _declare("rd_kafka_CreateTopics_result_topics",
                          ctypes.POINTER(_pointer), _pointer,
                          ctypes.POINTER(ctypes.c_size_t))
_topic_error = _declare("rd_kafka_topic_result_error", _int, _pointer)
_topic_error_string = _declare("rd_kafka_topic_result_error_string", _text,
                               _pointer)
_new_topic = _declare("rd_kafka_NewTopic_new", _pointer, _text, _int, _int,
                      _text, ctypes.c_size_t)
_new_topic_destroy = _declare("rd_kafka_NewTopic_destroy", None, _pointer)
_create = _declare("rd_kafka_CreateTopics", None, _pointer,
                   ctypes.POINTER(_pointer), ctypes.c_size_t, _pointer,
                   _pointer)

_delete_result = _declare("rd_kafka_event_DeleteTopics_result", _pointer,
                          _pointer)
_delete_topics = _declare("rd_kafka_DeleteTopics_result_topics",
                          ctypes.POINTER(_pointer), _pointer,
                          ctypes.POINTER(ctypes.c_size_t))
_old_topic = _declare("rd_kafka_DeleteTopic_new", _pointer, _text)
_old_topic_destroy = _declare("rd_kafka_DeleteTopic_destroy", None, _pointer)
_delete = _declare("rd_kafka_DeleteTopics", None, _pointer,
                   ctypes.POINTER(_pointer), ctypes.c_size_t, _pointer,
                   _pointer)
_list_new = _declare("rd_kafka_topic_partition_list_new", _pointer, _int)
_list_add = _declare("rd_kafka_topic_partition_list_add", _pointer, _pointer,
                     _text, ctypes.c_int32)
_list_set = _declare("rd_kafka_topic_partition_list_set_offset", _int,
                     _pointer, _text, ctypes.c_int32, ctypes.c_int64)
_list_destroy = _declare("rd_kafka_topic_partition_list_destroy", None,
                         _pointer)
_records_new = _declare("rd_kafka_DeleteRecords_new", _pointer, _pointer)
_records_destroy = _declare("rd_kafka_DeleteRecords_destroy", None, _pointer)
_delete_records = _declare("rd_kafka_DeleteRecords", None, _pointer,
                           ctypes.POINTER(_pointer), ctypes.c_size_t,
                           _pointer, _pointer)

_new_partitions = _declare("rd_kafka_NewPartitions_new", _pointer, _text,
                           ctypes.c_size_t, _pointer, ctypes.c_size_t)
_new_partitions_destroy = _declare("rd_kafka_NewPartitions_destroy", None,
                                   _pointer)
_create_partitions = _declare("rd_kafka_CreatePartitions", None, _pointer,
                              ctypes.POINTER(_pointer), ctypes.c_size_t,
                              _pointer, _pointer)
_resource = _declare("rd_kafka_ConfigResource_new", _pointer, _int, _text)
_resource_config = _declare("rd_kafka_ConfigResource_set_config", _int,
                            _pointer, _text, _text)
_resource_destroy = _declare("rd_kafka_ConfigResource_destroy", None,
                             _pointer)
_alter = _declare("rd_kafka_AlterConfigs", None, _pointer,
                  ctypes.POINTER(_pointer), ctypes.c_size_t, _pointer,
                  _pointer)
_topic_config = _declare("rd_kafka_NewTopic_set_config", _int, _pointer,
                         _text, _text)
_transaction = {
    "init": _declare("rd_kafka_init_transactions", _pointer, _pointer, _int),
    "begin": _declare("rd_kafka_begin_transaction", _pointer, _pointer),
    "commit": _declare("rd_kafka_commit_transaction", _pointer, _pointer,
                       _int),
    "abort": _declare("rd_kafka_abort_transaction", _pointer, _pointer,
                      _int)}
_committed = _declare("rd_kafka_committed", _int, _pointer, _pointer, _int)
_error_string = _declare("rd_kafka_error_string", _text, _pointer)
_headers_new = _declare("rd_kafka_headers_new", _pointer, ctypes.c_size_t)
_header_add = _declare("rd_kafka_header_add", _int, _pointer, _text,
                       ctypes.c_ssize_t, _text, ctypes.c_ssize_t)

PRODUCER, CONSUMER = 0, 1
RESOURCE_TOPIC = 2
TOPIC_ALREADY_EXISTS = 36
QUEUE_FULL = -184
# rd_kafka_vtype_t
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _MSGFLAGS, _TIMESTAMP, _HEADERS = \
    0, 1, 3, 4, 5, 7, 8, 10
_COPY = 2


class TopicError(RuntimeError):
    pass


class Client:
    """A producer handle. Use as a context manager."""

    def __init__(self, brokers, **properties):
        self._error = ctypes.create_string_buffer(512)
        conf = _conf_new()
        settings = {"bootstrap.servers": brokers, "linger.ms": "5",
                    "acks": "all", **properties}
        for name, value in settings.items():
            if _conf_set(conf, name.encode(), str(value).encode(),
                         self._error, 512):
                raise TopicError(self._error.value.decode())
        self._handle = _new(PRODUCER, conf, self._error, 512)
        if not self._handle:
            raise TopicError(self._error.value.decode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._handle:
            _flush(self._handle, 10_000)
            _destroy(self._handle)
            self._handle = None

    def flush(self, timeout_ms=30_000):
        if _flush(self._handle, timeout_ms):
            raise TopicError("records are still not delivered")

    def send(self, topic, value, key=None, partition=-1, timestamp_ms=0,
             headers=()):
        """Queues one record, waiting while the queue is full; flush() waits
        for all to be delivered. value None: a tombstone. headers: (name,
        bytes) each."""
        variadic = [ctypes.c_int(_TOPIC), _text(topic.encode()),
                    ctypes.c_int(_PARTITION), ctypes.c_int32(partition),
                    ctypes.c_int(_MSGFLAGS), ctypes.c_int(_COPY),
                    ctypes.c_int(_TIMESTAMP), ctypes.c_int64(timestamp_ms)]
        for kind, raw in ((_VALUE, value), (_KEY, key)):
            if raw is not None:
                variadic += [ctypes.c_int(kind), _text(raw),
                             ctypes.c_size_t(len(raw))]
        if headers:
            made = _headers_new(len(headers))
            for name, raw in headers:
                _header_add(made, name.encode(), -1, raw, len(raw))
            variadic += [ctypes.c_int(_HEADERS), _pointer(made)]
        _poll(self._handle, 0)
        for _ in range(600):
            error = _producev(self._handle, *variadic, ctypes.c_int(_END))
            if error != QUEUE_FULL:
                break
            _poll(self._handle, 50)
        if error:
            raise TopicError(f"cannot send to {topic}: error {error}")

    def _admin(self, call, wishes, destroy, results=None, fine=(0,)):
        """One request of the admin interface, to its answer."""
        queue = _queue_new(self._handle)
        try:
            call(self._handle, (_pointer * len(wishes))(*wishes), len(wishes),
                 None, queue)
            event = _queue_poll(queue, 30_000)
            if not event:
                raise TopicError("no answer to an admin request in 30 s")
            if _event_error(event):
                raise TopicError(_event_error_string(event).decode())
            count = ctypes.c_size_t()
            topics = results(event, ctypes.byref(count)) if results else ()
            for index in range(count.value):
                if _topic_error(topics[index]) not in fine:
                    raise TopicError(
                        _topic_error_string(topics[index]).decode())
            _event_destroy(event)
        finally:
            _queue_destroy(queue)
            for wish in wishes:
                destroy(wish)

    def transaction(self, step, timeout_ms=30_000):
        """init, begin, commit or abort; of a handle with transactional.id."""
        failure = _transaction[step](
            self._handle, *(() if step == "begin" else (timeout_ms,)))
        if failure:
            raise TopicError(f"{step}: {_error_string(failure).decode()}")

    def grow(self, partitions, *names):
        """Topics get more partitions."""
        self._admin(_create_partitions,
                    [_new_partitions(name.encode(), partitions, self._error,
                                     512) for name in names],
                    _new_partitions_destroy)

    def alter(self, *names, **settings):
        """Settings of topics, with _ for each dot; others go back to their
        defaults."""
        wishes = [_resource(RESOURCE_TOPIC, name.encode()) for name in names]
        for wish in wishes:
            for name, value in settings.items():
                _resource_config(wish, name.replace("_", ".").encode(),
                                 str(value).encode())
        self._admin(_alter, wishes, _resource_destroy)

    def create(self, partitions, *names, **settings):
        """Makes topics; those that exist stay as they are. settings: of the
        topics, with _ for each dot."""
        wishes = [_new_topic(name.encode(), partitions, 1, self._error, 512)
                  for name in names]
        for wish in wishes:
            for name, value in settings.items():
                _topic_config(wish, name.replace("_", ".").encode(),
                              str(value).encode())
        self._admin(_create, wishes, _new_topic_destroy,
                    lambda event, count: _create_topics(_create_result(event),
                                                        count),
                    (0, TOPIC_ALREADY_EXISTS))

    def delete(self, *names):
        """Deletes topics with all they hold."""
        self._admin(_delete, [_old_topic(name.encode()) for name in names],
                    _old_topic_destroy,
                    lambda event, count: _delete_topics(_delete_result(event),
                                                        count))

    def delete_records(self, topic, partition, before):
        """The log of a partition begins at offset `before`, as when
        retention had come by."""
        offsets = _list_new(1)
        _list_add(offsets, topic.encode(), partition)
        _list_set(offsets, topic.encode(), partition, before)
        self._admin(_delete_records, [_records_new(offsets)],
                    _records_destroy)
        _list_destroy(offsets)


class _Offset(ctypes.Structure):
    """rd_kafka_topic_partition_t"""
    _fields_ = [("topic", _text), ("partition", ctypes.c_int32),
                ("offset", ctypes.c_int64), ("metadata", _pointer),
                ("metadata_size", ctypes.c_size_t), ("opaque", _pointer),
                ("error", _int), ("private", _pointer)]


class _Offsets(ctypes.Structure):
    """rd_kafka_topic_partition_list_t"""
    _fields_ = [("count", _int), ("size", _int),
                ("items", ctypes.POINTER(_Offset))]


def group_offsets(brokers, group, keys):
    """What a group has committed of these (topic, partition): a number each,
    below 0 where there is nothing."""
    error = ctypes.create_string_buffer(512)
    conf = _conf_new()
    for name, value in (("bootstrap.servers", brokers), ("group.id", group)):
        _conf_set(conf, name.encode(), value.encode(), error, 512)
    handle = _new(CONSUMER, conf, error, 512)
    wanted = _list_new(len(keys))
    for topic, partition in keys:
        _list_add(wanted, topic.encode(), partition)
    code = _committed(handle, wanted, 30_000)
    answer = ctypes.cast(wanted, ctypes.POINTER(_Offsets)).contents
    found = [answer.items[i].offset for i in range(answer.count)]
    _list_destroy(wanted)
    _destroy(handle)
    if code:
        raise TopicError(f"offsets of group {group}: error {code}")
    return found


def partitions_of(brokers, topic):
    listed = json.loads(subprocess.run(
        ["kcat", "-b", brokers, "-L", "-J", "-t", topic], check=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    return sorted(p["partition"] for t in listed["topics"]
                  for p in t["partitions"] if t["topic"] == topic)


def read_log(brokers, topic, partition, begin="beginning"):
    """[(offset, timestamp_ms, value or None)] of one partition."""
    dump = subprocess.run(
        ["kcat", "-C", "-q", "-e", "-b", brokers, "-t", topic, "-p",
         str(partition), "-o", str(begin), "-f", "%o %T %S\n%s"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    log, at = [], 0
    while at < len(dump):
        line_end = dump.index(b"\n", at)
        offset, stamp, size = map(int, dump[at:line_end].split())
        at = line_end + 1
        value = dump[at:at + size] if size >= 0 else None
        log.append((offset, stamp, value))
        at += max(size, 0)
    return log


def read_logs(brokers, topics):
    """{(index in topics, partition): log}"""
    keys = [(index, partition) for index, topic in enumerate(topics)
            for partition in partitions_of(brokers, topic)]
    with ThreadPoolExecutor(8) as pool:  # kcat mostly waits for the end
        logs = pool.map(lambda key: read_log(brokers, topics[key[0]], key[1]),
                        keys)
        return dict(zip(keys, logs))
