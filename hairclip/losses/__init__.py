"""The three families of HairCLIP's losses (section 3.3), per sample, and their sum.

Every function returns one number per sample, ``(B,)``, so that one batch can hold every kind of edit.
"""
