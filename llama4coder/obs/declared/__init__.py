"""Every metric of the product, declared once, by who feeds it.

Labels come from closed sets; no content, and no names of keys unless the operator asks for them.
"""
