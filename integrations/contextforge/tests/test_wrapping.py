from __future__ import annotations

from mcpgateway_usage import wrapping
from mcpgateway_usage.wrapping import Function


class Counter:
    def value(self) -> int:
        """The value."""
        return 1


def add(amount: int) -> object:
    def wrap(original: Function) -> Function:
        def value(self: Counter) -> int:
            found: int = original(self)
            return found + amount

        return value

    return wrap


def test_however_often_there_is_one_wrapper() -> None:
    before = vars(Counter)["value"]
    for amount in (1, 10, 100):
        wrapping.replace(Counter, "value", add(amount))  # type: ignore[arg-type]
        # The last one, around the original.
        assert Counter().value() == 1 + amount
    assert Counter.value.__doc__ == "The value."
    assert Counter.value.__qualname__ == "Counter.value"
    assert wrapping.original(vars(Counter)["value"]) is before
    assert wrapping.original(before) is before
