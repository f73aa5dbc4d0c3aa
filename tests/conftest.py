"""Settings of every test."""

from hypothesis import settings

# A busy machine must not fail a property, and a property must not fail on one run in a hundred:
# the examples are the same in every run and take as long as they take.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
