"""How good detections are, measured against labels."""

# Detections below this score are there to draw out the precision-recall curve; nobody looks at their sigmas.
LEAST_SCORE = 0.05
