"""Robustness to multiple perturbations: theorems verified, trade-offs measured."""

__version__ = "0.1.0"
