"""Audit any VAE: which of its latent factors matter, with warnings where the answer would be wrong without an error."""

from vaemi.auditing.answers import SCALES
from vaemi.auditing.encoder import audit
from vaemi.auditing.files import audit_files
from vaemi.auditing.result import Audit
from vaemi.errors import AuditError

__all__ = ["SCALES", "Audit", "AuditError", "audit", "audit_files"]
