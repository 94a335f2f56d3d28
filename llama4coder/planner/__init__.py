"""What a deployment needs and how fast it will be, before anything is bought: pure arithmetic over the serving code.

shapes, gpus          what can be asked for by name
step_load             what one step computes
step_time             how long that takes: the contract
roofline, calibrated  its two answers: from a GPU's data sheet and measured shares of it, or from measured steps
"""
