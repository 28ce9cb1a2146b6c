"""MoTE: Mixture of Task Experts (text)."""
