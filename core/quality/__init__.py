"""What a batch of data must be before anybody reads it, and what becomes of one that is not.

`expectations` declares, `measures` evaluates in one streaming pass, `report` is what comes of it; `gate` lets a folder
in or puts it into `quarantine`; `parquet` and `pushes` do the same before Parquet of a lake and an online store, which keep
what they `accepted` last. Import the modules: they pull in Polars.
"""

__all__: list[str] = []
