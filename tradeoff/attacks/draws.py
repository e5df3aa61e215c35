"""Random draws that belong to the example, so that neither the batch size nor the order changes an attack."""

import hashlib

import numpy as np
from numpy.random.bit_generator import ISeedSequence


class _Key(ISeedSequence):
    """The key of a stream. `Philox(key=...)` makes the same stream, but first asks the system for entropy that it then
    drops, which takes twice as long as all the rest."""

    def __init__(self, words: np.ndarray):
        self.words = words  # uint64 (2,), the lower first

    def generate_state(self, n_words: int, dtype=np.uint32) -> np.ndarray:
        return self.words


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
        words = b"".join(int(key).to_bytes(16, "little") for key in keys)
        words = np.frombuffer(words, dtype="<u8").astype(np.uint64).reshape(-1, 2)
        self._streams = [np.random.Generator(np.random.Philox(_Key(pair))) for pair in words]  # type: ignore[arg-type]

    @classmethod
    def of(cls, rng: "np.random.Generator | Draws", n: int) -> "Draws":
        """`rng` itself if it is per example already, else n streams keyed by its next n integers."""
        return rng if isinstance(rng, Draws) else cls(rng.integers(0, 2**64, n, dtype=np.uint64))

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

    def uniform(self, low, high, size) -> np.ndarray:
        """As Generator.uniform."""
        return low + (high - low) * self._filled("random", (), size)

    def normal(self, mean, deviation, size) -> np.ndarray:
        """As Generator.normal."""
        return mean + deviation * self._filled("standard_normal", (), size)

    def gamma(self, shape, size) -> np.ndarray:
        """As Generator.gamma, of scale 1."""
        return self._filled("standard_gamma", (shape,), size)

    def choice(self, values, size) -> np.ndarray:
        """As Generator.choice, with replacement and equal weights."""
        return np.asarray(values)[self.integers(0, len(values), size)]

    def integers(self, low, high, size) -> np.ndarray:
        """As Generator.integers."""
        shape = self._shape(size)
        return np.stack([stream.integers(low, high, shape[1:]) for stream in self._streams])

    def _filled(self, method: str, args: tuple, size) -> np.ndarray:
        """Each stream's floats, drawn into its row."""
        shape = self._shape(size)
        rows = np.empty((len(self), int(np.prod(shape[1:]))))
        for stream, row in zip(self._streams, rows, strict=True):
            getattr(stream, method)(*args, out=row)
        return rows.reshape(shape)

    def _shape(self, size) -> tuple[int, ...]:
        shape = size if isinstance(size, tuple) else (size,)
        if shape[0] != len(self):
            raise ValueError(f"size {size} asks for {shape[0]} rows, but there are streams for {len(self)} examples")
        return shape
