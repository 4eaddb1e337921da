"""Audit any VAE: which of its latent factors matter, with warnings where the answer would be wrong without an error."""

from vaemi.auditing.codes import CodeAudit, audit_codes
from vaemi.auditing.encoder import audit
from vaemi.auditing.files import audit_files
from vaemi.auditing.result import Audit
from vaemi.auditing.single_cell import annotate
from vaemi.errors import AuditError as AuditError  # to catch what these functions raise

__all__ = ["Audit", "CodeAudit", "annotate", "audit", "audit_codes", "audit_files"]
