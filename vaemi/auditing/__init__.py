"""Audit any VAE: which of its latent factors matter, with warnings where the answer would be wrong without an error."""

from vaemi.auditing.codes import CodeAudit, audit_codes
from vaemi.auditing.encoder import audit
from vaemi.auditing.files import audit_files
from vaemi.auditing.result import Audit
from vaemi.auditing.single_cell import annotate

__all__ = ["Audit", "CodeAudit", "annotate", "audit", "audit_codes", "audit_files"]
