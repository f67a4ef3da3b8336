"""MANO as a hand model for HPF, from the user's own file.

`plugin` is the hand model, `convert` the command that turns the user's pickle into the file that it reads.
"""
