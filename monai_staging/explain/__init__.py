"""What a network went by and where a tumour ends: class activation, attention and contours."""
