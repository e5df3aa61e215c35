"""What is proved: the distributions of the paper, and its theorems with their checks. Never imports torch."""

from tradeoff.theory.certified import enclosure
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.flow import flow_bounds
from tradeoff.theory.game import GameValue, exclusive, game_value, game_values
from tradeoff.theory.theorem import Evidence, Theorem
from tradeoff.theory.theorems import (
    appendix_i,
    claim3_affine_linear,
    claim4_affine_gap,
    exact_game,
    hull,
    thm1_dual_norms,
    thm1_linf_l1,
    thm2_linf_rt,
)

THEOREMS: dict[str, Theorem] = {
    t.THEOREM.name: t.THEOREM
    for t in (
        thm1_linf_l1,
        thm1_dual_norms,
        thm2_linf_rt,
        claim3_affine_linear,
        claim4_affine_gap,
        appendix_i,
        exact_game,
        hull,
    )
}

__all__ = [
    "THEOREMS",
    "BernoulliFeature",
    "Evidence",
    "GameValue",
    "GaussianFeature",
    "Theorem",
    "enclosure",
    "exclusive",
    "flow_bounds",
    "game_value",
    "game_values",
]
