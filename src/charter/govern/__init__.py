"""Gates, approvals, audit, model card."""
