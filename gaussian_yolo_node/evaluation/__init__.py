"""Accuracy of detections, measured against ground truth."""

# Detections below this score only extend the precision-recall curve; no user looks at their sigmas.
LEAST_SCORE = 0.05
