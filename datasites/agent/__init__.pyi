from .agent import Agent as Agent
