from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Description(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: str
    def __init__(self, plan: _Optional[str] = ...) -> None: ...

class Arrival(_message.Message):
    __slots__ = ("plan_digest", "process")
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    plan_digest: bytes
    process: bytes
    def __init__(self, plan_digest: _Optional[bytes] = ..., process: _Optional[bytes] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("round", "attempt")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    round: int
    attempt: bytes
    def __init__(self, round: _Optional[int] = ..., attempt: _Optional[bytes] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("kind", "attempt", "digest", "seconds", "reason", "taken")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WAIT: _ClassVar[Task.Kind]
        TRAIN: _ClassVar[Task.Kind]
        ABORTED: _ClassVar[Task.Kind]
        FINISHED: _ClassVar[Task.Kind]
    WAIT: Task.Kind
    TRAIN: Task.Kind
    ABORTED: Task.Kind
    FINISHED: Task.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    kind: Task.Kind
    attempt: Attempt
    digest: bytes
    seconds: float
    reason: str
    taken: int
    def __init__(self, kind: _Optional[_Union[Task.Kind, str]] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., digest: _Optional[bytes] = ..., seconds: _Optional[float] = ..., reason: _Optional[str] = ..., taken: _Optional[int] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("attempt", "content", "digest")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    attempt: Attempt
    content: bytes
    digest: bytes
    def __init__(self, attempt: _Optional[_Union[Attempt, _Mapping]] = ..., content: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("attempt", "step", "message")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attempt: Attempt
    step: int
    message: bytes
    def __init__(self, attempt: _Optional[_Union[Attempt, _Mapping]] = ..., step: _Optional[int] = ..., message: _Optional[bytes] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("attempt", "reason")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    attempt: Attempt
    reason: str
    def __init__(self, attempt: _Optional[_Union[Attempt, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
