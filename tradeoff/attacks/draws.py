"""Random draws that belong to the example, so that neither the batch size nor the order changes an attack."""

import hashlib

import numpy as np


class Draws:
    """One counter-based stream (Philox) per example, with the methods of a NumPy Generator.

    Every `size` starts with the number of examples; row i comes from the stream of example i alone. Indexing selects
    examples and shares their streams.

    >>> whole = Draws([7, 8, 9])
    >>> part = Draws([9])
    >>> bool(whole.uniform(0, 1, (3, 2))[2, 0] == part.uniform(0, 1, (1, 2))[0, 0])
    True
    """

    def __init__(self, keys):
        self._streams = [np.random.Generator(np.random.Philox(key=int(key))) for key in keys]

    @classmethod
    def of(cls, rng: "np.random.Generator | Draws", n: int) -> "Draws":
        """`rng` itself if it is per example already, else n streams keyed by its next n integers."""
        return rng if isinstance(rng, cls) else cls(rng.integers(0, 2**64, n, dtype=np.uint64))

    @classmethod
    def for_examples(cls, x: np.ndarray, seed: int, name: str) -> "Draws":
        """Streams keyed by the content of each example, a seed and a name: the same wherever the example stands."""
        key = hashlib.blake2b(f"{seed} {name}".encode()).digest()  # names may be longer than a key
        keys = (hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16, key=key) for row in x)
        return cls(int.from_bytes(key.digest(), "little") for key in keys)

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, index) -> "Draws":
        part = object.__new__(Draws)
        part._streams = [self._streams[i] for i in np.arange(len(self))[index]]
        return part

    def _each(self, method: str, args: tuple, size) -> np.ndarray:
        first, *rest = size if isinstance(size, tuple) else (size,)
        if first != len(self):
            raise ValueError(f"size {size} asks for {first} rows, but there are streams for {len(self)} examples")
        return np.stack([getattr(stream, method)(*args, size=tuple(rest)) for stream in self._streams])

    def uniform(self, low, high, size) -> np.ndarray:
        """As Generator.uniform."""
        return self._each("uniform", (low, high), size)

    def normal(self, mean, deviation, size) -> np.ndarray:
        """As Generator.normal."""
        return self._each("normal", (mean, deviation), size)

    def gamma(self, shape, size) -> np.ndarray:
        """As Generator.gamma, of scale 1."""
        return self._each("gamma", (shape,), size)

    def choice(self, values, size) -> np.ndarray:
        """As Generator.choice, with replacement and equal weights."""
        return self._each("choice", (values,), size)

    def integers(self, low, high, size) -> np.ndarray:
        """As Generator.integers."""
        return self._each("integers", (low, high), size)
