"""The agent of one datasite: it receives, checks, runs, commits, and sends what was released."""

from datasites.agent.agent import Agent

__all__ = ["Agent"]
