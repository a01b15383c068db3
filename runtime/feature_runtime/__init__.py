"""What runs inside the pods of the feature store: one command, one module per verb."""
