"""MANO as a hand model for HPF, from the user's own file.

`plugin` has the hand model. `convert` has the command that converts the user's pickle to the hand model's file.
"""
