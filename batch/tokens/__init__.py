"""Tokens from text, without a network: what requests are expected to have, and what they can have at most.

Counts are the service's to state; what is estimated here never reaches a column of counts.
"""

from batch.tokens.bounds import upper_bound
from batch.tokens.calibration import Calibration
from batch.tokens.features import Counts, count_request, count_text, count_texts
from batch.tokens.model import UNSEEN_TOKENS, Estimator, Interval
from batch.tokens.tally import Alike, Share, Tally

__all__ = [
    "UNSEEN_TOKENS",
    "Alike",
    "Calibration",
    "Counts",
    "Estimator",
    "Interval",
    "Share",
    "Tally",
    "count_request",
    "count_text",
    "count_texts",
    "upper_bound",
]
