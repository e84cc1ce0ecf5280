"""A sweep's folder, its workers, going on with it."""
