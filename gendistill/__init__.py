"""Make and judge teachers: generators and small synthetic data sets on which a fresh network learns fast."""

__version__ = "0.2.0"
