"""What ``import gendistill`` offers: data, teachers, runs, evaluations and comparisons, in a script or a notebook."""
