"""Audit any VAE: which of its latent factors matter, with warnings where the answer would be silently wrong."""

from vaemi.auditing.encoder import SCALES, Audit, audit
from vaemi.errors import AuditError

__all__ = ["SCALES", "Audit", "AuditError", "audit"]
