"""Analyses that one chapter needs: a module per chapter."""
