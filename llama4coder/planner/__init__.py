"""What a deployment needs and how fast it will be, before anything is bought: pure arithmetic over the serving code.

shapes, gpus          what can be asked for by name
step_load             what one step computes
step_time             how long that takes: the contract
roofline, calibrated  its two answers: from a GPU's data sheet and measured shares of it, or from measured steps
candidate, fit        one replica, and whether it fits, by the budget that the engine has
nearest, audit        what else would fit
traffic, steady       requests, and the batch and the times of steps that a stream of them leads to
replica, drafting     how fast a replica answers at a rate, and what guesses gain
fleet                 how many replicas an objective takes
question, plan        all that is asked, and the answer
report, pictures      the answer as data, and drawn
emit                  the answer as files that serve it
"""
