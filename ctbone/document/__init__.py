"""Blocks, tables, figures and HTML of every page that ctbone writes."""
