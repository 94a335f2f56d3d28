"""A cluster that nobody has rented: the serving code's own engines and routers, on a clock that jumps.

agenda                     what happens next
arrivals, coder, traces    who asks for what, and when
served                     one replica as a plan: its configuration, its step times, its weights
ranks, guessing            what is simulated instead of a model: the time of a step, and whose guesses are right
replica                    an engine and what it reports, on a clock of its own
traffic, journey           requests on their way: routed, refused, lost and sent again
fleet, mishaps, scaling    replicas that come and go
simulation                 all of it together, request by request
outcome, timeline          what it came to
coarse                     the same fleet by counts, many steps at once: for a thousand replicas
fluid                      the same as flows: rates instead of requests, for any number of replicas
"""
