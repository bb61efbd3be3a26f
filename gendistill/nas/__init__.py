"""Architecture search by teachers: scores, baselines, truth, rankings."""
