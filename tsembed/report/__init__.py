"""Executed notebooks, figures, tables and the HTML site. Nothing else in the package imports this one."""
