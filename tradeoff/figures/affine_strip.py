r"""One digit under mixtures of rotation-translation and ℓ∞ noise, from all rotation (β = 1) to all noise (β = 0).

The share β of the budget goes to the rotation-translation (±3 px, ±30° times β), the rest to the noise (0.3 times 1-β).
The model was trained on the worst of the two; each image is the worst that the attack found for it, with the model's
answer and its probability. The digit is the first test example that the model gets right unperturbed and that the
mixture β = ½ breaks while neither pure attack does, if there is one.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.attacks import PGD, AffineAttack, Draws, RandomSearch
from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import Linf, RotationTranslation

_BETAS = (1.0, 0.75, 0.5, 0.25, 0.0)
QUICK = {"experiments": {"model": "digits-max-rt"}, "betas": _BETAS, "tries": 20, "steps": 20, "search": 200, "seed": 0}
PARAMETERS = {
    "quick": QUICK,
    "full": QUICK | {"experiments": {"model": "mnist-max-rt"}, "tries": 100, "steps": 100, "search": 1000},
}


def compute(results, *, experiments: dict, betas, tries: int, steps: int, search: int, seed: int) -> dict:
    """The images of one digit under each β, the answers, and each β's accuracy on the first `search` digits."""
    run = results(experiments["model"])
    images = run.images.first(min(search, len(run.images)))
    device = next(run.model.parameters()).device
    x, y = torch.tensor(images.x, device=device), torch.tensor(images.y, device=device)
    moves = RandomSearch(RotationTranslation(3, 30), tries=tries)
    points = {}
    for beta in betas:
        attack = AffineAttack(moves, PGD(Linf(0.3), steps=steps), beta=beta)
        points[beta] = attack(run.model, x, y, Draws.for_examples(images.x, seed, f"beta {beta}"))
    answers = {beta: _answer(run.model, point) for beta, point in points.items()}
    clean, _ = _answer(run.model, x)
    right = {beta: answer == y.cpu().numpy() for beta, (answer, _) in answers.items()}
    fine = clean == y.cpu().numpy()
    only_mixed = fine & right[1.0] & right[0.0] & ~right[0.5]
    chosen = int(np.flatnonzero(only_mixed if only_mixed.any() else fine)[0])
    strip = [
        {"beta": beta, "image": points[beta][chosen, 0].cpu().numpy().round(4).tolist(), "answer": int(answer[chosen]),
         "probability": float(probability[chosen])}
        for beta, (answer, probability) in answers.items()
    ]  # fmt: skip
    return {
        "strip": strip,
        "original": {"image": images.x[chosen, 0].round(4).tolist(), "label": int(images.y[chosen]), "index": chosen},
        "accuracy": {str(beta): float(ok.mean()) for beta, ok in right.items()},
        "clean": float(fine.mean()),
        "broken only by the mixture": int(only_mixed.sum()),
        "data": f"first {len(images)} test examples of {images.source}",
    }


def _answer(model, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The model's class and its softmax probability, (n,) each."""
    with torch.no_grad():
        probability, answer = model(x).softmax(dim=1).max(dim=1)
    return answer.cpu().numpy(), probability.cpu().numpy()


def draw(numbers: dict) -> Figure:
    """The original, then a digit per β with the model's answer below."""
    figure, axes = plt.subplots(1, 1 + len(numbers["strip"]), figsize=(PAGE, 1.75))
    label = numbers["original"]["label"]
    axes[0].imshow(numbers["original"]["image"], cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("original")
    axes[0].set_xlabel(f"a {label}")
    for ax, entry in zip(axes[1:], numbers["strip"], strict=True):
        ax.imshow(entry["image"], cmap="gray", vmin=0, vmax=1)
        ax.set_title(rf"$\beta = {entry['beta']:g}$")
        right = entry["answer"] == label
        answer = f"{entry['answer']} ({100 * entry['probability']:.0f} %)" + ("" if right else ", wrong")
        ax.set_xlabel(answer, color="black" if right else COLOURS["l1"], fontweight="normal" if right else "bold")
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    figure.supxlabel("all rotation-translation  ←  share of the budget  →  all " + r"$\ell_\infty$ noise", fontsize=8)
    return figure
