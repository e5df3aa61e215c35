"""What attacks along other slopes than the model's own have in common (Athalye et al. 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tradeoff.attacks.ascent import Box, Model, evaluating, frozen
from tradeoff.perturbations import Affine, Lp, Union


@dataclass(frozen=True)
class OtherSlopes:
    """An attack on a stand-in of the model, with the model's values and slopes of its own. Not to be used by itself."""

    attack: Any

    follows: ClassVar[tuple[type, ...]] = ()  # the attacks that can be led along other slopes

    def __post_init__(self):
        if not isinstance(self.attack, self.follows):
            *most, last = (attack.__name__ for attack in self.follows)
            raise ValueError(f"{self.attack} follows no gradient of its own that could be replaced: give "
                             f"{', '.join(most)} or {last}")  # fmt: skip

    @property
    def S(self) -> Lp | Union | Affine:
        return self.attack.S

    @property
    def box(self) -> Box:
        return self.attack.box

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        with evaluating(model), frozen(model):  # what is attacked in its place may hide it
            return self.attack(self.stand_in(model), x, y, rng)

    def stand_in(self, model: Model) -> Model:
        """What is attacked in the model's place."""
        raise NotImplementedError
