"""The three sizes at which a notebook runs.

They stand alone, so that what checks a profile does not rest on the code that builds the book.
"""

from __future__ import annotations

__all__ = ["PROFILES", "check_profile"]

PROFILES = ("quick", "laptop", "full")


def check_profile(profile: str) -> str:
    """Return the profile if there is one of that name.

    Raises:
        ValueError: There is none.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    return profile
