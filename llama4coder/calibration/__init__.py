"""Measured step times: an engine's own steps, and what serving adds to them.

design       what an engine is given to do
recorder     what its steps computed, and how long they took
engine_run   both together, on an engine in this process
ranks        what carries out its steps: one rank in this process (`own_rank`), or several in others
fit          the table that explains them
load         requests to a running endpoint, and the same ones for the simulator
endpoint     sends them, and looks at the clock
surroundings what of their times the engine does not explain
"""
