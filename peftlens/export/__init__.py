"""Exports of a study's results for papers, model hubs and other tools."""
