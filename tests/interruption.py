"""Ctrl-C at a chosen moment of training."""

from tradeoff import training


def interrupt(monkeypatch, call):
    """KeyboardInterrupt at the given call of the training loss; the list of all its calls."""
    calls, cross_entropy = [], training.cross_entropy

    def loss(*args):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return cross_entropy(*args)

    monkeypatch.setattr(training, "cross_entropy", loss)
    return calls
