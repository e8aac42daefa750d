"""Orchestrator: the researcher's side, and the program `dura` that puts everything together."""
