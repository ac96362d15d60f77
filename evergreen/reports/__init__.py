"""Markdown: cards, notes, tables, the approval question."""
