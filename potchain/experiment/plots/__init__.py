"""Pictures of experiments, chosen by what varies.

axes          the fields that vary, and their words and units
style         colours, and SVG that is the same for the same numbers
lines         time against a number, throughput against latency
comparisons   time by category (dissemination, faults, engine, mode), heat maps, phases, ours against the Go demo's
selection     which pictures a set of results gets
"""
