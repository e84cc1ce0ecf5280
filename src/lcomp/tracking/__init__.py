"""What shows runs beside their records: Weights & Biases, Lightning's loggers."""
