# SPDX-License-Identifier: Apache-2.0
"""libinterest for Python: follows a published model and scores candidates.

    import interest
    with interest.Model("/var/lib/interestd/model") as model:
        model.follow()                       # a thread of the library's
        with model.scorer() as scorer:       # one for each thread that scores
            answer = scorer.score(model.request(
                profile={"gender": "f"}, context={"pid": "p1"},
                behaviors=[{"goods": "g1"}], candidates=[{"goods": "g7"}]))
            print(answer.version.name, answer.probability)

Plain ctypes over the installed libinterest.so.0 (or the one that the
environment variable INTEREST_LIBRARY names): no build step, no dependency.
Scoring releases the interpreter's lock. What each call does is said in
interest.h and interest(3); an error is raised as interest.Error with the
library's words.
"""
import ctypes
import os
import weakref

PROFILE, ITEM, CONTEXT = range(3)
ABSENT = (1 << 64) - 1
STATUSES = ("ok", "no_model", "corrupt", "argument", "limit", "system",
            "format")
VALUE, HOUR, WEEKDAY, BUCKET = range(4)

_u32, _u64, _i64 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
_ids, _floats = ctypes.POINTER(_u64), ctypes.POINTER(ctypes.c_float)


class Error(Exception):
    """`status` is one of STATUSES, the text says what, where, what to do."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class _Struct(ctypes.Structure):
    def __repr__(self):
        values = (f"{name}={getattr(self, name)!r}"
                  for name, *_ in self._fields_)
        return f"{type(self).__name__.strip('_')}({', '.join(values)})"


class _Error(_Struct):
    _fields_ = [("status", ctypes.c_int), ("_text", ctypes.c_char * 1000)]

    @property
    def text(self):
        return self._text.decode("utf-8", "replace")


class Version(_Struct):
    """struct interest_version."""
    _fields_ = [("epoch", _u64), ("version", _u64), ("position", _u64),
                ("newest_event_ms", _i64), ("cut_ms", _i64),
                ("created_ms", _i64), ("served_ms", _i64),
                ("generation", _u64), ("history_max", _u32),
                ("_name", ctypes.c_char * 64)]

    @property
    def name(self):
        return self._name.decode()


class State(_Struct):
    """struct interest_state."""
    _fields_ = [("version", Version), ("bytes", _u64), ("waiting", _u64),
                ("bases", _u64), ("deltas", _u64), ("resyncs", _u64),
                ("errors", _u64), ("errors_in_row", _u64), ("error", _Error),
                ("error_ms", _i64), ("announcements", _u64),
                ("lost_announcements", _u64), ("announced_ms", _i64)]


class _Request(_Struct):
    _fields_ = [("profile", _ids), ("history", _ids),
                ("history_size", ctypes.c_size_t), ("items", _ids),
                ("candidates", ctypes.c_size_t), ("context", _ids)]


_CHANGED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Version))
_FAILED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Error))


class _Following(_Struct):
    _fields_ = [("poll_ms", ctypes.c_int), ("changed", _CHANGED),
                ("failed", _FAILED), ("self", ctypes.c_void_p)]


def _declare(library):
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    error, version = ctypes.POINTER(_Error), ctypes.POINTER(Version)
    request = ctypes.POINTER(_Request)
    integer, count = ctypes.c_int, ctypes.c_uint
    field = [pointer, integer, count]
    for name, result, arguments in (
            ("open", integer, [text, ctypes.POINTER(pointer), error]),
            ("close", None, [pointer]),
            ("refresh", integer, [pointer, ctypes.POINTER(integer), error]),
            ("follow", integer, [pointer, ctypes.POINTER(_Following), error]),
            ("announce", integer, [pointer, text, size, error]),
            ("descriptor", integer, [pointer]),
            ("get_version", None, [pointer, version]),
            ("get_state", None, [pointer, ctypes.POINTER(State)]),
            ("field", text, field),
            ("field_count", count, [pointer, integer]),
            ("field_places", count, field),
            ("field_transform", integer, field),
            ("id", _u64, field + [text, size]),
            ("time_id", _u64, field + [_i64]),
            ("bucket_id", _u64, field + [ctypes.c_double]),
            ("scorer_open", integer,
             [pointer, size, size, ctypes.POINTER(pointer), error]),
            ("scorer_close", None, [pointer]),
            ("score", integer,
             [pointer, request, _floats, _floats, version, error]),
            ("score_users", integer,
             [pointer, request, size, _floats, version, error]),
            ("explain", integer,
             [pointer, request, _floats, _floats, _floats, version, error]),
            ("history_hash", _u64,
             [pointer, request, version, ctypes.POINTER(size)])):
        function = getattr(library, "interest_" + name)
        function.restype, function.argtypes = result, arguments
    return library


_library = None


def _load():
    global _library
    if _library is None:
        _library = _declare(ctypes.CDLL(
            os.environ.get("INTEREST_LIBRARY", "libinterest.so.0")))
    return _library


def _check(status, error):
    if status:
        raise Error(STATUSES[status], error.text)


def _array(ids):
    return (_u64 * len(ids))(*ids)


class Request:
    """Ids for a call; made by Model.request(), or of ids that are known:
    profile and context a list each, history and items lists of rows."""

    def __init__(self, profile, history, items, context):
        self.history_size, self.candidates = len(history), len(items)
        self._arrays = [_array(ids) for ids in (
            profile, [x for row in history for x in row],
            [x for row in items for x in row], context)]

    def _fill(self, raw):
        profile, history, items, context = (
            ctypes.cast(array, _ids) for array in self._arrays)
        raw.profile, raw.context = profile, context
        raw.history, raw.history_size = history, self.history_size
        raw.items, raw.candidates = items, self.candidates
        return raw


class Answer:
    """probability: a float a candidate; attention, without: a list of them a
    candidate, one a behavior, where they were asked for; version: which
    scored."""

    def __init__(self, probability, version, attention=None, without=None):
        self.probability, self.version = probability, version
        self.attention, self.without = attention, without


class Model:
    """A followed model folder. Any thread."""

    def __init__(self, folder):
        self._handle, self._following = ctypes.c_void_p(), None
        self._scorers = weakref.WeakSet()
        error = _Error()
        self._c = _load()
        _check(self._c.interest_open(os.fsencode(folder),
                                     ctypes.byref(self._handle),
                                     ctypes.byref(error)), error)

    def close(self):
        """Closes its scorers too; ends following."""
        for scorer in list(self._scorers):
            scorer.close()
        handle, self._handle = self._handle, None
        if handle:
            self._c.interest_close(handle)
        self._following = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def refresh(self):
        """True where a newer version is served now."""
        changed, error = ctypes.c_int(), _Error()
        _check(self._c.interest_refresh(self._handle, ctypes.byref(changed),
                                        ctypes.byref(error)), error)
        return bool(changed.value)

    def follow(self, changed=None, failed=None, poll_ms=0):
        """changed(Version) and failed(Error) are called by the library's
        thread."""
        error = _Error()

        def on_changed(_, version):
            if changed:
                changed(Version.from_buffer_copy(version.contents))

        def on_failed(_, why):
            if failed:
                failed(Error(STATUSES[why.contents.status],
                             why.contents.text))
        following = _Following(poll_ms, _CHANGED(on_changed),
                               _FAILED(on_failed), None)
        _check(self._c.interest_follow(self._handle, ctypes.byref(following),
                                       ctypes.byref(error)), error)
        self._following = following  # the library calls into it

    def announce(self, value):
        """The bytes of an announcement, as they lie in Kafka."""
        error = _Error()
        _check(self._c.interest_announce(self._handle, value, len(value),
                                         ctypes.byref(error)), error)

    def fileno(self):
        """For select(); readable when CURRENT moves."""
        return self._c.interest_descriptor(self._handle)

    @property
    def version(self):
        version = Version()
        self._c.interest_get_version(self._handle, ctypes.byref(version))
        return version

    @property
    def state(self):
        state = State()
        self._c.interest_get_state(self._handle, ctypes.byref(state))
        return state

    def fields(self, group):
        """(name, places, transform) of each; continuing places left out."""
        names = []
        for i in range(self._c.interest_field_count(self._handle, group)):
            places = self._c.interest_field_places(self._handle, group, i)
            if places:
                name = self._c.interest_field(self._handle, group, i)
                names.append((name.decode(), places,
                              self._c.interest_field_transform(
                                  self._handle, group, i)))
        return names

    def id(self, group, index, value):
        """Of a value of the field at that place, as training makes it."""
        if value is None:
            return 0
        if self._c.interest_field_transform(self._handle, group,
                                            index) == BUCKET:
            return self._c.interest_bucket_id(self._handle, group, index,
                                              float(value))
        text = str(value).encode()
        return self._c.interest_id(self._handle, group, index, text,
                                   len(text))

    def _row(self, group, values, time_ms):
        row, left = [], dict(values)
        for name, places, transform in self.fields(group):
            index = len(row)
            if name not in left and time_ms is not None and \
                    transform in (HOUR, WEEKDAY):
                row.append(self._c.interest_time_id(self._handle, group,
                                                    index, time_ms))
                continue
            value = left.pop(name, None)
            if places == 1:
                row.append(self.id(group, index, value))
                continue
            several = value if isinstance(value, (list, tuple)) else [value]
            ids = [self.id(group, index, one) for one in several
                   if one is not None][:places]
            row += ids + [ABSENT] * (places - len(ids))
        if left:
            raise Error("argument", f"the model has no field {min(left)!r}")
        return row

    def request(self, candidates, behaviors=(), profile=None, context=None,
                time_ms=None):
        """Values by field name (a list where a field takes several); behaviors
        oldest first. time_ms gives fields that are taken from an event's
        time."""
        return Request(self._row(PROFILE, profile or {}, time_ms),
                       [self._row(ITEM, one, None) for one in behaviors],
                       [self._row(ITEM, one, None) for one in candidates],
                       self._row(CONTEXT, context or {}, time_ms))

    def history_hash(self, request, version):
        """(hash, length) of the behaviors that counted: to be logged."""
        length = ctypes.c_size_t()
        value = self._c.interest_history_hash(
            self._handle, ctypes.byref(request._fill(_Request())),
            ctypes.byref(version), ctypes.byref(length))
        return value, length.value

    def scorer(self, history_max=1024, candidates_max=1024):
        return Scorer(self, history_max, candidates_max)


def _rows(values, rows, width):
    return [list(values[i * width:(i + 1) * width]) for i in range(rows)]


class Scorer:
    """Scratch of one thread."""

    def __init__(self, model, history_max, candidates_max):
        self._c, self._model = model._c, model
        self._handle, error = ctypes.c_void_p(), _Error()
        _check(self._c.interest_scorer_open(
            model._handle, history_max, candidates_max,
            ctypes.byref(self._handle), ctypes.byref(error)), error)
        model._scorers.add(self)

    def close(self):
        handle, self._handle = self._handle, None
        if handle:
            self._c.interest_scorer_close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def score(self, request, attention=False):
        n, t = request.candidates, request.history_size
        probability = (ctypes.c_float * n)()
        weights = (ctypes.c_float * (n * t))() if attention else None
        version, error = Version(), _Error()
        _check(self._c.interest_score(
            self._handle, ctypes.byref(request._fill(_Request())), probability,
            weights, ctypes.byref(version), ctypes.byref(error)), error)
        return Answer(list(probability), version,
                      _rows(weights, n, t) if attention else None)

    def score_users(self, requests):
        """An Answer for each, all by one version."""
        raw = (_Request * len(requests))()
        for one, request in zip(raw, requests):
            request._fill(one)
        probability = (ctypes.c_float * sum(r.candidates for r in requests))()
        version, error = Version(), _Error()
        _check(self._c.interest_score_users(
            self._handle, raw, len(requests), probability,
            ctypes.byref(version), ctypes.byref(error)), error)
        answers, at = [], 0
        for request in requests:
            answers.append(Answer(
                list(probability[at:at + request.candidates]), version))
            at += request.candidates
        return answers

    def explain(self, request):
        """Attention, and the score without each behavior."""
        n, t = request.candidates, request.history_size
        probability = (ctypes.c_float * n)()
        weights, without = ((ctypes.c_float * (n * t))() for _ in range(2))
        version, error = Version(), _Error()
        _check(self._c.interest_explain(
            self._handle, ctypes.byref(request._fill(_Request())), probability,
            weights, without, ctypes.byref(version), ctypes.byref(error)),
            error)
        return Answer(list(probability), version, _rows(weights, n, t),
                      _rows(without, n, t))
