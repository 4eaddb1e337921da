"""Analyses of chapters and pages, a module for each, and what several of them share."""
