"""Claims: where prediction meets measurement."""

from theory_lab.claims.base import Claim, Outcome, Relation, Verdict, claim

__all__ = ["Claim", "Outcome", "Relation", "Verdict", "claim"]
