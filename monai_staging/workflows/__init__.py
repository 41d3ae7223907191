"""What Ignite engines need beyond MONAI's: batches, inference, checkpoints, determinism, stopping."""
