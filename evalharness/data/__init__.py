"""Rows come in: from mteb, from tables of any format, from TREC files."""
