"""What a batch of data must be before anybody reads it, and what becomes of one that is not.

`expectations` declares, `measures` evaluates in one streaming pass, `report` is what comes of it; `gate` lets a folder
in or puts it into `quarantine`; `pushes` does the same before an online store. Import the modules: they pull in Polars.
"""

__all__: list[str] = []
