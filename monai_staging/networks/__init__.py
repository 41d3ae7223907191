"""Networks: backbones, attention pooling and the heads on them."""
