"""How random inputs are drawn: the same ones in every run, kept nowhere, a number that takes seconds."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ganjax",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("ganjax")
